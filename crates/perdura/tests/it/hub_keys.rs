//! Calls under keys of the hub: one execution for all, whatever becomes of those who called.

use perdura::delivery::OnUnknown;
use perdura::prelude::*;
use perdura::{ActivityName, ClientError, Limits, Retention, Rewind, failure};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// How often activities have begun.
type Begun = Arc<AtomicU32>;

static CHARGE: ActivityName<String, String> = ActivityName::new("charge");
const SHORT: Duration = Duration::from_millis(1);

#[orchestration]
async fn order(ctx: Orchestration) -> Result<String> {
    ctx.call(&CHARGE, "i".repeat(800)).idempotency_key_in_hub("order 1").await
}

#[orchestration]
async fn order_once(ctx: Orchestration) -> Result<String> {
    let call = ctx.call(&CHARGE, String::new()).at_most_once(OnUnknown::Fail);
    call.idempotency_key_in_hub("order 2").await
}

#[orchestration]
async fn fine(_ctx: Orchestration) -> Result<()> {
    Ok(())
}

/// An engine whose activity gives so many bytes; the first one never ends if it is `stuck`.
fn builder(dir: &TempDir, begun: &Begun, bytes: usize, stuck: bool) -> perdura::EngineBuilder {
    let begun = begun.clone();
    let registry = Registry::new().register(order).register(order_once).register(fine).register_activity(
        &CHARGE,
        move |_, _| {
            begun.fetch_add(1, Ordering::SeqCst);
            async move {
                if stuck {
                    std::future::pending::<()>().await;
                }
                // With its quotes.
                Ok("o".repeat(bytes - 2))
            }
        },
    );
    let limits = Limits { payload_bytes_max: 1000, ..Limits::default() };
    Engine::sqlite(dir.path().join("hub.db")).limits(limits).registry(registry).drain_time_max(SHORT)
}

fn kind_of(error: &ClientError) -> &str {
    &error.failure().expect("the orchestration failed").kind
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_outlives_the_family_of_its_first_caller_and_what_is_removed_by_age() {
    let (dir, begun) = (TempDir::new().unwrap(), Begun::default());
    let engine = builder(&dir, &begun, 10, false).start().await.unwrap();
    engine.start(order, ()).id("a").await.unwrap().wait().await.unwrap();
    assert_eq!(engine.instance("a").purge_family().await.unwrap(), 1);
    engine.start(order, ()).id("b").await.unwrap().wait().await.unwrap();
    // Has ended later than the key, and is looked at later.
    engine.start(fine, ()).id("z").await.unwrap().wait().await.unwrap();
    engine.shutdown().await;
    let engine = builder(&dir, &begun, 10, false).retention(Retention::of_all(SHORT)).start().await.unwrap();
    while engine.instance("z").get().await.unwrap().is_some()
        || engine.instance("b").get().await.unwrap().is_some()
    {
        tokio::time::sleep(SHORT).await;
    }
    engine.run(order, ()).await.unwrap();
    engine.shutdown().await;
    assert_eq!(begun.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_outlives_the_branch_that_its_first_caller_has_left() {
    let (dir, begun) = (TempDir::new().unwrap(), Begun::default());
    let engine = builder(&dir, &begun, 10, false).start().await.unwrap();
    engine.start(order, ()).id("a").await.unwrap().wait().await.unwrap();
    engine.instance("a").rewind(Rewind::by("ada", "try").to_beginning().without_reuse()).await.unwrap();
    engine.instance("a").wait::<String>().await.unwrap();
    engine.shutdown().await;
    assert_eq!(begun.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_under_a_key_may_be_as_large_as_any_other() {
    let (dir, begun) = (TempDir::new().unwrap(), Begun::default());
    let engine = builder(&dir, &begun, 1000, false).start().await.unwrap();
    for _ in 0..2 {
        assert_eq!(engine.run(order, ()).await.unwrap().len(), 998);
    }
    engine.shutdown().await;
    assert_eq!(begun.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_activity_that_runs_at_most_once_is_not_run_by_the_next_caller_of_its_key() {
    let (dir, begun) = (TempDir::new().unwrap(), Begun::default());
    let engine = builder(&dir, &begun, 10, true).start().await.unwrap();
    engine.start(order_once, ()).id("a").await.unwrap();
    while begun.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(SHORT).await;
    }
    engine.shutdown().await;
    let engine = builder(&dir, &begun, 10, false).start().await.unwrap();
    let ends = [engine.instance("a").wait::<String>().await, engine.run(order_once, ()).await];
    for end in ends {
        assert_eq!(kind_of(&end.unwrap_err()), failure::kind::UNKNOWN_OUTCOME);
    }
    assert_eq!(begun.load(Ordering::SeqCst), 1);
    engine.instance("perdura.key/charge/order 2").purge().await.unwrap();
    engine.run(order_once, ()).await.unwrap();
    assert_eq!(begun.load(Ordering::SeqCst), 2);
    engine.shutdown().await;
}

#[orchestration]
async fn takes_a_key(ctx: Orchestration, id: String) -> Result<()> {
    let start = ctx.sub_orchestration(fine, ()).id(&id);
    let error = start.await.unwrap_err();
    assert!(error.to_string().contains("the prefix \"perdura.key/\" is reserved"), "{error}");
    ctx.sub_orchestration(fine, ()).id(id).detached().await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_other_sub_orchestration_takes_the_id_of_a_key() {
    let (dir, begun) = (TempDir::new().unwrap(), Begun::default());
    let engine = builder(&dir, &begun, 10, false).register(takes_a_key).start().await.unwrap();
    let refused = engine.run(takes_a_key, "perdura.key/charge/order 1".into()).await.unwrap_err();
    assert_eq!(kind_of(&refused), failure::kind::INVALID);
    assert_eq!(engine.run(order, ()).await.unwrap().len(), 8);
    engine.shutdown().await;
}
