//! Activities: delivery counts, retries, limits.

use crate::bed::*;
use perdura_core::failure::kind;
use perdura_core::history::{EventKind, TaskScheduled, TimeLimits};
use perdura_core::orchestration::{Decision, Turn};
use perdura_core::partition::Request;
use perdura_core::{Failure, RetryPolicy, Status};

fn retrying(attempts: u32, limits: TimeLimits) -> impl FnMut(&Turn) -> Vec<Decision> + 'static {
    move |turn| {
        if turn.from > 0 {
            return match turn.events.iter().find_map(|e| match &e.kind {
                EventKind::TaskFailed(failed) => failed.failure.clone(),
                _ => None,
            }) {
                Some(failure) => vec![fail(&failure.kind)],
                None => vec![complete()],
            };
        }
        let retry = RetryPolicy {
            attempts_max: attempts,
            backoff_ms: 100,
            backoff_factor: 2.0,
            ..Default::default()
        };
        vec![Decision::ScheduleTask(TaskScheduled {
            id: 0,
            name: "a".into(),
            retry: Some(retry),
            limits: Some(limits),
            ..Default::default()
        })]
    }
}

fn failure_of(bed: &Bed, id: &str) -> String {
    bed.record(id).failure.expect("a failure").message
}

#[test]
fn an_attempt_that_is_called_off_within_its_batch_never_begins() {
    let mut bed = Bed::new();
    bed.script("seq", |_| vec![task(0, "a")]);
    bed.ask(Request::Start(start("x", "seq")));
    bed.run();
    bed.ask(Request::Terminate { id: id("x"), reason: "r".into(), recurse: false });
    bed.ask(purge("x"));
    bed.settle();
    // Neither the instance is stored nor its delivery count: the next life may give the same numbers again.
    assert_eq!((bed.rows.len(), bed.started.len()), (0, 0));
}

#[test]
fn a_failed_attempt_is_tried_again_after_its_backoff_and_leaves_no_trace_in_the_history() {
    let mut bed = Bed::new();
    bed.script("seq", retrying(3, TimeLimits::default()));
    bed.start("x", "seq");
    for (attempt, wait) in [(1, 100), (2, 200)] {
        let start = bed.last_started();
        assert_eq!((start.attempt, start.task.delivery), (attempt, attempt));
        bed.task_done(start.task, Err(Failure::new("E", "no")));
        bed.pass(wait - 1);
        assert_eq!(bed.started.len() as u32, attempt);
        bed.pass(1);
    }
    assert_eq!(bed.record("x").tasks[0].last_failure.as_ref().unwrap().message, "no");
    assert_eq!(bed.events("x"), ["TurnStarted", "ExecutionStarted", "TaskScheduled"]);
    let third = bed.last_started();
    bed.task_done(third.task, Ok("yes"));
    assert_eq!(bed.status("x"), Status::Completed);
}

#[test]
fn after_the_last_attempt_the_task_has_failed() {
    let mut bed = Bed::new();
    bed.script("seq", retrying(2, TimeLimits::default()));
    bed.start("x", "seq");
    for _ in 0..2 {
        let task = bed.last_started().task;
        bed.task_done(task, Err(Failure::new("E", "no")));
        bed.pass(1000);
    }
    assert_eq!((bed.started.len(), bed.status("x")), (2, Status::Failed));
}

#[test]
fn a_crash_hands_a_task_out_again_under_a_new_count() {
    let mut bed = Bed::new();
    bed.script("seq", retrying(1, TimeLimits::default()));
    bed.start("x", "seq");
    let first = bed.last_started().task;
    bed.crash();
    let second = bed.last_started();
    assert_eq!((second.task.delivery, second.attempt, second.scheduled.name.as_str()), (2, 1, "a"));
    bed.task_done(first, Ok("late"));
    assert_eq!(bed.status("x"), Status::Running);
    bed.task_done(second.task, Ok("ok"));
    bed.task_done(second.task, Ok("twice"));
    assert_eq!(bed.status("x"), Status::Completed);
    assert_eq!(bed.events("x").iter().filter(|name| **name == "TaskCompleted").count(), 1);
}

#[test]
fn a_wait_for_the_next_attempt_survives_a_crash_without_a_new_attempt() {
    let mut bed = Bed::new();
    bed.script("seq", retrying(3, TimeLimits::default()));
    bed.start("x", "seq");
    let first = bed.last_started().task;
    bed.task_done(first, Err(Failure::new("E", "no")));
    bed.crash();
    assert!(bed.started.is_empty());
    bed.pass(100);
    let second = bed.last_started();
    assert_eq!((second.attempt, second.task.delivery), (2, 2));
}

