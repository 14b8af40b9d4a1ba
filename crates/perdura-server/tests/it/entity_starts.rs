//! Orchestrations that entities start.

use super::world::*;
use perdura_proto::*;

/// An operation that starts `job`.
async fn run(world: &World, worker: &mut Worker, unless_taken: bool) {
    let signal =
        SignalEntityRequest { instance_id: "@schedule@a".into(), name: "run".into(), ..Default::default() };
    world.client().await.signal_entity(signal).await.unwrap();
    let item = worker.next().await.unwrap();
    assert!(matches!(item.request, Some(work_item::Request::EntityRequestV2(_))), "{item:?}");
    let start = StartNewOrchestrationAction {
        instance_id: "job".into(),
        name: "export".into(),
        perdura_unless_taken: unless_taken,
        ..Default::default()
    };
    let start = operation_action::OperationActionType::StartNewOrchestration(start);
    let success = operation_result::ResultType::Success(OperationResultSuccess::default());
    let done = EntityBatchResult {
        results: vec![OperationResult { result_type: Some(success) }],
        actions: vec![OperationAction { id: 0, operation_action_type: Some(start) }],
        completion_token: item.completion_token,
        ..Default::default()
    };
    worker.client.complete_entity_task(done).await.unwrap();
}

#[tokio::test]
async fn an_orchestration_that_has_ended_gives_way_to_one_that_an_entity_starts() {
    let world = World::new().await;
    let mut worker = world.worker().await;
    let mut runs = Vec::new();
    for (unless_taken, starts) in [(true, true), (false, true), (true, false), (false, true)] {
        run(&world, &mut worker, unless_taken).await;
        world.start("other", "order").await;
        let mut begun = Vec::new();
        for _ in 0..1 + usize::from(starts) {
            let turn = worker.turn().await;
            begun.push(turn.request.instance_id.clone());
            worker.answer(&turn, vec![complete("1")]).await.unwrap();
            world.end_of(&turn.request.instance_id).await;
        }
        begun.sort_unstable();
        assert_eq!(begun, if starts { vec!["job", "other"] } else { vec!["other"] });
        runs.push(world.state("job").await.unwrap().execution_id);
    }
    assert_eq!(runs[1], runs[2]);
    runs.dedup();
    assert_eq!(runs.len(), 3);
}
