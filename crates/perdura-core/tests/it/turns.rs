//! Turns: timers, continue-as-new, what cannot run.

use crate::bed::*;
use perdura_core::history::EventRaised;
use perdura_core::orchestration::{ContinueAsNew, Decision};
use perdura_core::{Status, Timestamp};

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
    assert_ne!(record.execution[..], first.execution.0.to_be_bytes());
    // A waiter of the first generation sees the end of the last.
    let waited = bed.call(perdura_core::partition::Request::Wait { id: id("x"), generation: Some(1) });
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
