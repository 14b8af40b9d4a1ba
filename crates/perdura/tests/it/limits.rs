//! Limits that code meets, and limits that change from one deploy to the next.

use perdura::prelude::*;
use perdura::{Limits, Status};
use tempfile::TempDir;

#[activity]
async fn length(text: String) -> Result<usize> {
    Ok(text.len())
}

/// Takes another way where a limit is in its way.
#[orchestration]
async fn adaptive(ctx: Orchestration) -> Result<usize> {
    let whole = match ctx.call(length, "x".repeat(1000)).await {
        Ok(length) => length,
        Err(_) => ctx.call(length, "x".repeat(10)).await?,
    };
    ctx.wait_event::<()>("go").await?;
    Ok(whole)
}

async fn engine(dir: &TempDir, payload_bytes_max: usize) -> Engine {
    let limits = Limits { payload_bytes_max, ..Limits::default() };
    let engine = Engine::sqlite(dir.path().join("hub.db")).limits(limits);
    engine.register(adaptive).register(length).start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_met_a_limit_goes_on_after_a_deploy_with_another_limit() {
    for (then, now, expected) in [(500, 5000, 10), (5000, 500, 1000)] {
        let dir = TempDir::new().unwrap();
        let first = engine(&dir, then).await;
        let _ = first.start(adaptive, ()).id("a").await.unwrap();
        first.shutdown().await;
        let second = engine(&dir, now).await;
        let instance = second.instance("a");
        instance.raise("go", &()).await.unwrap();
        assert_eq!(instance.wait::<usize>().await.unwrap(), expected);
        assert_eq!(instance.get().await.unwrap().unwrap().status(), Status::Completed);
        second.shutdown().await;
    }
}
