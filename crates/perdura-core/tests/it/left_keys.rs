//! Calls under idempotency keys that nobody waits for any more, and those that come after them.

use crate::bed::*;
use perdura_core::delivery::{Answer, Delivery, OnUnknown, idempotency_key};
use perdura_core::failure::kind;
use perdura_core::history::{EventKind, TaskScheduled, TimeLimits};
use perdura_core::limits::KEYS_BYTES_MAX;
use perdura_core::orchestration::{ContinueAsNew, Decision, Turn};
use perdura_core::partition::{Request, TaskStart};
use perdura_core::rewind::{RewindOrder, RewindSpec, RewindTo};
use perdura_core::{Failure, RetryPolicy, Status};

fn pay(id: u32, delivery: &str) -> TaskScheduled {
    let (name, key, delivery) = ("pay".into(), Some("k".into()), delivery.into());
    TaskScheduled { id, name, input: Some("7".into()), key, delivery, ..TaskScheduled::default() }
}

fn call(task: TaskScheduled) -> Vec<Decision> {
    vec![Decision::ScheduleTask(task)]
}

fn anew() -> Decision {
    Decision::ContinueAsNew(ContinueAsNew::default())
}

/// What the results of a turn are: texts, and kinds of failures.
fn results(turn: &Turn) -> Vec<String> {
    let result = |kind: &EventKind| match kind {
        EventKind::TaskCompleted(done) => {
            Some(String::from_utf8_lossy(&done.output.clone().unwrap_or_default()).into())
        }
        EventKind::TaskFailed(failed) => Some(failed.failure.clone().unwrap().kind),
        _ => None,
    };
    turn.events.iter().filter_map(|event| result(&event.kind)).collect()
}

/// Calls, continues as new with the next event, calls again, and fails with what comes of it.
fn calls_over_a_continue_as_new(delivery: &'static str, retry: Option<RetryPolicy>) -> Bed {
    let mut bed = Bed::new();
    let mut generation = 0;
    bed.script("o", move |turn| {
        let got = results(turn);
        let is_raised = news(turn).contains(&"EventRaised");
        match (&turn.events[1].kind, is_raised) {
            (EventKind::ExecutionStarted(_), _) => {
                generation += 1;
                call(TaskScheduled { retry: retry.clone(), ..pay(generation * 10, delivery) })
            }
            (_, true) if generation == 1 => vec![anew()],
            _ if !got.is_empty() => vec![fail(&got.join(" "))],
            _ => Vec::new(),
        }
    });
    bed.start("x", "o");
    bed
}

/// The instance continues as new, while the first call is under way.
fn continues(delivery: &'static str) -> (Bed, TaskStart) {
    continues_with(delivery, None)
}

fn continues_with(delivery: &'static str, retry: Option<RetryPolicy>) -> (Bed, TaskStart) {
    let mut bed = calls_over_a_continue_as_new(delivery, retry);
    let first = bed.last_started();
    take(&mut bed, &first);
    bed.call(raise("x", "e")).unwrap();
    assert_eq!(bed.record("x").generation, 2);
    (bed, first)
}

/// A worker takes what was offered.
fn take(bed: &mut Bed, start: &TaskStart) {
    if start.has_barrier {
        let now = bed.now();
        assert!(bed.partition.task_taken(start.task, "w", now));
        bed.settle();
    }
}

fn outcome(bed: &Bed) -> String {
    bed.record("x").failure.map_or(String::new(), |failure| failure.message)
}

/// What outside systems know an attempt by.
fn step(start: &TaskStart) -> String {
    let own = || idempotency_key(start.execution, start.task.task, start.origin);
    start.step.as_deref().map_or_else(own, str::to_owned)
}

fn lose(bed: &mut Bed, start: &TaskStart) {
    let now = bed.now();
    bed.partition.task_lost(start.task, "the wire broke", now);
    bed.settle();
}

fn rewind(bed: &mut Bed, to: RewindTo) {
    let spec = RewindSpec { to, order: RewindOrder::default(), ..RewindSpec::default() };
    bed.call(Request::Rewind { id: id("x"), spec: Box::new(spec) }).unwrap();
}

