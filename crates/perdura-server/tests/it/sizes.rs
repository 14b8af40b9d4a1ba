//! Work for an entity that is larger than what a worker receives.

use super::world::*;
use perdura_proto::*;

/// Signals an entity with so many bytes.
async fn signal(world: &World, operation: &str, bytes: usize) {
    let request = SignalEntityRequest {
        instance_id: "@log@a".into(),
        name: operation.into(),
        input: Some("x".repeat(bytes)),
        request_id: guid(),
        ..Default::default()
    };
    world.client().await.signal_entity(request).await.unwrap();
}

fn guid() -> String {
    static LAST: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    format!("{:08x}-0000-4000-8000-000000000001", LAST.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

/// Runs the next batch of operations, which leaves so many bytes of state. Gives their names.
async fn run_batch(worker: &mut Worker, state: usize) -> Vec<String> {
    let item = worker.next().await.unwrap();
    let Some(work_item::Request::EntityRequestV2(batch)) = item.request else { panic!("{item:?}") };
    let name = |event: HistoryEvent| match event.event_type {
        Some(history_event::EventType::EntityOperationSignaled(signaled)) => signaled.operation,
        Some(history_event::EventType::EntityOperationCalled(called)) => called.operation,
        other => panic!("{other:?}"),
    };
    let names: Vec<String> = batch.operation_requests.into_iter().map(name).collect();
    let success = || operation_result::ResultType::Success(OperationResultSuccess::default());
    let result = EntityBatchResult {
        results: names.iter().map(|_| OperationResult { result_type: Some(success()) }).collect(),
        entity_state: Some("s".repeat(state)),
        completion_token: item.completion_token,
        ..Default::default()
    };
    worker.client.complete_entity_task(result).await.unwrap();
    names
}

#[tokio::test]
async fn a_backlog_larger_than_a_message_is_worked_off_in_several() {
    let world = World::with(|options| options.worker_message_bytes_max = 100_000).await;
    for n in 0..10 {
        signal(&world, &format!("s{n}"), 30_000).await;
    }
    let mut worker = world.worker().await;
    let mut names = Vec::new();
    while names.len() < 10 {
        names.extend(run_batch(&mut worker, 1).await);
    }
    assert_eq!(names, (0..10).map(|n| format!("s{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_operation_that_no_message_holds_with_the_state_fails_and_the_next_one_runs() {
    let world = World::with(|options| options.worker_message_bytes_max = 100_000).await;
    let mut worker = world.worker().await;
    signal(&world, "fill", 1).await;
    assert_eq!(run_batch(&mut worker, 60_000).await, ["fill"]);
    signal(&world, "too large", 60_000).await;
    signal(&world, "small", 1).await;
    assert_eq!(run_batch(&mut worker, 60_000).await, ["small"]);

    world.start("a", "order").await;
    let turn = worker.turn().await;
    let call = EntityOperationCalledEvent {
        request_id: guid(),
        operation: "too large".into(),
        input: Some("x".repeat(60_000)),
        target_instance_id: Some("@log@a".into()),
        ..Default::default()
    };
    let call = SendEntityMessageAction {
        entity_message_type: Some(send_entity_message_action::EntityMessageType::EntityOperationCalled(call)),
    };
    let call = orchestrator_action::OrchestratorActionType::SendEntityMessage(call);
    worker.answer(&turn, vec![action(0, call)]).await.unwrap();
    let turn = worker.turn().await;
    let news = format!("{:?}", turn.request.new_events);
    assert!(news.contains("EntityOperationFailed") && news.contains("perdura.Limit"), "{news}");
}
