//! Activities that run at most once, or whose count is committed at the hand-over: barriers, unknown outcomes, policies.

use crate::bed::*;
use bytes::Bytes;
use perdura_core::delivery::*;
use perdura_core::failure::kind;
use perdura_core::history::{Event, EventKind, TaskScheduled, TimeLimits};
use perdura_core::orchestration::{Decision, Turn};
use perdura_core::partition::{Request, RequestError, TaskRef};
use perdura_core::{Failure, RetryPolicy, Status};

fn calls(delivery: Delivery) -> impl FnMut(&Turn) -> Vec<Decision> + 'static {
    let retry = RetryPolicy { attempts_max: 3, backoff_ms: 100, backoff_factor: 1.0, ..Default::default() };
    let task = TaskScheduled {
        name: "pay".into(),
        input: Some("7".into()),
        delivery: delivery.recorded(),
        retry: Some(retry),
        ..Default::default()
    };
    calls_task(task)
}

/// Calls an activity, and ends with what comes of it.
fn calls_task(task: TaskScheduled) -> impl FnMut(&Turn) -> Vec<Decision> + 'static {
    move |turn| {
        let mut decisions = Vec::new();
        for event in &turn.events {
            match &event.kind {
                EventKind::ExecutionStarted(_) => decisions.push(Decision::ScheduleTask(task.clone())),
                EventKind::TaskCompleted(_) => decisions.push(complete()),
                EventKind::TaskFailed(failed) => {
                    decisions.push(fail(&failed.failure.as_ref().unwrap().kind));
                }
                _ => {}
            }
        }
        decisions
    }
}

pub fn at_most_once(policy: &str) -> Delivery {
    Delivery::AtMostOnce(OnUnknown::parse(policy).unwrap())
}

pub fn started(policy: &str) -> Bed {
    let mut bed = Bed::new();
    bed.script("o", calls(at_most_once(policy)));
    bed.start("x", "o");
    bed
}

/// A worker takes what was offered last, and that is committed.
pub fn take(bed: &mut Bed) -> TaskRef {
    let task = bed.last_started().task;
    let now = bed.now();
    assert!(bed.partition.task_taken(task, "w1", now));
    bed.settle();
    assert_eq!(bed.taken.last(), Some(&task));
    task
}

pub fn lose(bed: &mut Bed, task: TaskRef) {
    let now = bed.now();
    bed.partition.task_lost(task, "the wire broke", now);
    bed.settle();
}

fn answer(bed: &mut Bed, answer: Result<Answer, &str>) {
    let (task, now) = (bed.last_started().task, bed.now());
    bed.partition.task_answered(task, answer.map_err(str::to_owned), now);
    bed.settle();
}

pub fn resolve(bed: &mut Bed, answer: Answer) -> Result<(), RequestError> {
    let request = Request::Resolve { id: id("x"), task: None, answer, by: "me".into() };
    bed.call(request).map(drop)
}

pub fn outcome(bed: &Bed) -> String {
    bed.record("x").failure.map_or(String::new(), |failure| failure.message)
}

fn delivery_in_store(bed: &Bed) -> u32 {
    bed.record("x").tasks[0].delivery
}

#[test]
fn an_offer_costs_no_commit_and_raises_no_count_until_a_worker_takes_it() {
    let mut bed = started("fail");
    assert!(bed.last_started().has_barrier);
    assert_eq!((bed.batches.len(), delivery_in_store(&bed)), (1, 0));
    take(&mut bed);
    assert_eq!((bed.batches.len(), delivery_in_store(&bed)), (2, 1));
    let task = bed.last_started().task;
    bed.task_done(task, Ok("1"));
    assert_eq!((bed.batches.len(), bed.status("x")), (3, Status::Completed));
}

#[test]
fn an_attempt_that_was_only_offered_before_a_crash_is_offered_again_as_the_first() {
    for delivery in [at_most_once("fail"), Delivery::Precise] {
        let mut bed = Bed::new();
        bed.script("o", calls(delivery));
        bed.start("x", "o");
        bed.crash();
        assert_eq!(bed.last_started().task.delivery, 1);
        take(&mut bed);
        assert_eq!(bed.status("x"), Status::Running);
    }
}

