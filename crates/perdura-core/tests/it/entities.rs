//! Entities: operations, signals, locks.

use crate::bed::*;
use bytes::Bytes;
use perdura_core::entity::*;
use perdura_core::history::*;
use perdura_core::orchestration::Decision;
use perdura_core::partition::*;
use perdura_core::*;

fn entity(id: &str) -> EntityId {
    EntityId::parse(id).unwrap()
}

fn signal(to: &str, operation: &str) -> SignalRequest {
    SignalRequest {
        to: entity(to),
        operation: operation.into(),
        input: None,
        at: None,
        request_id: String::new(),
        stamp: None,
    }
}

fn ended(text: &str) -> OperationResult {
    OperationResult { outcome: Ok(Some(Bytes::copy_from_slice(text.as_bytes()))), actions: Vec::new() }
}

/// Appends the name of each operation to its state; `fail` fails, `delete` takes the state away, `spread` signals @log@far.
fn log(state: &mut Option<Bytes>, operation: &EntityOperation) -> OperationResult {
    let was = state.clone().unwrap_or_default();
    match operation.name.as_str() {
        "fail" => {
            let actions = vec![EntityAction::Signal {
                to: entity("@log@far"),
                operation: "leaked".into(),
                input: None,
                at: None,
                request: String::new(),
            }];
            return OperationResult { outcome: Err(Failure::new("E", "no")), actions };
        }
        "delete" => *state = None,
        name => *state = Some([&was[..], name.as_bytes(), b";"].concat().into()),
    }
    let mut result = ended(&format!("{} of {}", operation.name, operation.delivery));
    if operation.name == "spread" {
        result.actions.push(EntityAction::Signal {
            to: entity("@log@far"),
            operation: "came".into(),
            input: None,
            at: None,
            request: String::new(),
        });
        result.actions.push(EntityAction::Start {
            id: id("started"),
            name: "Idle".into(),
            version: String::new(),
            input: None,
            at: None,
        });
    }
    result
}

fn bed() -> Bed {
    let mut bed = Bed::new();
    bed.entity("log", log);
    bed
}

fn record(bed: &Bed, id: &str) -> EntityRecord {
    *bed.record(id).entity.expect("an entity")
}

fn state(bed: &Bed, id: &str) -> String {
    String::from_utf8(record(bed, id).state.unwrap_or_default().to_vec()).unwrap()
}

fn exists(bed: &Bed, id: &str) -> bool {
    bed.rows.values().any(|row| row.id.as_str() == id)
}

fn call(number: u32, to: &str, operation: &str) -> Decision {
    Decision::CallEntity(EntityOperationCalled {
        id: number,
        entity: to.into(),
        operation: operation.into(),
        ..Default::default()
    })
}

fn lock(number: u32, set: &[&str]) -> Decision {
    let set = set.iter().map(ToString::to_string).collect();
    Decision::RequestLock(EntityLockRequested { id: number, set, ..Default::default() })
}

fn unlock(number: u32) -> Decision {
    Decision::Unlock(EntityUnlockSent { id: number, ..Default::default() })
}

fn holder(bed: &Bed, id: &str) -> Option<String> {
    record(bed, id).lock.map(|lock| lock.holder.unwrap().instance)
}

#[test]
fn a_signal_is_durable_before_it_runs_and_runs_once() {
    let mut bed = bed();
    let token = bed.ask(Request::Signal(signal("@log@a", "one")));
    bed.run();
    assert!(bed.operations.is_empty(), "handed out before the commit");
    bed.commit();
    assert_eq!(bed.replies.remove(&token), Some(Ok(Response::Done)));
    assert_eq!(record(&bed, "@log@a").queue[0].delivery, 1);
    bed.settle();
    assert_eq!(state(&bed, "@log@a"), "one;");
    assert!(record(&bed, "@log@a").queue.is_empty());
    assert_eq!(bed.status("@log@a"), Status::Completed, "an idle entity is not read by a recovery");
}

#[test]
fn signals_run_in_the_order_in_which_they_came_and_many_share_a_commit() {
    let mut bed = bed();
    for n in 0..100 {
        bed.ask(Request::Signal(signal("@log@a", &format!("s{n}"))));
    }
    bed.settle();
    let expected: String = (0..100).map(|n| format!("s{n};")).collect();
    assert_eq!(state(&bed, "@log@a"), expected);
    assert_eq!(bed.batches.len(), 2);
}

