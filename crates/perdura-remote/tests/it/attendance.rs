//! Activities of a worker elsewhere: their heartbeats arrive, and they learn when nobody waits for them any more.

use super::{ANY_PORT, connection, server};
use perdura::prelude::*;
use perdura::{ActivityContext, Registry, Retry, Status};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// What happened to activities.
#[derive(Clone)]
struct Seen {
    begun: Arc<Semaphore>,
    canceled: Arc<Semaphore>,
}

impl Seen {
    fn new() -> Seen {
        Seen { begun: Arc::new(Semaphore::new(0)), canceled: Arc::new(Semaphore::new(0)) }
    }

    async fn one(of: &Semaphore) {
        of.acquire().await.unwrap().forget();
    }
}

/// Runs until nobody waits for it.
#[activity]
async fn endless(ctx: ActivityContext) -> Result<()> {
    ctx.data::<Seen>().begun.add_permits(1);
    ctx.canceled().await;
    ctx.data::<Seen>().canceled.add_permits(1);
    Ok(())
}

#[orchestration]
async fn waits(ctx: Orchestration) -> Result<()> {
    ctx.call(endless, ()).await
}

/// Says how far it has come and then nothing more, unless an earlier attempt has.
#[activity]
async fn copies(ctx: ActivityContext) -> Result<String> {
    if let Some(done) = ctx.last_heartbeat::<String>()? {
        return Ok(done);
    }
    ctx.heartbeat("half of it")?;
    ctx.canceled().await;
    ctx.data::<Seen>().canceled.add_permits(1);
    Ok("nobody hears this".into())
}

#[orchestration]
async fn copied(ctx: Orchestration) -> Result<String> {
    // On a busy machine a first sign of life may come too late.
    let retry = Retry::attempts(100).backoff(Duration::from_millis(1));
    ctx.call(copies, ()).heartbeat_timeout(Duration::from_millis(300)).retry(retry).await
}

const LIMIT: Duration = Duration::from_millis(200);

/// Ends when it is cancelled, or at once.
#[activity]
async fn in_time(ctx: ActivityContext, ends: bool) -> Result<()> {
    if !ends {
        ctx.canceled().await;
        ctx.data::<Seen>().canceled.add_permits(1);
    }
    Ok(())
}

#[orchestration]
async fn hurried(ctx: Orchestration, ends: bool) -> Result<()> {
    ctx.call(in_time, ends).timeout(LIMIT).await
}

fn registry(seen: &Seen) -> Registry {
    let registry = Registry::new().data(seen.clone());
    registry.register(endless).register(waits).register(copies).register(copied)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activity_learns_that_its_instance_was_terminated() {
    let (directory, seen) = (tempfile::tempdir().unwrap(), Seen::new());
    let server = server(directory.path(), ANY_PORT).await;
    let connection = connection(&server);
    let worker = connection.worker(registry(&seen)).start().await.unwrap();
    let started = connection.client().start(waits, ()).await.unwrap();
    Seen::one(&seen.begun).await;
    started.terminate("enough", false).await.unwrap();
    Seen::one(&seen.canceled).await;
    assert_eq!(started.ended().await.unwrap().status(), Status::Terminated);
    worker.shutdown().await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activity_without_a_sign_of_life_is_cancelled_and_the_next_attempt_goes_on_from_its_last_one() {
    let (directory, seen) = (tempfile::tempdir().unwrap(), Seen::new());
    let server = server(directory.path(), ANY_PORT).await;
    let connection = connection(&server);
    let worker = connection.worker(registry(&seen)).start().await.unwrap();
    let started = connection.client().start(copied, ()).await.unwrap();
    assert_eq!(started.wait().await.unwrap(), "half of it");
    Seen::one(&seen.canceled).await;
    worker.shutdown().await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_activities_of_a_worker_learn_it_at_once_and_the_others_go_on() {
    let (directory, seen) = (tempfile::tempdir().unwrap(), Seen::new());
    let server = server(directory.path(), ANY_PORT).await;
    let connection = connection(&server);
    let worker = connection.worker(registry(&seen)).start().await.unwrap();
    let client = connection.client();
    let stays = client.start(waits, ()).await.unwrap();
    let mut ended = Vec::new();
    for _ in 0..50 {
        ended.push(client.start(waits, ()).await.unwrap());
    }
    for _ in 0..51 {
        Seen::one(&seen.begun).await;
    }
    for started in &ended {
        started.terminate("enough", false).await.unwrap();
    }
    for _ in 0..50 {
        Seen::one(&seen.canceled).await;
    }
    assert_eq!(stays.get().await.unwrap().unwrap().status(), Status::Running);
    assert_eq!(seen.canceled.available_permits(), 0);
    stays.terminate("enough", false).await.unwrap();
    Seen::one(&seen.canceled).await;
    worker.shutdown().await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_an_attempt_runs_from_when_a_worker_has_it() {
    let (directory, seen) = (tempfile::tempdir().unwrap(), Seen::new());
    let server = server(directory.path(), ANY_PORT).await;
    let connection = connection(&server);
    let turns = connection.worker(Registry::new().register(hurried)).start().await.unwrap();
    let client = connection.client();
    let (ends, is_late) =
        (client.start(hurried, true).await.unwrap(), client.start(hurried, false).await.unwrap());
    // Nobody has them, for longer than they may take.
    tokio::time::sleep(LIMIT * 3).await;
    let activities = Registry::new().data(seen.clone()).register(in_time);
    let activities = connection.worker(activities).start().await.unwrap();
    ends.wait().await.unwrap();
    let failure = is_late.wait().await.unwrap_err().to_string();
    assert!(failure.contains("the attempt took too long: limit 200 ms"), "{failure}");
    Seen::one(&seen.canceled).await;
    turns.shutdown().await;
    activities.shutdown().await;
    server.shutdown().await;
}