#[test]
fn an_attempt_that_takes_too_long_is_told_and_counts_as_failed() {
    let mut bed = Bed::new();
    bed.script("seq", retrying(2, TimeLimits { attempt_ms: 50, ..Default::default() }));
    bed.start("x", "seq");
    let first = bed.last_started().task;
    bed.pass(50);
    assert_eq!(bed.canceled, [first]);
    bed.task_done(first, Ok("late"));
    bed.pass(100);
    let second = bed.last_started().task;
    assert_eq!(second.delivery, 2);
    bed.pass(50);
    assert_eq!((bed.status("x"), failure_of(&bed, "x").as_str()), (Status::Failed, kind::TIMEOUT));
}

#[test]
fn all_attempts_together_have_a_limit() {
    let mut bed = Bed::new();
    bed.script("seq", retrying(100, TimeLimits { total_ms: 250, ..Default::default() }));
    bed.start("x", "seq");
    let first = bed.last_started().task;
    bed.task_done(first, Err(Failure::new("E", "no")));
    bed.pass(100);
    bed.crash();
    assert_eq!(bed.last_started().task.delivery, 3);
    bed.pass(149);
    assert_eq!(bed.status("x"), Status::Running);
    bed.pass(1);
    assert_eq!((bed.status("x"), failure_of(&bed, "x").as_str()), (Status::Failed, kind::TIMEOUT));
}

#[test]
fn an_attempt_without_a_heartbeat_is_given_up_and_one_with_heartbeats_is_not() {
    let mut bed = Bed::new();
    bed.script("seq", retrying(1, TimeLimits { heartbeat_ms: 100, ..Default::default() }));
    bed.start("x", "seq");
    let task = bed.last_started().task;
    for _ in 0..5 {
        bed.pass(90);
        let now = bed.now();
        bed.partition.heartbeat(task, Some("half".into()), now);
    }
    bed.settle();
    assert_eq!(bed.record("x").tasks[0].heartbeat.as_deref(), Some(&b"half"[..]));
    assert_eq!(bed.status("x"), Status::Running);
    bed.pass(100);
    assert_eq!((bed.status("x"), failure_of(&bed, "x").as_str()), (Status::Failed, kind::TIMEOUT));
}

#[test]
fn a_result_over_the_limit_fails_the_task_instead_of_hanging_it() {
    let limits = perdura_core::Limits { payload_bytes_max: 10, ..Default::default() };
    let mut bed = Bed::with_limits(limits);
    bed.script("seq", retrying(5, TimeLimits::default()));
    bed.start("x", "seq");
    let task = bed.last_started().task;
    bed.task_done(task, Ok("12345678901"));
    assert_eq!((bed.status("x"), failure_of(&bed, "x").as_str()), (Status::Failed, kind::LIMIT));
}

#[test]
fn a_result_is_taken_only_of_the_present_delivery_and_as_long_as_somebody_waits() {
    let mut bed = Bed::new();
    bed.script("seq", |_| vec![task(0, "a")]);
    bed.start("x", "seq");
    let first = bed.last_started().task;
    let room = perdura_core::Limits::default().inbox_bytes_max;
    assert_eq!(bed.partition.room_for_result(first), Some(room));
    bed.partition.task_lost(first, "gone", bed.now());
    bed.settle();
    let second = bed.last_started().task;
    assert_eq!(
        (bed.partition.room_for_result(first), bed.partition.room_for_result(second)),
        (None, Some(room))
    );
    bed.ask(Request::Suspend { id: id("x"), reason: "wait".into() });
    assert!(bed.partition.room_for_result(second).is_some_and(|left| left > 0));
    bed.ask(Request::Terminate { id: id("x"), reason: "r".into(), recurse: false });
    assert_eq!(bed.partition.room_for_result(second), None);
}

#[test]
fn a_late_result_of_a_plain_activity_is_noted_and_completes_nothing() {
    let mut bed = Bed::new();
    bed.script("seq", retrying(3, TimeLimits { attempt_ms: 100, ..TimeLimits::default() }));
    bed.start("x", "seq");
    let first = bed.last_started().task;
    bed.partition.task_began(first, bed.now());
    bed.pass(100);
    bed.task_done(first, Ok("while it waits"));
    bed.pass(100);
    let second = bed.last_started().task;
    assert_ne!(first.delivery, second.delivery);
    bed.task_done(first, Err(Failure::new("Cancelled", "stopped")));
    assert_eq!(bed.status("x"), Status::Running);
    bed.task_done(second, Ok("in time"));
    assert_eq!(bed.status("x"), Status::Completed);
    let kinds = bed.events("x");
    assert_eq!(kinds.iter().filter(|kind| **kind == "TaskResultLate").count(), 2, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "TaskCompleted").count(), 1, "{kinds:?}");
}
