//! Group commit, and what a step costs.

use crate::bed::*;
use perdura_core::partition::{Body, Envelope, Message, Need, Raise, Request};
use perdura_core::{Limits, PartitionId, Status};

#[test]
fn a_start_and_its_first_turn_share_one_commit() {
    let mut bed = Bed::new();
    bed.script("seq", steps(vec![vec![task(0, "a")]]));
    bed.start("x", "seq");
    assert_eq!(bed.batches.len(), 1);
    assert_eq!(bed.events("x"), ["TurnStarted", "ExecutionStarted", "TaskScheduled"]);
    assert_eq!(bed.status("x"), Status::Running);
}

#[test]
fn a_completion_the_turn_it_causes_and_the_next_schedule_share_one_commit_of_two_rows() {
    let mut bed = Bed::new();
    bed.script("seq", steps(vec![vec![task(0, "a")], vec![task(1, "b")], vec![complete()]]));
    bed.start("x", "seq");
    let first = bed.last_started().task;
    bed.task_done(first, Ok("1"));
    assert_eq!(bed.batches.len(), 2);
    assert_eq!(bed.batches[1].writes.len(), 1);
    assert!(bed.batches[1].writes[0].history.is_some());
    let second = bed.last_started().task;
    assert_eq!((second.task, second.delivery), (1, 1));
    bed.task_done(second, Ok("2"));
    assert_eq!(bed.batches.len(), 3);
    assert_eq!(bed.status("x"), Status::Completed);
}

#[test]
fn nothing_leaves_before_its_commit() {
    let mut bed = Bed::new();
    bed.script("seq", steps(vec![vec![task(0, "a")]]));
    let token = bed.ask(Request::Start(start("x", "seq")));
    bed.run();
    assert!(bed.started.is_empty() && bed.replies.is_empty());
    bed.commit();
    assert_eq!(bed.started.len(), 1);
    assert!(bed.replies.contains_key(&token));
}

#[test]
fn what_comes_during_a_commit_gathers_in_the_next() {
    let mut bed = Bed::new();
    bed.script("seq", |_| vec![task(0, "a")]);
    bed.ask(Request::Start(start("x", "seq")));
    bed.run();
    let (first, _) = bed.partition.seal().unwrap();
    assert_eq!(first.unwrap().writes.len(), 1);
    for other in ["y", "z"] {
        bed.ask(Request::Start(start(other, "seq")));
    }
    bed.run();
    assert_eq!(bed.partition.seal().unwrap(), (None, vec![]));
    bed.partition.committed();
    assert_eq!(bed.partition.seal().unwrap().0.unwrap().writes.len(), 2);
}

#[test]
fn turns_of_one_instance_that_share_a_batch_share_its_rows() {
    let mut bed = Bed::new();
    bed.script("listener", |_| vec![]);
    bed.start("x", "listener");
    for _ in 0..10 {
        bed.ask(raise("x", "e"));
        bed.run();
    }
    let before = bed.batches.len();
    bed.settle();
    assert_eq!(bed.batches.len(), before + 1);
    let writes = &bed.batches[before].writes;
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0].history.as_ref().unwrap().count, 20);
}

#[test]
fn an_instance_that_wakes_itself_for_ever_lets_others_commit() {
    let mut bed = Bed::new();
    bed.script("loop", |turn| {
        let sent = perdura_core::history::EventSent {
            id: turn.number as u32,
            instance: "x".into(),
            name: "again".into(),
            input: None,
        };
        vec![perdura_core::orchestration::Decision::SendEvent(sent)]
    });
    bed.ask(Request::Start(start("x", "loop")));
    bed.run(); // Returns: the instance had its share of the open batch.
    assert!(bed.commit());
    bed.run();
    assert!(bed.commit());
}

#[test]
fn cold_instances_leave_memory_and_come_back() {
    let limits = perdura_core::Limits { resident_instances_max: 10, ..Default::default() };
    let mut bed = Bed::with_limits(limits);
    bed.script("waiter", |turn| {
        if news(turn).contains(&"EventRaised") { vec![complete()] } else { vec![timer(0, i64::MAX)] }
    });
    for i in 0..100 {
        bed.start(&format!("x{i}"), "waiter");
    }
    assert!(bed.partition.resident() <= 11, "{} are resident", bed.partition.resident());
    for i in 0..100 {
        bed.call(raise(&format!("x{i}"), "go")).unwrap();
        assert_eq!(bed.status(&format!("x{i}")), Status::Completed);
    }
}

