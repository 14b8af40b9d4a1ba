//! Entities: who holds an entity and waits for somebody who waits for that entity.

use crate::bed::*;
use crate::entity_bed::*;
use perdura_core::failure::kind;
use perdura_core::history::{EventKind, ParentLink, SubOrchestrationScheduled};
use perdura_core::limits::{CIRCLE_WAIT_MS, CIRCLE_WAIT_MS_MAX};
use perdura_core::orchestration::{Decision, Turn};
use perdura_core::partition::*;
use perdura_core::*;

/// Locks a set, then runs a child; ends as that did.
fn holder_of(set: &'static [&'static str], kid: Decision) -> impl FnMut(&Turn) -> Vec<Decision> + 'static {
    move |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![lock(0, set)],
        ["EntityLockGranted"] => vec![kid.clone()],
        _ => ends_as(turn),
    }
}

/// Decides something, then ends as that does.
fn asks(decision: Decision) -> impl FnMut(&Turn) -> Vec<Decision> + 'static {
    move |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![decision.clone()],
        _ => ends_as(turn),
    }
}

fn ends_as(turn: &Turn) -> Vec<Decision> {
    let failed = turn.events.iter().find_map(|event| match &event.kind {
        EventKind::SubOrchestrationFailed(failed) => failed.failure.clone(),
        EventKind::EntityOperationFailed(failed) => failed.failure.clone(),
        _ => None,
    });
    let end = history::ExecutionCompleted::new(
        if failed.is_some() { Status::Failed } else { Status::Completed },
        None,
        failed,
    );
    if turn.events.len() > 1 { vec![Decision::Complete(end)] } else { Vec::new() }
}

/// Calls the entity again whenever that has failed, ten times in all.
fn tries_again() -> impl FnMut(&Turn) -> Vec<Decision> + 'static {
    let mut tries = 0;
    move |turn| {
        tries += 1;
        if tries > 10 { ends_as(turn) } else { vec![call(tries, "@log@a", "add")] }
    }
}

fn wait_long(bed: &mut Bed) {
    bed.pass(CIRCLE_WAIT_MS);
}

fn message(bed: &Bed, id: &str) -> String {
    bed.record(id).failure.expect("a failure").message
}

#[test]
fn a_call_by_a_child_of_an_entity_that_its_parent_holds_fails_and_frees_both() {
    for crash in [false, true] {
        let mut bed = bed();
        bed.script("Holder", holder_of(&["@log@a"], child(1, "Kid", "kid")));
        bed.script("Kid", asks(call(0, "@log@a", "add")));
        bed.start("h", "Holder");
        bed.call(Request::Signal(signal("@log@a", "later"))).unwrap();
        bed.pass(CIRCLE_WAIT_MS - 1);
        assert_eq!((bed.status("h"), bed.status("kid")), (Status::Running, Status::Running));
        if crash {
            bed.crash();
            wait_long(&mut bed);
        }
        bed.pass(1);
        let failure = bed.record("kid").failure.unwrap();
        assert_eq!(failure.kind, kind::INVALID);
        assert_eq!(
            failure.message,
            "operation \"add\" of \"@log@a\" by \"kid\": \"h\" holds it in a critical section and waits, perhaps by way of \
             others, for \"kid\": they would wait for ever. Let the holder call the entity, or start the sub-orchestration \
             outside of the section"
        );
        assert_eq!(bed.status("h"), Status::Failed);
        assert_eq!(state(&bed, "@log@a"), "later;", "the call left no trace, and the signal was served");
        assert_eq!(holder(&bed, "@log@a"), None);
    }
}

#[test]
fn a_lock_by_a_grandchild_of_an_entity_that_is_held_fails_and_is_withdrawn() {
    let mut bed = bed();
    bed.script("Holder", holder_of(&["@log@b", "@log@c"], child(1, "Kid", "kid")));
    bed.script("Kid", asks(child(0, "Grandchild", "grandchild")));
    bed.script("Grandchild", asks(lock(0, &["@log@a", "@log@b"])));
    bed.start("h", "Holder");
    assert_eq!(holder(&bed, "@log@a"), Some("grandchild".into()));
    wait_long(&mut bed);
    assert!(message(&bed, "grandchild").starts_with("lock of \"@log@b\" by \"grandchild\": \"h\" holds it"));
    assert_eq!(bed.status("h"), Status::Failed);
    for entity in ["@log@a", "@log@b", "@log@c"] {
        assert!(!exists(&bed, entity), "{entity}");
    }
}

