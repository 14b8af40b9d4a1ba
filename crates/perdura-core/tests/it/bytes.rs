//! What waits for an instance and what it writes is bounded in bytes.

use crate::bed::*;
use ::bytes::Bytes;
use perdura_core::history::{EventKind, EventSent, ExecutionCompleted};
use perdura_core::orchestration::{Decision, Turn};
use perdura_core::partition::{Request, RequestError};
use perdura_core::{Limits, Status};

const PAYLOAD: usize = 1000;
const BYTES_MAX: usize = 3000;
/// One payload may come on top of the limit, and a few small things.
const RECORD_MAX: usize = BYTES_MAX + PAYLOAD + 1000;
/// What waited, a turn that was begun before the row was full, and what it decided.
const ROW_MAX: usize = 3 * BYTES_MAX;

fn bed() -> Bed {
    Bed::with_limits(Limits {
        inbox_bytes_max: BYTES_MAX,
        turn_bytes_max: BYTES_MAX,
        inbox_events_max: 1000,
        ..Limits::default()
    })
}

fn payload() -> &'static str {
    static TEXT: [u8; PAYLOAD] = [b'.'; PAYLOAD];
    std::str::from_utf8(&TEXT).unwrap()
}

fn suspend(text: &str) -> Request {
    Request::Suspend { id: id(text), reason: "why".into() }
}

fn resume(text: &str) -> Request {
    Request::Resume { id: id(text), reason: "why".into() }
}

fn raise_large(text: &str) -> Request {
    Request::Raise {
        id: id(text),
        name: "e".into(),
        input: Some(Bytes::from(payload())),
        event_id: String::new(),
    }
}

