//! Plans of rewinds, as values; and what the processor does with the events that come at the wrong moment.

use crate::bed::*;
use bytes::Bytes;
use perdura_core::history::*;
use perdura_core::orchestration::Decision;
use perdura_core::partition::{InstanceRecord, Request, Response};
use perdura_core::rewind::{
    Because, BranchRecord, RewindError, RewindOrder, RewindPlan, RewindSpec, RewindTo, Rewinds, Subject,
    TimerDue, Timers, plan,
};
use perdura_core::{Failure, Status, Timestamp};
use std::collections::BTreeMap;

fn event(at: i64, kind: impl Into<EventKind>) -> Event {
    Event::new(Timestamp(at), kind)
}

fn scheduled(id: u32, name: &str) -> TaskScheduled {
    TaskScheduled { id, name: name.into(), ..TaskScheduled::default() }
}

fn failed(id: u32, message: &str) -> TaskFailed {
    TaskFailed {
        id,
        failure: Some(Failure::new("E", message)),
        attempt: 1,
        delivery: 1,
        settled_by: String::new(),
    }
}

fn done(id: u32) -> TaskCompleted {
    TaskCompleted { id, output: None, attempt: 1, delivery: 1, settled_by: String::new() }
}

fn ended(message: &str) -> ExecutionCompleted {
    ExecutionCompleted::new(Status::Failed, None, Some(Failure::new("E", message)))
}

fn record(status: Status, events: &[Event]) -> InstanceRecord {
    InstanceRecord {
        id: "x".into(),
        status: u32::from(status as u8),
        generation: 1,
        tail: events.len() as u64,
        ..InstanceRecord::default()
    }
}

fn planned(events: &[Event], spec: &RewindSpec, now: i64) -> Result<RewindPlan, RewindError> {
    let record = record(Status::Failed, events);
    plan(
        Subject { record: &record, history: events, pending: &[], present: &[], others: &BTreeMap::new() },
        spec,
        Timestamp(now),
    )
}

fn timers(timers: Timers) -> RewindSpec {
    let order = RewindOrder { timers: timers.into(), ..RewindOrder::default() };
    RewindSpec { order, ..RewindSpec::default() }
}

#[test]
fn ext2350_the_time_that_a_timer_had_left_is_counted_from_the_cut() {
    let events = [
        event(1000, TurnStarted::default()),
        event(1000, ExecutionStarted::default()),
        event(1000, TimerCreated { id: 0, fire_at: 61_000 }),
        event(1000, scheduled(1, "a")),
        event(11_000, TurnStarted::default()),
        event(11_000, failed(1, "boom")),
        event(11_000, ended("boom")),
    ];
    let due = |timers_kept| planned(&events, &timers(timers_kept), 500_000).unwrap().timers[0].due.0;
    assert_eq!(due(Timers::Extend), 550_000);
    assert_eq!(due(Timers::Keep), 61_000);
    assert_eq!(due(Timers::Restart), 560_000);
}

#[test]
fn the_time_that_an_extended_timer_has_left_is_counted_from_the_next_cut() {
    let extended =
        ExecutionRewound { timers: vec![TimerDue { event: 2, at: 550_000 }], ..Default::default() };
    let events = [
        event(1000, TurnStarted::default()),
        event(1000, ExecutionStarted::default()),
        event(1000, TimerCreated { id: 0, fire_at: 61_000 }),
        event(1000, scheduled(1, "a")),
        event(500_000, extended),
        event(510_000, TurnStarted::default()),
        event(510_000, failed(1, "boom again")),
        event(510_000, ended("boom again")),
    ];
    let due = |timers_kept| planned(&events, &timers(timers_kept), 1_000_000).unwrap().timers[0].due.0;
    assert_eq!(due(Timers::Extend), 1_040_000);
    assert_eq!(due(Timers::Keep), 550_000);
    assert_eq!(due(Timers::Restart), 1_060_000);
}

/// Two calls fail with the same text; the first was caught, and the code went on from it.
#[test]
fn dotnet802_equal_failures_are_told_apart_by_what_the_code_did_between_them() {
    let events = [
        event(1, TurnStarted::default()),
        event(1, ExecutionStarted::default()),
        event(1, scheduled(0, "a")),
        event(2, TurnStarted::default()),
        event(2, failed(0, "boom")),
        event(2, scheduled(1, "b")),
        event(3, TurnStarted::default()),
        event(3, failed(1, "boom")),
        event(3, ended("boom")),
    ];
    let plan = planned(&events, &RewindSpec::default(), 10).unwrap();
    assert_eq!((plan.cut, plan.because), (6, Because::Failure { event: 7 }));
    assert_eq!(plan.rerun.iter().map(|work| work.event).collect::<Vec<_>>(), [5]);
}