#[test]
fn two_holders_whose_children_call_each_others_entity_do_not_wait_for_ever() {
    let mut bed = bed();
    bed.script("Kid1", asks(call(0, "@log@b", "add")));
    bed.script("Kid2", asks(call(0, "@log@a", "add")));
    // Each child begins when both entities are held.
    let holder = |set: &'static [&'static str], kid: &'static str, name: &'static str| {
        move |turn: &Turn| match news(turn)[..] {
            ["ExecutionStarted"] => vec![lock(0, set)],
            ["EntityLockGranted"] => Vec::new(),
            ["EventRaised"] => vec![child(1, name, kid)],
            _ => ends_as(turn),
        }
    };
    bed.script("One", holder(&["@log@a"], "kid1", "Kid1"));
    bed.script("Two", holder(&["@log@b"], "kid2", "Kid2"));
    bed.start("1", "One");
    bed.start("2", "Two");
    bed.call(raise("1", "go")).unwrap();
    bed.call(raise("2", "go")).unwrap();
    assert_eq!((bed.status("kid1"), bed.status("kid2")), (Status::Running, Status::Running));
    wait_long(&mut bed);
    assert!(bed.status("1").is_terminal() && bed.status("2").is_terminal());
    assert!([message(&bed, "kid1"), message(&bed, "kid2")].iter().any(|said| said.contains("wait for ever")));
}

#[test]
fn who_only_waits_beside_a_circle_is_served_when_it_is_broken() {
    let mut bed = bed();
    bed.script("Holder", holder_of(&["@log@a"], child(1, "Kid", "kid")));
    bed.script("Kid", asks(call(0, "@log@a", "add")));
    bed.script("Other", asks(call(0, "@log@a", "other")));
    bed.start("h", "Holder");
    bed.start("o", "Other");
    wait_long(&mut bed);
    assert_eq!((bed.status("o"), bed.status("kid")), (Status::Completed, Status::Failed));
    assert_eq!(state(&bed, "@log@a"), "other;");
}

/// What a holder waits for besides its child.
#[test]
fn no_call_fails_while_its_holder_can_still_go_on() {
    let also: [(&str, Decision); 3] = [
        ("a timer", timer(2, 2_000_000)),
        ("an activity", task(2, "slow")),
        ("a child that can go on", child(2, "Waits", "waits")),
    ];
    for (what, also) in also {
        let mut bed = bed();
        bed.script("Holder", move |turn| match news(turn)[..] {
            ["ExecutionStarted"] => vec![lock(0, &["@log@a"])],
            ["EntityLockGranted"] => vec![child(1, "Kid", "kid"), also.clone()],
            ["TimerFired" | "TaskCompleted" | "SubOrchestrationCompleted"] => vec![unlock(3)],
            _ => ends_as(turn),
        });
        bed.script("Kid", asks(call(0, "@log@a", "add")));
        bed.script("Waits", |turn| match news(turn)[..] {
            ["ExecutionStarted"] => vec![timer(0, 2_000_000)],
            _ => vec![complete()],
        });
        bed.start("h", "Holder");
        for _ in 0..8 {
            wait_long(&mut bed);
        }
        assert_eq!(bed.status("kid"), Status::Running, "{what}");
        if what == "an activity" {
            let slow = bed.last_started().task;
            bed.task_done(slow, Ok("done"));
        } else {
            bed.pass(1_000_000);
        }
        assert_eq!(bed.status("kid"), Status::Completed, "{what}");
        assert_eq!(state(&bed, "@log@a"), "add;", "{what}");
    }
}

