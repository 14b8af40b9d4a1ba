//! Entities: critical sections.

use crate::bed::*;
use crate::entity_bed::*;
use bytes::Bytes;
use perdura_core::history::*;
use perdura_core::orchestration::{Decision, TurnOutcome, TurnResult};
use perdura_core::partition::*;
use perdura_core::*;

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
                assert_eq!(crate::entity_bed::holder(&bed, "@log@a"), None, "{case}");
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
fn a_lock_that_is_granted_after_a_cancel_request_is_given_back() {
    let mut bed = bed();
    bed.script("Blocker", |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![lock(0, &["@log@a"])],
        ["EventRaised"] => vec![complete()],
        _ => Vec::new(),
    });
    // It goes on after the request, without the lock.
    bed.script("Holder", |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![lock(0, &["@log@a"])],
        _ => Vec::new(),
    });
    bed.start("blocker", "Blocker");
    bed.start("h", "Holder");
    bed.call(Request::Suspend { id: id("h"), reason: String::new() }).unwrap();
    bed.call(Request::Cancel { id: id("h"), reason: "no more".into() }).unwrap();
    bed.call(raise("blocker", "go")).unwrap();
    bed.call(Request::Resume { id: id("h"), reason: String::new() }).unwrap();
    assert_eq!(bed.status("h"), Status::Running);
    assert!(!exists(&bed, "@log@a"), "nobody holds it, and it has no state");
}

#[test]
fn a_lock_request_given_up_by_a_turn_that_is_away_is_withdrawn_by_the_batch_that_says_so() {
    let mut bed = bed();
    bed.script("Holder", |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![lock(0, &["@log@a"])],
        ["EventRaised"] => vec![complete()],
        _ => Vec::new(),
    });
    bed.start("1", "Holder");
    bed.start("2", "Holder");
    bed.ask(Request::Cancel { id: id("2"), reason: "no more".into() });
    let turn = bed.partition.next_turn().unwrap();
    bed.partition.park_turn(turn);
    bed.commit();
    bed.crash();
    bed.call(raise("1", "go")).unwrap();
    assert!(!exists(&bed, "@log@a"), "it was not given to 2, who does not want it any more");
}

#[test]
fn a_worker_can_give_up_a_lock_when_the_history_is_full() {
    let mut bed = Bed::with_limits(Limits { history_events_max: 3, ..Limits::default() });
    bed.entity("log", log);
    bed.elsewhere.insert("Holder".into());
    bed.start("h", "Holder");
    for decisions in [vec![lock(0, &["@log@a"])], vec![unlock(1)]] {
        let turn = bed.away.remove(0);
        let result = TurnResult { decisions, ..TurnResult::default() };
        let now = bed.now();
        assert!(bed.partition.turn_back(turn.ticket(), TurnOutcome::Done(result), now));
        bed.settle();
    }
    assert_eq!(bed.status("h"), Status::Running);
    assert!(!exists(&bed, "@log@a"));
}

#[test]
fn a_worker_that_locks_too_much_or_twice_fails_its_orchestration() {
    let many: Vec<String> = (0..101).map(|n| format!("@log@{n}")).collect();
    let sets = [
        (vec!["@log@a", "@log@b", "@log@a"], "entity \"@log@a\" is locked twice"),
        (many.iter().map(String::as_str).collect(), ": 101, limit 100"),
    ];
    for (set, why) in sets {
        let mut bed = bed();
        bed.elsewhere.insert("Holder".into());
        bed.start("h", "Holder");
        let turn = bed.away.remove(0);
        let result = TurnResult { decisions: vec![lock(0, &set)], ..TurnResult::default() };
        let now = bed.now();
        assert!(bed.partition.turn_back(turn.ticket(), TurnOutcome::Done(result), now));
        bed.settle();
        let failure = bed.record("h").failure.unwrap();
        assert!(failure.message.ends_with(why), "{failure}");
        assert!(!exists(&bed, "@log@a"));
    }
}