/// A call fails and is caught, two more succeed, and a fourth one does as `last` says before the code ends with `message`.
fn cut_after_a_caught_failure(last: EventKind, message: &str) -> (u64, Because) {
    let mut events = vec![event(1, TurnStarted::default()), event(1, ExecutionStarted::default())];
    let results: [EventKind; 4] = [failed(0, "x is broken").into(), done(1).into(), done(2).into(), last];
    for (id, result) in (0..).zip(results) {
        events.extend([event(1, scheduled(id, "a")), event(2, TurnStarted::default()), event(2, result)]);
    }
    events.push(event(2, ended(message)));
    let plan = planned(&events, &RewindSpec::default(), 10).unwrap();
    (plan.cut, plan.because)
}

#[test]
fn a_caught_failure_whose_text_is_a_part_of_what_the_code_says_at_its_end_is_not_what_ended_it() {
    let cut = |message| cut_after_a_caught_failure(done(3).into(), message);
    assert_eq!(cut("could not ship: x is broken down into parts"), (12, Because::LastTurn));
    // What a context makes of an error that the code gives up for, after it has cleaned up.
    assert_eq!(cut("could not ship: x is broken"), (3, Because::Failure { event: 4 }));
    assert_eq!(cut("2 errors (x is broken) (y too)"), (3, Because::Failure { event: 4 }));
}

#[test]
fn a_caught_failure_that_the_code_went_on_from_and_only_mentions_did_not_end_it_if_another_can_have() {
    let cut = |message| cut_after_a_caught_failure(failed(3, "no money").into(), message);
    assert_eq!(cut("gave up (x is broken) long ago"), (12, Because::Failure { event: 13 }));
    assert_eq!(cut("could not ship: x is broken"), (3, Because::Failure { event: 4 }));
}

#[test]
fn js299_a_sibling_that_failed_while_the_code_waited_for_the_rest_runs_again_too() {
    let events = [
        event(1, TurnStarted::default()),
        event(1, ExecutionStarted::default()),
        event(1, scheduled(0, "a")),
        event(1, scheduled(1, "b")),
        event(1, scheduled(2, "c")),
        event(2, TurnStarted::default()),
        event(2, failed(0, "first")),
        event(3, TurnStarted::default()),
        event(3, done(2)),
        event(4, TurnStarted::default()),
        event(4, failed(1, "second")),
        event(4, ended("second")),
    ];
    let plan = planned(&events, &RewindSpec::default(), 10).unwrap();
    assert_eq!((plan.cut, plan.carried), (5, vec![8]));
    assert_eq!(plan.rerun.iter().map(|work| work.task).collect::<Vec<_>>(), [0, 1]);
}

/// Some SDKs schedule every try of a call under the same number.
#[test]
fn dt811_tries_under_one_number_are_one_row_of_tries() {
    let mut events = vec![event(1, TurnStarted::default()), event(1, ExecutionStarted::default())];
    for (try_, timer) in [(1, 10), (2, 11)] {
        events.extend([
            event(try_, scheduled(0, "a")),
            event(try_, TurnStarted::default()),
            event(try_, failed(0, "boom")),
            event(try_, TimerCreated { id: timer, fire_at: try_ + 1 }),
            event(try_ + 1, TurnStarted::default()),
            event(try_ + 1, TimerFired { id: timer }),
        ]);
    }
    events.extend([
        event(9, scheduled(0, "a")),
        event(9, TurnStarted::default()),
        event(9, failed(0, "boom")),
        event(9, ended("boom")),
    ]);
    let plan = planned(&events, &RewindSpec::default(), 10).unwrap();
    assert_eq!((plan.cut, plan.because), (3, Because::Failure { event: 4 }));
    assert_eq!((plan.rerun.len(), plan.timers.len()), (1, 0));
}

#[test]
fn a_plan_that_goes_back_far_keeps_its_order_and_counts_what_it_drops() {
    let mut events = vec![event(1, TurnStarted::default()), event(1, ExecutionStarted::default())];
    for id in 0..2500 {
        events.extend([
            event(2, scheduled(id, "a")),
            event(2, TurnStarted::default()),
            event(2, EventRaised { name: "e".into(), input: None }),
            event(2, done(id)),
        ]);
    }
    events.push(event(3, ended("a bug")));
    let spec = RewindSpec { to: RewindTo::Beginning, ..RewindSpec::default() };
    let plan = planned(&events, &spec, 10).unwrap();
    assert_eq!((plan.carried.len(), plan.reused.len(), plan.visible.len()), (2501, 2500, 2500));
    assert!(plan.carried.is_sorted());
    let last = planned(&events, &RewindSpec::default(), 10).unwrap();
    assert_eq!((last.because, last.turns_kept), (Because::LastTurn, 2500));
}