#[test]
fn a_hand_over_that_is_not_committed_lets_nothing_begin() {
    let mut bed = started("fail");
    let (task, now) = (bed.last_started().task, bed.now());
    assert!(bed.partition.task_taken(task, "w1", now));
    bed.run();
    assert!(bed.taken.is_empty());
    assert!(!bed.partition.task_taken(task, "w2", now), "two workers took one attempt");
    bed.crash();
    assert_eq!(bed.last_started().task.delivery, 1);
}

#[test]
fn an_offer_that_is_called_off_is_not_taken() {
    let mut bed = started("fail");
    let (task, now) = (bed.last_started().task, bed.now());
    bed.call(Request::Terminate { id: id("x"), reason: "r".into(), recurse: false }).unwrap();
    assert!(!bed.partition.task_taken(task, "w1", now));
    assert_eq!(bed.canceled, [task]);
}

#[test]
fn an_offer_that_reached_nobody_is_made_again_under_the_same_count() {
    let mut bed = started("fail");
    let (task, now) = (bed.last_started().task, bed.now());
    bed.partition.task_not_started(task, now);
    bed.pass(1000);
    assert_eq!((bed.started.len(), bed.last_started().task), (2, task));
}

#[test]
fn precise_counts_rise_by_one_and_a_lost_attempt_is_followed_by_another() {
    let mut bed = Bed::new();
    bed.script("o", calls(Delivery::Precise));
    bed.start("x", "o");
    for delivery in 1..5 {
        let task = take(&mut bed);
        assert_eq!((task.delivery, delivery_in_store(&bed)), (delivery, delivery));
        if delivery % 2 == 0 { bed.crash() } else { lose(&mut bed, task) }
    }
    bed.pass(1000);
    let task = take(&mut bed);
    bed.task_done(task, Ok("1"));
    assert_eq!(bed.status("x"), Status::Completed);
}

#[test]
fn an_unknown_outcome_is_never_tried_again_but_a_known_failure_is() {
    let mut bed = started("fail");
    let task = take(&mut bed);
    bed.task_done(task, Err(Failure::new("E", "no")));
    bed.pass(100);
    let second = take(&mut bed);
    assert_eq!((second.delivery, bed.last_started().attempt), (2, 2));
    lose(&mut bed, second);
    assert_eq!((bed.status("x"), outcome(&bed).as_str()), (Status::Failed, kind::UNKNOWN_OUTCOME));
    assert_eq!(bed.taken.len(), 2);
}

#[test]
fn a_crash_and_a_time_limit_leave_the_outcome_unknown() {
    let mut bed = started("fail");
    take(&mut bed);
    bed.crash();
    assert_eq!((outcome(&bed).as_str(), bed.started.len()), (kind::UNKNOWN_OUTCOME, 0));

    let limits = TimeLimits { attempt_ms: 50, ..Default::default() };
    let delivery = at_most_once("fail").recorded();
    let mut bed = Bed::new();
    let task = TaskScheduled { name: "pay".into(), delivery, limits: Some(limits), ..Default::default() };
    bed.script("o", calls_task(task));
    bed.start("x", "o");
    bed.pass(500);
    assert_eq!(bed.status("x"), Status::Running, "its time runs from when a worker has it");
    let task = take(&mut bed);
    bed.pass(50);
    assert_eq!((outcome(&bed).as_str(), &bed.canceled[..]), (kind::UNKNOWN_OUTCOME, &[task][..]));
}

#[test]
fn suspend_keeps_every_message_in_order_until_it_is_said_what_follows() {
    let mut bed = started("suspend");
    let task = take(&mut bed);
    bed.ask(raise("x", "before"));
    lose(&mut bed, task);
    assert_eq!(bed.status("x"), Status::Suspended);
    bed.call(raise("x", "after")).unwrap();
    bed.crash();
    let refused = bed.call(Request::Resume { id: id("x"), reason: String::new() });
    assert_eq!(refused, Err(RequestError::InDoubt { id: id("x"), tasks: vec![0] }));
    assert_eq!(bed.started.len(), 0);
    resolve(&mut bed, Answer::Complete(Some("1".into()))).unwrap();
    assert_eq!(bed.status("x"), Status::Completed);
    let events = bed.events("x");
    let order: Vec<_> = events.iter().filter(|e| !e.starts_with("Turn")).copied().collect();
    let expected = [
        "ExecutionStarted",
        "TaskScheduled",
        "EventRaised",
        "ExecutionSuspended",
        "EventRaised",
        "TaskCompleted",
        "ExecutionResumed",
        "ExecutionCompleted",
    ];
    assert_eq!(order, expected);
    assert!(matches!(resolve(&mut bed, Answer::RunOnceMore), Err(RequestError::Ended { .. })));
}

