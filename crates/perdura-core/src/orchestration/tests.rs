//! What the replay state promises to whoever runs code on it.

use super::{Decision, Execution, Mismatch, Ticket};
use crate::failure::{Failure, kind};
use crate::history::{
    CancelRequested, Event, EventKind, EventRaised, ExecutionStarted, SubOrchestrationScheduled,
    TaskCompleted, TaskFailed, TaskScheduled, TimerCreated, TimerFired, TurnStarted,
};
use crate::history::{EventSent, TurnLimits};
use crate::id::InstanceId;
use crate::limits::Limits;
use crate::status::Status;
use crate::time::Timestamp;
use bytes::Bytes;
use std::sync::Arc;

fn in_force(limits: Limits) -> Arc<TurnLimits> {
    Arc::new(TurnLimits::of(&limits))
}

fn execution_with(limits: Limits) -> Execution {
    let mut execution = Execution::new(InstanceId::new("i").unwrap(), in_force(limits));
    take(&mut execution, TurnStarted::default());
    take(&mut execution, ExecutionStarted { execution: vec![1; 16].into(), ..Default::default() });
    execution.running();
    execution
}

fn execution() -> Execution {
    execution_with(Limits::default())
}

fn take(execution: &mut Execution, event: impl Into<EventKind>) {
    execution.accept(&Event::new(Timestamp(1000), event)).unwrap();
}

fn task(name: &str) -> TaskScheduled {
    TaskScheduled { name: name.into(), ..Default::default() }
}

fn raised(name: &str, input: &'static str) -> EventRaised {
    EventRaised { name: name.into(), input: Some(input.into()) }
}

fn text(execution: &mut Execution, ticket: Ticket) -> Option<Result<String, String>> {
    let text = |bytes: Option<Bytes>| String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap();
    execution.take(ticket).map(|outcome| outcome.map(text).map_err(|failure| failure.to_string()))
}

fn ok(value: &str) -> Option<Result<String, String>> {
    Some(Ok(value.into()))
}

/// A history of two turns, and code that follows it.
fn history() -> Vec<Event> {
    let scheduled = |id, name: &str| TaskScheduled { id, ..task(name) };
    let kinds: [EventKind; 8] = [
        TurnStarted::default().into(),
        ExecutionStarted::default().into(),
        scheduled(0, "reserve").into(),
        scheduled(1, "charge").into(),
        TurnStarted::default().into(),
        TaskCompleted { id: 0, ..Default::default() }.into(),
        TimerCreated { id: 2, fire_at: 2000 }.into(),
        TurnStarted::default().into(),
    ];
    kinds.into_iter().map(|kind| Event { at: Timestamp(1000), kind }).collect()
}

/// Replays a history under that code.
fn replay(history: &[Event]) -> Result<(), Mismatch> {
    let mut execution = Execution::new(InstanceId::new("i").unwrap(), in_force(Limits::default()));
    let mut tickets = Vec::new();
    let mut run = |execution: &mut Execution| {
        execution.running();
        if tickets.is_empty() {
            tickets = ["reserve", "charge"].map(|name| execution.schedule_task(task(name))).to_vec();
        } else if execution.take(tickets[0]).is_some() {
            execution.create_timer(Timestamp(2000));
        }
    };
    for event in history {
        if execution.must_run_before(event) {
            run(&mut execution);
        }
        execution.accept(event)?;
    }
    if execution.must_run() {
        run(&mut execution);
    }
    execution.end_of_history()
}

#[test]
fn code_that_follows_its_history_is_content() {
    for end in [0, 4, 7, 8] {
        assert_eq!(replay(&history()[..end]), Ok(()), "the first {end} events");
    }
}

#[test]
fn every_way_to_leave_the_history_is_reported_with_its_place() {
    let report = |change: &dyn Fn(&mut Vec<Event>)| {
        let mut history = history();
        change(&mut history);
        let Mismatch { event, expected, actual } = replay(&history).unwrap_err();
        format!("{event}: expected {expected}, got {actual}")
    };
    let is = |kind: EventKind| Event { at: Timestamp(0), kind };
    assert_eq!(
        report(&|h| h[2] = is(task("refund").into())),
        "2: expected activity \"refund\" (task 0), got activity \"reserve\" (task 0)"
    );
    assert_eq!(
        report(&|h| h.swap(2, 3)),
        "2: expected activity \"charge\" (task 1), got activity \"reserve\" (task 0)"
    );
    assert_eq!(
        report(&|h| h[3] = is(TimerCreated { id: 1, fire_at: 5 }.into())),
        "3: expected timer (task 1), got activity \"charge\" (task 1)"
    );
    assert_eq!(
        report(&|h| {
            h.remove(3);
        }),
        "3: expected the next turn, got activity \"charge\" (task 1)"
    );
    assert_eq!(
        report(&|h| h.insert(4, is(TaskScheduled { id: 2, ..task("ship") }.into()))),
        "4: expected activity \"ship\" (task 2), got nothing"
    );
    assert_eq!(report(&|h| h.truncate(3)), "3: expected no more decisions, got activity \"charge\" (task 1)");
    let other = SubOrchestrationScheduled { id: 2, name: "child".into(), ..Default::default() };
    assert_eq!(
        report(&|h| h[6] = is(other.clone().into())),
        "6: expected sub-orchestration \"child\" (task 2), got timer (task 2)"
    );
}

