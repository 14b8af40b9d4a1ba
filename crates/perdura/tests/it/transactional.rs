//! Activities whose writes are committed together with their completion.

use perdura::delivery::OnUnknown;
use perdura::failure::kind;
use perdura::prelude::*;
use perdura::sqlite::{Connection, Transaction};
use perdura::{ActivityName, ClientError, Limits};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS account (name TEXT PRIMARY KEY, cents INTEGER NOT NULL) STRICT;
    INSERT OR IGNORE INTO account VALUES ('ada', 0);
    CREATE TABLE IF NOT EXISTS owner (account TEXT REFERENCES account(name) DEFERRABLE INITIALLY DEFERRED) STRICT;";

const ADD: &str = "UPDATE account SET cents = cents + ?1 WHERE name = 'ada'";

#[activity(transactional)]
fn deposit(tx: &Transaction<'_>, cents: i64) -> Result<i64> {
    tx.execute(ADD, [cents])?;
    Ok(tx.value("SELECT cents FROM account WHERE name = 'ada'", ())?)
}

#[derive(Default)]
struct Tries(AtomicU32);

#[activity(transactional)]
fn flaky(ctx: ActivityContext, tx: &Transaction<'_>, how: String) -> Result<u32> {
    tx.execute(ADD, [1])?;
    let tries = ctx.data::<Arc<Tries>>().0.fetch_add(1, Ordering::SeqCst) + 1;
    match how.as_str() {
        "panics" if tries == 1 => panic!("out of cheese"),
        "fails" if tries == 1 => Err(Error::new("OutOfCheese", "try again")),
        _ => Ok(ctx.attempt()),
    }
}

#[activity(transactional)]
fn large(tx: &Transaction<'_>) -> Result<String> {
    tx.execute(ADD, [1])?;
    Ok("x".repeat(2000))
}

#[activity(transactional)]
fn orphan(tx: &Transaction<'_>) -> Result<()> {
    tx.execute("INSERT INTO owner VALUES ('nobody')", ())?;
    Ok(())
}

#[activity(transactional)]
fn meddle(tx: &Transaction<'_>) -> Result<()> {
    tx.execute("DELETE FROM history", ())?;
    Ok(())
}

#[orchestration]
async fn pay(ctx: Orchestration, cents: i64) -> Result<i64> {
    ctx.call(deposit, cents).await
}

#[orchestration]
async fn crowd(ctx: Orchestration, n: u32) -> Result<i64> {
    let all = join_all((0..n).map(|_| ctx.call(deposit, 1))).await;
    let seen: Vec<i64> = all.into_iter().collect::<Result<_>>()?;
    Ok(seen.into_iter().max().unwrap_or(0))
}

#[orchestration]
async fn try_twice(ctx: Orchestration, how: String) -> Result<u32> {
    ctx.call(flaky, how).retry(Retry::attempts(2)).await
}

#[orchestration]
async fn wrong(ctx: Orchestration, how: String) -> Result<()> {
    match how.as_str() {
        "large" => ctx.call(large, ()).await.map(drop),
        "orphan" => ctx.call(orphan, ()).await,
        "orphans" => {
            let ended = join_all([ctx.call(orphan, ()), ctx.call(orphan, ())]).await;
            ended.into_iter().collect()
        }
        _ => ctx.call(meddle, ()).await,
    }
}

struct Bed {
    dir: TempDir,
    engine: Engine,
}

impl Bed {
    async fn new() -> Bed {
        let dir = TempDir::new().unwrap();
        let engine = builder(dir.path().join("shop.db")).tables(TABLES).start().await.unwrap();
        Bed { dir, engine }
    }

    /// What somebody else reads from the file.
    fn cents(&self) -> i64 {
        let reader = Connection::open(self.dir.path().join("shop.db")).unwrap();
        reader.query_row("SELECT cents FROM account WHERE name = 'ada'", (), |row| row.get(0)).unwrap()
    }
}

fn builder(path: PathBuf) -> perdura::EngineBuilder {
    Engine::sqlite(path)
        .limits(Limits { payload_bytes_max: 1000, ..Limits::default() })
        .data(Arc::new(Tries::default()))
        .register(pay)
        .register(crowd)
        .register(try_twice)
        .register(wrong)
        .register(deposit)
        .register(flaky)
        .register(large)
        .register(orphan)
        .register(meddle)
}