#[test]
fn whoever_resolves_may_let_it_run_once_more_and_the_next_doubt_is_a_new_one() {
    let mut bed = started("suspend");
    let task = take(&mut bed);
    assert_eq!(
        resolve(&mut bed, Answer::RunOnceMore),
        Err(RequestError::NotInDoubt { id: id("x"), task: None })
    );
    lose(&mut bed, task);
    resolve(&mut bed, Answer::RunOnceMore).unwrap();
    assert_eq!(bed.status("x"), Status::Running);
    let second = take(&mut bed);
    assert_eq!(second.delivery, 2);
    bed.crash();
    assert_eq!((bed.status("x"), bed.started.len()), (Status::Suspended, 0));
    resolve(&mut bed, Answer::Fail(Failure::new("Refused", "by the bank"))).unwrap();
    assert_eq!((bed.status("x"), outcome(&bed).as_str()), (Status::Failed, "Refused"));
}

#[test]
fn an_instance_that_an_operator_suspended_stays_so_when_the_doubt_is_over() {
    let mut bed = started("suspend");
    let task = take(&mut bed);
    lose(&mut bed, task);
    bed.call(Request::Suspend { id: id("x"), reason: "mine".into() }).unwrap();
    resolve(&mut bed, Answer::Complete(None)).unwrap();
    assert_eq!(bed.status("x"), Status::Suspended);
    bed.call(Request::Resume { id: id("x"), reason: String::new() }).unwrap();
    assert_eq!(bed.status("x"), Status::Completed);
}

#[test]
fn a_handler_is_asked_and_each_of_its_answers_is_followed() {
    let output = Some(Bytes::from("1"));
    let answers = [
        (Answer::Complete(output), Status::Completed),
        (Answer::Fail(Failure::new("E", "no")), Status::Failed),
        (Answer::RunOnceMore, Status::Running),
        (Answer::Suspend("nobody there".into()), Status::Suspended),
    ];
    for (said, status) in answers {
        let mut bed = started("handler:check");
        let task = take(&mut bed);
        lose(&mut bed, task);
        let asked = bed.last_started();
        assert_eq!((asked.scheduled.name.as_str(), asked.task.asks), ("check", true));
        let question = asked.question.expect("a question");
        assert_eq!((question.activity.as_str(), question.input.as_deref()), ("pay", Some(&b"7"[..])));
        assert_eq!(question.attempts.len(), 1);
        assert_eq!((question.attempts[0].worker.as_str(), question.attempts[0].delivery), ("w1", 1));
        let runs = said == Answer::RunOnceMore;
        answer(&mut bed, Ok(said));
        assert_eq!(bed.status("x"), status);
        if runs {
            assert_eq!(take(&mut bed).delivery, 2);
        }
    }
}

#[test]
fn a_handler_that_is_of_no_use_suspends_the_task_with_the_reason() {
    let mut bed = started("handler:check");
    let task = take(&mut bed);
    lose(&mut bed, task);
    answer(&mut bed, Err("it is not registered"));
    assert_eq!((bed.status("x"), bed.taken.len()), (Status::Suspended, 1));
    let why = bed.record("x").suspended.unwrap();
    assert!(why.contains("it is not registered"), "{why}");
    resolve(&mut bed, Answer::Complete(None)).unwrap();
    assert_eq!(bed.status("x"), Status::Completed);
}

#[test]
fn a_handler_whose_worker_is_lost_is_asked_again_and_not_for_ever() {
    let mut bed = started("handler:check");
    let task = take(&mut bed);
    lose(&mut bed, task);
    bed.crash();
    let again = bed.last_started().task;
    assert!(again.asks && again.delivery == 2);
    for _ in 0..9 {
        let asked = bed.last_started().task;
        lose(&mut bed, asked);
        assert_eq!(bed.status("x"), Status::Running);
    }
    let asked = bed.last_started().task;
    lose(&mut bed, asked);
    assert_eq!(bed.status("x"), Status::Suspended);
}