#[test]
fn a_new_input_or_deadline_is_no_mismatch() {
    let mut history = history();
    history[2].kind = TaskScheduled { id: 0, input: Some("new".into()), ..task("reserve") }.into();
    history[6].kind = TimerCreated { id: 2, fire_at: 9999 }.into();
    assert_eq!(replay(&history), Ok(()));
}

#[test]
fn results_come_in_the_order_of_their_arrival_and_each_once() {
    let mut e = execution();
    let (a, b) = (e.schedule_task(task("a")), e.schedule_task(task("b")));
    take(&mut e, TaskFailed { id: 1, failure: Some(Failure::new("E", "e")), ..Default::default() });
    take(&mut e, TaskCompleted { id: 0, output: Some("x".into()), ..Default::default() });
    // A second answer to the same task, and one to a task that never was.
    take(&mut e, TaskCompleted { id: 1, ..Default::default() });
    take(&mut e, TaskCompleted { id: 77, ..Default::default() });
    assert_eq!(e.arrived(), [b, a]);
    assert!(e.arrival(b) < e.arrival(a));
    assert_eq!(text(&mut e, a), ok("x"));
    assert_eq!(text(&mut e, b), Some(Err("E: e".into())));
    assert_eq!(text(&mut e, b), None);
}

#[test]
fn the_code_does_not_run_for_what_it_has_abandoned() {
    let mut e = execution();
    let timer = e.create_timer(Timestamp(5));
    e.abandon(timer);
    // Said again with each turn, so that a replay says the same.
    assert_eq!((e.take_result().gave_up, e.take_result().gave_up), (vec![0], vec![0]));
    take(&mut e, TimerFired { id: 0 });
    assert!(e.take_result().gave_up.is_empty());
    assert!(!e.must_run());
    assert_eq!(e.take(timer), None);
}

#[test]
fn events_are_handed_out_by_name_in_the_order_in_which_they_came() {
    let mut e = execution();
    let first = e.wait_event("n");
    for event in [raised("n", "1"), raised("m", "2"), raised("n", "3")] {
        take(&mut e, event);
    }
    let (second, other, third) = (e.wait_event("n"), e.wait_event("m"), e.wait_event("n"));
    assert_eq!([first, second, other].map(|t| text(&mut e, t)), [ok("1"), ok("3"), ok("2")]);
    assert_eq!(text(&mut e, third), None);
}

#[test]
fn a_wait_that_ends_gives_its_event_to_the_next_one_or_back_to_its_place() {
    let mut e = execution();
    let waits: Vec<Ticket> = (0..3).map(|_| e.wait_event("n")).collect();
    for event in [raised("n", "1"), raised("n", "2")] {
        take(&mut e, event);
    }
    e.running();
    e.stop_waiting("n", waits[0]);
    assert!(e.must_run(), "the third wait has got an event while the code ran");
    assert_eq!(e.arrived(), [waits[2]]);
    e.stop_waiting("n", waits[2]);
    e.stop_waiting("n", waits[1]);
    e.stop_waiting("nobody waited here", waits[1]);
    let again: Vec<Ticket> = (0..3).map(|_| e.wait_event("n")).collect();
    assert_eq!([again[0], again[1], again[2]].map(|t| text(&mut e, t)), [ok("1"), ok("2"), None]);
}

#[test]
fn a_request_to_cancel_fails_what_is_waited_for_and_nothing_that_comes_after() {
    let mut e = execution();
    let before = [e.schedule_task(task("a")), e.create_timer(Timestamp(9)), e.wait_event("n")];
    take(&mut e, CancelRequested { reason: "enough".into() });
    take(&mut e, CancelRequested { reason: "again".into() });
    assert_eq!((e.cancel_reason(), e.must_run()), (Some("enough"), true));
    for ticket in before {
        let failure = e.take(ticket).unwrap().unwrap_err();
        assert_eq!((&failure.kind[..], &failure.message[..]), (kind::CANCELED, "enough"));
        assert!(failure.non_retryable);
    }
    let (undo, late) = (e.schedule_task(task("undo")), e.wait_event("n"));
    // The answer to the task that was given up does not confuse the new one.
    take(&mut e, TaskCompleted { id: 0, output: Some("late".into()), ..Default::default() });
    take(&mut e, TaskCompleted { id: 2, output: Some("undone".into()), ..Default::default() });
    take(&mut e, raised("n", "event"));
    assert_eq!([undo, late].map(|t| text(&mut e, t)), [ok("undone"), ok("event")]);
}

