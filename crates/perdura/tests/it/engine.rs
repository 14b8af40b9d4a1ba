//! The engine as a program embeds it, on a file.

use perdura::prelude::*;
use perdura::{
    ClientError, EngineError, InstanceQuery, OnExisting, OrchestrationName, RequestError, ReusePolicy,
    StartOutcome, Status,
};
use std::time::Duration;
use tempfile::TempDir;

#[activity]
async fn greet(ctx: ActivityContext, name: String) -> Result<String> {
    Ok(format!("{}, {name}!", ctx.data::<&str>()))
}

#[orchestration]
async fn hello(ctx: Orchestration, name: String) -> Result<String> {
    ctx.call(greet, name).await
}

#[orchestration]
async fn answer(ctx: Orchestration) -> Result<String> {
    ctx.set_status("waiting")?;
    let name: String = ctx.wait_event("name").await?;
    ctx.sub_orchestration(hello, name).await
}

#[orchestration]
async fn fan_out(ctx: Orchestration, n: u64) -> Result<usize> {
    let calls = (0..n).map(|i| ctx.call(greet, i.to_string()).retry(Retry::attempts(3)));
    let greetings: Vec<String> = join_all(calls).await.into_iter().collect::<Result<_>>()?;
    ctx.timer(Duration::from_millis(20)).await?;
    Ok(greetings.iter().map(String::len).sum())
}