#[test]
fn an_operation_that_may_have_run_comes_again_with_the_next_delivery_count() {
    let mut bed = Bed::new();
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    assert_eq!(bed.operations[0].operations[0].delivery, 1);
    bed.crash();
    assert_eq!(bed.operations[0].operations[0].delivery, 2);
    let ticket = bed.operations.remove(0).ticket;
    bed.partition.operations_lost(ticket, bed.now());
    bed.run();
    assert!(bed.operations.is_empty(), "handed out before its count is durable");
    bed.settle();
    assert_eq!(bed.operations[0].operations[0].delivery, 3);
}

#[test]
fn a_result_that_nobody_awaits_any_more_is_dropped() {
    let mut bed = Bed::new();
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    let old = bed.operations.remove(0);
    bed.partition.operations_lost(old.ticket, bed.now());
    bed.settle();
    let done = OperationsDone { results: vec![ended("late")], state: Some(Bytes::from("late")) };
    bed.partition.operations_done(old.ticket, done, bed.now());
    bed.settle();
    assert_eq!(record(&bed, "@log@a").state, None);
}

#[test]
fn operations_that_were_not_run_come_first_in_the_next_batch() {
    let mut bed = Bed::new();
    for name in ["a", "b", "c"] {
        bed.ask(Request::Signal(signal("@log@a", name)));
    }
    bed.settle();
    let batch = bed.operations.remove(0);
    let done = OperationsDone { results: vec![ended("")], state: Some(Bytes::from("a;")) };
    bed.ask(Request::Signal(signal("@log@a", "d")));
    bed.partition.operations_done(batch.ticket, done, bed.now());
    bed.settle();
    let names: Vec<_> = bed.operations[0].operations.iter().map(|o| (&*o.name, o.delivery)).collect();
    assert_eq!(names, [("b", 2), ("c", 2), ("d", 1)]);
}

#[test]
fn an_operation_that_fails_leaves_no_trace() {
    let mut bed = bed();
    bed.script("Caller", steps(vec![vec![call(0, "@log@a", "fail")], vec![complete()]]));
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    bed.start("c", "Caller");
    assert_eq!(state(&bed, "@log@a"), "one;");
    assert!(!exists(&bed, "@log@far"));
    assert!(bed.events("c").contains(&"EntityOperationFailed"));
}

#[test]
fn what_an_operation_sends_leaves_with_its_state() {
    let mut bed = bed();
    bed.script("Idle", |_| Vec::new());
    bed.call(Request::Signal(signal("@log@a", "spread"))).unwrap();
    assert_eq!(state(&bed, "@log@a"), "spread;");
    assert_eq!(state(&bed, "@log@far"), "came;");
    assert_eq!(bed.status("started"), Status::Running);
}

#[test]
fn a_call_costs_two_commits() {
    let mut bed = bed();
    let calls = (0..5).map(|n| vec![call(n, "@log@a", "x")]).chain([vec![complete()]]);
    bed.script("Caller", steps(calls.collect()));
    bed.start("c", "Caller");
    assert_eq!(bed.status("c"), Status::Completed);
    assert_eq!(state(&bed, "@log@a"), "x;x;x;x;x;");
    // The start and the first call share a commit, and so do each result and the next call.
    assert_eq!(bed.batches.len(), 6);
}

#[test]
fn a_delayed_signal_waits_for_its_time_also_over_a_crash() {
    let mut bed = bed();
    let at = Some(Timestamp(bed.now + 5000));
    bed.call(Request::Signal(SignalRequest { at, ..signal("@log@a", "later") })).unwrap();
    bed.pass(4999);
    assert_eq!(record(&bed, "@log@a").state, None);
    bed.crash();
    bed.pass(1);
    assert_eq!(state(&bed, "@log@a"), "later;");
}

#[test]
fn an_entity_of_which_nothing_is_left_is_gone() {
    let mut bed = bed();
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    bed.call(Request::Signal(signal("@log@a", "delete"))).unwrap();
    assert!(!exists(&bed, "@log@a"));
    bed.call(Request::Signal(signal("@log@a", "two"))).unwrap();
    assert_eq!(state(&bed, "@log@a"), "two;");
    bed.call(Request::DeleteEntity { entity: entity("@log@a") }).unwrap();
    assert!(!exists(&bed, "@log@a"));
}

