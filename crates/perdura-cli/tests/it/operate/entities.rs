//! What entities and their callers wait for.

use crate::perdura::{perdura, run};
use perdura::prelude::*;
use std::path::Path;
use tempfile::TempDir;

fn shown(verb: &str, file: &Path, id: &str) -> String {
    let said = run(perdura().arg(verb).arg(file).arg(id));
    assert_eq!((said.code, &said.err[..]), (0, ""));
    said.out
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
    let slow = account("slow").why().await.unwrap().unwrap()[0].to_string();
    assert!(slow.contains("waits for the end of operation \"wait\", delivery 1 since 2"), "{slow}");
    let slow = shown("inspect", &file, "@Account@slow");
    assert!(slow.contains("    runs wait (delivery 1) since 2"), "{slow}");
    engine.shutdown().await;
    let why = |id| shown("why", &file, id);
    let (caller, next, held, slow) = (why("caller"), why("next"), why("@Account@held"), why("@Account@slow"));
    assert!(
        caller.contains("operation \"deposit\" of entity \"@Account@held\" (task 0) since 2"),
        "{caller}"
    );
    assert!(caller.contains("it is held by \"holder\" since 2"), "{caller}");
    assert!(next.contains("the next is \"@Account@held\": it is held by \"holder\" since 2"), "{next}");
    assert!(held.contains("waits for the end of the critical section of \"holder\" since 2"), "{held}");
    assert!(held.contains("2 operations and lock requests wait for it"), "{held}");
    assert!(slow.contains("waits for its operations to be handed out since 2"), "{slow}");
    assert!(slow.contains("1 operation or lock request waits for it"), "{slow}");
}
