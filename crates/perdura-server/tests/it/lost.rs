//! Workers that are lost again and again to one of the things that they have: the others suffer nothing.

use super::world::*;
use perdura_proto::work_item::Request as Work;
use perdura_proto::*;
use std::time::Duration;

const LOST_MAX: u32 = 5;
/// A worker that has something harmless goes on with it for so long, in case that something else comes that ends it.
const AT_WORK: Duration = Duration::from_millis(300);

async fn world() -> World {
    World::with(|options| options.limits.lost_workers_max = LOST_MAX).await
}

fn is_bad(item: &WorkItem) -> bool {
    match item.request.as_ref().unwrap() {
        Work::OrchestratorRequest(turn) => turn.instance_id == "bad",
        Work::ActivityRequest(activity) => activity.name == "bad",
        other => panic!("{other:?}"),
    }
}

async fn finish(worker: &mut Worker, item: WorkItem) {
    let token = item.completion_token;
    match item.request.unwrap() {
        Work::OrchestratorRequest(request) => {
            worker.answer(&Turn { token, request }, vec![complete("1")]).await.unwrap();
        }
        Work::ActivityRequest(request) => worker.finish(&Activity { token, request }, "1").await.unwrap(),
        Work::EntityRequestV2(_) => {
            let success = operation_result::ResultType::Success(OperationResultSuccess::default());
            let done = EntityBatchResult {
                results: vec![OperationResult { result_type: Some(success) }],
                completion_token: token,
                ..EntityBatchResult::default()
            };
            worker.client.complete_entity_task(done).await.unwrap();
        }
        other => panic!("{other:?}"),
    }
}

/// Four things, of which one ends its worker, come to one worker after the other, until it has ended as many as it may.
async fn lose_workers(world: &World, request: &GetWorkItemsRequest) {
    for round in 0..LOST_MAX {
        let mut worker = world.worker_with(request.clone()).await;
        if round < 3 {
            for _ in 0..4 {
                worker.next().await.unwrap();
            }
            continue;
        }
        let mut has = Vec::new();
        loop {
            let next = match has.is_empty() {
                true => Ok(worker.next().await),
                false => tokio::time::timeout(AT_WORK, worker.next()).await,
            };
            match next {
                Ok(item) if is_bad(item.as_ref().unwrap()) => break,
                Ok(item) => has.push(item.unwrap()),
                Err(_) => finish(&mut worker, has.remove(0)).await,
            }
        }
    }
}

#[tokio::test]
async fn an_activity_that_ends_its_worker_again_and_again_fails_and_those_beside_it_do_not() {
    let world = world().await;
    let name = |name: &str| ActivityFilter { name: name.into(), versions: vec![] };
    let orders = OrchestrationFilter { name: "order".into(), versions: vec![] };
    let filtered = |filters: WorkItemFilters| GetWorkItemsRequest {
        work_item_filters: Some(filters),
        ..GetWorkItemsRequest::default()
    };
    let turns = WorkItemFilters { orchestrations: vec![orders], ..WorkItemFilters::default() };
    let activities = WorkItemFilters { activities: vec![name("good"), name("bad")], ..Default::default() };
    let mut orchestrator = world.worker_with(filtered(turns)).await;
    tokio::spawn(async move {
        loop {
            let turn = orchestrator.turn().await;
            let is_first = turn.request.past_events.is_empty();
            let activity = if turn.request.instance_id == "bad" { "bad" } else { "good" };
            let came = kinds(&turn.request.new_events).pop().unwrap();
            let action = if is_first { schedule(1, activity) } else { complete(&came) };
            orchestrator.answer(&turn, vec![action]).await.unwrap();
        }
    });
    for id in ["a", "bad", "b", "c"] {
        world.start(id, "order").await;
    }
    lose_workers(&world, &filtered(activities)).await;
    for (id, came) in
        [("a", "TaskCompleted"), ("b", "TaskCompleted"), ("c", "TaskCompleted"), ("bad", "TaskFailed")]
    {
        assert_eq!(world.end_of(id).await.output.as_deref(), Some(came), "{id}");
    }
}

#[tokio::test]
async fn a_turn_that_ends_its_worker_again_and_again_is_a_dead_letter_and_those_beside_it_are_not() {
    let world = world().await;
    for id in ["a", "bad", "b", "c"] {
        world.start(id, "order").await;
    }
    lose_workers(&world, &GetWorkItemsRequest::default()).await;
    for id in ["a", "b", "c"] {
        assert_eq!(world.end_of(id).await.output.as_deref(), Some("1"), "{id}");
    }
    while world.state("bad").await.unwrap().orchestration_status() != OrchestrationStatus::Suspended {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_entity_whose_worker_was_lost_often_and_that_nobody_runs_any_more_holds_up_no_other_one() {
    let world = World::new().await;
    let mut client = world.client().await;
    // Several, so that some of them share what they share.
    let ids: Vec<String> =
        ["gone", "there"].iter().flat_map(|name| (0..8).map(move |n| format!("@{name}@{n}"))).collect();
    for id in &ids {
        let signal =
            SignalEntityRequest { instance_id: id.clone(), name: "run".into(), ..Default::default() };
        client.signal_entity(signal).await.unwrap();
    }
    for _ in 0..3 {
        let mut worker = world.worker().await;
        for _ in &ids {
            worker.next().await.unwrap();
        }
    }
    let there =
        WorkItemFilters { entities: vec![EntityFilter { name: "there".into() }], ..Default::default() };
    let request = GetWorkItemsRequest { work_item_filters: Some(there), ..GetWorkItemsRequest::default() };
    let mut worker = world.worker_with(request).await;
    within(async {
        let mut count = 0;
        while count < 8 {
            let item = worker.next().await.unwrap();
            if !matches!(item.request, Some(Work::HealthPing(_))) {
                finish(&mut worker, item).await;
                count += 1;
            }
        }
    })
    .await;
}
