//! What a worker is told is durable.

use super::world::*;
use perdura_core::PartitionId;
use perdura_proto::*;
use perdura_sqlite::{SqliteOptions, SqliteStore};
use perdura_store::{CommitLog as _, Store as _};
use tonic::Code;

/// Somebody takes the hub over, in spite of the lock: what the server commits next is refused.
async fn taken_over(world: &World) {
    let directory = world.directory.path().join("hubs");
    std::fs::remove_file(directory.join("default.db-lock")).unwrap();
    let store = SqliteStore::open(directory.join("default.db"), SqliteOptions::default()).unwrap();
    for partition in 0..store.partitions() {
        store.acquire(PartitionId(partition), 7).await.unwrap();
    }
}

#[tokio::test]
async fn an_outcome_of_a_turn_that_could_not_be_recorded_is_not_acknowledged_and_the_turn_comes_again() {
    let world = World::new().await;
    let mut worker = world.worker().await;
    world.start("a", "order").await;
    let turn = worker.turn().await;
    taken_over(&world).await;
    assert_eq!(code(worker.answer(&turn, vec![complete("lost")]).await), Code::Unavailable);
    let turn = worker.turn().await;
    worker.answer(&turn, vec![complete("kept")]).await.unwrap();
    assert_eq!(world.state("a").await.unwrap().output.as_deref(), Some("kept"));
}

#[tokio::test]
async fn a_result_of_an_activity_that_could_not_be_recorded_is_not_acknowledged_and_it_comes_again() {
    let world = World::new().await;
    let mut worker = world.worker().await;
    world.start("a", "order").await;
    let turn = worker.turn().await;
    worker.answer(&turn, vec![schedule(0, "pay")]).await.unwrap();
    let activity = worker.activity().await;
    taken_over(&world).await;
    assert_eq!(code(worker.finish(&activity, "lost").await), Code::Unavailable);
    // The turn with the lost result may have left before.
    let again = loop {
        let item = worker.next().await.unwrap();
        if let Some(work_item::Request::ActivityRequest(request)) = item.request {
            break Activity { token: item.completion_token, request };
        }
    };
    assert_eq!(again.request.tags["perdura.delivery"], "2");
    assert_eq!(code(worker.finish(&activity, "late").await), Code::NotFound);
    worker.finish(&again, "kept").await.unwrap();
    let turn = worker.turn().await;
    assert!(format!("{:?}", turn.request.new_events).contains("kept"));
}

#[tokio::test]
async fn operations_that_could_not_be_recorded_are_not_acknowledged_and_come_again() {
    let world = World::new().await;
    let mut worker = world.worker().await;
    let signal = SignalEntityRequest {
        instance_id: "@counter@a".into(),
        name: "add".into(),
        request_id: "0a0b0c0d-0000-4000-8000-000000000001".into(),
        ..Default::default()
    };
    world.client().await.signal_entity(signal).await.unwrap();
    let done = |token: String| {
        let success = OperationResultSuccess::default();
        let success = operation_result::ResultType::Success(success);
        EntityBatchResult {
            results: vec![OperationResult { result_type: Some(success) }],
            entity_state: Some("1".into()),
            completion_token: token,
            ..Default::default()
        }
    };
    let item = worker.next().await.unwrap();
    taken_over(&world).await;
    let told = worker.client.complete_entity_task(done(item.completion_token)).await;
    assert_eq!(code(told), Code::Unavailable);
    let item = worker.next().await.unwrap();
    worker.client.complete_entity_task(done(item.completion_token)).await.unwrap();
    let request = GetEntityRequest { instance_id: "@counter@a".into(), include_state: true };
    let entity = world.client().await.get_entity(request).await.unwrap().into_inner().entity.unwrap();
    assert_eq!((entity.serialized_state.as_deref(), entity.backlog_queue_size), (Some("1"), 0));
}
