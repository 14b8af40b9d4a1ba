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