#[test]
fn a_handler_that_does_not_end_suspends_the_task_ten_minutes_after_a_worker_began_with_it() {
    let mut bed = started("handler:check");
    let task = take(&mut bed);
    lose(&mut bed, task);
    let asked = bed.last_started();
    assert!(asked.scheduled.limits.is_some(), "so that whoever runs it says when it begins");
    bed.pass(599_999);
    assert_eq!(bed.status("x"), Status::Running);
    bed.pass(1);
    assert_eq!(bed.status("x"), Status::Suspended);
    let why = bed.record("x").suspended.unwrap();
    assert!(why.contains("its handler took more than 600000 ms"), "{why}");
    bed.partition.task_answered(asked.task, Ok(Answer::RunOnceMore), bed.now());
    bed.settle();
    assert_eq!((bed.status("x"), bed.taken.len()), (Status::Suspended, 1), "it is too late");
}

#[test]
fn a_handler_does_not_let_an_activity_run_once_more_for_ever() {
    let mut bed = started("handler:check");
    for times in 1..=10 {
        let task = take(&mut bed);
        lose(&mut bed, task);
        if times == 5 {
            bed.crash();
        }
        answer(&mut bed, Ok(Answer::RunOnceMore));
    }
    assert_eq!((bed.status("x"), delivery_in_store(&bed)), (Status::Suspended, 10));
    let why = bed.record("x").suspended.unwrap();
    assert!(why.contains("handler check has let it run once more 10 times"), "{why}");
    resolve(&mut bed, Answer::RunOnceMore).unwrap();
    let task = take(&mut bed);
    lose(&mut bed, task);
    answer(&mut bed, Ok(Answer::RunOnceMore));
    assert_eq!(bed.status("x"), Status::Running, "somebody has looked: it begins anew");
}

#[test]
fn the_result_of_the_attempt_in_doubt_settles_it_when_it_comes_after_all() {
    for policy in ["suspend", "handler:check"] {
        let mut bed = started(policy);
        let task = take(&mut bed);
        lose(&mut bed, task);
        bed.task_done(task, Ok("1"));
        assert_eq!(bed.status("x"), Status::Completed, "{policy}");
    }
}

#[test]
fn what_waited_while_a_doubt_suspended_the_instance_goes_on_when_a_late_result_settles_it() {
    let mut bed = Bed::new();
    bed.script("two", |turn| {
        let begins = |event: &Event| matches!(event.kind, EventKind::ExecutionStarted(_));
        if !turn.events.iter().any(begins) {
            return Vec::new();
        }
        let task = |id, delivery: Delivery| {
            let delivery = delivery.recorded();
            Decision::ScheduleTask(TaskScheduled { id, name: "pay".into(), delivery, ..Default::default() })
        };
        vec![task(0, at_most_once("suspend")), task(1, Delivery::Precise)]
    });
    bed.start("x", "two");
    let offered: Vec<TaskRef> = bed.started.iter().map(|start| start.task).collect();
    let now = bed.now();
    for task in &offered {
        assert!(bed.partition.task_taken(*task, "w1", now));
    }
    bed.settle();
    lose(&mut bed, offered[0]);
    lose(&mut bed, offered[1]);
    assert_eq!((bed.status("x"), bed.started.len()), (Status::Suspended, 2));
    bed.task_done(offered[0], Ok("1"));
    assert_eq!((bed.status("x"), bed.started.len()), (Status::Running, 3));
    assert_eq!(bed.last_started().task.task, offered[1].task);
}

#[test]
fn a_suspension_changes_nothing_of_an_instance_that_was_terminated_in_doubt() {
    let mut bed = started("suspend");
    let task = take(&mut bed);
    lose(&mut bed, task);
    bed.call(Request::Terminate { id: id("x"), reason: "enough".into(), recurse: false }).unwrap();
    let batches = bed.batches.len();
    bed.call(Request::Suspend { id: id("x"), reason: "later".into() }).unwrap();
    assert_eq!((bed.status("x"), bed.batches.len()), (Status::Terminated, batches));
}

