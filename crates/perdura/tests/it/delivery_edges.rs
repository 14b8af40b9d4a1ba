//! What is refused at the edges of delivery, and calls under keys whose execution goes on without them.

use perdura::delivery::{Delivery, OnUnknown};
use perdura::prelude::*;
use perdura::{InstanceId, Limits, Status, failure};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Semaphore;

/// How often an activity has begun, and what it waits for.
#[derive(Clone)]
struct Bench(Arc<AtomicU32>, Arc<Semaphore>);

#[activity]
async fn work(ctx: ActivityContext, n: u32) -> Result<u32> {
    let Bench(begun, gate) = ctx.data();
    begun.fetch_add(1, Ordering::SeqCst);
    gate.acquire().await.unwrap().forget();
    Ok(n)
}

#[activity]
async fn says_much(ctx: ActivityContext) -> Result<String> {
    ctx.heartbeat("short")?;
    Ok(ctx.heartbeat(&"x".repeat(1001)).unwrap_err().to_string())
}

#[activity(at_most_once = "handler:own")]
async fn own(_ctx: ActivityContext) -> Result<()> {
    Ok(())
}

#[orchestration]
async fn chatty(ctx: Orchestration) -> Result<String> {
    ctx.call(says_much, ()).await
}

#[orchestration]
async fn in_doubt(ctx: Orchestration) -> Result<u32> {
    ctx.call(work, 7).at_most_once(OnUnknown::Suspend).timeout(Duration::from_millis(1)).await
}

#[orchestration]
async fn wrong(ctx: Orchestration, how: String) -> Result<()> {
    match how.as_str() {
        "own handler" => ctx.call(work, 7).at_most_once(OnUnknown::Handler("work".into())).await.map(drop),
        "hub key" => ctx.call(work, 7).idempotency_key_in_hub("k".repeat(496)).await.map(drop),
        "tag" => ctx.call(work, 7).tag("perdura.key", "k".repeat(513)).await.map(drop),
        _ => {
            let to = InstanceId::new("other").unwrap();
            ctx.send_event(&to, "perdura.resolve", &json!({ "runOnceMore": true }))
        }
    }
}

/// Calls under a key, continues as new while the call is under way, and calls again.
#[orchestration]
async fn again(ctx: Orchestration, round: u32) -> Result<u32> {
    let call = ctx.call(work, 7).idempotency_key("k".repeat(512));
    if round > 0 {
        return call.await;
    }
    let _running = call.start();
    ctx.wait_event::<()>("go").await?;
    ctx.continue_as_new(1)
}

async fn engine(dir: &TempDir, bench: &Bench) -> Engine {
    let limits = Limits { payload_bytes_max: 1000, ..Limits::default() };
    let builder = Engine::sqlite(dir.path().join("hub.db")).limits(limits).data(bench.clone());
    let builder = builder.register(work).register(says_much).register(chatty).register(in_doubt);
    builder.register(wrong).register(again).start().await.unwrap()
}

fn bench() -> (TempDir, Bench) {
    (TempDir::new().unwrap(), Bench(Arc::default(), Arc::new(Semaphore::new(0))))
}

async fn until_suspended(engine: &Engine, id: &str) {
    while engine.instance(id).get().await.unwrap().map(|state| state.status()) != Some(Status::Suspended) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_event_perdura_resolve_says_what_follows_or_is_refused() {
    let (dir, bench) = bench();
    let engine = engine(&dir, &bench).await;
    engine.start(in_doubt, ()).id("a").await.unwrap();
    until_suspended(&engine, "a").await;
    let instance = engine.instance("a");
    let said = format!("{:?}", instance.why().await.unwrap().unwrap());
    assert!(said.contains("say what follows") && !said.contains("resume it"), "{said}");
    let garbage = instance.raise("perdura.resolve", &json!({ "complete": 1, "and": 2 })).await;
    assert!(garbage.unwrap_err().to_string().contains("none of"));
    let once = instance.raise_once("perdura.resolve", &json!({ "complete": 9 }), "id").await;
    assert!(once.unwrap_err().to_string().contains("raise it without one"));
    instance.raise("perdura.resolve", &json!({ "complete": 9, "by": "ada" })).await.unwrap();
    assert_eq!(instance.wait::<u32>().await.unwrap(), 9);
    let late = instance.raise("perdura.resolve", &json!({ "complete": 9 })).await;
    late.expect_err("nothing is in doubt any more");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_that_says_too_much_is_an_error() {
    let (dir, bench) = bench();
    let engine = engine(&dir, &bench).await;
    let said = engine.run(chatty, ()).await.unwrap();
    assert!(said.contains("1003 bytes, limit 1000"), "{said}");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_refused_where_it_is_said() {
    let (dir, bench) = bench();
    let engine = engine(&dir, &bench).await;
    for (how, expected) in [
        ("own handler", "cannot be its own handler"),
        ("hub key", "500 bytes together with the activity's name \"work\", limit 499"),
        ("tag", "idempotency key (tag \"perdura.key\"): 513 bytes, limit 512"),
        ("event", "let an activity do so, as a client"),
    ] {
        let error = engine.run(wrong, how.to_owned()).await.unwrap_err();
        assert_eq!(error.failure().unwrap().kind, failure::kind::INVALID);
        assert!(error.to_string().contains(expected), "{how}: {error}");
    }
    assert_eq!(bench.0.load(Ordering::SeqCst), 0);
    engine.shutdown().await;
}

#[test]
#[should_panic(expected = "cannot be its own handler")]
fn an_activity_that_is_its_own_handler_cannot_be_registered() {
    drop(Registry::new().register(own));
}

#[test]
#[should_panic(expected = "cannot be its own handler")]
fn an_activity_cannot_be_configured_to_be_its_own_handler() {
    drop(Engine::sqlite("x").delivery("work", Delivery::AtMostOnce(OnUnknown::Handler("work".into()))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_under_a_key_goes_on_when_its_instance_continues_as_new() {
    let (dir, bench) = bench();
    let engine = engine(&dir, &bench).await;
    let started = engine.start(again, 0).id("a").await.unwrap();
    while bench.0.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let first = engine.instance("a").get().await.unwrap().unwrap().execution_id();
    engine.instance("a").raise("go", &()).await.unwrap();
    while engine.instance("a").get().await.unwrap().unwrap().execution_id() == first {
        tokio::task::yield_now().await;
    }
    bench.1.add_permits(1);
    assert_eq!(started.wait().await.unwrap(), 7);
    assert_eq!(bench.0.load(Ordering::SeqCst), 1);
    engine.shutdown().await;
}
