use super::*;
use bytes::Bytes;
use perdura_core::history::{
    CancelRequested, EventRaised, EventSent, ExecutionCompleted, ExecutionResumed, ExecutionStarted,
    ExecutionSuspended, ParentLink, SubOrchestrationCompleted, SubOrchestrationScheduled, TaskCompleted,
    TaskFailed, TaskScheduled, TimerCreated, TimerFired, TurnStarted,
};
use perdura_core::{Failure, Status};
use perdura_proto::TraceContext;
use prost::Message;

fn text(text: &'static str) -> Option<Bytes> {
    Some(Bytes::from_static(text.as_bytes()))
}

fn at(ms: i64, kind: impl Into<EventKind>) -> Event {
    Event::new(Timestamp(ms), kind)
}

fn started() -> ExecutionStarted {
    let trace = TraceContext { trace_parent: "00-1-2-01".into(), ..TraceContext::default() };
    ExecutionStarted {
        name: "order".into(),
        version: "1.2".into(),
        input: text("{\"a\":1}"),
        execution: Bytes::from_static(&[0x0f; 16]),
        start_at: Some(5_500),
        parent: Some(ParentLink {
            instance: "parent".into(),
            task: 3,
            execution: Bytes::from_static(&[0x01; 16]),
            name: "outer".into(),
            ..ParentLink::default()
        }),
        tags: [("k".to_owned(), "v".to_owned())].into(),
        trace: Some(trace.encode_to_vec().into()),
    }
}

/// An activity, a timer and a child, one after the other.
fn sequence() -> Vec<Event> {
    let scheduled = TaskScheduled { id: 0, name: "pay".into(), input: text("1"), ..TaskScheduled::default() };
    let child = SubOrchestrationScheduled {
        id: 2,
        instance: "child".into(),
        name: "inner".into(),
        ..SubOrchestrationScheduled::default()
    };
    vec![
        at(1_000, TurnStarted::default()),
        at(1_000, started()),
        at(1_000, scheduled),
        at(2_000, TurnStarted::default()),
        at(2_000, TaskCompleted { id: 0, output: text("2"), ..TaskCompleted::default() }),
        at(2_000, TimerCreated { id: 1, fire_at: 2_750 }),
        at(3_000, TurnStarted::default()),
        at(3_000, TimerFired { id: 1 }),
        at(3_000, child),
        at(4_000, TurnStarted::default()),
        at(4_000, SubOrchestrationCompleted { id: 2, output: text("3") }),
        at(4_000, ExecutionCompleted::new(Status::Completed, text("4"), None)),
    ]
}

fn written(reader: Reader, events: &[Event]) -> Vec<wire::HistoryEvent> {
    let mut writer = HistoryWriter::new("me", 0, reader);
    events.iter().filter_map(|event| writer.write(event)).collect()
}

/// The names of the kinds, as the SDKs' own tests compare them.
fn kinds(events: &[wire::HistoryEvent]) -> Vec<String> {
    let name = |event: &wire::HistoryEvent| {
        let debug = format!("{:?}", event.event_type.as_ref().unwrap());
        debug.split('(').next().unwrap().to_owned()
    };
    events.iter().map(name).collect()
}

#[test]
fn an_operator_reads_the_twelve_events_that_the_sdks_expect() {
    let events = written(Reader::Operator, &sequence());
    let expected = [
        "OrchestratorStarted",
        "ExecutionStarted",
        "TaskScheduled",
        "OrchestratorStarted",
        "TaskCompleted",
        "TimerCreated",
        "OrchestratorStarted",
        "TimerFired",
        "SubOrchestrationInstanceCreated",
        "OrchestratorStarted",
        "SubOrchestrationInstanceCompleted",
        "ExecutionCompleted",
    ];
    assert_eq!(kinds(&events), expected);
    let ids: Vec<_> = events.iter().map(|event| event.event_id).collect();
    assert_eq!(ids, [-1, -1, 0, -1, -1, 1, -1, -1, 2, -1, -1, -1], "0 is an id like any other");
    assert!(events.iter().all(|event| event.timestamp.is_some()));
}