#[test]
fn a_circle_that_closes_after_the_call_began_is_found_too() {
    let mut bed = bed();
    bed.script("Holder", |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![lock(0, &["@log@a"])],
        ["EntityLockGranted"] => vec![child(1, "Kid", "kid"), timer(2, 1_010_000)],
        ["TimerFired"] => Vec::new(),
        _ => ends_as(turn),
    });
    bed.script("Kid", asks(call(0, "@log@a", "add")));
    bed.start("h", "Holder");
    bed.pass(9_999);
    assert_eq!(bed.status("kid"), Status::Running);
    bed.pass(1);
    bed.pass(20_000);
    assert_eq!((bed.status("h"), bed.status("kid")), (Status::Failed, Status::Failed));
}

/// A worker elsewhere does not say whether its code waits for an event; if it holds entities, it may.
#[test]
fn a_holder_that_may_wait_for_an_event_is_not_part_of_a_circle() {
    let mut bed = bed();
    bed.elsewhere.insert("Holder".into());
    bed.script("Kid", asks(call(0, "@log@a", "add")));
    bed.start("h", "Holder");
    for (decisions, at) in [(vec![lock(0, &["@log@a"])], 0), (vec![child(1, "Kid", "kid")], 0)] {
        let turn = bed.away.remove(at);
        let result = orchestration::TurnResult { decisions, ..Default::default() };
        let now = bed.now();
        assert!(bed.partition.turn_back(turn.ticket(), orchestration::TurnOutcome::Done(result), now));
        bed.settle();
    }
    for _ in 0..8 {
        wait_long(&mut bed);
    }
    assert_eq!((bed.status("h"), bed.status("kid")), (Status::Running, Status::Running));
    assert!(bed.record("h").awaits_event);
}

/// Workers that name their sections take every answer for the lock.
#[test]
fn a_refused_lock_of_a_worker_that_knows_of_no_refusal_fails_its_orchestration() {
    let mut bed = bed();
    bed.script("Holder", holder_of(&["@log@a"], child(1, "Kid", "kid")));
    let asked = history::EntityLockRequested { id: 0, set: vec!["@log@a".into()], request: "section".into() };
    bed.script("Kid", asks(Decision::RequestLock(asked)));
    bed.start("h", "Holder");
    wait_long(&mut bed);
    assert_eq!((bed.status("kid"), bed.status("h")), (Status::Failed, Status::Failed));
    assert!(!bed.events("kid").contains(&"EntityOperationFailed"));
    assert!(message(&bed, "kid").starts_with("lock of \"@log@a\""));
    assert!(!exists(&bed, "@log@a"));
}

#[test]
fn a_search_that_comes_to_a_wait_that_is_over_finds_nothing() {
    let mut bed = bed();
    bed.script("Holder", holder_of(&["@log@a"], child(1, "Kid", "kid")));
    bed.script("Kid", asks(call(0, "@log@a", "add")));
    bed.start("h", "Holder");
    let lock = record(&bed, "@log@a").lock.and_then(|lock| lock.holder);
    let of_old_run = lock.clone().map(|link| ParentLink { generation: 7, ..link });
    let step = CircleStep { to: "h".into(), link: of_old_run, of_entity: "@log@a".into(), then: Vec::new() };
    let find = FindCircle {
        entity: "@log@a".into(),
        holder: lock,
        step: Some(step),
        been: vec!["h".into(), "kid".into()],
        ..FindCircle::default()
    };
    let message = Message::new(&id("h"), Body::FindCircle(Box::new(find)));
    let envelope = Envelope { from: PartitionId(1), to: PartitionId(0), number: 7, message: message.seal() };
    let now = bed.now();
    assert!(bed.partition.deliver(vec![envelope], now).is_empty());
    bed.settle();
    assert_eq!((bed.status("h"), bed.status("kid")), (Status::Running, Status::Running));
}

