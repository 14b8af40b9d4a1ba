//! Rewinds to a branch that is not the present one: two histories are read, and the instance may move on meanwhile.

use crate::bed::*;
use perdura_core::history::EventKind;
use perdura_core::orchestration::{Turn, TurnOutcome, TurnResult};
use perdura_core::partition::{HistoryName, Need, Request, RequestError};
use perdura_core::rewind::{RewindError, RewindSpec, RewindTo};
use perdura_core::{Failure, Status};

/// `x` failed, was rewound, and runs on branch 1: it has scheduled activity 0 and, when that ends, schedules another.
fn rewound() -> Bed {
    let mut bed = Bed::new();
    let mut runs = 0;
    bed.script("o", move |turn: &Turn| {
        runs += 1;
        let ended = turn.events.iter().any(|event| matches!(event.kind, EventKind::TaskCompleted(_)));
        match (runs, ended) {
            (1, _) => vec![fail("1")],
            (2, _) => vec![task(0, "t")],
            (_, true) => vec![task(1, "u")],
            _ => Vec::new(),
        }
    });
    bed.start("x", "o");
    bed.call(Request::Rewind { id: id("x"), spec: Box::new(RewindSpec::default()) }).unwrap();
    assert_eq!((bed.status("x"), bed.record("x").branch), (Status::Running, 1));
    bed
}

/// Asks for a rewind of `x` to branch 0 and reads the history of the present branch; gives the token, and the name of the
/// history that is still to be read.
fn ask_for_branch_0(bed: &mut Bed, to: RewindTo) -> (u64, HistoryName) {
    let spec = RewindSpec { branch: Some(0), to, force: true, ..RewindSpec::default() };
    let token = bed.ask(Request::Rewind { id: id("x"), spec: Box::new(spec) });
    let (now, mut other) = (bed.now(), None);
    loop {
        let needs = bed.partition.needs();
        if needs.is_empty() {
            return (token, other.expect("a history of branch 0"));
        }
        for need in needs {
            let Need::History { key, generation, branch, .. } = need else { panic!("{need:?}") };
            if branch == 0 {
                other = Some((key, generation, branch));
            } else {
                let events = bed.history_of(&bed.rows[&key].clone());
                assert!(bed.partition.history_read((key, generation, branch), &events, now).is_none());
            }
        }
    }
}

fn read_branch_0(bed: &mut Bed, name: HistoryName) {
    let (events, now) = (bed.history[&(name.0, name.1)].clone(), bed.now());
    assert!(bed.partition.history_read(name, &events, now).is_none());
    bed.settle();
}

fn give_turn_back(bed: &mut Bed, result: TurnResult) {
    let (turn, now) = (bed.away.remove(0), bed.now());
    assert!(bed.partition.turn_back(turn.ticket(), TurnOutcome::Done(result), now));
}

/// The rows of each branch begin where it was cut, and go to its end.
fn branches_are_whole(bed: &Bed, name: HistoryName) {
    let record = bed.record("x");
    let made = record.rewinds.as_ref().map(|rewinds| rewinds.branches.clone()).unwrap_or_default();
    assert!(made.len() >= 2, "{made:?}");
    for branch in made {
        let (first, _) = &bed.branches[&(name.0, name.1, branch.branch)];
        assert_eq!(*first, branch.cut, "branch {}", branch.branch);
    }
    let row = &bed.rows[&name.0];
    assert_eq!(bed.history_of(row).len() as u64, row.tail);
}

#[test]
fn an_instance_that_is_terminated_while_another_branch_is_read_is_rewound_from_its_end() {
    for to in [RewindTo::Beginning, RewindTo::Turn(1)] {
        let mut bed = rewound();
        let (token, name) = ask_for_branch_0(&mut bed, to);
        bed.ask(Request::Terminate { id: id("x"), reason: "r".into(), recurse: false });
        read_branch_0(&mut bed, name);
        assert!(bed.replies[&token].is_ok(), "{:?}", bed.replies[&token]);
        branches_are_whole(&bed, name);
        assert_eq!(bed.status("x"), Status::Running);
        assert_eq!(bed.branches[&(name.0, name.1, 1)].1.last().unwrap().kind.name(), "ExecutionCompleted");
    }
}