#[test]
fn a_worker_never_reads_of_ends_or_of_what_its_sdk_does_not_know() {
    let mut events = sequence();
    events.push(at(5_000, CancelRequested { reason: "why".into() }));
    let kinds = kinds(&written(Reader::Worker, &events));
    assert_eq!(kinds.len(), 11);
    assert!(!kinds.contains(&"ExecutionCompleted".into()) && !kinds.contains(&"GenericEvent".into()));
}

#[test]
fn the_start_carries_everything_that_the_sdks_look_for() {
    let events = written(Reader::Worker, &sequence());
    let Some(EventType::ExecutionStarted(started)) = &events[1].event_type else { panic!("{events:?}") };
    assert_eq!((started.name.as_str(), started.version.as_deref()), ("order", Some("1.2")));
    assert_eq!(started.input.as_deref(), Some("{\"a\":1}"));
    let instance = started.orchestration_instance.as_ref().unwrap();
    assert_eq!(instance.instance_id, "me");
    assert_eq!(instance.execution_id.as_deref(), Some("0f".repeat(16).as_str()));
    let parent = started.parent_instance.as_ref().unwrap();
    assert_eq!((parent.task_scheduled_id, parent.name.as_deref()), (3, Some("outer")));
    assert_eq!(parent.orchestration_instance.as_ref().unwrap().instance_id, "parent");
    assert_eq!(started.scheduled_start_timestamp.as_ref().unwrap().nanos, 500_000_000);
    assert_eq!(started.parent_trace_context.as_ref().unwrap().trace_parent, "00-1-2-01");
    assert_eq!(started.tags["k"], "v");
}

#[test]
fn a_fired_timer_repeats_when_it_was_due() {
    let events = written(Reader::Worker, &sequence());
    let Some(EventType::TimerFired(fired)) = &events[7].event_type else { panic!("{events:?}") };
    assert_eq!((fired.timer_id, fired.fire_at.as_ref().unwrap().nanos), (1, 750_000_000));
}

#[test]
fn absent_and_empty_are_different_things() {
    let scheduled = |version: Option<&str>| {
        at(1, TaskScheduled { version: version.map(str::to_owned), ..TaskScheduled::default() })
    };
    let failure = Failure::new("E", "");
    let events = [
        scheduled(None),
        scheduled(Some("")),
        at(1, TaskCompleted::default()),
        at(1, TaskCompleted { output: text(""), ..TaskCompleted::default() }),
        at(1, TaskFailed { failure: Some(failure), ..TaskFailed::default() }),
        at(1, EventRaised { name: "Go".into(), input: None }),
        at(1, EventSent { id: 4, instance: "you".into(), name: "Go".into(), input: text("1") }),
        at(1, ExecutionSuspended { reason: "s".into() }),
        at(1, ExecutionResumed { reason: "r".into() }),
    ];
    let kinds: Vec<_> =
        written(Reader::Worker, &events).into_iter().map(|event| event.event_type.unwrap()).collect();
    let expected = [
        EventType::TaskScheduled(wire::TaskScheduledEvent::default()),
        EventType::TaskScheduled(wire::TaskScheduledEvent { version: Some("".into()), ..Default::default() }),
        EventType::TaskCompleted(wire::TaskCompletedEvent { task_scheduled_id: 0, result: None }),
        EventType::TaskCompleted(wire::TaskCompletedEvent { task_scheduled_id: 0, result: Some("".into()) }),
        EventType::TaskFailed(wire::TaskFailedEvent {
            task_scheduled_id: 0,
            failure_details: Some(wire::TaskFailureDetails { error_type: "E".into(), ..Default::default() }),
        }),
        EventType::EventRaised(wire::EventRaisedEvent { name: "Go".into(), input: None }),
        EventType::EventSent(wire::EventSentEvent {
            instance_id: "you".into(),
            name: "Go".into(),
            input: Some("1".into()),
        }),
        EventType::ExecutionSuspended(wire::ExecutionSuspendedEvent { input: Some("s".into()) }),
        EventType::ExecutionResumed(wire::ExecutionResumedEvent { input: Some("r".into()) }),
    ];
    assert_eq!(kinds, expected);
}