/// An event that is acknowledged while the last turn is away is delivered by a rewind.
#[test]
fn an_event_that_came_during_the_last_turn_is_not_lost_to_a_rewind() {
    let mut bed = Bed::new();
    bed.script("x", |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![task(0, "a")],
        ["TaskCompleted"] => vec![complete()],
        ["TaskCompleted", "EventRaised"] => vec![complete()],
        ref other => panic!("{other:?}"),
    });
    bed.start("x", "x");
    let task = bed.last_started().task;
    bed.partition.task_done(task, Ok(Some(Bytes::from("1"))), bed.now());
    let turn = bed.partition.next_turn().expect("a turn");
    bed.partition.park_turn(turn);
    bed.call(raise("x", "late")).unwrap();
    bed.settle();
    assert_eq!((bed.status("x"), bed.record("x").inbox_events().unwrap().len()), (Status::Completed, 1));
    let spec = Box::new(RewindSpec::default());
    let answer = bed.call(Request::Rewind { id: id("x"), spec });
    assert_eq!(answer, Ok(Response::Rewound { branch: 1, cut: 3 }));
    assert_eq!((bed.status("x"), bed.record("x").inbox_events().unwrap().len()), (Status::Completed, 0));
    assert_eq!(bed.events("x")[3..6], ["ExecutionRewound", "TurnStarted", "TaskCompleted"]);
}

/// Also the start itself, when a branch is left before its first turn, and by way of another branch.
#[test]
fn what_had_arrived_on_a_branch_is_there_again_when_one_comes_back_from_a_third() {
    let mut bed = Bed::new();
    bed.script("x", |_| Vec::new());
    bed.start("x", "x");
    bed.elsewhere.insert("x".into());
    let mut to = |to, branch| {
        let spec = Box::new(RewindSpec { to, branch, force: true, ..RewindSpec::default() });
        bed.call(Request::Rewind { id: id("x"), spec }).unwrap();
        let pending = bed.record("x").inbox_events().unwrap();
        pending.iter().map(|event| event.kind.name()).collect::<Vec<_>>()
    };
    assert_eq!(to(RewindTo::Beginning, None), ["ExecutionStarted"]);
    assert_eq!(to(RewindTo::Head, Some(0)), [""; 0]);
    assert_eq!(to(RewindTo::Head, Some(1)), ["ExecutionStarted"]);
}

/// A section of two entities that gives them up by `unlocks`, then an activity that fails.
fn section(granted: bool, unlocks: &[&[&str]]) -> Vec<Event> {
    let set = vec!["@log@a".to_owned(), "@log@b".to_owned()];
    let mut events = vec![
        event(1, TurnStarted::default()),
        event(1, ExecutionStarted::default()),
        event(1, EntityLockRequested { id: 0, set, ..EntityLockRequested::default() }),
        event(2, TurnStarted::default()),
    ];
    if granted {
        events.push(event(2, EntityLockGranted { id: 0, ..EntityLockGranted::default() }));
    }
    for (id, entities) in (1..).zip(unlocks) {
        let entities = entities.iter().map(ToString::to_string).collect();
        events.push(event(2, EntityUnlockSent { id, entities, ..EntityUnlockSent::default() }));
    }
    events.extend([
        event(2, scheduled(9, "t")),
        event(3, TurnStarted::default()),
        event(3, failed(9, "boom")),
        event(3, ended("boom")),
    ]);
    events
}

#[test]
fn a_rewind_goes_back_into_no_section_that_was_given_up_entity_by_entity() {
    let cut = |events: &[Event]| planned(events, &RewindSpec::default(), 9).unwrap().cut;
    for (granted, unlocks) in [
        (true, vec![&[][..]]),
        (true, vec![&["@log@a"][..], &["@log@b"]]),
        (true, vec![&["@log@b", "@log@a"][..]]),
        (false, vec![&["@log@a"][..]]),
    ] {
        let events = section(granted, &unlocks);
        assert_eq!(cut(&events), events.len() as u64 - 3, "{unlocks:?}");
    }
    // It holds one of them still.
    for unlocks in [vec![], vec![&["@log@b"][..]]] {
        assert_eq!(cut(&section(true, &unlocks)), 0, "{unlocks:?}");
    }
}

