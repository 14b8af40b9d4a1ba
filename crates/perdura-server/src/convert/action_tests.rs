use super::*;
use bytes::Bytes;
use prost_types::Timestamp as WireTime;

fn action(id: i32, kind: Action) -> wire::OrchestratorAction {
    wire::OrchestratorAction { id, orchestrator_action_type: Some(kind) }
}

fn answer(actions: Vec<wire::OrchestratorAction>) -> wire::OrchestratorResponse {
    wire::OrchestratorResponse { actions, ..Default::default() }
}

fn decisions(actions: Vec<wire::OrchestratorAction>) -> Result<Vec<Decision>, BadAnswer> {
    result_in(answer(actions)).map(|result| result.decisions)
}

fn end(status: WireStatus) -> wire::CompleteOrchestrationAction {
    wire::CompleteOrchestrationAction { orchestration_status: status as i32, ..Default::default() }
}

fn task(name: &str) -> Action {
    Action::ScheduleTask(wire::ScheduleTaskAction { name: name.into(), ..Default::default() })
}

#[test]
fn an_activity_keeps_everything_and_may_have_the_id_0() {
    let trace = wire::TraceContext { trace_parent: "00".into(), ..Default::default() };
    let schedule = wire::ScheduleTaskAction {
        name: "pay".into(),
        version: Some("".into()),
        input: Some("".into()),
        tags: [("k".to_owned(), "v".to_owned())].into(),
        parent_trace_context: Some(trace.clone()),
    };
    let decisions = decisions(vec![action(0, Action::ScheduleTask(schedule))]).unwrap();
    let Decision::ScheduleTask(task) = &decisions[0] else { panic!("{decisions:?}") };
    assert_eq!((task.id, task.name.as_str(), task.version.as_deref()), (0, "pay", Some("")));
    assert_eq!(task.input, Some(Bytes::new()));
    assert_eq!(task.tags["k"], "v");
    assert_eq!(super::super::trace_out(task.trace.as_ref()), Some(trace));
    assert!(task.retry.is_none() && task.limits.is_none());
}

#[test]
fn a_child_id_may_be_used_again_once_it_has_ended() {
    let child = wire::CreateSubOrchestrationAction { name: "inner".into(), ..Default::default() };
    let decisions = decisions(vec![action(7, Action::CreateSubOrchestration(child))]).unwrap();
    let Decision::ScheduleSubOrchestration(child) = &decisions[0] else { panic!("{decisions:?}") };
    let reuse = ReusePolicy::from_bits(child.reuse);
    assert_eq!(
        (reuse.on(Status::Failed), reuse.on(Status::Running)),
        (OnExisting::Replace, OnExisting::Fail)
    );
    assert!(child.instance.is_empty(), "the engine chooses one");
}

#[test]
fn the_end_comes_last_wherever_it_stands_and_even_with_the_id_of_another_action() {
    let complete = Action::CompleteOrchestration(wire::CompleteOrchestrationAction {
        result: Some("1".into()),
        ..end(WireStatus::Completed)
    });
    let decisions = decisions(vec![action(4, complete), action(4, task("log"))]).unwrap();
    assert!(matches!(decisions[0], Decision::ScheduleTask(_)));
    let Decision::Complete(end) = &decisions[1] else { panic!("{decisions:?}") };
    assert_eq!(end.final_status(), Some(Status::Completed));
}

#[test]
fn an_end_by_failure_may_have_the_id_minus_1_and_no_details() {
    let decisions =
        decisions(vec![action(-1, Action::CompleteOrchestration(end(WireStatus::Failed)))]).unwrap();
    let Decision::Complete(end) = &decisions[0] else { panic!("{decisions:?}") };
    assert_eq!((end.final_status(), end.failure.clone()), (Some(Status::Failed), Some(Failure::default())));
}

#[test]
fn continue_as_new_carries_external_events_over_and_nothing_else() {
    let raised = wire::EventRaisedEvent { name: "Go".into(), input: Some("1".into()) };
    let event = |kind| wire::HistoryEvent { event_type: Some(kind), ..Default::default() };
    let complete = wire::CompleteOrchestrationAction {
        result: Some("next".into()),
        new_version: Some("2".into()),
        carryover_events: vec![
            event(EventType::OrchestratorStarted(wire::OrchestratorStartedEvent {})),
            event(EventType::EventRaised(raised)),
            wire::HistoryEvent::default(),
        ],
        ..end(WireStatus::ContinuedAsNew)
    };
    let decisions = decisions(vec![action(1, Action::CompleteOrchestration(complete))]).unwrap();
    let Decision::ContinueAsNew(next) = &decisions[0] else { panic!("{decisions:?}") };
    assert_eq!((next.input.as_deref(), next.version.as_deref()), (Some(&b"next"[..]), Some("2")));
    assert_eq!(next.carry_over, [EventRaised { name: "Go".into(), input: Some(Bytes::from_static(b"1")) }]);
}

#[test]
fn an_absent_custom_status_keeps_the_old_one_and_an_empty_one_clears_it() {
    let status = |text: Option<&str>| {
        let response =
            wire::OrchestratorResponse { custom_status: text.map(str::to_owned), ..Default::default() };
        result_in(response).unwrap().custom_status
    };
    assert_eq!(status(None), None);
    assert_eq!(status(Some("")), Some(None));
    assert_eq!(status(Some("\"\"")), Some(Some(Bytes::from_static(b"\"\""))));
}

#[test]
fn what_makes_no_sense_is_refused_with_the_number_of_the_action() {
    let timer = |fire_at| Action::CreateTimer(wire::CreateTimerAction { fire_at });
    let complete = || action(1, Action::CompleteOrchestration(end(WireStatus::Completed)));
    let cases = [
        (vec![wire::OrchestratorAction::default()], "action 0: it has no kind that this server knows"),
        (vec![action(1, task("a")), action(-1, task("b"))], "action 1: id -1 is negative"),
        (vec![action(1, timer(None))], "action 0: fireAt is missing"),
        (
            vec![action(1, timer(Some(WireTime { seconds: i64::MAX, nanos: 0 })))],
            "action 0: fireAt: 9223372036854775807 s and 0 ns since 1970 is not a time between the years 1 and 9999",
        ),
        (
            vec![action(1, Action::CompleteOrchestration(end(WireStatus::Pending)))],
            "action 0: an orchestration cannot complete with status 6",
        ),
        (vec![complete(), complete()], "action 1: the orchestration has completed already by action 0"),
        (
            vec![action(1, Action::SendEvent(wire::SendEventAction::default()))],
            "action 0: instance is missing",
        ),
    ];
    for (actions, message) in cases {
        assert_eq!(decisions(actions).unwrap_err().to_string(), message);
    }
}
