//! Calls of entities that are under way when their caller is rewound.

use crate::bed::*;
use crate::entity_bed::*;
use perdura_core::entity::*;
use perdura_core::history::EventKind;
use perdura_core::orchestration::Turn;
use perdura_core::partition::*;
use perdura_core::rewind::{RewindSpec, RewindTo};
use perdura_core::*;

/// A bed on which operations wait until they are run by hand.
fn slow_bed() -> Bed {
    let mut bed = Bed::new();
    calls(&mut bed);
    bed
}

/// `c` calls an entity and waits for the answer.
fn calls(bed: &mut Bed) {
    bed.script("Caller", |turn: &Turn| {
        let ended = |event: &&history::Event| {
            matches!(event.kind, EventKind::EntityOperationCompleted(_) | EventKind::EntityOperationFailed(_))
        };
        match turn.events.iter().find(ended) {
            Some(_) => vec![complete()],
            None if turn.events.len() > 1 => vec![call(0, "@log@a", "add")],
            None => Vec::new(),
        }
    });
    bed.start("c", "Caller");
}

/// Runs what waits.
fn run_operations(bed: &mut Bed) {
    bed.entity("log", log);
    bed.settle();
}

fn terminate(bed: &mut Bed) {
    bed.call(Request::Terminate { id: id("c"), reason: String::new(), recurse: false }).unwrap();
}

fn rewind(bed: &mut Bed, to: RewindTo) {
    let spec = Box::new(RewindSpec { to, force: true, ..RewindSpec::default() });
    bed.call(Request::Rewind { id: id("c"), spec }).unwrap();
}

fn ran_once(bed: &Bed, how: &str) {
    assert_eq!(bed.status("c"), Status::Completed, "{how}");
    assert_eq!(state(bed, "@log@a"), "add;", "{how}");
}

#[test]
fn a_result_that_comes_after_the_termination_of_its_caller_is_used_when_that_is_rewound() {
    for to in [RewindTo::Auto, RewindTo::Beginning, RewindTo::Turn(1)] {
        for crash in [false, true] {
            let mut bed = slow_bed();
            terminate(&mut bed);
            run_operations(&mut bed);
            assert_eq!((bed.status("c"), state(&bed, "@log@a").as_str()), (Status::Terminated, "add;"));
            if crash {
                bed.crash();
            }
            rewind(&mut bed, to.clone());
            ran_once(&bed, &format!("{to:?}, crash {crash}"));
        }
    }
}

#[test]
fn a_call_that_is_under_way_when_its_caller_is_rewound_is_taken_over() {
    for ended in [false, true] {
        for crash in [false, true] {
            let mut bed = slow_bed();
            if ended {
                terminate(&mut bed);
            }
            rewind(&mut bed, RewindTo::Auto);
            rewind(&mut bed, RewindTo::Beginning);
            assert_eq!(bed.status("c"), Status::Running);
            if crash {
                bed.crash();
            }
            run_operations(&mut bed);
            ran_once(&bed, &format!("ended {ended}, crash {crash}"));
            // What it had is there on the branches that follow, also on one that goes on from the first.
            rewind(&mut bed, RewindTo::Beginning);
            ran_once(&bed, "again");
            let spec = RewindSpec { to: RewindTo::Turn(1), branch: Some(0), ..RewindSpec::default() };
            bed.call(Request::Rewind { id: id("c"), spec: Box::new(spec) }).unwrap();
            ran_once(&bed, "from the first branch");
        }
    }
}

#[test]
fn a_result_that_comes_between_a_rewind_and_the_call_that_asks_for_it_is_used() {
    let mut bed = slow_bed();
    bed.elsewhere.insert("Caller".into());
    rewind(&mut bed, RewindTo::Beginning);
    run_operations(&mut bed);
    assert_eq!(state(&bed, "@log@a"), "add;");
    let turn = bed.away.remove(0);
    let decisions = vec![call(0, "@log@a", "add")];
    let result = orchestration::TurnResult { decisions, ..Default::default() };
    let now = bed.now();
    assert!(bed.partition.turn_back(turn.ticket(), orchestration::TurnOutcome::Done(result), now));
    bed.elsewhere.clear();
    bed.settle();
    ran_once(&bed, "after the fact");
}

#[test]
fn a_call_under_way_that_fails_tells_who_took_it_over_and_may_be_called_again_later() {
    let mut bed = slow_bed();
    rewind(&mut bed, RewindTo::Beginning);
    bed.entity("log", |_, _| OperationResult { outcome: Err(Failure::new("E", "no")), actions: Vec::new() });
    bed.settle();
    assert_eq!(bed.status("c"), Status::Completed);
    assert!(bed.events("c").contains(&"EntityOperationFailed"));
    run_operations(&mut bed);
    rewind(&mut bed, RewindTo::Beginning);
    ran_once(&bed, "the second time");
}