#[test]
fn a_call_that_is_under_way_at_a_continue_as_new_is_shared_by_the_next_one_under_its_key() {
    for delivery in ["", "precise", "suspend"] {
        let (mut bed, first) = continues(delivery);
        assert_eq!((bed.started.len(), bed.canceled.len()), (1, 0), "{delivery}: two at once");
        assert!(bed.partition.wants_result(first.task));
        bed.task_done(first.task, Ok("receipt"));
        assert_eq!((outcome(&bed).as_str(), bed.started.len()), ("receipt", 1), "{delivery}");
    }
}

#[test]
fn a_call_that_ends_after_a_continue_as_new_and_before_the_next_one_is_known_to_that() {
    let mut bed = Bed::new();
    bed.script("o", |turn| match (turn.generation, news(turn).first()) {
        (1, Some(&"ExecutionStarted")) => call(pay(0, "")),
        (1, _) => vec![anew()],
        (_, Some(&"EventRaised")) => call(pay(1, "")),
        _ => results(turn).iter().map(|got| fail(got)).collect(),
    });
    bed.start("x", "o");
    bed.call(raise("x", "e")).unwrap();
    bed.task_done(bed.last_started().task, Ok("receipt"));
    bed.crash();
    bed.call(raise("x", "e")).unwrap();
    assert_eq!((outcome(&bed).as_str(), bed.started.len()), ("receipt", 0));
}

#[test]
fn the_failure_of_a_call_that_goes_on_is_shared_and_not_kept() {
    let (mut bed, first) = continues("");
    bed.task_done(first.task, Err(Failure::new("E", "no")));
    assert_eq!((outcome(&bed).as_str(), bed.started.len()), ("E", 1));
    assert!(bed.record("x").keys.unwrap().left.is_empty());
}

#[test]
fn the_next_call_tries_again_after_the_failure_of_one_that_goes_on_if_its_policy_says_so() {
    for delivery in ["", "suspend"] {
        let retry =
            RetryPolicy { attempts_max: 2, backoff_ms: 100, backoff_factor: 1.0, ..RetryPolicy::default() };
        let (mut bed, first) = continues_with(delivery, Some(retry));
        bed.started.clear();
        bed.task_done(first.task, Err(Failure::new("E", "no")));
        assert_eq!((bed.status("x"), bed.started.len()), (Status::Running, 0));
        bed.pass(100);
        let second = bed.last_started();
        assert_eq!((second.attempt, second.task.delivery, step(&second)), (2, 2, step(&first)));
        take(&mut bed, &second);
        bed.task_done(second.task, Err(Failure::new("E2", "no")));
        assert_eq!(outcome(&bed), "E2");
    }
}

#[test]
fn after_a_crash_the_next_call_is_the_next_delivery_of_the_same_step() {
    let (mut bed, first) = continues("");
    bed.crash();
    let second = bed.last_started();
    assert_eq!((second.task.delivery, step(&second)), (2, step(&first)));
    bed.crash();
    let third = bed.last_started();
    assert_eq!((third.task.delivery, step(&third)), (3, step(&first)));
    bed.task_done(third.task, Ok("receipt"));
    assert_eq!(outcome(&bed), "receipt");
}

#[test]
fn a_worker_that_is_lost_after_a_continue_as_new_makes_the_next_call_run() {
    let (mut bed, first) = continues("");
    lose(&mut bed, &first);
    assert_eq!((bed.started.len(), step(&bed.last_started())), (2, step(&first)));
    assert_eq!(bed.last_started().task.delivery, 2);
}

#[test]
fn at_most_once_holds_over_a_continue_as_new() {
    let (mut bed, first) = continues("suspend");
    lose(&mut bed, &first);
    assert_eq!((bed.status("x"), bed.started.len()), (Status::Suspended, 1));
    // The result of the very attempt in doubt comes late.
    bed.task_done(first.task, Ok("receipt"));
    assert_eq!((outcome(&bed).as_str(), bed.started.len()), ("receipt", 1));
    let (mut bed, first) = continues("suspend");
    bed.crash();
    assert_eq!((bed.status("x"), bed.started.len()), (Status::Suspended, 0));
    let request = Request::Resolve { id: id("x"), task: None, answer: Answer::RunOnceMore, by: "me".into() };
    bed.call(request).unwrap();
    let second = bed.last_started();
    assert_eq!((second.task.delivery, step(&second)), (2, step(&first)));
}

