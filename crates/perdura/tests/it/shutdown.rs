//! What runs in an engine learns that the engine ends.

use perdura::prelude::*;
use perdura::{Act, ActivityName, Batch, Bulk, InstanceQuery};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Semaphore;

const SHORT: Duration = Duration::from_millis(1);

/// Rings when something has begun, and when it has ended.
#[derive(Clone)]
struct Bells {
    begun: Arc<Semaphore>,
    ended: Arc<Semaphore>,
}

impl Bells {
    fn new() -> Bells {
        Bells { begun: Arc::new(Semaphore::new(0)), ended: Arc::new(Semaphore::new(0)) }
    }
}

static WORK: ActivityName<(), ()> = ActivityName::new("work");

#[orchestration]
async fn works(ctx: Orchestration) -> Result<()> {
    ctx.call(&WORK, ()).await
}

/// An activity that ends when it is told to.
fn registry(bells: &Bells) -> Registry {
    let bells = bells.clone();
    Registry::new().register(works).register_activity(&WORK, move |ctx: ActivityContext, ()| {
        let bells = bells.clone();
        async move {
            bells.begun.add_permits(1);
            ctx.canceled().await;
            bells.ended.add_permits(1);
            Ok(())
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_activity_is_told_when_the_drain_time_is_over_or_the_engine_is_dropped() {
    for drops in [false, true] {
        let (dir, bells) = (TempDir::new().unwrap(), Bells::new());
        let engine = Engine::sqlite(dir.path().join("hub.db")).registry(registry(&bells));
        let engine = engine.drain_time_max(SHORT).start().await.unwrap();
        engine.start(works, ()).id("a").await.unwrap();
        bells.begun.acquire().await.unwrap().forget();
        if drops {
            drop(engine)
        } else {
            engine.shutdown().await
        }
        bells.ended.acquire().await.unwrap().forget();
    }
}

static OPERATION: std::sync::LazyLock<Bells> = std::sync::LazyLock::new(Bells::new);

struct RingsAtTheEnd;

impl Drop for RingsAtTheEnd {
    fn drop(&mut self) {
        OPERATION.ended.add_permits(1);
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Sleeper;

#[entity]
impl Sleeper {
    pub async fn sleep(&mut self) -> Result<()> {
        let _bell = RingsAtTheEnd;
        OPERATION.begun.add_permits(1);
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_ends_when_the_drain_time_is_over() {
    let dir = TempDir::new().unwrap();
    let engine = Engine::sqlite(dir.path().join("hub.db")).entity::<Sleeper>();
    let engine = engine.drain_time_max(SHORT).start().await.unwrap();
    engine.signal::<Sleeper>("a").sleep().await.unwrap();
    OPERATION.begun.acquire().await.unwrap().forget();
    engine.shutdown().await;
    OPERATION.ended.acquire().await.unwrap().forget();
}

#[orchestration]
async fn waits(ctx: Orchestration) -> Result<()> {
    ctx.wait_event("go").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_ends_with_its_engine() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("hub.db");
    let engine = Engine::sqlite(&path).register(waits).start().await.unwrap();
    for n in 0..40 {
        engine.start(waits, ()).id(format!("w{n}")).await.unwrap();
    }
    let (client, first) = (engine.client(), Arc::new(Semaphore::new(0)));
    let bell = first.clone();
    let terminate = Act::Bulk(Bulk::Terminate { reason: "stop".into(), recurse: false });
    let all = InstanceQuery { name: Some("waits".into()), ..InstanceQuery::default() };
    let batch = Batch { per_second: Some(20), ..Batch::new(all, terminate) };
    let batch = tokio::spawn(async move { client.batch(&batch, |_, _| bell.add_permits(1)).await });
    first.acquire().await.unwrap().forget();
    engine.shutdown().await;
    let report = batch.await.unwrap().unwrap();
    assert!(report.items.len() < 40, "it goes no further: {}", report.items.len());
    assert!(report.stopped.is_some_and(|why| why.contains("shut")));
    Engine::sqlite(&path).register(waits).start().await.unwrap().shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_activity_that_outlasts_shutdowns_is_not_taken_for_one_that_kills_its_process() {
    let (dir, bells) = (TempDir::new().unwrap(), Bells::new());
    for life in 0..20 {
        let engine = Engine::sqlite(dir.path().join("hub.db")).registry(registry(&bells));
        let engine = engine.drain_time_max(Duration::ZERO).start().await.unwrap();
        if life == 0 {
            engine.start(works, ()).id("a").await.unwrap();
        }
        bells.begun.acquire().await.unwrap().forget();
        let state = engine.instance("a").get().await.unwrap().unwrap();
        assert_eq!(state.status(), perdura::Status::Running, "life {life}: {:?}", state.failure());
        engine.shutdown().await;
    }
}

#[tokio::test]
async fn a_drain_time_without_end_ends_when_nothing_runs() {
    let dir = TempDir::new().unwrap();
    let engine =
        Engine::sqlite(dir.path().join("hub.db")).drain_time_max(Duration::MAX).start().await.unwrap();
    engine.shutdown().await;
}