#[test]
fn a_request_to_cancel_that_came_with_the_result_fails_what_is_begun_until_the_code_hears_of_it() {
    let mut e = execution();
    let only = e.schedule_task(task("a"));
    take(&mut e, TaskCompleted { id: 0, output: Some("done".into()), ..Default::default() });
    take(&mut e, CancelRequested { reason: "enough".into() });
    assert_eq!(text(&mut e, only), ok("done"));
    let next = [e.schedule_task(task("b")), e.create_timer(Timestamp(9)), e.wait_event("n")];
    let sent = e.send_event(EventSent { instance: "j".into(), name: "n".into(), ..Default::default() });
    assert_eq!(text(&mut e, sent), ok(""), "nobody waits for it");
    for wait in next {
        assert_eq!(text(&mut e, wait).unwrap().unwrap_err(), "perdura.Canceled: enough");
    }
    let undo = e.schedule_task(task("undo"));
    assert_eq!(text(&mut e, undo), None);
    let kinds: Vec<_> = e.take_result().decisions.iter().map(Decision::describe).collect();
    assert_eq!(kinds.len(), 3, "nothing of it was scheduled: {kinds:?}");
}

#[test]
fn code_that_asks_whether_it_was_cancelled_goes_on_as_it_likes() {
    let mut e = execution();
    e.schedule_task(task("a"));
    assert!(!e.hear_cancel());
    take(&mut e, TaskCompleted { id: 0, ..Default::default() });
    take(&mut e, CancelRequested { reason: "enough".into() });
    assert!(e.hear_cancel());
    let undo = e.schedule_task(task("undo"));
    assert_eq!(text(&mut e, undo), None);
}

#[test]
fn a_limit_refuses_with_an_error_that_the_code_can_catch() {
    let limits = Limits {
        history_events_max: 5,
        decisions_per_turn_max: 2,
        payload_bytes_max: 3,
        ..Default::default()
    };
    let mut e = execution_with(limits);
    let refusal = |e: &mut Execution, ticket| text(e, ticket).unwrap().unwrap_err();
    let large = e.schedule_task(TaskScheduled { input: Some("1234".into()), ..task("a") });
    assert_eq!(refusal(&mut e, large), "perdura.Limit: input of \"i\": 4 bytes, limit 3");
    let far = e.create_timer(Timestamp::MAX);
    assert_eq!(refusal(&mut e, far), "perdura.Limit: timer: more than ten years ahead");
    e.schedule_task(task("a"));
    e.schedule_task(task("b"));
    let third = e.schedule_task(task("c"));
    assert!(refusal(&mut e, third).starts_with("perdura.Limit: decisions in one turn: limit 2"));
    assert_eq!(e.take_result().decisions.len(), 2);
    e.schedule_task(task("c"));
    let sixth = e.schedule_task(task("d"));
    assert_eq!(refusal(&mut e, sixth), "perdura.Limit: history: 5 events, limit 5; continue as new");
    assert_eq!(e.position(), 5);
}

#[test]
fn a_refused_decision_takes_no_number() {
    let mut e = execution();
    let own = SubOrchestrationScheduled { instance: "i".into(), ..Default::default() };
    let refused = e.schedule_sub_orchestration(own);
    assert!(text(&mut e, refused).unwrap().unwrap_err().starts_with(kind::INVALID));
    e.schedule_task(task("a"));
    let Decision::ScheduleTask(first) = &e.take_result().decisions[0] else { panic!() };
    assert_eq!(first.id, 0);
}

#[test]
fn continue_as_new_takes_along_the_events_that_nobody_took_in_their_order() {
    let mut e = execution();
    for event in [raised("b", "1"), raised("a", "2"), raised("b", "3"), raised("a", "4")] {
        take(&mut e, event);
    }
    let taken = e.wait_event("a");
    assert_eq!(text(&mut e, taken), ok("2"));
    let given_back = e.wait_event("b");
    e.stop_waiting("b", given_back);
    e.continue_as_new(Some("next".into()), None);
    e.complete(Status::Completed, None, None);
    let decisions = e.take_result().decisions;
    let [Decision::ContinueAsNew(next)] = &decisions[..] else { panic!("{decisions:?}") };
    assert_eq!(next.input.as_deref(), Some(&b"next"[..]));
    assert_eq!(next.carry_over, [raised("b", "1"), raised("b", "3"), raised("a", "4")]);
}

