//! What is due at some time, and what is not any more.

use crate::bed::*;
use perdura_core::history::{SubOrchestrationScheduled, TaskScheduled, TimeLimits};
use perdura_core::orchestration::Decision;
use perdura_core::partition::{Request, StartRequest};
use perdura_core::{RetryPolicy, Status, Timestamp};

fn terminate(text: &str) -> Request {
    Request::Terminate { id: id(text), reason: "r".into(), recurse: false }
}

/// A time limit of a month must not stay in memory for a month after an end within seconds.
#[test]
fn an_instance_that_has_ended_leaves_no_deadline_behind() {
    let day = 86_400_000;
    let limits = TimeLimits { attempt_ms: day, heartbeat_ms: day, total_ms: 30 * day };
    let retry = RetryPolicy { attempts_max: 3, backoff_ms: day, ..Default::default() };
    let limited =
        move |id| TaskScheduled { id, name: "a".into(), limits: Some(limits), ..Default::default() };
    let mut bed = Bed::new();
    let at = bed.now + day as i64;
    let retried = retry.clone();
    bed.script("all", move |turn| {
        let kid = SubOrchestrationScheduled {
            id: 3,
            name: "fails".into(),
            retry: Some(retried.clone()),
            ..Default::default()
        };
        let task = TaskScheduled { retry: Some(retried.clone()), ..limited(0) };
        match turn.from {
            0 => vec![
                Decision::ScheduleTask(task),
                Decision::ScheduleTask(limited(1)),
                timer(2, at),
                Decision::ScheduleSubOrchestration(kid),
            ],
            _ => vec![],
        }
    });
    bed.script("fails", |_| vec![fail("boom")]);
    for end in [
        terminate("x"),
        Request::Start(StartRequest { reuse: perdura_core::ReusePolicy::REPLACE, ..start("x", "done") }),
    ] {
        bed.script("done", |_| vec![complete()]);
        bed.start("x", "all");
        let first = bed.started.iter().find(|start| start.task.task == 0).unwrap().task;
        bed.task_done(first, Err(perdura_core::Failure::new("E", "boom")));
        assert!(bed.partition.next_deadline().is_some());
        bed.call(end).unwrap();
        assert_eq!(bed.partition.next_deadline(), None);
        bed.rows.clear();
        bed.history.clear();
        bed.forget_all();
    }
    // A task that ends takes its limits along, a start that lies ahead its time.
    bed.script(
        "one",
        move |turn| {
            if turn.from == 0 { vec![Decision::ScheduleTask(limited(0))] } else { vec![] }
        },
    );
    bed.start("y", "one");
    let only = bed.last_started().task;
    bed.task_done(only, Ok("done"));
    assert_eq!((bed.status("y"), bed.partition.next_deadline()), (Status::Running, None));
    let later = StartRequest { start_at: Some(Timestamp(at)), ..start("z", "one") };
    bed.call(Request::Start(later)).unwrap();
    assert_eq!(bed.partition.next_deadline(), Some(Timestamp(at)));
    bed.call(terminate("z")).unwrap();
    assert_eq!(bed.partition.next_deadline(), None);
}

#[test]
fn a_limit_still_fires_after_a_sooner_one_of_the_same_task() {
    let mut bed = Bed::new();
    let limits = TimeLimits { attempt_ms: 1000, total_ms: 2050, ..Default::default() };
    let retry = RetryPolicy { attempts_max: 10, backoff_ms: 10, backoff_factor: 1.0, ..Default::default() };
    bed.script("one", move |turn| {
        let task = TaskScheduled {
            id: 0,
            name: "a".into(),
            limits: Some(limits),
            retry: Some(retry.clone()),
            ..Default::default()
        };
        if turn.from == 0 { vec![Decision::ScheduleTask(task)] } else { vec![fail("gave up")] }
    });
    bed.start("x", "one");
    bed.pass(1000);
    bed.pass(100);
    assert_eq!(bed.last_started().attempt, 2);
    bed.pass(949);
    assert_eq!(bed.status("x"), Status::Running);
    bed.pass(1);
    assert_eq!(bed.status("x"), Status::Failed);
    assert_eq!(bed.partition.next_deadline(), None);
}
