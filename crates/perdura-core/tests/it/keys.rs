//! Idempotency keys of calls, and ids of events.

use crate::bed::*;
use perdura_core::failure::kind;
use perdura_core::history::{EventKind, TaskScheduled};
use perdura_core::limits::{KEYS_BYTES_MAX, KEYS_REMEMBERED};
use perdura_core::orchestration::{Decision, Turn};
use perdura_core::partition::{Request, RequestError};
use perdura_core::rewind::{Replaced, RewindError, RewindOrder, RewindSpec, RewindTo};
use perdura_core::{Failure, Status};

fn keyed(id: u32, key: &str, input: &'static str) -> Decision {
    let (name, input) = ("pay".into(), Some(input.into()));
    Decision::ScheduleTask(TaskScheduled { id, name, input, key: Some(key.into()), ..Default::default() })
}

/// Results of activities that a turn brings: the number, and the text or the kind of the failure.
fn results(turn: &Turn) -> Vec<(u32, String)> {
    let result = |kind: &EventKind| match kind {
        EventKind::TaskCompleted(done) => {
            Some((done.id, String::from_utf8(done.output.clone().unwrap_or_default().into()).unwrap()))
        }
        EventKind::TaskFailed(failed) => Some((failed.id, failed.failure.clone().unwrap().kind)),
        _ => None,
    };
    turn.events.iter().filter_map(|event| result(&event.kind)).collect()
}

/// An orchestration that takes a step with each result, and says in the end what it got.
fn sequence(steps: Vec<Vec<Decision>>) -> impl FnMut(&Turn) -> Vec<Decision> + 'static {
    let (mut steps, mut seen) = (steps.into_iter(), Vec::new());
    let mut open = 0;
    move |turn| {
        let got = results(turn);
        open -= got.len();
        seen.extend(got);
        if open > 0 {
            return Vec::new();
        }
        match steps.next() {
            Some(step) => {
                open = step.len();
                step
            }
            None => vec![fail(&format!("{seen:?}"))],
        }
    }
}

fn seen(bed: &Bed) -> String {
    bed.record("x").failure.unwrap().message
}

