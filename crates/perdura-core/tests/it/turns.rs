//! Turns: timers, continue-as-new, what cannot run.

use crate::bed::*;
use perdura_core::history::EventRaised;
use perdura_core::orchestration::{ContinueAsNew, Decision};
use perdura_core::partition::{Need, Request, RequestError, StartRequest};
use perdura_core::rewind::HistoryPart;
use perdura_core::{ReusePolicy, Status, Timestamp};

#[test]
fn a_timer_fires_when_it_is_due_and_once() {
    let mut bed = Bed::new();
    let at = bed.now + 1000;
    bed.script("sleeper", steps(vec![vec![timer(0, at)], vec![complete()]]));
    bed.start("x", "sleeper");
    bed.pass(999);
    assert_eq!(bed.status("x"), Status::Running);
    bed.crash();
    bed.pass(1);
    assert_eq!(bed.status("x"), Status::Completed);
    assert_eq!(bed.batches.last().unwrap().not_before, Some(Timestamp(at)));
    assert_eq!(bed.events("x").iter().filter(|name| **name == "TimerFired").count(), 1);
}

#[test]
fn continue_as_new_begins_a_generation_with_what_was_not_consumed() {
    let mut bed = Bed::new();
    bed.script("loop", |turn| match turn.generation {
        1 if turn.from == 0 => vec![task(0, "a"), timer(1, i64::MAX)],
        1 => {
            let carry_over = vec![EventRaised { name: "kept".into(), input: None }];
            vec![Decision::ContinueAsNew(ContinueAsNew { carry_over, ..Default::default() })]
        }
        _ => {
            assert_eq!(news(turn), ["ExecutionStarted", "EventRaised"]);
            vec![complete()]
        }
    });
    let first = bed.start("x", "loop");
    let old_task = bed.last_started().task;
    bed.call(raise("x", "go")).unwrap();
    assert_eq!(bed.status("x"), Status::Completed);
    assert_eq!(bed.canceled, [old_task]);
    let record = bed.record("x");
    assert_eq!((record.generation, bed.history.len()), (2, 1));
    assert_ne!(record.execution.id(), first.execution);
    // A waiter of the first generation sees the end of the last.
    let execution = Some(first.execution);
    let waited = bed.call(perdura_core::partition::Request::Wait { id: id("x"), execution });
    assert!(waited.is_ok());
}

#[test]
fn each_round_of_a_tight_loop_is_committed_and_a_minute_holds_a_thousand() {
    let mut bed = Bed::new();
    bed.script("loop", |_| vec![Decision::ContinueAsNew(ContinueAsNew::default())]);
    bed.start("x", "loop");
    let generation = bed.record("x").generation;
    assert_eq!(generation, 1002, "1000 in the first minute, the next one held back");
    bed.pass(59_000);
    assert_eq!(bed.record("x").generation, generation);
    bed.pass(1000);
    assert!(bed.record("x").generation > generation);
}

#[test]
fn an_orchestration_that_nobody_runs_is_blocked_and_goes_on_after_a_deploy() {
    let mut bed = Bed::new();
    bed.start("x", "unknown");
    let block = bed.record("x").block.expect("blocked");
    assert!(block.reason.contains("nobody runs"), "{block:?}");
    bed.call(raise("x", "early")).unwrap();
    bed.script("unknown", |turn| {
        assert_eq!(news(turn), ["ExecutionStarted", "EventRaised"]);
        vec![complete()]
    });
    bed.crash();
    assert_eq!(bed.status("x"), Status::Completed);
    assert_eq!(bed.record("x").block, None);
}

#[test]
fn a_history_that_lacks_events_is_damage_and_is_not_run() {
    for kept in 0..3 {
        let mut bed = Bed::new();
        bed.script("waits", |turn| if turn.from == 0 { vec![task(0, "a")] } else { vec![complete()] });
        bed.start("x", "waits");
        let history = bed.history.values_mut().next().unwrap();
        assert!(history.len() >= 3, "{history:?}");
        history.truncate(kept);
        bed.crash();
        assert!(bed.started.is_empty(), "a task of an instance without its history was handed out");
        let block = bed.record("x").block.unwrap();
        assert!(block.reason.contains(&format!("it has {kept} events, the instance says 3")), "{block:?}");
        // Its history does not end where the instance says, so the store would refuse whatever is appended.
        let terminate = Request::Terminate { id: id("x"), reason: String::new(), recurse: true };
        assert!(matches!(bed.call(terminate), Err(RequestError::Damaged { .. })));
        bed.call(purge("x")).unwrap();
        assert!(bed.rows.is_empty());
    }
}

