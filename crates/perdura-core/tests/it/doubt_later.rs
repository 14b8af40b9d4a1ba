//! What comes of an activity in doubt later: results after somebody has let it run once more, and rewinds.

use crate::bed::*;
use crate::doubt::*;
use perdura_core::delivery::*;
use perdura_core::failure::kind;
use perdura_core::partition::Request;
use perdura_core::rewind::{Replaced, RewindOrder, RewindSpec, RewindTo, Subject};
use perdura_core::{Failure, Status};

#[test]
fn a_good_result_of_the_attempt_in_doubt_counts_until_the_one_that_was_let_run_is_handed_over() {
    let known_before = |policy: &str, suspend: bool| {
        let mut bed = started(policy);
        let task = take(&mut bed);
        lose(&mut bed, task);
        if suspend {
            bed.call(Request::Suspend { id: id("x"), reason: "mine".into() }).unwrap();
        }
        resolve(&mut bed, Answer::RunOnceMore).unwrap();
        (bed, task)
    };
    for policy in ["suspend", "handler:check"] {
        // The next attempt waits for a worker: it is called off.
        let (mut bed, task) = known_before(policy, false);
        let (offered, now) = (bed.last_started().task, bed.now());
        assert_eq!(offered.delivery, 2);
        bed.task_done(task, Ok("1"));
        assert_eq!(bed.status("x"), Status::Completed, "{policy}");
        assert!(bed.canceled.contains(&offered));
        assert!(!bed.partition.task_taken(offered, "w2", now));
        // It is not even offered: an operator has suspended the instance.
        let (mut bed, task) = known_before(policy, true);
        bed.task_done(task, Ok("1"));
        bed.call(Request::Resume { id: id("x"), reason: String::new() }).unwrap();
        assert_eq!((bed.status("x"), bed.taken.len()), (Status::Completed, 1), "{policy}");
    }
}

#[test]
fn a_failure_of_the_attempt_in_doubt_is_noted_and_does_not_undo_the_word_to_run_it_once_more() {
    let mut bed = started("suspend");
    let task = take(&mut bed);
    lose(&mut bed, task);
    resolve(&mut bed, Answer::RunOnceMore).unwrap();
    bed.task_done(task, Err(Failure::new("E", "no").non_retryable()));
    let second = take(&mut bed);
    bed.task_done(second, Ok("1"));
    assert_eq!(bed.status("x"), Status::Completed);
    assert_eq!(bed.events("x").iter().filter(|name| **name == "TaskResultLate").count(), 1);
}

fn rewind(bed: &mut Bed, to: RewindTo, rerun: &[&str]) {
    let order =
        RewindOrder { rerun: rerun.iter().map(|name| (*name).into()).collect(), ..Default::default() };
    let spec = RewindSpec { to, order, ..RewindSpec::default() };
    bed.call(Request::Rewind { id: id("x"), spec: Box::new(spec) }).unwrap();
}

fn terminate(bed: &mut Bed) {
    bed.call(Request::Terminate { id: id("x"), reason: "r".into(), recurse: false }).unwrap();
}

/// What outside systems know the step by that was handed out last.
fn key_of_last(bed: &Bed) -> String {
    let start = bed.last_started();
    let own = idempotency_key(start.execution, start.task.task, start.origin);
    start.step.map_or(own, |step| step.to_string())
}

#[test]
fn the_result_of_an_attempt_that_runs_on_over_a_rewind_settles_the_doubt_of_the_new_branch() {
    for (to, crash) in [(RewindTo::Auto, false), (RewindTo::Beginning, false), (RewindTo::Auto, true)] {
        let mut bed = started("suspend");
        let task = take(&mut bed);
        terminate(&mut bed);
        rewind(&mut bed, to.clone(), &[]);
        assert_eq!((bed.status("x"), bed.taken.len()), (Status::Suspended, 1));
        let why = bed.record("x").suspended.unwrap();
        assert!(why.contains("its end was not waited for") && !why.contains("is gone"), "{why}");
        if crash {
            bed.crash();
        }
        bed.task_done(task, Ok("1"));
        assert_eq!(bed.status("x"), Status::Completed, "{to:?}");
    }
}

