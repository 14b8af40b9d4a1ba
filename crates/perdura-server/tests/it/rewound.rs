//! A worker that answers with a history of its own making: the instance is rewound, and nothing recorded is lost.

use super::world::*;
use history_event::EventType;
use orchestrator_action::OrchestratorActionType;
use perdura_proto::operator::operator_client::OperatorClient;
use perdura_proto::operator::{HistoryRequest, InstanceRequest};
use perdura_proto::*;
use tonic::Code;

fn rewind(new_history: Vec<HistoryEvent>) -> Vec<OrchestratorAction> {
    let kind = OrchestratorActionType::RewindOrchestration(RewindOrchestrationAction { new_history });
    vec![action(-1, kind)]
}

fn is_scheduled(event: &HistoryEvent, name: &str) -> bool {
    matches!(&event.event_type, Some(EventType::TaskScheduled(task)) if task.name == name)
}

fn rewound(reason: &str) -> HistoryEvent {
    let rewound = ExecutionRewoundEvent { reason: Some(reason.into()), ..Default::default() };
    HistoryEvent {
        event_id: -1,
        event_type: Some(EventType::ExecutionRewound(rewound)),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_history_without_some_events_is_a_rewind_to_the_first_of_them() {
    let world = World::new().await;
    let mut worker = world.worker().await;
    world.start("a", "order").await;
    for (number, name) in (0..).zip(["reserve", "charge"]) {
        let turn = worker.turn().await;
        worker.answer(&turn, vec![schedule(number, name)]).await.unwrap();
        let activity = worker.activity().await;
        worker.finish(&activity, &format!("\"{name}\"")).await.unwrap();
    }
    let turn = worker.turn().await;
    let all: Vec<_> = turn.request.past_events.iter().chain(&turn.request.new_events).cloned().collect();
    let refused = worker.answer(&turn, rewind(all.clone())).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("nothing would be undone"), "{refused}");
    let turn = worker.turn().await;
    let both = [rewind(vec![]), vec![complete("1")]].concat();
    let refused = worker.answer(&turn, both).await.unwrap_err();
    assert!(refused.message().contains("a rewind comes alone"), "{refused}");
    let turn = worker.turn().await;
    let mut wanted: Vec<_> = all.into_iter().filter(|event| !is_scheduled(event, "charge")).collect();
    for event in &mut wanted {
        // As the SDKs do.
        if let Some(EventType::ExecutionStarted(started)) = &mut event.event_type {
            started.orchestration_instance.as_mut().unwrap().execution_id = Some("f".repeat(32));
        }
    }
    wanted.push(rewound("once more"));
    worker.answer(&turn, rewind(wanted.clone())).await.unwrap();
    assert_eq!(worker.answer(&turn, rewind(wanted)).await.unwrap_err().code(), Code::NotFound);

    let turn = worker.turn().await;
    assert!(!turn.request.past_events.iter().any(|event| is_scheduled(event, "charge")));
    assert!(matches!(turn.request.new_events.last().unwrap().event_type, Some(EventType::TaskCompleted(_))));
    worker.answer(&turn, vec![schedule(1, "charge")]).await.unwrap();
    // It had succeeded: its result is used again.
    let turn = worker.turn().await;
    worker.answer(&turn, vec![complete("\"done\"")]).await.unwrap();
    assert_eq!(world.end_of("a").await.output.as_deref(), Some("\"done\""));

    let mut operator = OperatorClient::new(world.channel().await);
    let branches = operator.branches(InstanceRequest { instance: "a".into() }).await.unwrap().into_inner();
    let made: Vec<_> = branches.branches.iter().map(|b| (b.parent, &b.by[..], &b.reason[..])).collect();
    assert_eq!(made, [(0, "a worker", "once more")]);
    let request = HistoryRequest { instance: "a".into(), branch: Some(0) };
    let mut old = operator.history(request).await.unwrap().into_inner();
    let mut charged = false;
    while let Some(event) = old.message().await.unwrap() {
        charged |= event.what.contains("charge");
    }
    assert!(charged, "the old history is as it was");
}

async fn run_of(world: &World, id: &str) -> String {
    world.state(id).await.unwrap().execution_id.unwrap()
}

/// The run that the history of an instance names, and that of its parent.
async fn runs_in_history(world: &World, id: &str) -> (String, Option<String>) {
    let request = StreamInstanceHistoryRequest { instance_id: id.into(), ..Default::default() };
    let mut chunks = world.client().await.stream_instance_history(request).await.unwrap().into_inner();
    let events = chunks.message().await.unwrap().unwrap().events;
    let started = events.into_iter().find_map(|event| match event.event_type {
        Some(EventType::ExecutionStarted(started)) => Some(started),
        _ => None,
    });
    let started = started.unwrap();
    let run = |instance: Option<OrchestrationInstance>| instance.and_then(|instance| instance.execution_id);
    let parent = started.parent_instance.and_then(|parent| run(parent.orchestration_instance));
    (run(started.orchestration_instance).unwrap(), parent)
}

#[tokio::test]
async fn a_rewound_instance_and_its_child_are_runs_of_their_own_for_the_sdks() {
    let world = World::new().await;
    let mut worker = world.worker().await;
    world.start("parent", "order").await;
    let turn = worker.turn().await;
    let child = CreateSubOrchestrationAction {
        instance_id: "child".into(),
        name: "pay".into(),
        ..Default::default()
    };
    let child = action(0, OrchestratorActionType::CreateSubOrchestration(child));
    worker.answer(&turn, vec![child]).await.unwrap();
    for _ in ["child", "parent"] {
        let turn = worker.turn().await;
        let end = CompleteOrchestrationAction {
            orchestration_status: OrchestrationStatus::Failed as i32,
            failure_details: Some(TaskFailureDetails { error_type: "Down".into(), ..Default::default() }),
            ..Default::default()
        };
        let end = action(1, OrchestratorActionType::CompleteOrchestration(end));
        worker.answer(&turn, vec![end]).await.unwrap();
    }
    world.end_of("parent").await;
    let before = (run_of(&world, "parent").await, run_of(&world, "child").await);
    assert_eq!(runs_in_history(&world, "child").await, (before.1.clone(), Some(before.0.clone())));

    let rewind = RewindInstanceRequest { instance_id: "parent".into(), reason: None };
    world.client().await.rewind_instance(rewind).await.unwrap();
    let turn = worker.turn().await;
    assert_eq!(turn.request.instance_id, "child");
    let told = turn.request.execution_id.clone().unwrap();
    worker.answer(&turn, vec![schedule(1, "charge")]).await.unwrap();
    let activity = worker.activity().await;
    let of = activity.request.orchestration_instance.clone().unwrap();
    assert_eq!(of.execution_id.as_ref(), Some(&told));
    worker.finish(&activity, "1").await.unwrap();
    for _ in ["child", "parent"] {
        let turn = worker.turn().await;
        worker.answer(&turn, vec![complete("1")]).await.unwrap();
    }
    world.end_of("parent").await;
    let after = (run_of(&world, "parent").await, run_of(&world, "child").await);
    assert!(before.0 != after.0 && before.1 != after.1, "{before:?} {after:?}");
    assert_eq!(after.1, told);
    assert_eq!(runs_in_history(&world, "parent").await, (after.0.clone(), None));
    assert_eq!(runs_in_history(&world, "child").await, (after.1, Some(after.0)));
}