#[test]
fn nothing_can_be_decided_after_the_end() {
    let mut e = execution();
    e.complete(Status::Completed, Some("out".into()), None);
    let late = e.schedule_task(task("late"));
    assert!(e.has_ended());
    assert!(text(&mut e, late).unwrap().unwrap_err().starts_with(kind::CANCELED));
    assert_eq!(e.take_result().decisions.len(), 1);
}

#[test]
fn a_status_is_reported_when_it_changes_and_not_for_what_was_replayed() {
    let mut e = execution();
    e.set_custom_status(Some("old".into())).unwrap();
    e.end_of_history().unwrap();
    assert_eq!(e.take_result().custom_status, None);
    e.set_custom_status(Some("old".into())).unwrap();
    assert_eq!(e.take_result().custom_status, None);
    e.set_custom_status(None).unwrap();
    assert_eq!(e.take_result().custom_status, Some(None));
}

#[test]
fn unique_numbers_differ_within_and_between_executions_and_repeat_in_replay() {
    let numbers = |execution: u8| {
        let mut e = Execution::new(InstanceId::new("i").unwrap(), in_force(Limits::default()));
        take(&mut e, ExecutionStarted { execution: vec![execution; 16].into(), ..Default::default() });
        std::array::from_fn::<u128, 100, _>(|_| e.unique())
    };
    assert_eq!(numbers(1), numbers(1));
    let all: std::collections::BTreeSet<u128> = numbers(1).into_iter().chain(numbers(2)).collect();
    assert_eq!(all.len(), 200);
}

#[test]
fn what_one_turn_carries_together_has_a_limit_that_the_next_turn_does_not_feel() {
    let limits = Limits { turn_bytes_max: 20, ..Limits::default() };
    let mut e = Execution::new(InstanceId::new("x").unwrap(), in_force(limits));
    let task = |input: &'static str| TaskScheduled {
        name: "a".into(),
        input: Some(input.into()),
        ..Default::default()
    };
    e.accept(&Event::new(Timestamp(1), crate::history::TurnStarted::default())).unwrap();
    let (first, second) = (e.schedule_task(task("123456")), e.schedule_task(task("123456")));
    assert_eq!((e.take(first), e.take(second).unwrap().unwrap_err().kind.as_str()), (None, kind::LIMIT));
    assert_eq!(e.take_result().decisions.len(), 1);
    e.accept(&Event::new(Timestamp(2), crate::history::TurnStarted::default())).unwrap();
    let third = e.schedule_task(task("123456"));
    assert_eq!(e.take(third), None);
}

/// Code that asks for an activity with `bytes` of input and says what it heard at once.
fn asks(execution: &mut Execution, bytes: usize) -> Option<Result<String, String>> {
    execution.running();
    let input = Some(Bytes::from(vec![0; bytes]));
    let ticket = execution.schedule_task(TaskScheduled { input, ..task("a") });
    text(execution, ticket)
}

#[test]
fn a_replay_refuses_what_was_refused_and_nothing_else_whatever_the_limits_are_by_then() {
    let limited = |payload_bytes_max| Limits { payload_bytes_max, ..Limits::default() };
    for (then, now) in [(10, 100), (100, 10)] {
        let mut live = execution_with(limited(then));
        let heard = asks(&mut live, 50);
        assert_eq!(heard.is_some(), then < 50);
        let result = live.take_result();
        let turn = TurnStarted { limits: result.limits_met };
        let mut replay = Execution::new(InstanceId::new("i").unwrap(), in_force(limited(now)));
        replay.set_replaying(true);
        take(&mut replay, turn);
        take(&mut replay, ExecutionStarted { execution: vec![1; 16].into(), ..Default::default() });
        assert_eq!(asks(&mut replay, 50), heard);
        for decision in result.decisions {
            let Decision::ScheduleTask(task) = decision else { panic!("{decision:?}") };
            take(&mut replay, task);
        }
        replay.end_of_history().unwrap();
        // What is new meets the limits of now.
        replay.set_replaying(false);
        take(&mut replay, TurnStarted::default());
        assert_eq!(asks(&mut replay, 50).is_some(), now < 50);
    }
}

#[test]
fn events_that_nobody_took_and_that_are_too_many_to_carry_over_end_the_execution_with_an_error() {
    let mut e = execution_with(Limits { inbox_bytes_max: 10, ..Limits::default() });
    take(&mut e, raised("e", "0123456789"));
    e.continue_as_new(None, None);
    let Some(Decision::Complete(end)) = e.take_result().decisions.pop() else { panic!("no end") };
    assert_eq!(end.final_status(), Some(Status::Failed));
    assert_eq!(end.failure.unwrap().kind, kind::LIMIT);
}