#[test]
fn the_result_of_an_attempt_settles_its_doubt_although_several_branches_have_gone_on_with_its_step() {
    for again in [RewindTo::Auto, RewindTo::Beginning] {
        let mut bed = started("suspend");
        let first = take(&mut bed);
        terminate(&mut bed);
        rewind(&mut bed, RewindTo::Call("pay".into()), &[]);
        let second = take(&mut bed);
        assert_eq!((second.delivery, second.branch), (2, 1));
        terminate(&mut bed);
        rewind(&mut bed, again.clone(), &[]);
        assert_eq!(bed.status("x"), Status::Suspended, "{again:?}");
        // Nobody is in doubt of the first one.
        bed.task_done(first, Ok("1"));
        assert_eq!(bed.status("x"), Status::Suspended, "{again:?}");
        bed.task_done(second, Ok("2"));
        assert_eq!(bed.status("x"), Status::Completed, "{again:?}");
    }
}

#[test]
fn the_plan_of_a_rewind_says_of_an_activity_in_doubt_that_its_policy_decides() {
    let mut bed = started("suspend");
    take(&mut bed);
    terminate(&mut bed);
    let record = bed.record("x");
    let row = bed.rows.values().next().unwrap().clone();
    let history = bed.history_of(&row);
    let subject = Subject {
        record: &record,
        history: &history,
        pending: &[],
        present: &[],
        others: &std::collections::BTreeMap::new(),
    };
    let plan = perdura_core::rewind::plan(subject, &RewindSpec::default(), bed.now()).unwrap();
    assert_eq!((plan.rerun.len(), plan.in_doubt.len()), (0, 1));
    assert_eq!((plan.in_doubt[0].name.as_str(), plan.in_doubt[0].task), ("pay", 0));
}

#[test]
fn an_unknown_outcome_that_failed_a_call_is_in_doubt_again_on_a_branch_that_asks_for_the_same() {
    let mut bed = started("fail");
    let task = take(&mut bed);
    let first = key_of_last(&bed);
    lose(&mut bed, task);
    // Not named: it is not run again, and its policy decides again.
    rewind(&mut bed, RewindTo::Beginning, &[]);
    assert_eq!((outcome(&bed).as_str(), bed.taken.len()), (kind::UNKNOWN_OUTCOME, 1));
    // Also over a second rewind and a restart. Named: it runs again, as the next delivery of the same step.
    bed.crash();
    rewind(&mut bed, RewindTo::Beginning, &["pay"]);
    let second = take(&mut bed);
    assert_eq!((second.delivery, key_of_last(&bed)), (2, first.clone()));
    lose(&mut bed, second);
    // To undo the failure is to let it run again, too.
    rewind(&mut bed, RewindTo::Auto, &[]);
    let third = take(&mut bed);
    assert_eq!((third.delivery, key_of_last(&bed)), (3, first));
    bed.task_done(third, Ok("1"));
    assert_eq!(bed.status("x"), Status::Completed);
}

#[test]
fn no_branch_gives_a_delivery_of_a_step_again_that_another_branch_has_given() {
    let mut bed = started("suspend");
    let task = take(&mut bed);
    terminate(&mut bed);
    rewind(&mut bed, RewindTo::Beginning, &[]);
    resolve(&mut bed, Answer::RunOnceMore).unwrap();
    let second = take(&mut bed);
    assert_eq!((task.delivery, second.delivery), (1, 2));
    bed.task_done(second, Ok("1"));
    // Back to the first branch, which knows of one delivery only.
    let spec = RewindSpec { branch: Some(0), to: RewindTo::Beginning, ..RewindSpec::default() };
    bed.call(Request::Rewind { id: id("x"), spec: Box::new(spec) }).unwrap();
    if bed.status("x") == Status::Suspended {
        resolve(&mut bed, Answer::RunOnceMore).unwrap();
        assert_eq!(take(&mut bed).delivery, 3);
    }
}

#[test]
fn who_gives_an_activity_in_doubt_another_input_lets_it_run_again_with_that() {
    let mut bed = started("suspend");
    let first = take(&mut bed);
    terminate(&mut bed);
    let inputs = vec![Replaced { event: 2, payload: Some("8".into()) }];
    let spec = RewindSpec { inputs, ..RewindSpec::default() };
    bed.call(Request::Rewind { id: id("x"), spec: Box::new(spec) }).unwrap();
    let second = take(&mut bed);
    assert_eq!((second.delivery, bed.last_started().scheduled.input.clone()), (2, Some("8".into())));
    // What the first one comes to is not what was asked for.
    bed.task_done(first, Ok("7 is paid"));
    assert_eq!(bed.status("x"), Status::Running);
    bed.task_done(second, Ok("8 is paid"));
    assert_eq!(bed.status("x"), Status::Completed);
}
