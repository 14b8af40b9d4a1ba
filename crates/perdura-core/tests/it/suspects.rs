//! Activities that end their process: they fail after ten such ends that are counted, and their neighbours do not.

use crate::bed::*;
use perdura_core::delivery::{Delivery, OnUnknown};
use perdura_core::failure::kind;
use perdura_core::history::{EventKind, TaskScheduled};
use perdura_core::orchestration::Decision;
use perdura_core::{Status, Timestamp};
use std::collections::BTreeMap;

/// A process begins, in which activity `killer` of `x` ends it so many ms after it began, and no other activity ever ends. Says
/// whether it came to that within an hour.
fn process(bed: &mut Bed, killer: u32, kills_after: i64) -> bool {
    bed.crash();
    let mut began: BTreeMap<u32, Timestamp> = BTreeMap::new();
    for _ in 0..3600 {
        let now = bed.now();
        for start in bed.started.clone() {
            let is_new = !began.contains_key(&start.task.task);
            if is_new && (!start.has_barrier || bed.partition.task_taken(start.task, "w", now)) {
                began.insert(start.task.task, now);
            }
        }
        bed.settle();
        if began.get(&killer).is_some_and(|at| now.0 - at.0 >= kills_after) {
            return true;
        }
        bed.pass(1000);
    }
    false
}

fn neighbours(count: u32) -> Bed {
    let mut bed = Bed::new();
    bed.script("o", move |turn| match turn.from {
        0 => (0..=count).map(|id| task(id, "t")).collect(),
        _ => Vec::new(),
    });
    bed.start("x", "o");
    bed
}

#[test]
fn an_activity_that_ends_its_process_ten_times_more_fails_and_those_that_run_beside_it_go_on() {
    for (count, killer, kills_after) in
        [(0, 0, 0), (1, 0, 0), (1, 1, 0), (5, 0, 0), (5, 5, 0), (5, 2, 5000), (3, 0, 15_000), (3, 3, 15_000)]
    {
        let mut bed = neighbours(count);
        let mut deaths = 1; // That of the process that started it.
        while process(&mut bed, killer, kills_after) {
            deaths += 1;
            assert!(deaths < 100, "{count} neighbours, it takes {kills_after} ms");
        }
        let failed: Vec<_> = bed.record("x").failed.iter().map(|failed| failed.id).collect();
        assert_eq!(failed, [killer], "{count} neighbours, it takes {kills_after} ms");
        // What takes longer than the first trial costs each neighbour one count at most.
        let most = 4 + 10 + if kills_after > 10_000 { count } else { 0 };
        assert!((14..=most).contains(&deaths), "{deaths}: {count} neighbours, it takes {kills_after} ms");
        let running = bed.record("x").tasks.len() as u32;
        assert_eq!((bed.status("x"), running), (Status::Running, count));
    }
}

#[test]
fn an_activity_that_takes_long_to_end_its_process_is_found_too() {
    let mut bed = neighbours(3);
    for _ in 0..100 {
        if !process(&mut bed, 3, 120_000) {
            break;
        }
    }
    let failed: Vec<_> = bed.record("x").failed.iter().map(|failed| failed.id).collect();
    assert!(failed.contains(&3), "{failed:?}");
}

#[test]
fn those_that_wait_for_a_trial_begin_when_what_has_it_ends() {
    let mut bed = neighbours(2);
    while bed.record("x").tasks.iter().map(|task| task.lost).max() < Some(3) {
        assert!(process(&mut bed, 0, 0));
    }
    bed.crash();
    bed.pass(1000);
    let now = bed.now();
    for number in [0, 1, 2] {
        let offers: Vec<_> = bed.started.iter().map(|start| start.task).collect();
        let taken: Vec<_> =
            offers.into_iter().filter(|task| bed.partition.task_taken(*task, "w", now)).collect();
        bed.settle();
        assert_eq!(taken.iter().map(|task| task.task).collect::<Vec<_>>(), [number]);
        bed.task_done(taken[0], Ok("1"));
    }
    assert!(bed.record("x").tasks.is_empty());
}

#[test]
fn orderly_ends_of_processes_count_for_nothing() {
    let mut bed = neighbours(1);
    for _ in 0..40 {
        bed.crash();
        let now = bed.now();
        for start in bed.started.clone().into_iter().filter(|start| start.has_barrier) {
            assert!(bed.partition.task_taken(start.task, "w", now));
        }
        bed.settle();
        bed.partition.ends_in_order(now);
        bed.partition.ends_in_order(now);
        bed.settle();
        assert!(!bed.partition.has_something_to_seal());
    }
    assert!(bed.record("x").tasks.iter().all(|task| task.lost == 0 && task.once.is_none()));
    // What was precise before is so still.
    while bed.record("x").tasks.iter().any(|task| task.once.is_none()) {
        assert!(process(&mut bed, 0, 0));
    }
    let lost: Vec<_> = bed.record("x").tasks.iter().map(|task| task.lost).collect();
    for _ in 0..20 {
        bed.crash();
        let now = bed.now();
        for start in bed.started.clone() {
            bed.partition.task_taken(start.task, "w", now);
        }
        bed.settle();
        bed.partition.ends_in_order(now);
        bed.settle();
    }
    let after: Vec<_> = bed.record("x").tasks.iter().map(|task| task.lost).collect();
    assert!(after.iter().zip(&lost).all(|(after, before)| *after <= before + 1), "{lost:?} {after:?}");
    let failed = |event: &perdura_core::history::Event| {
        matches!(&event.kind, EventKind::TaskFailed(failed)
        if failed.failure.as_ref().is_some_and(|failure| failure.kind == kind::WORKER_LOST))
    };
    let row = bed.rows.values().find(|row| row.id == id("x")).unwrap();
    assert!(!bed.history_of(row).iter().any(failed));
}

#[test]
fn a_handler_that_ends_its_process_each_time_suspends_its_task_and_orderly_ends_do_not_count() {
    let mut bed = Bed::new();
    let delivery = Delivery::AtMostOnce(OnUnknown::parse("handler:check").unwrap()).recorded();
    let pay = TaskScheduled { name: "pay".into(), delivery, ..TaskScheduled::default() };
    bed.script("o", move |turn| match turn.from {
        0 => vec![Decision::ScheduleTask(pay.clone())],
        _ => Vec::new(),
    });
    bed.start("x", "o");
    let (task, now) = (bed.last_started().task, bed.now());
    assert!(bed.partition.task_taken(task, "w", now));
    bed.settle();
    let process = |bed: &mut Bed, in_order: bool| {
        bed.forget_all();
        bed.partition.begins_process();
        let rows: Vec<_> = bed.rows.values().filter(|row| !row.status.is_terminal()).cloned().collect();
        let now = bed.now();
        bed.partition.recover(rows, now);
        assert!(bed.partition.deliver(Vec::new(), now).is_empty());
        bed.settle();
        if in_order {
            bed.partition.ends_in_order(now);
            bed.settle();
            bed.partition.ends_in_order(now);
            assert!(!bed.partition.has_something_to_seal());
        }
    };
    for _ in 0..20 {
        process(&mut bed, true);
        assert!(bed.last_started().task.asks);
    }
    let mut deaths = 0;
    while bed.status("x") == Status::Running {
        process(&mut bed, false);
        deaths += 1;
        assert!(deaths < 30, "it is asked for ever");
    }
    // The first of these processes found that the one before had ended in order.
    assert_eq!((deaths, bed.status("x")), (11, Status::Suspended));
}