async fn engine(dir: &TempDir) -> Engine {
    let engine = Engine::sqlite(dir.path().join("hub.db")).data("Hello");
    engine.register(hello).register(answer).register(fan_out).register(greet).start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hello_world() {
    let dir = TempDir::new().unwrap();
    let engine = engine(&dir).await;
    assert_eq!(engine.run(hello, "world".into()).await.unwrap(), "Hello, world!");
    assert_eq!(engine.run(fan_out, 100).await.unwrap(), 990);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_outlives_its_engine() {
    let dir = TempDir::new().unwrap();
    let first = engine(&dir).await;
    let started = first.start(answer, ()).id("a").tag("for", "ada").await.unwrap();
    assert_eq!((started.outcome(), started.id().as_str()), (StartOutcome::Created, "a"));
    first.shutdown().await;
    // A handle that is still there neither works nor keeps the file open.
    let error = started.wait().await.unwrap_err();
    assert_eq!(error, ClientError::Engine(EngineError::ShuttingDown));
    let second = engine(&dir).await;
    let instance = second.instance("a");
    instance.raise("name", "ada").await.unwrap();
    assert_eq!(instance.wait::<String>().await.unwrap(), "Hello, ada!");
    let state = instance.get().await.unwrap().unwrap();
    assert_eq!(
        (state.status(), state.name(), &state.tags()["for"][..]),
        (Status::Completed, "answer", "ada")
    );
    assert_eq!(state.custom_status::<String>().unwrap(), "waiting");
    assert_eq!(second.list(InstanceQuery::default(), 10).await.unwrap().len(), 2);
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_says_what_it_did() {
    let dir = TempDir::new().unwrap();
    let engine = engine(&dir).await;
    let start = || engine.start(answer, ()).id("a");
    assert_eq!(start().request_id("1").await.unwrap().outcome(), StartOutcome::Created);
    assert_eq!(start().request_id("1").await.unwrap().outcome(), StartOutcome::Created);
    let error = start().await.unwrap_err();
    assert!(
        matches!(error, ClientError::Engine(EngineError::Refused(RequestError::AlreadyExists { .. }))),
        "{error}"
    );
    let policy = ReusePolicy::FAIL.when_active(OnExisting::UseExisting);
    assert_eq!(start().reuse(policy).await.unwrap().outcome(), StartOutcome::Existing);
    assert_eq!(start().reuse(ReusePolicy::REPLACE).await.unwrap().outcome(), StartOutcome::Replaced);
    engine.instance("a").cancel("enough").await.unwrap();
    let error = engine.instance("a").wait::<String>().await.unwrap_err();
    assert_eq!(error.to_string(), "instance \"a\" is Canceled: perdura.Canceled: enough");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_whose_code_is_missing_waits_and_goes_on_when_it_is_there() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("hub.db");
    let bare = Engine::sqlite(&path).start().await.unwrap();
    let elsewhere: OrchestrationName<String, String> = OrchestrationName::new("hello");
    let instance = bare.start(elsewhere, "you".into()).id("a").await.unwrap().instance();
    // The first turn is part of the commit that a start waits for.
    let state = instance.get().await.unwrap().unwrap();
    let blocked = state.blocked().unwrap();
    assert!(blocked.contains("orchestration \"hello\" is not registered here"), "{blocked}");
    bare.shutdown().await;
    let engine = engine(&dir).await;
    assert_eq!(engine.instance("a").wait::<String>().await.unwrap(), "Hello, you!");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_of_an_item_that_is_not_registered_is_an_error_at_once() {
    let dir = TempDir::new().unwrap();
    let engine = engine(&dir).await;
    let error = engine.run(family, 1).await.unwrap_err();
    assert!(error.to_string().starts_with("orchestration \"family\" is not registered here; "), "{error}");
    let error = engine.start(hello, "you".into()).version("2").await.unwrap_err();
    assert!(
        error.to_string().contains("\"hello\" version \"2\" is not registered here, only \"hello\""),
        "{error}"
    );
    assert!(engine.list(InstanceQuery::default(), 10).await.unwrap().is_empty());
    engine.shutdown().await;
}

#[orchestration]
async fn family(ctx: Orchestration, children: u64) -> Result<u64> {
    let calls = (0..children).map(|i| ctx.sub_orchestration(hello, i.to_string()).id(format!("child-{i}")));
    let greetings: Vec<String> = join_all(calls).await.into_iter().collect::<Result<_>>()?;
    Ok(greetings.len() as u64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_in_other_partitions_start_and_answer_also_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let open = || async {
        let options = perdura_sqlite::SqliteOptions { partitions: 4, ..Default::default() };
        let store = perdura_sqlite::SqliteStore::open(dir.path().join("hub.db"), options).unwrap();
        let engine = Engine::store(std::sync::Arc::new(store)).data("Hello");
        engine.register(hello).register(greet).register(family).start().await.unwrap()
    };
    let engine = open().await;
    assert_eq!(engine.run(family, 50).await.unwrap(), 50);
    engine.shutdown().await;
    let engine = open().await;
    let states = engine.list(InstanceQuery::default(), 100).await.unwrap();
    let partitions: std::collections::BTreeSet<_> =
        states.iter().map(|s| s.key().unwrap().partition()).collect();
    assert_eq!((states.len(), partitions.len()), (51, 4));
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_running_hub_is_a_hub() {
    let dir = TempDir::new().unwrap();
    let running = engine(&dir).await;
    let started = running.start(answer, ()).id("a").await.unwrap();
    let copy = TempDir::new().unwrap();
    running.backup(copy.path().join("hub.db")).await.unwrap();
    assert!(
        running.backup(copy.path().join("hub.db")).await.is_err(),
        "a file that exists is not overwritten"
    );
    running.instance("a").raise("name", "Ada").await.unwrap();
    assert_eq!(started.wait().await.unwrap(), "Hello, Ada!");
    let restored = engine(&copy).await;
    restored.instance("a").raise("name", "Bob").await.unwrap();
    assert_eq!(restored.instance("a").wait::<String>().await.unwrap(), "Hello, Bob!");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_dropped_lets_go_of_its_hub() {
    let dir = TempDir::new().unwrap();
    let first = engine(&dir).await;
    let started = first.start(answer, ()).id("a").await.unwrap();
    drop(first);
    assert_eq!(started.wait().await.unwrap_err(), ClientError::Engine(EngineError::ShuttingDown));
    // Its thread ends by itself; until then the file is in use.
    let second = loop {
        let opened = Engine::sqlite(dir.path().join("hub.db")).data("Hello").register(answer).register(hello);
        match opened.register(greet).start().await {
            Ok(engine) => break engine,
            Err(error) => assert!(error.to_string().contains("in use"), "{error}"),
        }
    };
    second.instance("a").raise("name", "Ada").await.unwrap();
    assert_eq!(second.instance("a").wait::<String>().await.unwrap(), "Hello, Ada!");
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_is_free_after_a_shutdown_however_soon_that_comes() {
    let dir = TempDir::new().unwrap();
    for _ in 0..50 {
        engine(&dir).await.shutdown().await;
    }
}