/// Begins with `first`, and ends when it has heard of so many ends.
fn collects(first: Vec<Decision>, kind: &'static str) -> impl FnMut(&Turn) -> Vec<Decision> + 'static {
    let (mut first, mut left) = (first, 0);
    move |turn| {
        if !first.is_empty() {
            left = first.len();
            return std::mem::take(&mut first);
        }
        left -= news(turn).iter().filter(|name| **name == kind).count();
        if left == 0 { vec![complete()] } else { vec![] }
    }
}

fn assert_small(bed: &Bed) {
    for write in bed.batches.iter().flat_map(|batch| &batch.writes) {
        assert!(write.row.record.len() <= RECORD_MAX, "a record of {} bytes", write.row.record.len());
        let history = write.history.as_ref().map_or(0, |row| row.events.len());
        assert!(history <= ROW_MAX, "a history row of {history} bytes");
    }
}

#[test]
fn results_that_arrive_together_are_recorded_in_pieces_and_each_once() {
    let mut bed = bed();
    bed.script("x", collects((0..40).map(|number| task(number, "a")).collect(), "TaskCompleted"));
    bed.start("x", "x");
    bed.call(suspend("x")).unwrap();
    for start in std::mem::take(&mut bed.started) {
        bed.task_done(start.task, Ok(payload()));
    }
    bed.call(resume("x")).unwrap();
    assert_eq!(bed.status("x"), Status::Completed);
    assert_eq!(bed.events("x").iter().filter(|name| **name == "TaskCompleted").count(), 40);
    assert_small(&bed);
}

#[test]
fn a_result_that_found_no_room_is_not_lost_in_a_crash_its_activity_runs_again() {
    let mut bed = bed();
    bed.script("x", collects((0..10).map(|number| task(number, "a")).collect(), "TaskCompleted"));
    bed.start("x", "x");
    bed.call(suspend("x")).unwrap();
    for start in std::mem::take(&mut bed.started) {
        bed.task_done(start.task, Ok(payload()));
    }
    bed.crash();
    bed.call(resume("x")).unwrap();
    let again = std::mem::take(&mut bed.started);
    assert!(!again.is_empty() && again.len() < 10, "{} of 10", again.len());
    for start in again {
        assert_eq!(start.task.delivery, 2);
        bed.task_done(start.task, Ok(payload()));
    }
    assert_eq!(bed.status("x"), Status::Completed);
    assert_small(&bed);
}

#[test]
fn a_result_that_waits_for_room_is_not_late() {
    use perdura_core::history::{TaskScheduled, TimeLimits};
    let mut bed = bed();
    let limits = Some(TimeLimits { attempt_ms: 100, total_ms: 1000, heartbeat_ms: 50 });
    let limited = move |id| TaskScheduled { id, name: "a".into(), limits, ..Default::default() };
    bed.script("x", collects((0..10).map(|n| Decision::ScheduleTask(limited(n))).collect(), "TaskCompleted"));
    bed.start("x", "x");
    bed.call(suspend("x")).unwrap();
    for start in std::mem::take(&mut bed.started) {
        bed.task_done(start.task, Ok(payload()));
    }
    bed.pass(5000);
    bed.call(resume("x")).unwrap();
    assert_eq!(bed.status("x"), Status::Completed);
}

/// A suspended parent whose ten children have answered; gives how many answers are kept as messages.
fn parent_of_ten(bed: &mut Bed) -> usize {
    let children = (0..10).map(|number| child(number, "c", "")).collect();
    bed.script("x", collects(children, "SubOrchestrationCompleted"));
    bed.script("c", |turn| match news(turn).first() {
        Some(&"EventRaised") => {
            let output = Some(Bytes::from(payload()));
            vec![Decision::Complete(ExecutionCompleted::new(Status::Completed, output, None))]
        }
        _ => vec![],
    });
    bed.start("x", "x");
    bed.call(suspend("x")).unwrap();
    for child in bed.record("x").children {
        bed.call(raise(&child.instance, "end")).unwrap();
    }
    let stored = bed.batches.iter().map(|batch| batch.outgoing.len()).sum();
    assert!(stored > 0, "what waits for room must survive a crash");
    stored
}

fn consumed(bed: &Bed) -> usize {
    bed.batches.iter().map(|batch| batch.consumed.len()).sum()
}

#[test]
fn answers_of_children_that_find_no_room_wait_in_the_store() {
    let mut bed = bed();
    let stored = parent_of_ten(&mut bed);
    bed.call(resume("x")).unwrap();
    assert_eq!((bed.status("x"), consumed(&bed)), (Status::Completed, stored));
    assert_small(&bed);
}

#[test]
fn what_waits_for_room_goes_when_its_instance_ends() {
    let mut bed = bed();
    let stored = parent_of_ten(&mut bed);
    bed.call(Request::Terminate { id: id("x"), reason: "why".into(), recurse: true }).unwrap();
    assert_eq!((bed.status("x"), consumed(&bed)), (Status::Terminated, stored));
}

#[test]
fn an_event_that_would_make_the_inbox_too_large_is_refused_until_some_are_taken() {
    let mut bed = bed();
    bed.script("x", |_| vec![]);
    bed.start("x", "x");
    bed.call(suspend("x")).unwrap();
    let refusal = std::iter::repeat_with(|| bed.call(raise_large("x"))).take(100).find_map(Result::err);
    let Some(RequestError::InboxTooLarge { limit, .. }) = refusal else { panic!("{refusal:?}") };
    assert_eq!(limit, BYTES_MAX);
    assert_small(&bed);
    bed.call(resume("x")).unwrap();
    bed.call(raise_large("x")).unwrap();
}

#[test]
fn an_event_from_an_instance_that_finds_no_room_is_refused_and_the_senders_history_says_so() {
    let mut bed = bed();
    bed.script("x", |_| vec![]);
    bed.start("x", "x");
    bed.call(suspend("x")).unwrap();
    let send = |id| {
        let input = Some(Bytes::from(payload()));
        Decision::SendEvent(EventSent { id, instance: "x".into(), name: "e".into(), input })
    };
    bed.script("sender", steps(vec![(0..8).map(send).collect()]));
    bed.start("s", "sender");
    assert_small(&bed);
    let arrived = bed.record("x").inbox_events().unwrap().len() - 1;
    let refused = bed.events("s").iter().filter(|name| **name == "EventRefused").count();
    assert_eq!((arrived + refused, refused > 0), (8, true));
    let key = bed.rows.values().find(|row| row.id.as_str() == "s").unwrap().key;
    let told = bed.history[&(key, 1)].iter().find_map(|event| match &event.kind {
        EventKind::EventRefused(refused) => Some(refused.clone()),
        _ => None,
    });
    let told = told.unwrap();
    assert_eq!(told.id as usize, arrived);
    assert!(told.failure.unwrap().message.contains("limit 3000"));
}

#[test]
fn limits_of_no_bytes_let_one_thing_in_at_a_time() {
    let mut bed = Bed::with_limits(Limits { inbox_bytes_max: 0, turn_bytes_max: 0, ..Limits::default() });
    bed.script("Parent", |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![child(0, "Kid", "kid"), task(1, "t")],
        ["SubOrchestrationCompleted"] => Vec::new(),
        _ => vec![complete()],
    });
    bed.script("Kid", |_| vec![complete()]);
    bed.start("p", "Parent");
    let task = bed.last_started().task;
    bed.task_done(task, Ok("done"));
    assert_eq!(bed.status("p"), Status::Completed);
}