#[test]
fn a_signal_to_an_entity_that_vanishes_brings_it_back() {
    let mut bed = bed();
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    bed.ask(Request::Signal(signal("@log@a", "delete")));
    bed.run();
    bed.commit();
    bed.run();
    bed.ask(Request::Signal(signal("@log@a", "two")));
    bed.settle();
    assert_eq!(state(&bed, "@log@a"), "two;");
    assert_eq!(bed.rows.len(), 1);
}

#[test]
fn a_row_that_a_crash_left_of_a_vanishing_entity_goes_in_the_next_life() {
    let mut bed = bed();
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    bed.ask(Request::Signal(signal("@log@a", "delete")));
    bed.run();
    bed.commit();
    bed.run();
    bed.commit();
    assert!(exists(&bed, "@log@a"), "the row goes one batch later");
    bed.crash();
    assert!(!exists(&bed, "@log@a"));
}

#[test]
fn a_signal_that_is_asked_again_is_taken_once() {
    let mut bed = bed();
    let stamped = |number| SignalRequest { stamp: Some(Stamp::new(7, number)), ..signal("@log@a", "s") };
    bed.call(Request::Signal(stamped(1))).unwrap();
    bed.call(Request::Signal(stamped(2))).unwrap();
    bed.crash();
    bed.call(Request::Signal(stamped(2))).unwrap();
    bed.call(Request::Signal(stamped(3))).unwrap();
    let named = SignalRequest { request_id: "r".into(), ..signal("@log@a", "r") };
    bed.call(Request::Signal(named.clone())).unwrap();
    bed.crash();
    bed.call(Request::Signal(named)).unwrap();
    assert_eq!(state(&bed, "@log@a"), "s;s;s;r;");
}

#[test]
fn a_lock_waits_for_what_came_before_and_holds_back_what_comes_after() {
    let mut bed = bed();
    bed.script("Holder", |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![lock(0, &["@log@b", "@log@a"])],
        ["EntityLockGranted"] => vec![call(1, "@log@a", "held")],
        ["EventRaised"] => vec![unlock(2), complete()],
        _ => Vec::new(),
    });
    bed.ask(Request::Signal(signal("@log@a", "before")));
    bed.start("h", "Holder");
    bed.call(Request::Signal(signal("@log@a", "after"))).unwrap();
    assert_eq!(state(&bed, "@log@a"), "before;held;");
    assert_eq!((holder(&bed, "@log@a"), holder(&bed, "@log@b")), (Some("h".into()), Some("h".into())));
    bed.crash();
    assert_eq!(state(&bed, "@log@a"), "before;held;");
    bed.call(raise("h", "go")).unwrap();
    assert_eq!(state(&bed, "@log@a"), "before;held;after;");
    assert_eq!(holder(&bed, "@log@a"), None);
    assert!(!exists(&bed, "@log@b"), "an entity without state that nobody holds does not exist");
}

#[test]
fn two_holders_of_crossing_sets_take_turns() {
    let mut bed = bed();
    let script = |set: &'static [&'static str]| {
        move |turn: &perdura_core::orchestration::Turn| match news(turn)[..] {
            ["ExecutionStarted"] => vec![lock(0, set)],
            ["EventRaised"] => vec![complete()],
            _ => Vec::new(),
        }
    };
    bed.script("One", script(&["@log@a", "@log@b"]));
    bed.script("Two", script(&["@log@b", "@log@a"]));
    bed.ask(Request::Start(start("1", "One")));
    bed.ask(Request::Start(start("2", "Two")));
    bed.settle();
    assert_eq!((holder(&bed, "@log@a"), holder(&bed, "@log@b")), (Some("1".into()), Some("1".into())));
    bed.call(raise("1", "go")).unwrap();
    assert_eq!((holder(&bed, "@log@a"), holder(&bed, "@log@b")), (Some("2".into()), Some("2".into())));
    bed.call(raise("2", "go")).unwrap();
    assert!(!exists(&bed, "@log@a") && !exists(&bed, "@log@b"));
}