/// Calls again and again under one key, and fails with what came of all in the end.
fn calls_in_turn(tasks: Vec<TaskScheduled>) -> Bed {
    let mut bed = Bed::new();
    let mut seen = Vec::new();
    bed.script("o", move |turn| {
        if news(turn).contains(&"ExecutionStarted") {
            seen.clear();
        }
        seen.extend(results(turn));
        match tasks.get(seen.len()) {
            Some(next) if seen.is_empty() || !results(turn).is_empty() => call(next.clone()),
            None => vec![fail(&seen.join(" "))],
            _ => Vec::new(),
        }
    });
    bed.start("x", "o");
    bed
}

#[test]
fn after_an_unknown_outcome_no_call_under_the_key_runs() {
    for second in ["fail", ""] {
        let mut bed = calls_in_turn(vec![pay(0, "fail"), pay(1, second)]);
        let first = bed.last_started();
        take(&mut bed, &first);
        bed.crash();
        assert_eq!(bed.started.len(), 0);
        assert_eq!(outcome(&bed), [kind::UNKNOWN_OUTCOME; 2].join(" "));
        rewind(&mut bed, RewindTo::Beginning);
        let again = bed.last_started();
        take(&mut bed, &again);
        assert_eq!((bed.started.len(), step(&again)), (1, step(&first)), "who rewinds it permits it");
        assert_eq!(again.task.delivery, 2);
        bed.task_done(again.task, Ok("receipt"));
        assert_eq!(outcome(&bed), "receipt receipt");
    }
}

#[test]
fn a_call_under_a_key_whose_outcome_is_unknown_may_ask() {
    let mut bed = calls_in_turn(vec![pay(0, "fail"), pay(1, "suspend")]);
    let first = bed.last_started();
    take(&mut bed, &first);
    bed.crash();
    assert_eq!((bed.status("x"), bed.started.len()), (Status::Suspended, 0));
    let answer = Answer::Complete(Some("seen".into()));
    bed.call(Request::Resolve { id: id("x"), task: None, answer, by: "me".into() }).unwrap();
    assert_eq!(outcome(&bed), format!("{} seen", kind::UNKNOWN_OUTCOME));
    assert!(bed.record("x").keys.unwrap().left.is_empty());
}

#[test]
fn a_call_at_most_once_that_is_given_up_leaves_its_key_in_doubt_and_a_late_result_settles_that() {
    let limits = Some(TimeLimits { total_ms: 1000, ..TimeLimits::default() });
    let mut bed = calls_in_turn(vec![TaskScheduled { limits, ..pay(0, "fail") }, pay(1, "suspend")]);
    let first = bed.last_started();
    take(&mut bed, &first);
    bed.pass(1000);
    assert_eq!((bed.status("x"), bed.started.len()), (Status::Suspended, 1));
    bed.task_done(first.task, Ok("receipt"));
    assert_eq!(outcome(&bed), format!("{} receipt", kind::TIMEOUT));
}

#[test]
fn what_somebody_says_to_have_failed_is_no_doubt() {
    let mut bed = calls_in_turn(vec![pay(0, "suspend"), pay(1, "suspend")]);
    let first = bed.last_started();
    take(&mut bed, &first);
    bed.crash();
    let answer = Answer::Fail(Failure::new("Refused", "by the bank"));
    bed.call(Request::Resolve { id: id("x"), task: None, answer, by: "me".into() }).unwrap();
    assert_eq!((bed.status("x"), bed.last_started().task.task), (Status::Running, 1));
}