#[test]
fn a_child_that_nobody_waits_for_waits_for_the_lock() {
    let mut bed = bed();
    let detached = SubOrchestrationScheduled {
        id: 1,
        name: "Kid".into(),
        instance: "kid".into(),
        detached: true,
        ..Default::default()
    };
    bed.script("Holder", move |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![lock(0, &["@log@a"])],
        ["EntityLockGranted"] => vec![Decision::ScheduleSubOrchestration(detached.clone())],
        _ => vec![complete()],
    });
    bed.script("Kid", asks(call(0, "@log@a", "add")));
    bed.start("h", "Holder");
    for _ in 0..8 {
        wait_long(&mut bed);
    }
    assert_eq!(bed.status("kid"), Status::Running);
    bed.call(raise("h", "go")).unwrap();
    assert_eq!((bed.status("kid"), state(&bed, "@log@a").as_str()), (Status::Completed, "add;"));
}

#[test]
fn whoever_tries_again_in_a_circle_does_not_wait_the_longer_for_how_long_the_lock_is_held() {
    let mut bed = bed();
    bed.script("Holder", |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![lock(0, &["@log@a"])],
        ["EntityLockGranted"] => Vec::new(),
        ["EventRaised"] => vec![child(1, "Kid", "kid")],
        _ => ends_as(turn),
    });
    bed.script("Kid", tries_again());
    bed.start("h", "Holder");
    bed.pass(3_600_000);
    bed.call(raise("h", "go")).unwrap();
    bed.pass(CIRCLE_WAIT_MS_MAX * 5 / 4);
    for _ in 1..10 {
        wait_long(&mut bed);
    }
    assert_eq!((bed.status("kid"), bed.status("h")), (Status::Failed, Status::Failed));
    assert_eq!(bed.events("kid").iter().filter(|name| **name == "EntityOperationFailed").count(), 10);
}

#[test]
fn a_wait_for_an_entity_that_is_held_for_long_is_looked_at_as_soon_as_any_other() {
    let mut bed = bed();
    bed.script("Holder", |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![lock(0, &["@log@a"])],
        ["EntityLockGranted"] => Vec::new(),
        ["EventRaised"] => vec![child(1, "Kid", "kid")],
        _ => ends_as(turn),
    });
    bed.script("Kid", asks(call(0, "@log@a", "add")));
    bed.script("Other", asks(call(0, "@log@a", "other")));
    for others_wait in [false, true] {
        bed.start_replacing("h", "Holder");
        if others_wait {
            bed.start_replacing("o", "Other");
        }
        for _ in 0..60 {
            bed.pass(60_000);
        }
        bed.call(purge("kid")).ok();
        bed.call(raise("h", "go")).unwrap();
        bed.pass(CIRCLE_WAIT_MS - 1);
        assert_eq!(bed.status("kid"), Status::Running);
        bed.pass(1);
        assert_eq!((bed.status("kid"), bed.status("h")), (Status::Failed, Status::Failed));
    }
}

#[test]
fn who_goes_on_waiting_is_looked_at_less_and_less_often() {
    let mut bed = bed();
    bed.script("Holder", |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![lock(0, &["@log@a"]), task(1, "slow")],
        _ => Vec::new(),
    });
    bed.script("Other", asks(call(0, "@log@a", "other")));
    bed.start("h", "Holder");
    bed.start("o", "Other");
    let began = bed.now;
    let mut looks = Vec::new();
    while bed.now < began + 600_000 {
        let at = bed.partition.next_deadline().expect("a look");
        bed.pass(at.0 - bed.now);
        looks.push((at.0 - began) / 1000);
    }
    assert!((10..=16).contains(&looks.len()), "{looks:?}");
    assert_eq!(looks[0], 1);
    assert!((3..=4).contains(&looks[1]) && (7..=9).contains(&looks[2]), "{looks:?}");
}