#[test]
fn an_instance_that_is_terminated_while_a_branch_is_read_that_it_returns_to_ends_as_that_branch_did() {
    let mut bed = rewound();
    let (token, name) = ask_for_branch_0(&mut bed, RewindTo::Head);
    bed.ask(Request::Terminate { id: id("x"), reason: "r".into(), recurse: false });
    read_branch_0(&mut bed, name);
    assert!(bed.replies[&token].is_ok(), "{:?}", bed.replies[&token]);
    assert_eq!((bed.status("x"), bed.record("x").branch), (Status::Failed, 0));
    assert_eq!(bed.branches[&(name.0, name.1, 1)].1.last().unwrap().kind.name(), "ExecutionCompleted");
}

#[test]
fn a_turn_that_comes_back_while_another_branch_is_read_belongs_to_the_branch_that_is_left() {
    for to in [RewindTo::Beginning, RewindTo::Turn(1)] {
        let mut bed = rewound();
        bed.elsewhere.insert("o".into());
        bed.call(raise("x", "e")).unwrap();
        let (token, name) = ask_for_branch_0(&mut bed, to);
        give_turn_back(&mut bed, TurnResult { decisions: vec![task(1, "v")], ..TurnResult::default() });
        read_branch_0(&mut bed, name);
        assert!(bed.replies[&token].is_ok(), "{:?}", bed.replies[&token]);
        branches_are_whole(&bed, name);
        assert_eq!(bed.branches[&(name.0, name.1, 1)].1.last().unwrap().kind.name(), "TaskScheduled");
    }
}

#[test]
fn an_event_that_a_turn_takes_while_another_branch_is_read_is_carried_over() {
    let inbox = |comes_back_late: bool| {
        let mut bed = rewound();
        bed.elsewhere.insert("o".into());
        bed.call(raise("x", "e")).unwrap();
        if !comes_back_late {
            give_turn_back(&mut bed, TurnResult::default());
            bed.settle();
        }
        let (_, name) = ask_for_branch_0(&mut bed, RewindTo::Turn(1));
        if comes_back_late {
            give_turn_back(&mut bed, TurnResult::default());
            assert!(bed.commit());
        }
        read_branch_0(&mut bed, name);
        let events = bed.record("x").inbox_events().unwrap();
        events.iter().map(|event| event.kind.name()).collect::<Vec<_>>()
    };
    assert!(inbox(false).contains(&"EventRaised"));
    assert_eq!(inbox(true), inbox(false));
}

#[test]
fn a_rewind_to_a_branch_that_cannot_be_read_is_refused_and_the_instance_goes_on() {
    let mut bed = rewound();
    let (token, name) = ask_for_branch_0(&mut bed, RewindTo::Turn(1));
    let now = bed.now();
    bed.partition.history_damaged(name, "rot", now);
    bed.settle();
    let Some(Err(RequestError::Rewind { error, .. })) = bed.replies.get(&token) else {
        panic!("{:?}", bed.replies.get(&token));
    };
    assert_eq!(**error, RewindError::BranchDamaged { branch: 0, what: "rot".into() });
    assert!(bed.partition.damage_found().is_empty());
    let task = bed.last_started().task;
    bed.task_done(task, Ok("1"));
    assert_eq!((bed.events("x").last(), bed.status("x")), (Some(&"TaskScheduled"), Status::Running));
    // It can be ended and rewound as before.
    bed.call(Request::Terminate { id: id("x"), reason: "r".into(), recurse: false }).unwrap();
    bed.call(Request::Rewind { id: id("x"), spec: Box::new(RewindSpec::default()) }).unwrap();
    assert_eq!(bed.record("x").branch, 2);
}

#[test]
fn a_rewind_that_waits_behind_one_to_a_branch_that_cannot_be_read_is_done() {
    let mut bed = rewound();
    let (refused, name) = ask_for_branch_0(&mut bed, RewindTo::Turn(1));
    let spec = RewindSpec { to: RewindTo::Beginning, force: true, ..RewindSpec::default() };
    let done = bed.ask(Request::Rewind { id: id("x"), spec: Box::new(spec) });
    let now = bed.now();
    bed.partition.history_damaged(name, "rot", now);
    bed.settle();
    assert!(bed.replies[&refused].is_err());
    assert!(bed.replies[&done].is_ok(), "{:?}", bed.replies[&done]);
    assert_eq!(bed.record("x").branch, 2);
    assert_eq!(bed.record("x").failure.map(|failure| *failure), None::<Failure>);
}