#[test]
fn a_rewind_goes_back_before_no_lock_that_was_refused() {
    let mut events = section(false, &[]);
    let refused = Failure::new("E", "they would wait for ever");
    events
        .insert(4, event(2, EntityOperationFailed { id: 0, failure: Some(refused), request: String::new() }));
    let cut = planned(&events, &RewindSpec::default(), 9).unwrap().cut;
    assert_eq!(cut, events.len() as u64 - 3);
}

#[test]
fn the_event_of_a_rewind_names_the_end_of_what_it_kept() {
    let events = [
        event(1, TurnStarted::default()),
        event(1, ExecutionStarted::default()),
        event(1, scheduled(0, "a")),
        event(5, ExecutionRewound::default()),
        event(6, TurnStarted::default()),
        event(6, failed(0, "boom")),
        event(6, ended("boom")),
    ];
    let cut = |at| planned(&events, &RewindSpec { to: RewindTo::Event(at), ..RewindSpec::default() }, 10);
    let cuts: Vec<_> = (0..7).map(|at| cut(at).unwrap().cut).collect();
    assert_eq!(cuts, [0, 0, 0, 3, 4, 4, 4]);
}

#[test]
fn the_event_of_a_termination_names_what_no_turn_had_taken_before_it_too() {
    let events = [
        event(1, TurnStarted::default()),
        event(1, ExecutionStarted::default()),
        event(1, scheduled(0, "a")),
        event(5, EventRaised { name: "go".into(), input: None }),
        event(5, ExecutionTerminated { reason: "r".into(), recurse: false, untaken: 1 }),
        event(5, ExecutionCompleted::new(Status::Terminated, None, None)),
    ];
    let cut = |at| planned(&events, &RewindSpec { to: RewindTo::Event(at), ..RewindSpec::default() }, 10);
    let cuts: Vec<_> = (0..6).map(|at| cut(at).unwrap().cut).collect();
    assert_eq!(cuts, [0, 0, 0, 3, 3, 3]);
}

#[test]
fn at_the_limit_of_branches_one_can_go_back_to_the_end_of_any_of_them() {
    let events = [
        event(1, TurnStarted::default()),
        event(1, ExecutionStarted::default()),
        event(1, scheduled(0, "a")),
        event(2, TurnStarted::default()),
        event(2, failed(0, "boom")),
        event(2, ended("boom")),
    ];
    let opened = |branch| BranchRecord { branch, cut: 3, ..BranchRecord::default() };
    let rewinds = Rewinds { branches: (1..=100).map(opened).collect(), ..Rewinds::default() };
    let record =
        InstanceRecord { branch: 100, rewinds: Some(Box::new(rewinds)), ..record(Status::Failed, &events) };
    let subject = Subject {
        record: &record,
        history: &events,
        pending: &[],
        present: &events,
        others: &BTreeMap::new(),
    };
    let to = |to| RewindSpec { branch: Some(0), to, ..RewindSpec::default() };
    let back = plan(subject, &to(RewindTo::Head), Timestamp(10)).unwrap();
    assert_eq!((back.branch, back.cut, back.because), (0, 6, Because::Head));
    let refused = plan(subject, &to(RewindTo::Auto), Timestamp(10)).unwrap_err();
    assert_eq!(refused, RewindError::TooManyBranches { limit: 100 });
}

#[test]
fn a_child_that_runs_again_has_the_input_that_it_is_given_now_also_if_that_is_none() {
    let mut bed = Bed::new();
    bed.script("Kid", |_| vec![complete()]);
    for (round, input) in [Some("a"), None, Some("b")].into_iter().enumerate() {
        let input = input.map(Bytes::from);
        let mut kid = child(0, "Kid", "kid");
        if let Decision::ScheduleSubOrchestration(scheduled) = &mut kid {
            scheduled.input.clone_from(&input);
        }
        bed.script("Parent", steps(vec![vec![kid], vec![complete()]]));
        if round == 0 {
            bed.start("x", "Parent");
        } else {
            let order = RewindOrder { no_reuse: true, ..RewindOrder::default() };
            let spec = RewindSpec { order, to: RewindTo::Beginning, ..RewindSpec::default() };
            bed.call(Request::Rewind { id: id("x"), spec: Box::new(spec) }).unwrap();
        }
        assert_eq!((bed.status("x"), bed.record("kid").branch), (Status::Completed, round as u32));
        let row = &bed.rows.values().find(|row| row.id == id("kid")).unwrap();
        let started = bed.history_of(row).into_iter().find_map(|event| match event.kind {
            EventKind::ExecutionStarted(started) => Some(started.input),
            _ => None,
        });
        assert_eq!(started, Some(input));
    }
}
