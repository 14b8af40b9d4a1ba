//! Servers that are shut down while workers have work.

use super::world::*;
use perdura_core::delivery::{Delivery, OnUnknown};
use perdura_proto::*;
use std::time::Duration;
use tonic::Code;

/// A server that waits for its workers as long as it takes.
async fn patient() -> World {
    World::with(|options| {
        options.drain_time_max = Duration::from_secs(24 * 3600);
        options.deliveries.insert("pay".into(), Delivery::AtMostOnce(OnUnknown::Fail));
    })
    .await
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_what_is_given_back_meanwhile() {
    let world = patient().await;
    let mut worker = world.worker().await;
    world.start("a", "order").await;
    let turn = worker.turn().await;
    world.start("b", "order").await;
    let bad = worker.turn().await;
    let World { server, directory: _directory } = world;
    let ending = tokio::spawn(server.shutdown());
    assert_eq!(worker.next().await.unwrap_err().code(), Code::Unavailable);
    let refused = worker.answer(&bad, vec![OrchestratorAction::default()]).await;
    assert_eq!(code(refused), Code::InvalidArgument);
    let abandon = AbandonOrchestrationTaskRequest { completion_token: turn.token.clone() };
    worker.client.abandon_task_orchestrator_work_item(abandon).await.unwrap();
    drop(worker);
    within(ending).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_what_no_worker_has_begun_with() {
    let world = patient().await;
    let mut worker = world.worker().await;
    world.start("a", "order").await;
    let turn = worker.turn().await;
    worker.answer(&turn, (0..500).map(|id| schedule(id, "pay")).collect()).await.unwrap();
    let mut taken = vec![worker.activity().await];
    let World { server, directory: _directory } = world;
    let ending = tokio::spawn(server.shutdown());
    while let Ok(item) = worker.next().await {
        if let Some(work_item::Request::ActivityRequest(request)) = item.request {
            taken.push(Activity { token: item.completion_token, request });
        }
    }
    for activity in taken {
        worker.finish(&activity, "1").await.unwrap();
    }
    drop(worker);
    within(ending).await.unwrap();
}
