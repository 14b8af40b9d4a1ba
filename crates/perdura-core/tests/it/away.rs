//! Turns that somebody else runs: they come back later, twice or never.

use crate::bed::*;
use bytes::Bytes;
use perdura_core::failure::kind;
use perdura_core::history::*;
use perdura_core::orchestration::{
    ContinueAsNew, Decision, TerminateInstance, Turn, TurnOutcome, TurnResult,
};
use perdura_core::partition::{Request, RequestError, Response, StartRequest};
use perdura_core::*;

/// A bed whose orchestration «x» is run elsewhere, with one instance of it that has asked for its first turn.
fn bed_with_turn_away() -> (Bed, Turn) {
    let mut bed = Bed::new();
    bed.elsewhere.insert("x".into());
    bed.start("x", "x");
    let turn = bed.away.remove(0);
    (bed, turn)
}

fn back(bed: &mut Bed, turn: &Turn, decisions: Vec<Decision>) -> bool {
    back_with(bed, turn, TurnResult { decisions, ..TurnResult::default() })
}

fn back_with(bed: &mut Bed, turn: &Turn, result: TurnResult) -> bool {
    let now = bed.now();
    let awaited = bed.partition.turn_back(turn.ticket(), TurnOutcome::Done(result), now);
    bed.settle();
    awaited
}

#[test]
fn a_turn_that_is_away_leaves_its_events_in_the_row_and_the_status_pending() {
    let (mut bed, turn) = bed_with_turn_away();
    assert_eq!(news(&turn), ["ExecutionStarted"]);
    bed.call(raise("x", "go")).unwrap();
    assert_eq!(bed.status("x"), Status::Pending);
    let inbox = bed.record("x").inbox_events().unwrap();
    let kinds: Vec<_> = inbox.iter().map(|event| event.kind.name()).collect();
    assert_eq!(kinds, ["ExecutionStarted", "EventRaised"]);
    assert!(back(&mut bed, &turn, vec![]));
    assert_eq!(bed.status("x"), Status::Running);
    assert_eq!(news(&bed.away[0]), ["EventRaised"], "what came meanwhile is the next turn");
}

/// It is given away while the commit with its events is under way: its code decides, and does nothing.
#[test]
fn nothing_that_a_turn_decided_leaves_before_the_commits_of_its_events_and_of_its_decisions() {
    for is_lost in [false, true] {
        let mut bed = Bed::new();
        bed.elsewhere.insert("x".into());
        let token = bed.ask(Request::Start(start("x", "x")));
        bed.run();
        let turn = bed.away.remove(0);
        assert!(bed.replies.is_empty(), "the start is not durable");
        let outcome = TurnResult { decisions: vec![task(0, "a")], ..TurnResult::default() };
        assert!(bed.partition.turn_back(turn.ticket(), TurnOutcome::Done(outcome), bed.now()));
        bed.run();
        assert!(bed.started.is_empty() && bed.replies.is_empty());
        if is_lost {
            bed.crash();
            assert!(bed.started.is_empty() && bed.away.is_empty(), "there was no such instance");
        } else {
            bed.commit();
            assert!(bed.started.len() == 1 && bed.replies.contains_key(&token));
        }
    }
}

#[test]
fn an_outcome_is_taken_once() {
    let (mut bed, turn) = bed_with_turn_away();
    assert!(back(&mut bed, &turn, vec![task(0, "a")]));
    assert!(!back(&mut bed, &turn, vec![task(0, "a")]));
    assert_eq!(bed.started.len(), 1);
    assert_eq!(bed.events("x"), ["TurnStarted", "ExecutionStarted", "TaskScheduled"]);
}

#[test]
fn after_a_crash_the_turn_is_made_again_and_the_late_outcome_is_dropped() {
    let (mut bed, turn) = bed_with_turn_away();
    bed.call(raise("x", "go")).unwrap();
    bed.crash();
    let again = bed.away.remove(0);
    assert_eq!(news(&again), ["ExecutionStarted", "EventRaised"]);
    // Numbers of turns begin again with a life: a driver drops what was sent away by an earlier one.
    assert!(back(&mut bed, &again, vec![complete()]));
    assert!(!back(&mut bed, &turn, vec![task(0, "a")]));
    assert_eq!(bed.status("x"), Status::Completed);
}

