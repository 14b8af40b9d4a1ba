//! What `why` says of an instance beyond its record: what the engine that serves it knows.

use perdura::prelude::*;
use perdura::{EngineBuilder, Limits, Status};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Semaphore;

/// Activities run until they get a pass.
type Passes = Arc<Semaphore>;

#[activity]
async fn slow(ctx: ActivityContext) -> Result<()> {
    let pass =
        ctx.data::<Passes>().acquire().await.map_err(|_| Error::new("test.Closed", "no more passes"))?;
    pass.forget();
    Ok(())
}

#[orchestration]
async fn three(ctx: Orchestration) -> Result<()> {
    let calls = [(); 3].map(|()| ctx.call(slow, ()));
    perdura::join_all(calls).await.into_iter().collect()
}

#[orchestration]
async fn listens(ctx: Orchestration) -> Result<String> {
    ctx.wait_event("go").await
}

#[orchestration]
async fn approval(ctx: Orchestration) -> Result<String> {
    match select(ctx.wait_event("answer"), ctx.timer(Duration::from_secs(3600))).await {
        Either::First(answer, _) => answer,
        Either::Second(..) => Ok("too late".into()),
    }
}

async fn engine(
    dir: &TempDir,
    passes: &Passes,
    change: impl FnOnce(EngineBuilder) -> EngineBuilder,
) -> Engine {
    let engine = Engine::sqlite(dir.path().join("hub.db")).data(passes.clone());
    let engine = engine.register(slow).register(three).register(listens).register(approval);
    change(engine).start().await.unwrap()
}

async fn said(engine: &Engine, id: &str) -> Vec<String> {
    let waits = engine.instance(id).why().await.unwrap().unwrap();
    waits.iter().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_activity_that_waits_for_a_place_in_the_engine_says_so() {
    let (dir, passes) = (TempDir::new().unwrap(), Passes::new(Semaphore::new(0)));
    let engine = engine(&dir, &passes, |engine| engine.running_activities_max(1)).await;
    let started = engine.start(three, ()).id("x").await.unwrap();
    let said = loop {
        let said = said(&engine, "x").await;
        if said.len() == 3 && said[2].contains("queue") {
            break said;
        }
        tokio::task::yield_now().await;
    };
    assert!(said[0].ends_with("; a worker; a worker has it"), "{said:?}");
    for (ahead, said) in (0..).zip(&said[1..]) {
        let busy = "the queue is full: the workers that serve activity \"slow\" are busy";
        assert!(said.ends_with(&format!("{busy}, and {ahead} others came before it")), "{said}");
    }
    passes.add_permits(3);
    started.wait().await.unwrap();
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_whose_inbox_is_full_says_so() {
    let (dir, passes) = (TempDir::new().unwrap(), Passes::new(Semaphore::new(0)));
    let limits = Limits { inbox_events_max: 2, ..Limits::default() };
    let engine = engine(&dir, &passes, |engine| engine.limits(limits)).await;
    let started = engine.start(listens, ()).id("x").await.unwrap();
    let instance = engine.instance("x");
    instance.suspend("a look").await.unwrap();
    let expected = "room in its inbox, which is full: 2 events of at most 2 wait";
    assert!(!said(&engine, "x").await.join("\n").contains(expected));
    while instance.raise("go", "on").await.is_ok() {}
    let full = said(&engine, "x").await.join("\n");
    assert!(full.contains(expected) && full.contains("resume it"), "{full}");
    instance.resume("enough seen").await.unwrap();
    assert_eq!(started.wait().await.unwrap(), "on");
    assert!(said(&engine, "x").await.is_empty());
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_awaited_with_a_time_limit_is_told_beside_the_timer() {
    let (dir, passes) = (TempDir::new().unwrap(), Passes::new(Semaphore::new(0)));
    let engine = engine(&dir, &passes, |engine| engine).await;
    let started = engine.start(approval, ()).id("x").await.unwrap();
    let said = loop {
        let said = said(&engine, "x").await;
        if said.iter().any(|wait| wait.starts_with("waits for timer")) {
            break said;
        }
        tokio::task::yield_now().await;
    };
    assert!(
        said.iter().any(|wait| wait.starts_with("waits for an external event; whoever raises it")),
        "{said:?}"
    );
    engine.instance("x").raise("answer", "yes").await.unwrap();
    assert_eq!(started.wait().await.unwrap(), "yes");
    engine.shutdown().await;
}

#[orchestration]
async fn asks_below(ctx: Orchestration, depth: u32) -> Result<String> {
    match depth {
        0 => ctx.wait_event("go").await,
        _ => ctx.sub_orchestration(asks_below, depth - 1).id(format!("below-{}", depth - 1)).await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_child_is_told_what_is_missing_far_below() {
    let (dir, passes) = (TempDir::new().unwrap(), Passes::new(Semaphore::new(0)));
    let engine = engine(&dir, &passes, |engine| engine.register(asks_below)).await;
    engine.start(asks_below, 3).id("top").await.unwrap();
    let lowest = engine.instance("below-0");
    while lowest.get().await.unwrap().is_none_or(|state| state.status() != Status::Running) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let before = said(&engine, "top").await.join("; ");
    assert!(before.contains("child \"below-2\"") && before.contains("an external event"), "{before}");
    lowest.suspend("a look").await.unwrap();
    let after = said(&engine, "top").await.join("; ");
    assert!(after.contains("child \"below-0\"") && after.contains("it is suspended: resume it"), "{after}");
}
