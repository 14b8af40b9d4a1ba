//! Suspend, resume, cancel, terminate, purge, and events.

use crate::bed::*;
use perdura_core::partition::{Request, RequestError, StartRequest};
use perdura_core::{Limits, Status, Timestamp};

fn suspend(text: &str) -> Request {
    Request::Suspend { id: id(text), reason: "why".into() }
}

fn resume(text: &str) -> Request {
    Request::Resume { id: id(text), reason: "why".into() }
}

fn terminate(text: &str) -> Request {
    Request::Terminate { id: id(text), reason: "enough".into(), recurse: true }
}

#[test]
fn a_suspended_instance_keeps_everything_in_order_and_runs_nothing() {
    let mut bed = Bed::new();
    let at = bed.now + 10;
    bed.script("x", move |turn| match news(turn).first() {
        Some(&"ExecutionStarted") => vec![task(0, "a"), timer(1, at)],
        _ => {
            let expected =
                ["ExecutionSuspended", "EventRaised", "TaskCompleted", "TimerFired", "ExecutionResumed"];
            assert_eq!(news(turn), expected);
            vec![complete()]
        }
    });
    bed.start("x", "x");
    let task = bed.last_started().task;
    bed.call(suspend("x")).unwrap();
    bed.call(suspend("x")).unwrap();
    assert_eq!(bed.status("x"), Status::Suspended);
    bed.call(raise("x", "e")).unwrap();
    bed.task_done(task, Ok("1"));
    bed.pass(100);
    bed.crash();
    assert_eq!((bed.status("x"), bed.started.len()), (Status::Suspended, 0));
    bed.call(resume("x")).unwrap();
    assert_eq!(bed.status("x"), Status::Completed);
    bed.call(resume("x")).unwrap();
}

#[test]
fn a_suspended_instance_starts_no_attempt_until_it_is_resumed() {
    let mut bed = Bed::new();
    bed.script("x", steps(vec![vec![task(0, "a")]]));
    bed.start("x", "x");
    bed.call(suspend("x")).unwrap();
    bed.crash();
    assert!(bed.started.is_empty());
    bed.call(resume("x")).unwrap();
    assert_eq!(bed.last_started().task.delivery, 2);
}

#[test]
fn terminate_ends_without_running_code_and_tells_running_activities() {
    let mut bed = Bed::new();
    bed.script("x", steps(vec![vec![task(0, "a")]]));
    bed.start("x", "x");
    let task = bed.last_started().task;
    bed.call(suspend("x")).unwrap();
    bed.call(raise("x", "kept")).unwrap();
    bed.call(terminate("x")).unwrap();
    bed.call(terminate("x")).unwrap();
    assert_eq!((bed.status("x"), bed.canceled.as_slice()), (Status::Terminated, &[task][..]));
    let events = bed.events("x");
    assert_eq!(
        events[3..],
        ["ExecutionSuspended", "EventRaised", "ExecutionTerminated", "ExecutionCompleted"]
    );
    assert!(matches!(bed.call(raise("x", "e")), Err(RequestError::Ended { .. })));
}

#[test]
fn an_instance_whose_code_cannot_go_on_fails_without_a_turn_but_not_while_it_is_suspended() {
    let mut bed = Bed::new();
    bed.script("x", steps(vec![vec![task(0, "a")], vec![]]));
    bed.start("x", "x");
    let task = bed.last_started().task;
    let key = task.key;
    bed.call(suspend("x")).unwrap();
    bed.partition.fail(key, perdura_core::Failure::new("E", "stray"), bed.now());
    bed.settle();
    assert_eq!(bed.status("x"), Status::Suspended);
    bed.call(resume("x")).unwrap();
    bed.ask(raise("x", "kept"));
    bed.partition.fail(key, perdura_core::Failure::new("E", "stray"), bed.now());
    bed.settle();
    assert_eq!((bed.status("x"), bed.canceled.as_slice()), (Status::Failed, &[task][..]));
    assert_eq!(bed.events("x")[6..], ["EventRaised", "ExecutionCompleted"]);
    bed.partition.fail(key, perdura_core::Failure::new("E", "again"), bed.now());
    bed.settle();
    assert_eq!(bed.record("x").failure.unwrap().message, "stray");
}

#[test]
fn a_cancel_request_reaches_the_code_and_what_it_waits_for() {
    let mut bed = Bed::new();
    bed.script("x", |turn| match turn.from {
        0 => vec![task(0, "a"), timer(1, i64::MAX), child(2, "c", "kid")],
        _ if news(turn) == ["CancelRequested"] => vec![task(3, "clean up")],
        _ => vec![complete()],
    });
    bed.script("c", |turn| if turn.from == 0 { vec![] } else { vec![complete()] });
    bed.start("x", "x");
    let first = bed.last_started().task;
    bed.call(Request::Cancel { id: id("x"), reason: "stop".into() }).unwrap();
    assert_eq!(bed.canceled, [first]);
    assert_eq!(bed.record("kid").cancel_requested.as_deref(), Some("stop"));
    let clean_up = bed.last_started();
    assert_eq!(clean_up.scheduled.name, "clean up");
    bed.task_done(first, Ok("late"));
    bed.task_done(clean_up.task, Ok("clean"));
    assert_eq!(bed.status("x"), Status::Completed);
}