#[test]
fn what_a_holder_does_not_wait_for_any_more_does_not_hide_a_circle() {
    let also: [(&str, Decision); 4] = [
        ("a timer", timer(2, 9_000_000)),
        ("an activity", task(2, "slow")),
        ("a child", child(2, "Waits", "waits")),
        ("a call", call(2, "@far@b", "slow")),
    ];
    for (what, also) in also {
        for is_given_up in [true, false] {
            let mut bed = bed();
            bed.script("Holder", {
                let also = also.clone();
                move |turn| match news(turn)[..] {
                    ["ExecutionStarted"] => vec![lock(0, &["@far@b", "@log@a"])],
                    ["EntityLockGranted"] => vec![child(1, "Kid", "kid"), also.clone()],
                    _ => ends_as(turn),
                }
            });
            bed.script("Kid", asks(call(0, "@log@a", "add")));
            bed.script("Waits", |_| vec![timer(0, 9_000_000)]);
            if is_given_up {
                bed.gives_up.insert("Holder".into(), vec![2]);
            }
            bed.start("h", "Holder");
            bed.crash();
            wait_long(&mut bed);
            let expected = if is_given_up { Status::Failed } else { Status::Running };
            assert_eq!(bed.status("kid"), expected, "{what}, given up: {is_given_up}");
        }
    }
}

#[test]
fn what_an_instance_does_not_wait_for_any_more_is_remembered_while_it_is_under_way() {
    let mut bed = bed();
    bed.script("Two", |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![timer(0, 1_005_000), timer(1, 1_009_000), task(2, "slow")],
        _ => Vec::new(),
    });
    bed.gives_up.insert("Two".into(), vec![0, 2, 7]);
    bed.start("i", "Two");
    assert_eq!(bed.record("i").given_up, [0, 2]);
    let told = why::why(&bed.record("i"), bed.now(), &why::Unknown);
    assert!(told.len() == 1 && told[0].what.starts_with("timer 1"), "{told:?}");
    bed.pass(5_000);
    assert_eq!(bed.record("i").given_up, [2]);
}

/// `h` holds `@log@a` and `c` calls it; then a new process cannot read the row of `h`.
fn damaged_holder(calls: bool) -> Bed {
    let mut bed = bed();
    bed.script("Holder", |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![lock(1, &["@log@a"])],
        [.., "EntityLockGranted"] => vec![call(2, "@log@a", "held")],
        [.., "EntityOperationCompleted"] => vec![task(3, "t")],
        _ => Vec::new(),
    });
    bed.script("Caller", asks(call(0, "@log@a", "two")));
    bed.start("h", "Holder");
    if calls {
        bed.start("c", "Caller");
    }
    bed.forget_all();
    let mut rows: Vec<_> = bed.rows.values().filter(|row| !row.status.is_terminal()).cloned().collect();
    rows.iter_mut().filter(|row| row.id == id("h")).for_each(|row| row.damage = Some("rot".into()));
    let now = bed.now();
    bed.partition.recover(rows, now);
    assert!(bed.partition.deliver(Vec::new(), now).is_empty());
    bed.settle();
    bed
}

#[test]
fn questions_to_a_holder_that_cannot_be_read_are_not_kept() {
    let mut bed = damaged_holder(true);
    let before = bed.batches.len();
    for _ in 0..60 {
        bed.pass(CIRCLE_WAIT_MS_MAX);
    }
    let stored: usize = bed.batches[before..].iter().map(|batch| batch.outgoing.len()).sum();
    assert_eq!((stored, bed.status("c")), (0, Status::Running));
}

#[test]
fn an_entity_is_free_when_its_holder_that_could_not_be_read_is_purged() {
    let mut bed = damaged_holder(true);
    bed.call(purge("h")).unwrap();
    bed.pass(2 * CIRCLE_WAIT_MS_MAX);
    assert_eq!((bed.status("c"), state(&bed, "@log@a").as_str()), (Status::Completed, "held;two;"));
    assert_eq!(holder(&bed, "@log@a"), None);
}

#[test]
fn an_entity_whose_holder_is_gone_can_be_deleted_at_the_second_try() {
    let delete = || Request::DeleteEntity { entity: entity("@log@a") };
    let mut bed = damaged_holder(false);
    assert!(matches!(bed.call(delete()), Err(RequestError::EntityLocked { .. })));
    assert_eq!(holder(&bed, "@log@a"), Some("h".into()));
    bed.call(purge("h")).unwrap();
    // Another run of that id is not the holder.
    bed.start("h", "Idle");
    assert!(matches!(bed.call(delete()), Err(RequestError::EntityLocked { .. })));
    bed.call(delete()).unwrap();
    assert!(!exists(&bed, "@log@a"));
}