/// How a holder may end, each time with one section granted or one still waiting.
#[test]
fn however_a_holder_ends_its_locks_are_released() {
    type EndOf = fn(&mut Bed);
    let ends: [(&str, EndOf); 7] = [
        ("completed", |bed| drop(bed.call(raise("h", "complete")).unwrap())),
        ("failed", |bed| drop(bed.call(raise("h", "fail")).unwrap())),
        ("continued as new", |bed| drop(bed.call(raise("h", "again")).unwrap())),
        ("terminated", |bed| {
            drop(bed.call(Request::Terminate { id: id("h"), reason: String::new(), recurse: true }).unwrap());
        }),
        ("terminated while suspended", |bed| {
            bed.call(Request::Suspend { id: id("h"), reason: String::new() }).unwrap();
            drop(bed.call(Request::Terminate { id: id("h"), reason: String::new(), recurse: true }).unwrap());
        }),
        ("purged", |bed| {
            bed.call(Request::Terminate { id: id("h"), reason: String::new(), recurse: true }).unwrap();
            drop(bed.call(Request::Purge { id: id("h"), again: false }).unwrap());
        }),
        ("replaced", |bed| bed.start_replacing("h", "Idle")),
    ];
    for (how, end) in ends {
        for waits in [false, true] {
            for crash in [false, true] {
                let mut bed = bed();
                bed.script("Idle", |_| Vec::new());
                let holder = |turn: &perdura_core::orchestration::Turn| match turn
                    .events
                    .last()
                    .map(|event| &event.kind)
                {
                    Some(EventKind::ExecutionStarted(started)) if started.input.is_none() => {
                        vec![lock(0, &["@log@a", "@log@b", "@log@c"])]
                    }
                    Some(EventKind::EventRaised(raised)) => match raised.name.as_str() {
                        "complete" => vec![complete()],
                        "fail" => vec![fail("x")],
                        _ => vec![Decision::ContinueAsNew(perdura_core::orchestration::ContinueAsNew {
                            input: Some(Bytes::from("again")),
                            ..Default::default()
                        })],
                    },
                    _ => Vec::new(),
                };
                bed.script("Holder", holder);
                bed.script("Other", holder);
                if waits {
                    // Somebody has the second one, so the section is half taken.
                    bed.script("Blocker", |turn| match news(turn)[..] {
                        ["ExecutionStarted"] => vec![lock(0, &["@log@b"])],
                        ["EventRaised"] => vec![complete()],
                        _ => Vec::new(),
                    });
                    bed.start("blocker", "Blocker");
                }
                bed.start("h", "Holder");
                bed.call(Request::Signal(signal("@log@a", "behind"))).unwrap();
                if crash {
                    bed.crash();
                }
                end(&mut bed);
                if waits {
                    assert_eq!(holder_of_b(&bed), Some("blocker".into()), "{how}");
                    bed.call(raise("blocker", "go")).unwrap();
                }
                let case = format!("{how}, waiting {waits}, crash {crash}");
                assert_eq!(state(&bed, "@log@a"), "behind;", "{case}");
                assert_eq!(self::holder(&bed, "@log@a"), None, "{case}");
                assert!(!exists(&bed, "@log@b") && !exists(&bed, "@log@c"), "{case}");
            }
        }
    }
}

fn holder_of_b(bed: &Bed) -> Option<String> {
    holder(bed, "@log@b")
}

#[test]
fn a_cancel_request_withdraws_a_lock_that_is_waited_for() {
    let mut bed = bed();
    bed.script("Holder", |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![lock(0, &["@log@a"])],
        ["EventRaised"] => vec![complete()],
        _ => Vec::new(),
    });
    bed.start("1", "Holder");
    bed.start("2", "Holder");
    bed.call(Request::Cancel { id: id("2"), reason: "no more".into() }).unwrap();
    bed.call(raise("1", "go")).unwrap();
    assert!(!exists(&bed, "@log@a"));
}

#[test]
fn nobody_can_start_an_orchestration_under_the_id_of_an_entity() {
    let mut bed = bed();
    bed.script("Idle", |_| Vec::new());
    bed.script("Parent", steps(vec![vec![child(0, "Idle", "@log@a")], vec![complete()]]));
    bed.start("p", "Parent");
    assert!(!exists(&bed, "@log@a"));
    assert!(bed.events("p").contains(&"SubOrchestrationFailed"), "{:?}", bed.events("p"));
}