#[test]
fn a_late_result_of_an_older_attempt_is_noted_and_completes_nothing() {
    let mut bed = started("suspend");
    let task = take(&mut bed);
    lose(&mut bed, task);
    resolve(&mut bed, Answer::RunOnceMore).unwrap();
    let second = take(&mut bed);
    bed.task_done(task, Ok("old"));
    bed.task_done(task, Ok("old"));
    assert_eq!(bed.status("x"), Status::Running);
    assert_eq!(bed.events("x").iter().filter(|name| **name == "TaskResultLate").count(), 1);
    lose(&mut bed, second);
    let once = bed.record("x").tasks[0].once.clone().unwrap();
    assert_eq!(once.attempts[0].late.as_deref(), Some(&b"old"[..]));
    // A result that is late now does not count for the attempt that is in doubt.
    bed.task_done(task, Ok("old"));
    assert_eq!(bed.status("x"), Status::Suspended);
}

#[test]
fn an_attempt_that_outlives_a_lost_grant_in_the_same_process_goes_on() {
    let mut bed = started("fail");
    let task = take(&mut bed);
    bed.forget_all();
    let rows: Vec<_> = bed.rows.values().cloned().collect();
    let now = bed.now();
    bed.partition.recover(rows, now);
    assert!(bed.partition.deliver(Vec::new(), now).is_empty());
    assert!(bed.partition.task_still_runs(task, now));
    assert!(!bed.partition.task_still_runs(task, now));
    assert!(bed.partition.deliver(Vec::new(), now).is_empty());
    bed.settle();
    assert_eq!((bed.status("x"), bed.started.len()), (Status::Running, 0));
    bed.task_done(task, Ok("1"));
    assert_eq!(bed.status("x"), Status::Completed);
}

#[test]
fn the_configuration_and_the_tags_make_an_activity_run_at_most_once() {
    let mut bed = Bed::new();
    bed.deliveries.insert("pay".into(), at_most_once("suspend"));
    bed.forget_all();
    bed.script("named", calls_task(TaskScheduled { name: "pay".into(), ..Default::default() }));
    bed.start("x", "named");
    let task = take(&mut bed);
    lose(&mut bed, task);
    assert_eq!(bed.status("x"), Status::Suspended);

    let tags = [(AT_MOST_ONCE_TAG.to_owned(), "fail".to_owned())].into();
    let mut bed = Bed::new();
    bed.script("tagged", calls_task(TaskScheduled { name: "pay".into(), tags, ..Default::default() }));
    bed.start("x", "tagged");
    take(&mut bed);
    bed.crash();
    assert_eq!(outcome(&bed), kind::UNKNOWN_OUTCOME);
}

#[test]
fn what_was_decided_when_it_was_scheduled_outlives_a_change_of_the_configuration() {
    let mut bed = Bed::new();
    bed.script("o", calls_task(TaskScheduled { name: "pay".into(), ..Default::default() }));
    bed.start("x", "o");
    bed.deliveries.insert("pay".into(), at_most_once("fail"));
    bed.crash();
    assert_eq!((bed.last_started().task.delivery, bed.last_started().has_barrier), (2, false));
}

#[test]
fn a_retry_under_the_number_of_the_first_try_counts_on_and_does_not_run_what_is_in_doubt() {
    // What the SDKs for Python and JavaScript do.
    let retries = |delivery: &'static str| {
        move |turn: &Turn| {
            let again = turn.events.iter().filter(|event| {
                matches!(event.kind, EventKind::ExecutionStarted(_) | EventKind::TaskFailed(_))
            });
            let task = || TaskScheduled {
                id: 4,
                name: "pay".into(),
                delivery: delivery.into(),
                ..Default::default()
            };
            again.map(|_| Decision::ScheduleTask(task())).collect()
        }
    };
    let mut bed = Bed::new();
    bed.script("o", retries(""));
    bed.start("x", "o");
    let first = bed.last_started();
    bed.task_done(first.task, Err(Failure::new("E", "no")));
    let second = bed.last_started();
    assert_eq!((second.task.delivery, second.attempt), (2, 2));

    let mut bed = Bed::new();
    let mut left = 4;
    let script = retries("fail");
    bed.script("o", move |turn| {
        left -= 1;
        if left > 0 { script(turn) } else { vec![complete()] }
    });
    bed.start("x", "o");
    let task = take(&mut bed);
    lose(&mut bed, task);
    assert_eq!((bed.started.len(), bed.status("x")), (1, Status::Completed));
    assert_eq!(bed.events("x").iter().filter(|name| **name == "TaskFailed").count(), 3);
}