#[test]
fn a_cold_instance_is_woken_by_its_timer() {
    let limits = perdura_core::Limits { resident_instances_max: 1, ..Default::default() };
    let mut bed = Bed::with_limits(limits);
    let at = bed.now + 1000;
    bed.script("sleeper", move |turn| {
        if news(turn).contains(&"TimerFired") { vec![complete()] } else { vec![timer(0, at)] }
    });
    for i in 0..5 {
        bed.start(&format!("x{i}"), "sleeper");
    }
    bed.pass(999);
    assert!((0..5).all(|i| bed.status(&format!("x{i}")) == Status::Running));
    bed.pass(1);
    assert!((0..5).all(|i| bed.status(&format!("x{i}")) == Status::Completed));
}

#[test]
fn a_damaged_row_is_set_aside_and_named() {
    let mut bed = Bed::new();
    bed.script("seq", steps(vec![vec![task(0, "a")]]));
    bed.start("x", "seq");
    let row = bed.rows.values_mut().next().unwrap();
    let mut bytes = row.record.to_vec();
    bytes[10] ^= 1;
    row.record = bytes.into();
    bed.crash();
    assert!(bed.started.is_empty());
    let refusal = bed.call(raise("x", "e")).unwrap_err().to_string();
    assert!(refusal.contains("\"x\" is damaged"), "{refusal}");
}

/// A read of messages that began before a commit brings what the commit has consumed.
#[test]
fn a_message_that_was_dealt_with_is_not_dealt_with_again() {
    let mut bed = Bed::new();
    bed.script("w", |_| vec![]);
    bed.start("x", "w");
    let message = Message::new(&id("x"), Body::Raise(Raise { name: "go".into(), ..Raise::default() }));
    let envelope = Envelope { from: PartitionId(0), to: PartitionId(0), number: 7, message: message.seal() };
    let now = bed.now();
    assert!(bed.partition.deliver(vec![envelope.clone()], now).is_empty());
    bed.settle();
    assert_eq!(bed.batches.last().map(|batch| batch.consumed.len()), Some(1));
    assert!(bed.partition.deliver(vec![envelope], now).is_empty());
    bed.settle();
    let raised = bed.events("x").iter().filter(|event| **event == "EventRaised").count();
    assert_eq!(raised, 1);
}

/// The row that a timer asked for may be the one that a purge, which is not committed yet, removes.
#[test]
fn an_instance_that_was_purged_does_not_come_back_by_a_row_that_was_read_before() {
    let mut bed = Bed::with_limits(Limits { resident_instances_max: 0, ..Limits::default() });
    let due = bed.now + 50;
    bed.script("t", move |turn| if turn.from == 0 { vec![timer(0, due)] } else { vec![] });
    bed.script("c", |_| vec![complete()]);
    bed.start("x", "t");
    let key = *bed.rows.keys().next().expect("a row");
    let stale = bed.rows[&key].clone();
    // Another commit, and the instance has had its second chance.
    bed.start("y", "c");
    assert_eq!(bed.partition.resident(), 0);
    // The timer is due; its row is being read.
    bed.now += 60;
    let now = bed.now();
    bed.partition.tick(now);
    assert_eq!(bed.partition.needs(), [Need::FindKey(key)]);
    // Meanwhile the instance is loaded for a client, terminated and purged.
    bed.call(Request::Terminate { id: id("x"), reason: "r".into(), recurse: false }).unwrap();
    bed.call(purge("x")).unwrap();
    assert!(!bed.rows.contains_key(&key));
    bed.partition.found_key(key, Some(stale), now);
    bed.settle();
    assert_eq!(bed.partition.resident(), 0);
    assert!(!bed.rows.contains_key(&key));
}

#[test]
fn a_message_that_cannot_be_read_is_named_and_holds_up_no_other() {
    let mut bed = Bed::new();
    bed.script("w", |_| vec![]);
    bed.start("x", "w");
    let message = |name: &str| {
        Message::new(&id("x"), Body::Raise(Raise { name: name.into(), ..Raise::default() })).seal()
    };
    let envelope = |number, message| Envelope { from: PartitionId(0), to: PartitionId(0), number, message };
    let mut bad = message("bad").to_vec();
    bad[3] ^= 1;
    let now = bed.now();
    let damaged = bed.partition.deliver(vec![envelope(7, bad.into()), envelope(8, message("good"))], now);
    assert_eq!(damaged.iter().map(|(id, _)| id.number).collect::<Vec<_>>(), [7]);
    bed.settle();
    let consumed = &bed.batches.last().unwrap().consumed;
    assert_eq!(consumed.iter().map(|id| id.number).collect::<Vec<_>>(), [8]);
}
