//! Results of activities that come when their instance is not in memory, its history is not read, or its inbox has no room.

use crate::bed::*;
use bytes::Bytes;
use perdura_core::history::{EventKind, TaskScheduled};
use perdura_core::orchestration::{Decision, Turn};
use perdura_core::partition::{Need, Request, TaskRef};
use perdura_core::{Failure, Limits, RetryPolicy, Status};

/// Calls an activity that may be tried three times, and ends with what comes of it.
fn pays(policy: &str) -> impl FnMut(&Turn) -> Vec<Decision> + 'static {
    let retry = RetryPolicy { attempts_max: 3, backoff_ms: 100, backoff_factor: 1.0, ..Default::default() };
    let pay = TaskScheduled {
        name: "pay".into(),
        delivery: policy.into(),
        retry: Some(retry),
        ..Default::default()
    };
    move |turn| {
        let mut decisions = Vec::new();
        for event in &turn.events {
            match &event.kind {
                EventKind::ExecutionStarted(_) => decisions.push(Decision::ScheduleTask(pay.clone())),
                EventKind::TaskCompleted(_) => decisions.push(complete()),
                EventKind::TaskFailed(failed) => decisions.push(fail(&failed.failure.as_ref().unwrap().kind)),
                _ => {}
            }
        }
        decisions
    }
}

/// `x` is suspended, since nobody knows what became of its activity.
fn in_doubt(limits: Limits) -> (Bed, TaskRef) {
    let mut bed = Bed::with_limits(limits);
    bed.script("o", pays("suspend"));
    bed.script("quick", |_| vec![complete()]);
    bed.start("x", "o");
    let (task, now) = (bed.last_started().task, bed.now());
    assert!(bed.partition.task_taken(task, "w1", now));
    bed.settle();
    bed.partition.task_lost(task, "the wire broke", now);
    bed.settle();
    assert_eq!(bed.status("x"), Status::Suspended);
    (bed, task)
}

/// Nothing that waits is in memory any more.
fn leaves_memory(bed: &mut Bed) {
    for n in 0..3 {
        bed.start(&format!("quick{n}"), "quick");
    }
    assert_eq!(bed.partition.resident(), 0);
}

/// A new process, which has read no history yet.
fn recovered(bed: &mut Bed) {
    bed.forget_all();
    let rows: Vec<_> = bed.rows.values().filter(|row| !row.status.is_terminal()).cloned().collect();
    let now = bed.now();
    bed.partition.recover(rows, now);
    assert!(bed.partition.deliver(Vec::new(), now).is_empty());
}

fn nothing_resident() -> Limits {
    Limits { resident_instances_max: 0, ..Limits::default() }
}

#[test]
fn a_late_result_settles_the_doubt_of_an_instance_that_has_left_memory() {
    let (mut bed, task) = in_doubt(nothing_resident());
    leaves_memory(&mut bed);
    bed.task_done(task, Ok("1"));
    assert_eq!(bed.status("x"), Status::Completed);
}

#[test]
fn a_late_failure_keeps_its_retries_whether_or_not_the_history_was_read() {
    for how in ["in memory", "out of memory", "recovered", "recovered and read"] {
        let (mut bed, task) = in_doubt(nothing_resident());
        match how {
            "in memory" => {}
            "out of memory" => leaves_memory(&mut bed),
            _ => recovered(&mut bed),
        }
        if how == "recovered and read" {
            bed.settle();
        }
        bed.task_done(task, Err(Failure::new("E", "no")));
        bed.settle();
        assert_eq!((bed.status("x"), bed.record("x").tasks.len()), (Status::Running, 1), "{how}");
        bed.pass(100);
        let again = bed.last_started();
        assert_eq!((again.task.task, again.attempt), (task.task, 2), "{how}");
    }
}

#[test]
fn a_result_for_an_instance_that_is_gone_is_dropped() {
    let (mut bed, task) = in_doubt(nothing_resident());
    bed.call(Request::Terminate { id: id("x"), reason: "r".into(), recurse: false }).unwrap();
    bed.call(purge("x")).unwrap();
    let (before, now) = (bed.batches.len(), bed.now());
    bed.partition.task_done(task, Ok(None), now);
    assert_eq!(bed.partition.needs(), []);
    assert!(!bed.commit());
    assert_eq!((bed.partition.resident(), bed.batches.len()), (0, before));
}

#[test]
fn a_failure_that_waits_for_the_history_keeps_its_retries_if_a_turn_comes_first() {
    let mut bed = Bed::new();
    bed.script("o", pays("precise"));
    bed.start("x", "o");
    let (task, now) = (bed.last_started().task, bed.now());
    assert!(bed.partition.task_taken(task, "w1", now));
    bed.settle();
    recovered(&mut bed);
    assert!(bed.partition.task_still_runs(task, now));
    bed.ask(raise("x", "e"));
    let turn = bed.partition.next_turn().expect("a turn");
    bed.partition.task_done(task, Err(Failure::new("E", "no")), now);
    bed.run_turn(turn);
    let needs = bed.partition.needs();
    let [Need::History { key, generation, branch, .. }] = needs[..] else { panic!("{needs:?}") };
    let events = bed.history_of(&bed.rows[&key].clone());
    assert!(bed.partition.history_read((key, generation, branch), &events, now).is_none());
    bed.settle();
    assert_eq!((bed.status("x"), bed.record("x").tasks.len()), (Status::Running, 1));
}

#[test]
fn what_has_written_in_the_transaction_of_a_batch_is_recorded_with_it_also_without_room() {
    let limits = Limits { inbox_bytes_max: 4000, payload_bytes_max: 1000, ..Limits::default() };
    let mut bed = Bed::with_limits(limits);
    bed.script("o", |turn: &Turn| match news(turn)[..] {
        ["ExecutionStarted"] => (0..8).map(|n| task(n, "t")).collect(),
        _ => vec![],
    });
    bed.start("x", "o");
    bed.call(Request::Suspend { id: id("x"), reason: "r".into() }).unwrap();
    let tasks: Vec<_> = bed.started.iter().map(|start| start.task).collect();
    let now = bed.now();
    assert!(bed.partition.room_for_result(tasks[0]).is_some_and(|room| (3000..4000).contains(&room)));
    for task in &tasks[..6] {
        bed.partition.work_done(*task, Some(Bytes::from(vec![7; 1000])), now);
    }
    bed.partition.task_done(tasks[6], Ok(Some(Bytes::from(vec![7; 1000]))), now);
    bed.settle();
    assert_eq!(bed.partition.room_for_result(tasks[7]), Some(0));
    // That of a plain activity waits in memory: it would run again.
    assert_eq!(bed.record("x").tasks.len(), 2);
}