#[test]
fn a_damaged_instance_can_be_purged_and_its_id_is_free_again() {
    let mut bed = Bed::new();
    bed.script("seq", |_| vec![complete()]);
    bed.start("x", "seq");
    let row = bed.rows.values_mut().next().unwrap();
    row.record = row.record.slice(..10);
    bed.crash();
    assert!(matches!(bed.call(raise("x", "e")), Err(RequestError::Damaged { .. })));
    bed.call(purge("x")).unwrap();
    bed.start("x", "seq");
    assert_eq!((bed.rows.len(), bed.status("x")), (1, Status::Completed));
}

/// A history that is being read when its instance is replaced belongs to nobody any more.
#[test]
fn the_history_of_an_earlier_generation_is_not_given_to_a_later_one() {
    let mut bed = Bed::new();
    bed.script("w", |_| vec![]);
    bed.start("x", "w");
    let key = *bed.rows.keys().next().expect("a row");
    bed.ask(raise("x", "go"));
    let turn = bed.partition.next_turn().expect("a turn");
    bed.partition.park_turn(turn);
    while bed.commit() {}
    let parts = vec![HistoryPart { branch: 0, from: 0, until: u64::MAX }];
    let need = |generation| [Need::History { key, generation, branch: 0, parts: parts.clone() }];
    assert_eq!(bed.partition.needs(), need(1));
    let first = bed.history[&(key, 1)].clone();
    let replace = StartRequest { reuse: ReusePolicy::REPLACE, ..start("x", "w") };
    bed.call(Request::Start(replace)).unwrap();
    bed.ask(raise("x", "go"));
    let turn = bed.partition.next_turn().expect("a turn");
    assert_eq!(turn.generation, 2);
    bed.partition.park_turn(turn);
    while bed.commit() {}
    let now = bed.now();
    assert_eq!(bed.partition.history_read((key, 1, 0), &first, now), None);
    assert_eq!(bed.partition.needs(), need(2));
    let second = bed.history[&(key, 2)].clone();
    assert!(bed.partition.history_read((key, 2, 0), &second, now).is_some());
}

#[test]
fn a_cancel_request_that_a_generation_has_seen_does_not_shadow_the_next_one() {
    let mut bed = Bed::new();
    bed.script("loop", |turn| match news(turn).first() {
        Some(&"EventRaised") => vec![Decision::ContinueAsNew(ContinueAsNew::default())],
        Some(&"CancelRequested") if turn.generation == 2 => vec![complete()],
        _ => vec![],
    });
    bed.start("x", "loop");
    let cancel = || Request::Cancel { id: id("x"), reason: "stop".into() };
    bed.call(cancel()).unwrap();
    bed.call(raise("x", "go on")).unwrap();
    assert_eq!((bed.record("x").generation, bed.record("x").cancel_requested), (2, None));
    bed.call(cancel()).unwrap();
    assert_eq!(bed.status("x"), Status::Completed);
}

#[test]
fn a_cancel_request_in_the_turn_that_continues_as_new_reaches_the_next_generation() {
    let mut bed = Bed::new();
    bed.script("loop", |turn| match turn.generation {
        1 if turn.from > 0 => vec![Decision::ContinueAsNew(ContinueAsNew::default())],
        1 => vec![],
        _ => {
            assert_eq!(news(turn), ["ExecutionStarted", "CancelRequested"]);
            vec![complete()]
        }
    });
    bed.start("x", "loop");
    bed.ask(raise("x", "go on"));
    bed.ask(Request::Cancel { id: id("x"), reason: "stop".into() });
    bed.settle();
    assert_eq!((bed.status("x"), bed.record("x").generation), (Status::Completed, 2));
}

#[test]
fn a_turn_that_waits_for_its_history_is_not_run_when_its_instance_is_suspended_meanwhile() {
    let mut bed = Bed::new();
    bed.script("w", |turn| if turn.from == 0 { vec![] } else { vec![complete()] });
    bed.start("x", "w");
    bed.ask(raise("x", "go"));
    let turn = bed.partition.next_turn().expect("a turn");
    bed.partition.park_turn(turn);
    bed.call(Request::Suspend { id: id("x"), reason: "why".into() }).unwrap();
    assert_eq!(bed.status("x"), Status::Suspended);
    bed.call(Request::Resume { id: id("x"), reason: "why".into() }).unwrap();
    assert_eq!(bed.status("x"), Status::Completed);
    let names = bed.events("x");
    assert_eq!(names[3..6], ["EventRaised", "ExecutionSuspended", "ExecutionResumed"]);
}