#[test]
fn a_call_that_a_request_to_cancel_gave_up_is_taken_over_when_that_is_undone() {
    for early in [false, true] {
        let mut bed = Bed::new();
        bed.script("Caller", |turn: &Turn| match *news(turn).last().unwrap_or(&"") {
            "ExecutionStarted" => vec![call(0, "@log@a", "add")],
            "CancelRequested" => vec![fail("canceled")],
            "EntityOperationCompleted" => vec![complete()],
            _ => Vec::new(),
        });
        bed.start("c", "Caller");
        bed.call(Request::Cancel { id: id("c"), reason: "no more".into() }).unwrap();
        assert_eq!(bed.status("c"), Status::Failed);
        if early {
            run_operations(&mut bed);
        }
        rewind(&mut bed, RewindTo::Beginning);
        run_operations(&mut bed);
        ran_once(&bed, &format!("ended before the rewind: {early}"));
    }
}

#[test]
fn an_operator_who_wants_no_results_again_gets_another_call() {
    let mut bed = slow_bed();
    let mut spec = RewindSpec { to: RewindTo::Beginning, force: true, ..RewindSpec::default() };
    spec.order.no_reuse = true;
    bed.call(Request::Rewind { id: id("c"), spec: Box::new(spec) }).unwrap();
    run_operations(&mut bed);
    assert_eq!((bed.status("c"), state(&bed, "@log@a").as_str()), (Status::Completed, "add;add;"));
}

/// The operation was called under the lock of the branch that was left; the branch after it takes the lock again.
#[test]
fn a_call_within_a_critical_section_is_taken_over_within_the_next_one() {
    for first in [true, false] {
        let mut bed = Bed::new();
        bed.script("Caller", |turn: &Turn| match *news(turn).last().unwrap_or(&"") {
            "ExecutionStarted" => vec![lock(0, &["@log@a"])],
            "EntityLockGranted" => vec![call(1, "@log@a", "add")],
            "EntityOperationCompleted" => vec![unlock(2), complete()],
            _ => Vec::new(),
        });
        bed.start("c", "Caller");
        assert_eq!(holder(&bed, "@log@a"), Some("c".into()));
        if first {
            terminate(&mut bed);
        }
        rewind(&mut bed, RewindTo::Beginning);
        run_operations(&mut bed);
        ran_once(&bed, &format!("terminated first: {first}"));
        assert_eq!(holder(&bed, "@log@a"), None);
    }
}

/// Workers in other languages know an answer by the name that they gave the call.
#[test]
fn the_answer_to_a_call_that_was_taken_over_has_the_name_of_the_new_call() {
    let named = |request: &str| {
        orchestration::Decision::CallEntity(history::EntityOperationCalled {
            id: 0,
            entity: "@log@a".into(),
            operation: "add".into(),
            request: request.into(),
            ..Default::default()
        })
    };
    for early in [false, true] {
        let mut bed = Bed::new();
        bed.elsewhere.insert("Caller".into());
        bed.start("c", "Caller");
        let decide = |bed: &mut Bed, decision: orchestration::Decision| {
            let turn = bed.away.remove(0);
            let result = orchestration::TurnResult { decisions: vec![decision], ..Default::default() };
            let now = bed.now();
            assert!(bed.partition.turn_back(turn.ticket(), orchestration::TurnOutcome::Done(result), now));
            bed.settle();
        };
        decide(&mut bed, named("first"));
        rewind(&mut bed, RewindTo::Beginning);
        if early {
            run_operations(&mut bed);
        }
        decide(&mut bed, named("second"));
        run_operations(&mut bed);
        let turn = bed.away.remove(0);
        let requests: Vec<_> = turn
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::EntityOperationCompleted(done) => Some(done.request.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(requests, ["second"], "ended before it was asked for again: {early}");
    }
}

#[test]
fn a_result_that_waits_for_room_when_its_caller_ends_is_used_when_that_is_rewound() {
    for crash in [false, true] {
        let mut bed = Bed::with_limits(Limits { inbox_bytes_max: 100, ..Limits::default() });
        calls(&mut bed);
        bed.call(Request::Suspend { id: id("c"), reason: "r".repeat(100) }).unwrap();
        run_operations(&mut bed);
        assert_eq!(state(&bed, "@log@a"), "add;");
        let arrived = bed.record("c").inbox_events().unwrap();
        assert!(arrived.iter().all(|event| !matches!(event.kind, EventKind::EntityOperationCompleted(_))));
        terminate(&mut bed);
        if crash {
            bed.crash();
        }
        rewind(&mut bed, RewindTo::Beginning);
        ran_once(&bed, if crash { "after a crash" } else { "" });
    }
}