#[test]
fn an_entity_that_nobody_runs_keeps_its_operations_and_says_so() {
    let mut bed = Bed::new();
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    let ticket = bed.operations.remove(0).ticket;
    bed.partition.operations_cannot_run(ticket, "entity \"log\" is not registered here".into(), bed.now());
    bed.settle();
    assert!(bed.record("@log@a").block.unwrap().reason.contains("not registered"));
    bed.call(Request::Signal(signal("@log@a", "two"))).unwrap();
    bed.entity("log", log);
    bed.crash();
    assert_eq!(state(&bed, "@log@a"), "one;two;");
    assert!(bed.record("@log@a").block.is_none());
}

#[test]
fn who_holds_nothing_releases_nobody_elses_lock() {
    let mut bed = bed();
    bed.script("Holder", steps(vec![vec![lock(0, &["@log@a"])], vec![]]));
    let stray =
        Decision::Unlock(EntityUnlockSent { id: 0, entities: vec!["@log@a".into()], ..Default::default() });
    bed.script("Stray", steps(vec![vec![stray, unlock(1), complete()]]));
    bed.start("h", "Holder");
    bed.start("s", "Stray");
    assert_eq!(bed.status("s"), Status::Completed);
    assert_eq!(holder(&bed, "@log@a"), Some("h".into()));
    bed.call(Request::Terminate { id: id("h"), reason: String::new(), recurse: false }).unwrap();
    assert!(!exists(&bed, "@log@a"));
}

#[test]
fn a_full_queue_refuses_clients_and_takes_more_when_there_is_room() {
    let mut bed = Bed::with_limits(Limits { inbox_events_max: 2, ..Limits::default() });
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    bed.call(Request::Signal(signal("@log@a", "two"))).unwrap();
    let refusal = bed.call(Request::Signal(signal("@log@a", "three"))).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "instance \"@log@a\": 2 events wait for it already; let it take some first"
    );
    bed.entity("log", log);
    let batch = bed.operations.remove(0);
    let done = bed.outcome_of(&batch);
    bed.partition.operations_done(batch.ticket, done, bed.now());
    bed.settle();
    bed.call(Request::Signal(signal("@log@a", "three"))).unwrap();
    assert_eq!(state(&bed, "@log@a"), "one;two;three;");
}

#[test]
fn an_entity_whose_operations_run_is_not_deleted_meanwhile() {
    let mut bed = Bed::new();
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    let refusal = bed.call(Request::DeleteEntity { entity: entity("@log@a") }).unwrap_err();
    assert_eq!(refusal.to_string(), "entity \"@log@a\" runs operations; try again");
}

#[test]
fn a_batch_that_breaks_a_limit_is_refused_as_a_whole() {
    let limits = || Limits { payload_bytes_max: 10, ..Limits::default() };
    let large = || Some(Bytes::from_static(b"eleven bytes"));
    let sent = |input, at| EntityAction::Signal {
        to: entity("@log@b"),
        operation: "x".into(),
        input,
        at,
        request: String::new(),
    };
    let with = |outcome, actions| OperationResult { outcome: Ok(outcome), actions };
    let refused: [(Option<Bytes>, OperationResult, &str); 4] = [
        (large(), with(None, vec![]), "state of the entity: 12 bytes, limit 10"),
        (None, with(large(), vec![]), "output of the operation: 12 bytes, limit 10"),
        (
            None,
            with(None, vec![sent(large(), None)]),
            "input of the signal to \"@log@b\": 12 bytes, limit 10",
        ),
        (
            None,
            with(None, vec![sent(None, Some(Timestamp::MAX))]),
            "signal to \"@log@b\": more than ten years ahead",
        ),
    ];
    for (state, result, expected) in refused {
        let mut bed = Bed::with_limits(limits());
        bed.script("Caller", steps(vec![vec![call(0, "@log@a", "x")], vec![complete()]]));
        bed.start("c", "Caller");
        let batch = bed.operations.remove(0);
        bed.partition.operations_done(
            batch.ticket,
            OperationsDone { results: vec![result], state },
            bed.now(),
        );
        bed.settle();
        let failed = bed.history.values().flatten().find_map(|event| match &event.kind {
            EventKind::EntityOperationFailed(failed) => failed.failure.clone(),
            _ => None,
        });
        assert_eq!(failed.unwrap().message, expected);
        assert!(!exists(&bed, "@log@a") && !exists(&bed, "@log@b"), "{expected}");
    }
}