#[test]
fn an_instance_that_has_not_begun_is_cancelled_at_once() {
    let mut bed = Bed::new();
    let at = Some(perdura_core::Timestamp(bed.now + 1000));
    bed.call(Request::Start(perdura_core::partition::StartRequest { start_at: at, ..start("x", "x") }))
        .unwrap();
    bed.call(Request::Cancel { id: id("x"), reason: "no".into() }).unwrap();
    assert_eq!(bed.status("x"), Status::Canceled);
    bed.pass(2000);
    assert_eq!(bed.status("x"), Status::Canceled);
}

#[test]
fn requests_for_an_unknown_instance_are_refused() {
    let mut bed = Bed::new();
    for request in [raise("x", "e"), suspend("x"), resume("x"), terminate("x"), purge("x")] {
        assert_eq!(bed.call(request).unwrap_err().to_string(), "there is no instance \"x\"");
    }
    assert!(bed.batches.is_empty());
}

#[test]
fn only_an_ended_instance_is_purged_and_nothing_of_it_stays() {
    let mut bed = Bed::new();
    bed.script("x", |turn| if turn.from == 0 { vec![task(0, "a")] } else { vec![complete()] });
    bed.start("x", "x");
    let task = bed.last_started().task;
    let refusal = bed.call(purge("x")).unwrap_err();
    assert_eq!(refusal.to_string(), "instance \"x\" is Running; terminate it first");
    bed.call(terminate("x")).unwrap();
    bed.call(purge("x")).unwrap();
    assert!(bed.rows.is_empty() && bed.history.is_empty());
    bed.task_done(task, Ok("late"));
    assert!(bed.rows.is_empty());
}

#[test]
fn too_many_waiting_events_are_refused_and_none_is_lost() {
    let limits = perdura_core::Limits { inbox_events_max: 3, ..Default::default() };
    let mut bed = Bed::with_limits(limits);
    bed.script("x", |turn| {
        if turn.from > 0 {
            assert_eq!(news(turn).iter().filter(|name| **name == "EventRaised").count(), 2);
        }
        vec![]
    });
    bed.start("x", "x");
    bed.call(suspend("x")).unwrap();
    for _ in 0..2 {
        bed.call(raise("x", "e")).unwrap();
    }
    assert!(matches!(bed.call(raise("x", "e")), Err(RequestError::InboxFull { limit: 3, .. })));
    bed.call(resume("x")).unwrap();
}

#[test]
fn bad_requests_name_field_and_limit() {
    let limits = perdura_core::Limits { payload_bytes_max: 4, ..Default::default() };
    let mut bed = Bed::with_limits(limits);
    bed.script("x", |_| vec![]);
    bed.start("x", "x");
    let mut message = |request: Request| bed.call(request).unwrap_err().to_string();
    let big = Request::Raise {
        id: id("x"),
        name: "e".into(),
        input: Some("12345".into()),
        event_id: String::new(),
    };
    assert_eq!(message(big), "instance \"x\", event: 5 bytes, limit 4");
    assert_eq!(message(raise("x", "")), "event name must not be empty");
    assert_eq!(message(Request::Start(start("y", ""))), "orchestration name must not be empty");
    let mut many = start("y", "x");
    many.tags = (0..33).map(|i| (i.to_string(), String::new())).collect();
    assert_eq!(message(Request::Start(many)), "tags: 33 entries, limit 32");
    let mut late = start("y", "x");
    late.start_at = Some(perdura_core::Timestamp(i64::MAX));
    assert!(message(Request::Start(late)).contains("more than ten years ahead"));
}

#[test]
fn events_from_outside_leave_room_in_the_history_for_the_code_itself() {
    let limits = perdura_core::Limits { history_events_max: 100, ..Default::default() };
    let mut bed = Bed::with_limits(limits);
    bed.script("x", |_| vec![]);
    bed.start("x", "x");
    let refusal = (0..100).find_map(|_| bed.call(raise("x", "e")).err()).expect("a refusal");
    assert!(matches!(refusal, RequestError::HistoryFull { events: 90, limit: 100, .. }), "{refusal}");
}

#[test]
fn pauses_of_an_instance_that_takes_no_turn_do_not_pile_up() {
    let mut bed =
        Bed::with_limits(Limits { inbox_events_max: 10, inbox_bytes_max: 1000, ..Limits::default() });
    let later = StartRequest { start_at: Some(Timestamp(bed.now + 1000)), ..start("x", "o") };
    bed.call(Request::Start(later)).unwrap();
    bed.call(raise("x", "kept")).unwrap();
    for reason in ["r".to_owned(), "r".repeat(1000)] {
        for _ in 0..50 {
            bed.call(Request::Suspend { id: id("x"), reason: reason.clone() }).unwrap();
            bed.call(Request::Resume { id: id("x"), reason: reason.clone() }).unwrap();
        }
        let arrived = bed.record("x").inbox_events().unwrap();
        let names: Vec<_> = arrived.iter().map(|event| event.kind.name()).collect();
        assert!(names.len() <= 11, "{names:?}");
        assert_eq!(
            (names[..2].join(" "), names.last()),
            ("ExecutionStarted EventRaised".into(), Some(&"ExecutionResumed"))
        );
    }
    bed.script("o", |_| vec![complete()]);
    bed.pass(1000);
    assert_eq!(bed.status("x"), Status::Completed);
}