#[test]
fn an_end_by_force_wins_over_the_late_outcome() {
    let (mut bed, turn) = bed_with_turn_away();
    let terminate = Request::Terminate { id: id("x"), reason: "enough".into(), recurse: true };
    bed.call(terminate).unwrap();
    assert_eq!(bed.status("x"), Status::Terminated);
    assert!(bed.forgotten.contains(&turn.key), "whoever has the turn is told");
    assert!(!back(&mut bed, &turn, vec![task(0, "a")]));
    let recorded = ["ExecutionStarted", "ExecutionTerminated", "ExecutionCompleted"];
    assert_eq!(bed.events("x"), recorded);
}

#[test]
fn a_replaced_run_does_not_take_the_outcome_of_the_run_before() {
    let (mut bed, turn) = bed_with_turn_away();
    bed.start_replacing("x", "x");
    let second = bed.away.remove(0);
    assert_ne!(second.execution, turn.execution);
    assert!(!back(&mut bed, &turn, vec![complete()]));
    assert!(back(&mut bed, &second, vec![complete()]));
    assert_eq!(bed.status("x"), Status::Completed);
}

#[test]
fn a_purged_instance_does_not_come_back_with_a_late_outcome() {
    let (mut bed, turn) = bed_with_turn_away();
    bed.call(Request::Terminate { id: id("x"), reason: String::new(), recurse: false }).unwrap();
    bed.call(Request::Purge { id: id("x"), again: false }).unwrap();
    assert!(!back(&mut bed, &turn, vec![complete()]));
    assert!(bed.rows.is_empty());
}

#[test]
fn a_suspended_instance_calls_its_turn_back_and_takes_it_anew_when_it_goes_on() {
    let (mut bed, turn) = bed_with_turn_away();
    bed.call(Request::Suspend { id: id("x"), reason: String::new() }).unwrap();
    assert!(bed.forgotten.contains(&turn.key), "whoever has the turn is told");
    assert!(!back(&mut bed, &turn, vec![complete()]));
    bed.call(Request::Resume { id: id("x"), reason: String::new() }).unwrap();
    let again = bed.away.remove(0);
    assert_eq!(news(&again), ["ExecutionStarted", "ExecutionSuspended", "ExecutionResumed"]);
    assert!(back(&mut bed, &again, vec![complete()]));
}

#[test]
fn a_turn_that_nobody_ran_comes_again_with_what_has_come_since_however_often() {
    let (mut bed, mut turn) = bed_with_turn_away();
    // More often than an instance may take turns in one batch, and nothing is committed meanwhile.
    for _ in 0..40 {
        assert!(bed.partition.turn_returned_unrun(turn.ticket()));
        assert!(!bed.partition.turn_returned_unrun(turn.ticket()));
        bed.settle();
        turn = bed.away.remove(0);
    }
    bed.call(raise("x", "go")).unwrap();
    assert!(bed.partition.turn_returned_unrun(turn.ticket()));
    bed.settle();
    assert_eq!(news(&bed.away[0]), ["ExecutionStarted", "EventRaised"]);
}

#[test]
fn events_that_were_not_taken_come_first_in_the_next_turn() {
    let (mut bed, turn) = bed_with_turn_away();
    for name in ["a", "b", "c"] {
        bed.call(raise("x", name)).unwrap();
    }
    assert!(back(&mut bed, &turn, vec![]));
    let turn = bed.away.remove(0);
    bed.call(raise("x", "d")).unwrap();
    assert!(back_with(&mut bed, &turn, TurnResult { taken: Some(1), ..TurnResult::default() }));
    let left = bed.away.remove(0);
    let names: Vec<_> = left.events.iter().filter_map(raised).collect();
    assert_eq!(names, ["b", "c", "d"]);
    let nothing = TurnResult { taken: Some(0), ..TurnResult::default() };
    let before = bed.events("x").len();
    assert!(back_with(&mut bed, &left, nothing));
    assert_eq!(bed.events("x").len(), before, "a turn in which nothing happened is not recorded");
    assert_eq!(news(&bed.away[0]).len(), 3);
}

