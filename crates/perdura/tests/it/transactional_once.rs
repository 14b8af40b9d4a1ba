//! What transactional activities wrote is there once, whatever becomes of the engine that ran them.

use perdura::delivery::{UnknownOutcome, Verdict};
use perdura::prelude::*;
use perdura::sqlite::{Connection, Transaction};
use perdura::{ActivityName, Limits};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Semaphore;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS note (n INTEGER)";
const SHORT: Duration = Duration::from_millis(1);

#[activity(transactional)]
fn note(tx: &Transaction<'_>, n: u32) -> Result<String> {
    tx.execute("INSERT INTO note VALUES (?1)", [n])?;
    Ok("x".repeat(500))
}
static NOTE: ActivityName<u32, String> = ActivityName::new("note");

#[orchestration]
async fn notes(ctx: Orchestration, n: u32) -> Result<u32> {
    let all = join_all((0..n).map(|n| ctx.call(&NOTE, n))).await;
    Ok(all.into_iter().collect::<Result<Vec<String>>>()?.len() as u32)
}

/// Rows, and different ones among them.
fn counts(path: &Path) -> (u32, u32) {
    let reader = Connection::open(path).unwrap();
    let both = "SELECT count(*), count(DISTINCT n) FROM note";
    reader.query_row(both, (), |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

/// An engine that begins the notes and never ends them.
async fn begin_notes(path: &Path, n: u32) {
    let begun = Arc::new(Semaphore::new(0));
    let bell = begun.clone();
    let registry = Registry::new().register(notes).register_activity(&NOTE, move |_, _| {
        bell.add_permits(1);
        std::future::pending::<Result<String>>()
    });
    let engine =
        Engine::sqlite(path).tables(TABLE).registry(registry).drain_time_max(SHORT).start().await.unwrap();
    engine.start(notes, n).id("n").await.unwrap();
    drop(begun.acquire_many(n).await.unwrap());
    engine.shutdown().await;
}

/// The instance is blocked, so that no turn makes room for more than the first result.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn works_whose_results_find_no_room_in_the_inbox_are_not_committed_without_them() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("hub.db");
    begin_notes(&path, 60).await;
    let limits = Limits { inbox_bytes_max: 100, ..Limits::default() };
    let blocked = Engine::sqlite(&path).limits(limits).register(note).drain_time_max(SHORT);
    let blocked = blocked.start().await.unwrap();
    while counts(&path).0 == 0 {
        tokio::task::yield_now().await;
    }
    blocked.shutdown().await;
    let engine = Engine::sqlite(&path).register(note).register(notes).start().await.unwrap();
    assert_eq!(engine.instance("n").wait::<u32>().await.unwrap(), 60);
    engine.shutdown().await;
    assert_eq!(counts(&path), (60, 60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn works_wait_for_room_and_all_run_in_the_end() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("hub.db");
    let limits = Limits { inbox_bytes_max: 1200, ..Limits::default() };
    let engine = Engine::sqlite(&path).tables(TABLE).limits(limits).register(note).register(notes);
    let engine = engine.start().await.unwrap();
    assert_eq!(engine.run(notes, 60).await.unwrap(), 60);
    engine.shutdown().await;
    assert_eq!(counts(&path), (60, 60));
}

#[activity(transactional)]
fn look(tx: &Transaction<'_>, asked: UnknownOutcome) -> Result<Verdict> {
    let n: u32 = tx.value("SELECT count(*) FROM note", ())?;
    match asked.activity.as_str() {
        "once" => Verdict::complete(&n),
        _ => Err(Error::new("OutOfCheese", "cannot tell")),
    }
}

#[activity(at_most_once = "handler:look")]
async fn once(ctx: ActivityContext) -> Result<u32> {
    ctx.data::<Arc<Semaphore>>().add_permits(1);
    std::future::pending().await
}

#[activity(at_most_once = "handler:look")]
async fn once_unclear(ctx: ActivityContext) -> Result<u32> {
    ctx.data::<Arc<Semaphore>>().add_permits(1);
    std::future::pending().await
}

#[orchestration]
async fn calls_once(ctx: Orchestration, clear: bool) -> Result<u32> {
    if clear { ctx.call(once, ()).await } else { ctx.call(once_unclear, ()).await }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_of_unknown_outcomes_may_be_transactional() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("hub.db");
    let begun = Arc::new(Semaphore::new(0));
    let open = || {
        let engine = Engine::sqlite(&path).tables(TABLE).data(begun.clone()).drain_time_max(SHORT);
        engine.register(once).register(once_unclear).register(calls_once).register(look).start()
    };
    let engine = open().await.unwrap();
    engine.start(calls_once, true).id("clear").await.unwrap();
    engine.start(calls_once, false).id("unclear").await.unwrap();
    drop(begun.acquire_many(2).await.unwrap());
    engine.shutdown().await;
    let engine = open().await.unwrap();
    assert_eq!(engine.instance("clear").wait::<u32>().await.unwrap(), 0);
    let unclear = engine.instance("unclear");
    let why = loop {
        if let Some(why) = unclear.get().await.unwrap().unwrap().suspended() {
            break why.to_owned();
        }
        tokio::task::yield_now().await;
    };
    assert!(why.contains("gave no answer of use: OutOfCheese: cannot tell"), "{why}");
    engine.shutdown().await;
}