/// The store may fail over in between, and give a message again that it had forgotten to have given.
#[test]
fn a_lock_is_granted_once() {
    let mut bed = bed();
    bed.script("Holder", |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![lock(0, &["@log@a"])],
        _ => Vec::new(),
    });
    bed.start("h", "Holder");
    let holder = record(&bed, "@log@a").lock.and_then(|lock| lock.holder);
    let message = Message::new(&id("h"), Body::LockGranted(LockGranted { holder, ..Default::default() }));
    let envelope = Envelope { from: PartitionId(1), to: PartitionId(0), number: 7, message: message.seal() };
    let now = bed.now();
    assert!(bed.partition.deliver(vec![envelope], now).is_empty());
    bed.settle();
    let granted = bed.events("h").into_iter().filter(|event| *event == "EntityLockGranted").count();
    assert_eq!(granted, 1);
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
fn what_a_holder_has_called_and_not_awaited_runs_before_what_waited_for_the_lock() {
    let mut bed = bed();
    bed.script("Holder", |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![lock(0, &["@log@a"])],
        ["EventRaised"] => vec![call(1, "@log@a", "mine"), complete()],
        _ => Vec::new(),
    });
    bed.start("h", "Holder");
    bed.call(Request::Signal(signal("@log@a", "other"))).unwrap();
    bed.call(raise("h", "go")).unwrap();
    assert_eq!(state(&bed, "@log@a"), "mine;other;");
}

#[test]
fn a_held_entity_with_a_call_of_its_holder_stays_in_memory_until_the_call_is_handed_out() {
    let mut bed = Bed::with_limits(Limits { resident_instances_max: 0, ..Limits::default() });
    bed.script("Holder", |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![lock(1, &["@log@a"])],
        [.., "EntityLockGranted"] => vec![call(2, "@log@a", "two")],
        [.., "EntityOperationCompleted"] => vec![complete()],
        _ => Vec::new(),
    });
    bed.start("h", "Holder");
    assert_eq!(bed.operations.len(), 1);
    bed.entity("log", log);
    bed.forget_all();
    let rows: Vec<_> = bed.rows.values().filter(|row| !row.status.is_terminal()).cloned().collect();
    let now = bed.now();
    bed.partition.recover(rows, now);
    // What the recovery changes is committed before the messages are read.
    bed.commit();
    assert!(bed.partition.deliver(Vec::new(), now).is_empty());
    bed.settle();
    assert_eq!(bed.status("h"), Status::Completed);
}

/// Whoever finds that a holder is gone releases one entity; the release that the holder has sent goes the whole way.
#[test]
fn a_release_goes_on_behind_its_request_where_it_finds_nothing_to_release() {
    for has_state in [false, true] {
        let mut bed = bed();
        bed.script("Holder", steps(vec![vec![lock(0, &["@log@a", "@log@b", "@log@c"])]]));
        bed.script("Other", steps(vec![vec![lock(0, &["@log@c"])], vec![]]));
        if has_state {
            bed.call(Request::Signal(signal("@log@b", "before"))).unwrap();
        }
        bed.start("other", "Other");
        bed.start("h", "Holder");
        let gone = record(&bed, "@log@b").lock.and_then(|lock| lock.holder);
        assert_eq!(gone.as_ref().map(|holder| holder.instance.as_str()), Some("h"));
        let unlock = Message::new(
            entity("@log@b").instance(),
            Body::Unlock(Unlock { holder: gone, then: Vec::new() }),
        );
        let envelope =
            Envelope { from: PartitionId(1), to: PartitionId(0), number: 7, message: unlock.seal() };
        let now = bed.now();
        assert!(bed.partition.deliver(vec![envelope], now).is_empty());
        bed.settle();
        for holder in ["h", "other"] {
            let end = Request::Terminate { id: id(holder), reason: String::new(), recurse: false };
            bed.call(end).unwrap();
        }
        assert!(["@log@a", "@log@c"].iter().all(|entity| !exists(&bed, entity)));
        assert_eq!(exists(&bed, "@log@b"), has_state);
    }
}