fn raised(event: &Event) -> Option<&str> {
    match &event.kind {
        EventKind::EventRaised(raised) => Some(&raised.name),
        _ => None,
    }
}

#[test]
fn the_history_keeps_the_time_that_the_worker_was_told() {
    let (mut bed, turn) = bed_with_turn_away();
    bed.now += 60_000;
    let began = bed.now();
    let decisions = vec![complete()];
    back_with(&mut bed, &turn, TurnResult { decisions, began: Some(began), ..TurnResult::default() });
    let history = &bed.history[&(turn.key, 1)];
    assert_eq!(history[0], Event::new(began, TurnStarted::default()));
}

#[test]
fn trace_contexts_go_their_way_and_the_one_of_a_turn_ends_with_its_execution() {
    let mut bed = Bed::new();
    bed.elsewhere.insert("x".into());
    let trace = |text: &'static str| Some(Bytes::from(text));
    bed.call(Request::Start(StartRequest { trace: trace("client"), ..start("x", "x") })).unwrap();
    let turn = bed.away.remove(0);
    let traced = |turn: &Turn| match &turn.events[1].kind {
        EventKind::ExecutionStarted(started) => started.trace.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((traced(&turn), turn.trace.clone()), (trace("client"), None));
    bed.call(raise("x", "go")).unwrap();
    back_with(&mut bed, &turn, TurnResult { trace: trace("span"), ..TurnResult::default() });
    bed.crash();
    let turn = bed.away.remove(0);
    assert_eq!(turn.trace, trace("span"));
    let next = Decision::ContinueAsNew(ContinueAsNew::default());
    back(&mut bed, &turn, vec![next]);
    let turn = bed.away.remove(0);
    assert_eq!((traced(&turn), turn.trace.clone()), (trace("client"), None));
    let decisions = vec![
        Decision::ScheduleTask(TaskScheduled { name: "a".into(), trace: trace("a"), ..Default::default() }),
        Decision::ScheduleSubOrchestration(SubOrchestrationScheduled {
            name: "x".into(),
            trace: trace("kid"),
            ..Default::default()
        }),
    ];
    back(&mut bed, &turn, decisions);
    assert_eq!(bed.last_started().scheduled.trace, trace("a"));
    assert_eq!(traced(&bed.away[0]), trace("kid"));
}

#[test]
fn decisions_with_odd_numbers_and_an_end_among_them_are_taken_as_they_come() {
    let (mut bed, turn) = bed_with_turn_away();
    let at = bed.now + 1000;
    let decisions = vec![task(7, "a"), timer(7, at), child(7, "x", "kid"), timer(u32::MAX, at)];
    assert!(back(&mut bed, &turn, decisions));
    let record = bed.record("x");
    assert_eq!((record.tasks[0].id, record.timers.len(), record.children[0].id), (7, 2, 7));
    bed.call(raise("x", "go")).unwrap();
    let turn = bed.away.iter().position(|turn| turn.id == id("x")).map(|at| bed.away.remove(at)).unwrap();
    let sent =
        Decision::SendEvent(EventSent { id: 0, instance: "kid".into(), name: "e".into(), input: None });
    assert!(back(&mut bed, &turn, vec![complete(), sent]));
    let events = bed.events("x");
    assert_eq!(events[events.len() - 2..], ["EventSent", "ExecutionCompleted"]);
}

#[test]
fn a_decision_to_end_another_instance_leaves_no_event() {
    let (mut bed, turn) = bed_with_turn_away();
    bed.start("y", "x");
    let end = TerminateInstance { instance: "y".into(), reason: "because".into(), recurse: false };
    assert!(back(&mut bed, &turn, vec![Decision::Terminate(end)]));
    assert_eq!(bed.events("x"), ["TurnStarted", "ExecutionStarted"]);
    assert_eq!(bed.status("y"), Status::Terminated);
}

#[test]
fn a_timer_of_a_turn_elsewhere_may_lie_centuries_ahead_and_never_fires_early() {
    let (mut bed, turn) = bed_with_turn_away();
    let at = bed.now().0 + 300 * 366 * 86_400_000;
    assert!(back(&mut bed, &turn, vec![timer(1, at)]));
    assert_eq!((bed.status("x"), bed.record("x").timers[0].fire_at), (Status::Running, at));
    bed.crash();
    bed.pass(299 * 366 * 86_400_000);
    assert!(bed.away.is_empty(), "early");
    bed.pass(366 * 86_400_000);
    assert_eq!(bed.away.len(), 1);
}

#[test]
fn decisions_that_break_a_rule_fail_the_execution_and_say_which() {
    let long = Some(Bytes::from(vec![0; 5 << 20]));
    let big = Decision::ScheduleTask(TaskScheduled { name: "a".into(), input: long, ..Default::default() });
    let far = timer(1, i64::MAX);
    let bad: [(Vec<Decision>, &str, &str); 6] = [
        (vec![big], kind::LIMIT, "bytes of activity \"a\" (task 0): 5242880, limit 4194304"),
        (vec![far], kind::LIMIT, "timer (task 1) lies after the year 9999"),
        (vec![task(1, "a"), task(1, "b")], kind::INVALID, "\"b\" (task 1) has the number of one that is not"),
        (vec![task(1, "")], kind::INVALID, "activity name must not be empty"),
        (vec![child(1, "x", "@no")], kind::INVALID, "the prefix \"@\" is reserved"),
        (vec![child(1, "x", "x")], kind::INVALID, "a child cannot have the instance id of its parent"),
    ];
    for (decisions, kind, message) in bad {
        let (mut bed, turn) = bed_with_turn_away();
        assert!(back(&mut bed, &turn, decisions));
        let failure = *bed.record("x").failure.expect("a failure");
        assert!(failure.kind == kind && failure.message.contains(message), "{failure:?}");
        assert_eq!(bed.status("x"), Status::Failed);
        assert!(bed.started.is_empty() && bed.record("x").tasks.is_empty());
    }
}

#[test]
fn a_turn_may_fill_the_history_to_its_limit_with_what_it_has_taken() {
    let limits = Limits { history_events_max: 12, ..Limits::default() };
    for (decisions, fits) in [(9, true), (10, false)] {
        let mut bed = Bed::with_limits(limits.clone());
        bed.elsewhere.insert("x".into());
        bed.start("x", "x");
        let first = bed.away.remove(0);
        assert!(bed.partition.turn_returned_unrun(first.ticket()));
        for name in ["a", "b"] {
            bed.ask(raise("x", name));
        }
        bed.settle();
        // TurnStarted, ExecutionStarted and the first event; the second one is left.
        let turn = bed.away.remove(0);
        let decisions = (0..decisions).map(|number| timer(number, 2_000_000)).collect();
        back_with(&mut bed, &turn, TurnResult { decisions, taken: Some(2), ..TurnResult::default() });
        assert_eq!(bed.status("x"), if fits { Status::Running } else { Status::Failed });
    }
}

#[test]
fn whoever_waits_for_the_beginning_is_answered_by_the_first_recorded_turn() {
    let (mut bed, turn) = bed_with_turn_away();
    let waits = bed.ask(Request::WaitBegun { id: id("x") });
    bed.settle();
    assert!(!bed.replies.contains_key(&waits));
    back(&mut bed, &turn, vec![]);
    let Some(Ok(Response::Begun(record))) = bed.replies.remove(&waits) else { panic!() };
    assert_eq!(record.status(), Ok(Status::Running));
    let Ok(Response::Begun(_)) = bed.call(Request::WaitBegun { id: id("x") }) else { panic!() };
    let nobody = bed.call(Request::WaitBegun { id: id("y") });
    assert_eq!(nobody, Err(RequestError::NotFound { id: id("y") }));
}

#[test]
fn whoever_waits_for_the_beginning_is_answered_by_an_end_without_one() {
    let (mut bed, _) = bed_with_turn_away();
    let waits = bed.ask(Request::WaitBegun { id: id("x") });
    bed.call(Request::Terminate { id: id("x"), reason: String::new(), recurse: false }).unwrap();
    let Some(Ok(Response::Begun(record))) = bed.replies.remove(&waits) else { panic!() };
    assert_eq!(record.status(), Ok(Status::Terminated));
}

#[test]
fn a_lost_worker_costs_a_delivery_but_no_attempt() {
    let mut bed = Bed::new();
    bed.script("seq", steps(vec![vec![task(0, "a")], vec![complete()]]));
    bed.start("x", "seq");
    let first = bed.last_started();
    let now = bed.now();
    bed.partition.task_lost(first.task, "the stream broke", now);
    bed.partition.task_lost(first.task, "the stream broke", now);
    bed.settle();
    let second = bed.last_started();
    assert_eq!((second.attempt, second.task.delivery, bed.started.len()), (1, 2, 2));
    bed.task_done(first.task, Ok("late"));
    assert_eq!(bed.status("x"), Status::Running, "the result of a delivery that was given up is dropped");
    bed.task_done(second.task, Ok("good"));
    assert_eq!(bed.status("x"), Status::Completed);
}

#[test]
fn what_was_lost_beside_something_that_cost_the_worker_comes_again_and_is_not_counted() {
    let mut bed = Bed::new();
    bed.script("seq", steps(vec![vec![task(0, "a")], vec![complete()]]));
    bed.start("x", "seq");
    bed.partition.task_lost(bed.last_started().task, "killed", bed.now());
    bed.settle();
    for _ in 0..2 * Limits::default().lost_workers_max {
        bed.partition.task_lost_beside(bed.last_started().task, "killed", bed.now());
        bed.settle();
    }
    let start = bed.last_started();
    assert_eq!((start.lost, start.task.delivery), (1, 2 + 2 * Limits::default().lost_workers_max));
    bed.task_done(start.task, Ok("good"));
    assert_eq!(bed.status("x"), Status::Completed);
}

#[test]
fn an_activity_that_costs_worker_after_worker_fails_in_the_end() {
    let mut bed = Bed::new();
    bed.script("seq", steps(vec![vec![task(0, "a")]]));
    bed.start("x", "seq");
    for _ in 0..Limits::default().lost_workers_max {
        let (start, now) = (bed.last_started(), bed.now());
        if start.has_barrier {
            assert!(bed.partition.task_taken(start.task, "w", now));
            bed.settle();
        }
        bed.partition.task_lost(start.task, "killed", now);
        bed.settle();
        bed.crash();
    }
    let key = bed.rows.keys().next().copied().unwrap();
    let failed = bed.history[&(key, 1)].iter().find_map(|event| match &event.kind {
        EventKind::TaskFailed(failed) => failed.failure.clone(),
        _ => None,
    });
    let failure = failed.expect("a failed task");
    assert!(failure.kind == kind::WORKER_LOST && failure.non_retryable, "{failure:?}");
}

#[test]
fn an_attempt_that_no_worker_had_is_handed_out_again_a_little_later() {
    let mut bed = Bed::new();
    bed.script("seq", steps(vec![vec![task(0, "a")], vec![complete()]]));
    bed.start("x", "seq");
    let (first, now) = (bed.last_started(), bed.now());
    bed.partition.task_not_started(first.task, now);
    bed.settle();
    assert_eq!(bed.started.len(), 1);
    bed.pass(1000);
    let second = bed.last_started();
    assert_eq!((second.attempt, second.task.delivery), (1, 2));
    bed.task_done(second.task, Ok("good"));
    assert_eq!(bed.status("x"), Status::Completed);
}
