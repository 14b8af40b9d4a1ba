//! A worker that is shut down is not lost: what it has begun, it ends.

use super::{ANY_PORT, connection, server};
use perdura::Registry;
use perdura::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::Semaphore;

/// What the activities of one worker have done, and what they wait for.
#[derive(Clone)]
struct Seen {
    begun: Arc<Semaphore>,
    may_end: Arc<Semaphore>,
    quick: Arc<AtomicU32>,
}

impl Seen {
    fn new() -> Seen {
        let none = || Arc::new(Semaphore::new(0));
        Seen { begun: none(), may_end: none(), quick: Arc::default() }
    }
}

async fn ends_when_told(ctx: ActivityContext) -> Result<u32> {
    let seen: &Seen = ctx.data();
    seen.begun.add_permits(1);
    seen.may_end.acquire().await.unwrap().forget();
    Ok(ctx.delivery())
}

#[activity(at_most_once)]
async fn pay(ctx: ActivityContext) -> Result<u32> {
    ends_when_told(ctx).await
}

#[activity]
async fn slow(ctx: ActivityContext) -> Result<u32> {
    ends_when_told(ctx).await
}

#[activity]
async fn quick(ctx: ActivityContext) -> Result<()> {
    ctx.data::<Seen>().quick.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

#[orchestration]
async fn both(ctx: Orchestration) -> Result<(u32, u32)> {
    let (pay, slow) = futures_util::join!(ctx.call(pay, ()).into_future(), ctx.call(slow, ()).into_future());
    Ok((pay?, slow?))
}

#[orchestration]
async fn short(ctx: Orchestration) -> Result<()> {
    ctx.call(quick, ()).await
}

fn registry(seen: &Seen) -> Registry {
    let registry = Registry::new().data(seen.clone());
    registry.register(pay).register(slow).register(quick).register(both).register(short)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_runs_when_it_is_shut_down_is_run_once_and_other_work_goes_to_others() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path(), ANY_PORT).await;
    let connection = connection(&server);
    let (of_first, of_second) = (Seen::new(), Seen::new());
    let first = connection.worker(registry(&of_first)).start().await.unwrap();
    let client = connection.client();
    let started = client.start(both, ()).await.unwrap();
    of_first.begun.acquire_many(2).await.unwrap().forget();
    let leaving = tokio::spawn(first.shutdown());
    let second = connection.worker(registry(&of_second)).start().await.unwrap();
    // The first one has left when all that comes goes to the second.
    let mut in_a_row = 0;
    while in_a_row < 20 {
        let before = of_second.quick.load(Ordering::SeqCst);
        client.start(short, ()).await.unwrap().wait().await.unwrap();
        in_a_row = if of_second.quick.load(Ordering::SeqCst) > before { in_a_row + 1 } else { 0 };
    }
    of_first.may_end.add_permits(2);
    of_second.may_end.add_permits(2);
    leaving.await.unwrap();
    assert_eq!(started.wait().await.unwrap(), (1, 1), "both by their first delivery");
    assert_eq!(of_second.begun.available_permits(), 0);
    second.shutdown().await;
    server.shutdown().await;
}