fn kind_of(error: &ClientError) -> String {
    error.failure().expect("the orchestration failed").kind.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_activity_wrote_is_there_when_its_instance_has_ended() {
    let bed = Bed::new().await;
    assert_eq!(bed.engine.run(pay, 5).await.unwrap(), 5);
    assert_eq!(bed.cents(), 5);
    assert_eq!(bed.engine.run(crowd, 300).await.unwrap(), 305);
    assert_eq!(bed.cents(), 305);
    bed.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_attempt_leaves_nothing_behind_and_is_retried() {
    for how in ["panics", "fails"] {
        let bed = Bed::new().await;
        assert_eq!(bed.engine.run(try_twice, how.into()).await.unwrap(), 2, "{how}");
        assert_eq!(bed.cents(), 1, "{how}");
        bed.engine.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_committed_fails_the_activity_and_no_other() {
    let bed = Bed::new().await;
    for (how, expected) in [
        ("large", kind::LIMIT),
        ("orphan", kind::INVALID),
        ("orphans", kind::INVALID),
        ("meddle", "rusqlite::error::Error"),
    ] {
        let error = bed.engine.run(wrong, how.into()).await.unwrap_err();
        assert_eq!(kind_of(&error), expected, "{how}: {error}");
    }
    assert_eq!(bed.engine.run(pay, 5).await.unwrap(), 5);
    assert_eq!(bed.cents(), 5);
    bed.engine.shutdown().await;
}

static LONG: ActivityName<(), ()> = ActivityName::new("long");

#[orchestration]
async fn waits_long(ctx: Orchestration) -> Result<()> {
    ctx.call(&LONG, ()).await
}

#[orchestration]
async fn once_each(ctx: Orchestration) -> Result<Vec<String>> {
    let orphan = async { ctx.call(orphan, ()).at_most_once(OnUnknown::Fail).await };
    let deposit = async { ctx.call(deposit, 1).at_most_once(OnUnknown::Fail).await.map(drop) };
    let (orphan, deposit) = futures_util::future::join(orphan, deposit).await;
    let kind = |end: Result<()>| end.map_or_else(|error| error.kind().to_owned(), |()| "well".to_owned());
    Ok(vec![kind(orphan), kind(deposit)])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_committed_disturbs_no_attempt_of_others() {
    let dir = TempDir::new().unwrap();
    let begun = Arc::new(tokio::sync::Semaphore::new(0));
    let bell = begun.clone();
    let registry = Registry::new().register_activity(&LONG, move |_, ()| {
        bell.add_permits(1);
        std::future::pending()
    });
    let registry = registry.register(waits_long).register(once_each).register(wrong);
    let registry = registry.register(orphan).register(deposit).register(large).register(meddle);
    let engine = Engine::sqlite(dir.path().join("shop.db")).tables(TABLES).registry(registry);
    let engine = engine.drain_time_max(std::time::Duration::from_millis(1)).start().await.unwrap();
    engine.start(waits_long, ()).await.unwrap();
    begun.acquire().await.unwrap().forget();
    engine.run(wrong, "orphans".into()).await.unwrap_err();
    assert_eq!(engine.run(once_each, ()).await.unwrap(), [kind::INVALID, "well"]);
    assert_eq!(begun.available_permits(), 0, "it runs once");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_cannot_be_made_fail_the_start() {
    let dir = TempDir::new().unwrap();
    for bad in ["CREATE TABLE instance (n)", "CREATE TABLE", "DELETE FROM history"] {
        let started = builder(dir.path().join("shop.db")).tables(bad).start().await;
        assert!(started.is_err(), "{bad}");
    }
    let store = Arc::new(perdura_store::sim::SimStore::new(1));
    assert!(Engine::store(store).tables(TABLES).start().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_tables_fails_the_activity_with_a_reason() {
    let store = Arc::new(perdura_store::sim::SimStore::new(1));
    let engine = Engine::store(store).register(pay).register(deposit).start().await.unwrap();
    let error = engine.run(pay, 5).await.unwrap_err();
    assert_eq!(kind_of(&error), kind::INVALID);
    assert!(error.to_string().contains("SQLite"), "{error}");
    engine.shutdown().await;
}

#[test]
fn a_unit_test_calls_it_on_any_connection() {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(TABLES).unwrap();
    assert_eq!(deposit::call(&Transaction::on(&connection), 3).unwrap(), 3);
}

#[tokio::test]
async fn tables_that_are_given_one_after_another_are_all_made_and_so_is_that_of_the_tokens() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("hub.db");
    let engine = Engine::sqlite(&path).tables("CREATE TABLE a (x) -- no end").tables("CREATE TABLE b (x)");
    engine.tables(perdura::delivery::DeliveryToken::TABLE).start().await.unwrap().shutdown().await;
    let names = "SELECT count(*) FROM sqlite_schema WHERE name IN ('a', 'b', 'perdura_fence')";
    let count: i64 = Connection::open(path).unwrap().query_row(names, (), |row| row.get(0)).unwrap();
    assert_eq!(count, 3);
}