#[test]
fn a_call_under_a_recorded_key_gets_the_result_without_running() {
    let mut bed = Bed::new();
    let other = keyed(2, "k", "other input");
    bed.script("o", sequence(vec![vec![keyed(0, "k", "i")], vec![keyed(1, "k", "i")], vec![other]]));
    bed.start("x", "o");
    bed.task_done(bed.last_started().task, Ok("receipt"));
    assert_eq!(bed.started.len(), 1);
    assert_eq!(seen(&bed), format!(r#"[(0, "receipt"), (1, "receipt"), (2, "{}")]"#, kind::KEY_REUSED));
}

#[test]
fn inputs_of_one_length_and_crc_are_not_taken_for_each_other() {
    let mut bed = Bed::new();
    bed.script("o", sequence(vec![vec![keyed(0, "k", "plumless")], vec![keyed(1, "k", "buckeroo")]]));
    bed.start("x", "o");
    bed.task_done(bed.last_started().task, Ok("receipt"));
    assert_eq!(seen(&bed), format!(r#"[(0, "receipt"), (1, "{}")]"#, kind::KEY_REUSED));
}

#[test]
fn calls_under_one_key_at_once_share_one_execution_across_a_crash() {
    let mut bed = Bed::new();
    let step = vec![keyed(0, "k", "i"), keyed(1, "k", "i"), keyed(2, "other", "i"), keyed(3, "k", "not i")];
    bed.script("o", sequence(vec![step]));
    bed.start("x", "o");
    assert_eq!(bed.started.len(), 2);
    bed.crash();
    assert_eq!(bed.started.len(), 2, "who shares does not run after a crash either");
    for start in bed.started.clone() {
        bed.task_done(start.task, Ok("one"));
    }
    assert_eq!(bed.status("x"), Status::Failed);
    let seen = seen(&bed);
    for expected in
        [r#"(0, "one")"#, r#"(1, "one")"#, r#"(2, "one")"#, r#"(3, "perdura.IdempotencyKeyReused")"#]
    {
        assert!(seen.contains(expected), "{seen}");
    }
}

#[test]
fn a_failure_is_shared_but_not_recorded() {
    let mut bed = Bed::new();
    let both = vec![keyed(0, "k", "i"), keyed(1, "k", "i")];
    bed.script("o", sequence(vec![both, vec![keyed(2, "k", "i")]]));
    bed.start("x", "o");
    bed.task_done(bed.last_started().task, Err(Failure::new("E", "no")));
    assert_eq!(bed.started.len(), 2);
    bed.task_done(bed.last_started().task, Ok("yes"));
    assert_eq!(seen(&bed), r#"[(0, "E"), (1, "E"), (2, "yes")]"#);
}

#[test]
fn the_window_moves_and_keeps_within_its_bytes() {
    let mut bed = Bed::new();
    let large: &'static str = String::leak("x".repeat(KEYS_BYTES_MAX / 4));
    let count = KEYS_REMEMBERED as u32 + 2;
    let mut steps: Vec<_> = (0..count).map(|n| vec![keyed(n, &format!("k{n}"), "i")]).collect();
    steps.extend((0..6).map(|n| vec![keyed(count + n, &format!("large{n}"), "i")]));
    steps.push(vec![Decision::ScheduleTask(TaskScheduled {
        id: 999,
        name: "wait".into(),
        ..Default::default()
    })]);
    bed.script("o", sequence(steps));
    bed.start("x", "o");
    for _ in 0..count {
        bed.task_done(bed.last_started().task, Ok("one"));
    }
    let known = bed.record("x").keys.unwrap().known;
    assert_eq!((known.len(), known[0].key.as_str()), (KEYS_REMEMBERED, "k2"));
    for _ in 0..6 {
        bed.task_done(bed.last_started().task, Ok(large));
    }
    let known = bed.record("x").keys.unwrap().known;
    let bytes: usize =
        known.iter().filter_map(|known| known.output.as_ref()).map(|output| output.len()).sum();
    assert!(bytes <= KEYS_BYTES_MAX && bytes > KEYS_BYTES_MAX / 2, "{bytes}");
    assert_eq!(known.last().unwrap().output.as_deref(), Some(large.as_bytes()));
    assert_eq!(
        (known.len(), known[0].dropped),
        (KEYS_REMEMBERED, 3),
        "that they have ended well is remembered"
    );
}

#[test]
fn keys_that_break_a_rule_are_refused_where_a_worker_elsewhere_uses_them() {
    for key in [String::new(), "k".repeat(513)] {
        let mut bed = Bed::new();
        bed.elsewhere.insert("o".into());
        bed.start("x", "o");
        let turn = bed.away.pop().unwrap();
        let result = perdura_core::orchestration::TurnResult {
            decisions: vec![keyed(0, &key, "i")],
            ..Default::default()
        };
        let outcome = perdura_core::orchestration::TurnOutcome::Done(result);
        let now = bed.now();
        bed.partition.turn_back(turn.ticket(), outcome, now);
        bed.settle();
        assert_eq!(bed.status("x"), Status::Failed);
        assert!(seen(&bed).contains("idempotency key"), "{}", seen(&bed));
    }
}

#[test]
fn an_event_whose_id_has_come_is_not_taken_again() {
    let raise = |event_id: &str| Request::Raise {
        id: id("x"),
        name: "e".into(),
        input: None,
        event_id: event_id.into(),
    };
    let mut bed = Bed::new();
    bed.script("o", |_| Vec::new());
    bed.start("x", "o");
    for event_id in ["a", "a", "b", "", ""] {
        bed.call(raise(event_id)).unwrap();
        bed.crash();
    }
    bed.call(raise("a")).unwrap();
    for (name, input) in [("f", None), ("e", Some("1".into()))] {
        let other = Request::Raise { id: id("x"), name: name.into(), input, event_id: "a".into() };
        let refused = bed.call(other).unwrap_err().to_string();
        assert_eq!(
            refused,
            "instance \"x\": event id \"a\" was used for a different event; use a new event id"
        );
    }
    assert_eq!(bed.events("x").iter().filter(|name| **name == "EventRaised").count(), 4);
    bed.call(Request::Terminate { id: id("x"), reason: String::new(), recurse: false }).unwrap();
    bed.call(raise("b")).unwrap();
    assert!(matches!(bed.call(raise("c")), Err(RequestError::Ended { .. })));
    assert!(matches!(bed.call(raise(&"a".repeat(513))), Err(RequestError::Invalid(_))));
}

#[test]
fn the_input_of_a_call_whose_key_has_a_result_cannot_be_replaced_by_a_rewind() {
    let mut bed = Bed::new();
    bed.script("o", sequence(vec![vec![keyed(0, "k", "i")]]));
    bed.start("x", "o");
    let (task, scheduled) = (bed.last_started().task, 2);
    bed.task_done(task, Ok("1"));
    let input = Replaced { event: scheduled, payload: Some("other".into()) };
    let order = RewindOrder { rerun: vec!["pay".into()], ..RewindOrder::default() };
    let to = RewindTo::Event(scheduled + 2);
    let spec = RewindSpec { order, to, inputs: vec![input], force: true, ..RewindSpec::default() };
    let events = bed.events("x").len();
    match bed.call(Request::Rewind { id: id("x"), spec: Box::new(spec) }) {
        Err(RequestError::Rewind { error, .. }) => {
            assert!(matches!(*error, RewindError::InputFixed { event, .. } if event == scheduled), "{error}");
            assert!(error.to_string().contains("idempotency key"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((bed.events("x").len(), bed.record("x").branch), (events, 0));
}