/// Calls under a key beside another activity whose failure ends the instance; then it is rewound to its beginning.
fn rewound(delivery: &'static str) -> (Bed, TaskStart) {
    let mut bed = Bed::new();
    bed.script("o", move |turn| {
        let got = results(turn);
        if news(turn).contains(&"ExecutionStarted") {
            let other = TaskScheduled { id: 1, name: "other".into(), ..TaskScheduled::default() };
            let limits = Some(TimeLimits { attempt_ms: 60_000, ..TimeLimits::default() });
            let pay = TaskScheduled { limits, ..pay(0, delivery) };
            return vec![Decision::ScheduleTask(pay), Decision::ScheduleTask(other)];
        }
        got.iter().map(|got| fail(got)).collect()
    });
    bed.start("x", "o");
    let start = |name: &str| bed.started.iter().find(|start| start.scheduled.name == name).unwrap().clone();
    let (first, other) = (start("pay"), start("other"));
    take(&mut bed, &first);
    bed.task_done(other.task, Err(Failure::new("E", "no")));
    assert_eq!(outcome(&bed), "E");
    bed.started.clear();
    rewind(&mut bed, RewindTo::Beginning);
    bed.started.retain(|start| start.scheduled.name == "pay");
    (bed, first)
}

#[test]
fn a_call_under_way_at_the_end_is_the_same_step_after_a_rewind_to_the_beginning() {
    let (bed, first) = rewound("");
    assert_eq!((bed.last_started().task.delivery, step(&bed.last_started())), (2, step(&first)));
}

#[test]
fn a_call_at_most_once_under_way_at_the_end_is_waited_for_after_a_rewind_to_the_beginning() {
    let (mut bed, first) = rewound("suspend");
    assert_eq!((bed.status("x"), bed.started.len()), (Status::Running, 0));
    bed.task_done(first.task, Ok("receipt"));
    assert_eq!(outcome(&bed), "receipt");
    // It was told to stop: that it has failed says nothing.
    let (mut bed, first) = rewound("suspend");
    bed.task_done(first.task, Err(Failure::new("E", "stopped")));
    assert_eq!((bed.status("x"), bed.started.len()), (Status::Suspended, 0));
    // It does not end: waited for as long as it may take.
    let (mut bed, _) = rewound("suspend");
    bed.pass(59_999);
    assert_eq!((bed.status("x"), bed.started.len()), (Status::Running, 0));
    bed.pass(1);
    assert_eq!((bed.status("x"), bed.started.len()), (Status::Suspended, 0));
}

#[test]
fn a_result_that_is_larger_than_all_that_is_kept_is_kept_while_it_is_the_last_one() {
    let large: &'static str = String::leak("x".repeat(KEYS_BYTES_MAX + 1));
    let other = |id| TaskScheduled { key: Some("other".into()), ..pay(id, "") };
    let mut bed = calls_in_turn(vec![pay(0, ""), pay(1, ""), other(2), pay(3, "")]);
    bed.task_done(bed.last_started().task, Ok(large));
    assert_eq!((bed.started.len(), bed.last_started().task.task), (2, 2), "it ran again");
    bed.task_done(bed.last_started().task, Ok("small"));
    assert_eq!(bed.started.len(), 2, "it ran again");
    assert!(outcome(&bed).ends_with(&format!("small {}", kind::LIMIT)));
    let history = bed.history_of(bed.rows.values().next().unwrap());
    let failure = history.iter().find_map(|event| match &event.kind {
        EventKind::TaskFailed(failed) => failed.failure.clone(),
        _ => None,
    });
    assert!(failure.unwrap().message.contains("key \"k\""));
}

#[test]
fn a_handler_has_a_step_and_counts_of_its_own() {
    let policy = Delivery::AtMostOnce(OnUnknown::Handler("look".into())).recorded();
    let policy: &'static str = String::leak(policy);
    let mut bed = calls_in_turn(vec![pay(0, policy)]);
    let first = bed.last_started();
    for asked in 1..=3 {
        let attempt = bed.last_started();
        take(&mut bed, &attempt);
        lose(&mut bed, &attempt);
        let handler = bed.last_started();
        assert_eq!(handler.question.as_ref().unwrap().idempotency_key, step(&first));
        assert_eq!(step(&handler), format!("{}-handler", step(&first)));
        assert_eq!((handler.task.delivery, handler.attempt), (asked, 1));
        let now = bed.now();
        bed.partition.task_answered(handler.task, Ok(Answer::RunOnceMore), now);
        bed.settle();
    }
}