#[test]
fn an_activity_that_ends_its_process_each_time_fails_and_one_that_only_waits_does_not() {
    let limits = perdura_core::Limits { lost_workers_max: 6, ..Default::default() };
    let mut bed = Bed::with_limits(limits);
    let both = || vec![task(0, "poison"), task(1, "waits")];
    bed.script("o", move |turn| match turn.from {
        0 => both(),
        _ => Vec::new(),
    });
    bed.start("x", "o");
    let mut deaths = 0;
    // Each process takes the first one and dies of it. At first nobody looks which.
    for _ in 0..20 {
        bed.crash();
        bed.pass(1000);
        let poison = bed.started.iter().find(|start| start.task.task == 0).cloned();
        if let Some(start) = poison.filter(|start| start.has_barrier) {
            let now = bed.now();
            assert!(bed.partition.task_taken(start.task, "w", now));
            bed.settle();
            deaths += 1;
        }
    }
    assert_eq!(deaths, 6);
    let failed = bed.record("x").failed;
    assert_eq!((failed.len(), failed[0].id), (1, 0));
    let waits = bed.started.iter().find(|start| start.task.task == 1).cloned().unwrap();
    assert!(waits.has_barrier);
    let now = bed.now();
    assert!(bed.partition.task_taken(waits.task, "w", now));
    bed.settle();
    bed.task_done(waits.task, Ok("1"));
    assert!(bed.record("x").tasks.is_empty());
}

#[test]
fn where_it_begins_at_once_the_hand_over_needs_no_commit_of_its_own() {
    let mut bed = Bed::new();
    bed.script("o", calls(at_most_once("fail")));
    bed.partition.set_room(1);
    bed.start("x", "o");
    let start = bed.last_started();
    assert_eq!((start.has_barrier, start.is_taken, start.task.delivery), (false, true, 1));
    assert_eq!((bed.batches.len(), delivery_in_store(&bed)), (1, 1));
    bed.crash();
    assert_eq!(outcome(&bed), kind::UNKNOWN_OUTCOME);

    // Of three at once only as many as there is room for; the others are offered.
    let mut bed = Bed::new();
    let once = |id| {
        let delivery = at_most_once("fail").recorded();
        Decision::ScheduleTask(TaskScheduled { id, name: "pay".into(), delivery, ..Default::default() })
    };
    bed.script("o", move |turn| if turn.from == 0 { (0..3).map(once).collect() } else { Vec::new() });
    bed.partition.set_room(2);
    bed.start("x", "o");
    assert_eq!(bed.started.iter().filter(|start| start.is_taken).count(), 2);
    assert_eq!(bed.started.iter().filter(|start| start.has_barrier).count(), 1);
}

#[test]
fn a_time_limit_for_all_attempts_holds_while_a_handler_is_asked_but_not_while_somebody_has_to_look() {
    let limits = TimeLimits { total_ms: 1000, attempt_ms: 200, ..TimeLimits::default() };
    for (policy, ends_as) in [("handler:check", Status::Failed), ("suspend", Status::Suspended)] {
        for crash in [false, true] {
            let mut bed = Bed::new();
            let delivery = at_most_once(policy).recorded();
            let task =
                TaskScheduled { name: "pay".into(), delivery, limits: Some(limits), ..Default::default() };
            bed.script("o", calls_task(task));
            bed.start("x", "o");
            let task = take(&mut bed);
            bed.pass(400);
            lose(&mut bed, task);
            if crash {
                bed.crash();
            }
            bed.pass(599);
            assert!(!bed.status("x").is_terminal());
            bed.pass(1);
            assert_eq!(bed.status("x"), ends_as, "{policy}, crash: {crash}");
            if ends_as == Status::Suspended {
                resolve(&mut bed, Answer::RunOnceMore).unwrap();
                take(&mut bed);
                bed.pass(150);
                assert_eq!(bed.status("x"), Status::Running);
            } else {
                assert_eq!(bed.record("x").failure.unwrap().message, kind::TIMEOUT);
                assert_eq!(bed.partition.next_deadline(), None);
            }
        }
    }
}
