//! `perdura rewind`, `branches`, `why`: on a hub whose engine is stopped.

use crate::perdura::{Said, perdura, run};
use perdura::prelude::*;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

#[activity]
async fn reserve(item: String) -> Result<String> {
    Ok(format!("{item} is reserved"))
}

#[activity]
async fn charge(ctx: ActivityContext, item: String) -> Result<String> {
    match *ctx.data::<bool>() {
        true => Ok(format!("{item} is paid")),
        false => Err(Error::new("Down", "the bank is down")),
    }
}

#[orchestration]
async fn order(ctx: Orchestration, item: String) -> Result<String> {
    let reserved = ctx.call(reserve, item.clone()).await?;
    Ok(format!("{reserved}, {}", ctx.call(charge, item).await?))
}

async fn engine(file: &Path, is_mended: bool) -> Engine {
    Engine::sqlite(file)
        .data(is_mended)
        .register(order)
        .register(reserve)
        .register(charge)
        .start()
        .await
        .unwrap()
}

/// A hub with an order that failed.
async fn hub() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("hub.db");
    let engine = engine(&file, false).await;
    engine.start(order, "a book".into()).id("o1").await.unwrap().wait().await.unwrap_err();
    engine.shutdown().await;
    (dir, file)
}

fn said(verb: &str, file: &Path, args: &[&str]) -> Said {
    run(perdura().arg(verb).arg(file).args(args))
}

fn shown(verb: &str, file: &Path, args: &[&str]) -> String {
    let said = said(verb, file, args);
    assert_eq!((said.code, &said.err[..]), (0, ""));
    said.out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_order_is_planned_rewound_and_goes_on_with_the_next_engine() {
    let (_dir, file) = hub().await;
    let plan = shown("rewind", &file, &["o1", "--reason", "the bank is up", "--dry-run"]);
    assert!(plan.contains("runs again: charge") && plan.contains("nothing was changed"), "{plan}");
    let before = shown("inspect", &file, &["o1"]);
    let done = shown("rewind", &file, &["o1", "--reason", "the bank is up", "--by", "ada"]);
    assert!(done.contains("done; it goes on when an engine is started"), "{done}");
    let why = shown("why", &file, &["o1"]);
    assert!(
        why.contains("waits for activity \\\"charge\\\"") || why.contains("waits for activity \"charge\""),
        "{why}"
    );
    let branches = shown("branches", &file, &["o1"]);
    assert!(branches.contains("by ada, the bank is up (Failed before), the present one"), "{branches}");
    let left = shown("inspect", &file, &["o1", "--branch", "0"]);
    let events = |text: &str| text.lines().filter(|line| line.starts_with("       ")).count();
    assert_eq!(events(&left), events(&before));
    let engine = engine(&file, true).await;
    let output: String = engine.instance("o1").wait().await.unwrap();
    assert_eq!(output, "a book is reserved, a book is paid");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_printed_as_json_and_a_refusal_says_what_to_do() {
    let (_dir, file) = hub().await;
    let plan = shown("rewind", &file, &["o1", "--reason", "r", "--dry-run", "--json", "--to-beginning"]);
    let plan: Value = serde_json::from_str(&plan).unwrap();
    assert_eq!((&plan["cut"], &plan["reused"][0]["name"]), (&0.into(), &"reserve".into()));
    for (args, expected) in [
        (&["o1", "--reason", "r", "--from-event", "99"][..], "outside its history"),
        (&["o1", "--reason", "r", "--to-turn", "9"], "it has no turn 9"),
        (&["nobody", "--reason", "r"], "there is no instance"),
        (&["o1", "--reason", "r", "--set-result", "3=["], "is not JSON"),
        (&["o1"], "--reason"),
    ] {
        let said = said("rewind", &file, args);
        assert!(said.code != 0 && said.err.contains(expected), "{}", said.err);
    }
}

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Account {
    cents: i64,
}

#[entity]
impl Account {
    pub fn deposit(&mut self, cents: i64) -> Result<()> {
        self.cents += cents;
        Ok(())
    }

    pub async fn wait(&mut self) -> Result<()> {
        std::future::pending().await
    }
}

#[orchestration]
async fn hold(ctx: Orchestration, key: String) -> Result<()> {
    let _held = ctx.lock([Account::at(&key)]).await?;
    ctx.wait_event::<()>("go").await
}

#[orchestration]
async fn deposit(ctx: Orchestration, key: String) -> Result<()> {
    ctx.entity::<Account>(&key).deposit(1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_and_inspect_tell_what_entities_and_their_callers_wait_for() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("hub.db");
    let engine = Engine::sqlite(&file)
        .drain_time_max(std::time::Duration::ZERO)
        .entity::<Account>()
        .register(hold)
        .register(deposit)
        .start()
        .await
        .unwrap();
    let account = |key: &str| engine.entity::<Account>(key);
    engine.start(hold, "held".into()).id("holder").await.unwrap();
    while account("held").get().await.unwrap().is_none_or(|held| held.locked_by.is_none()) {
        tokio::task::yield_now().await;
    }
    engine.start(hold, "held".into()).id("next").await.unwrap();
    engine.start(deposit, "held".into()).id("caller").await.unwrap();
    engine.signal::<Account>("slow").wait().await.unwrap();
    let (name, _) = account("slow").get().await.unwrap().unwrap().running.unwrap();
    assert_eq!(name, "wait");
    while account("held").get().await.unwrap().unwrap().backlog < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(account("held").why().await.unwrap().unwrap().len(), 1);
    engine.shutdown().await;
    let why = |id| shown("why", &file, &[id]);
    let (caller, next, held, slow) = (why("caller"), why("next"), why("@Account@held"), why("@Account@slow"));
    assert!(
        caller.contains("operation \"deposit\" of entity \"@Account@held\" (task 0) since 2"),
        "{caller}"
    );
    assert!(caller.contains("it is held by \"holder\" since 2"), "{caller}");
    assert!(next.contains("the next is \"@Account@held\": it is held by \"holder\" since 2"), "{next}");
    assert!(held.contains("waits for the end of the critical section of \"holder\" since 2"), "{held}");
    assert!(held.contains("2 operations and lock requests wait for it"), "{held}");
    assert!(slow.contains("waits for the end of operation \"wait\", delivery 1 since 2"), "{slow}");
    let slow = shown("inspect", &file, &["@Account@slow"]);
    assert!(slow.contains("    runs wait (delivery 1) since 2"), "{slow}");
}
