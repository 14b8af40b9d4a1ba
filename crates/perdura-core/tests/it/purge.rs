//! Purges, and what comes after one under the same id.

use crate::bed::*;
use perdura_core::orchestration::Decision;
use perdura_core::partition::*;
use perdura_core::{Limits, PartitionId, Status};

fn terminate(text: &str) -> Request {
    Request::Terminate { id: id(text), reason: "r".into(), recurse: false }
}

#[test]
fn an_id_that_is_purged_twice_within_one_batch_leaves_nothing_behind() {
    let mut bed = Bed::with_limits(Limits { resident_instances_max: 0, ..Limits::default() });
    let due = bed.now + 50;
    bed.script("t", move |turn| if turn.from == 0 { vec![timer(0, due)] } else { vec![] });
    bed.script("c", |_| vec![complete()]);
    bed.start("x", "t");
    let key = *bed.rows.keys().next().expect("a row");
    bed.start("y", "c");
    assert_eq!(bed.partition.resident(), 0);
    // The timer is due, its row is being read; meanwhile the instance is loaded for a client, and ends.
    bed.now += 60;
    let now = bed.now();
    bed.partition.tick(now);
    assert_eq!(bed.partition.needs(), [Need::FindKey(key)]);
    bed.ask(terminate("x"));
    bed.run();
    // Purge, create, purge, before anything is committed.
    let asked = [purge("x"), Request::Start(start("x", "c")), terminate("x"), purge("x")];
    let asked = asked.map(|request| bed.ask(request));
    // The store still has the row.
    let stale = bed.rows.get(&key).cloned();
    assert!(stale.is_some());
    bed.partition.found_key(key, stale, now);
    bed.run();
    bed.settle();
    assert!(asked.iter().all(|token| bed.replies[token].is_ok()), "{:?}", bed.replies);
    assert_eq!((bed.rows.contains_key(&key), bed.partition.resident()), (false, 0));
    assert_eq!(bed.start("x", "c").outcome, StartOutcome::Created);
}

#[test]
fn a_purge_that_is_asked_again_is_content_that_nothing_is_there() {
    let mut bed = Bed::new();
    bed.script("c", |_| vec![complete()]);
    assert!(matches!(bed.call(purge("x")), Err(RequestError::NotFound { .. })));
    bed.start("x", "c");
    // The batch is written, but nobody hears of it.
    bed.ask(purge("x"));
    bed.run();
    bed.partition.seal().unwrap().0.expect("a batch");
    bed.rows.clear();
    bed.crash();
    assert_eq!(bed.call(purge("x").for_another_life()), Ok(Response::Done));
}

#[test]
fn who_waits_for_a_run_that_was_purged_does_not_see_the_end_of_the_next_one() {
    let mut bed = Bed::new();
    bed.script("w", |turn| if turn.from == 0 { vec![] } else { vec![complete()] });
    let wait = |execution| Request::Wait { id: id("x"), execution };
    let first = bed.start("x", "w");
    bed.call(raise("x", "end")).unwrap();
    assert!(bed.call(wait(Some(first.execution))).is_ok());
    bed.call(purge("x")).unwrap();
    assert!(matches!(bed.call(wait(Some(first.execution))), Err(RequestError::NotFound { .. })));
    let second = bed.start("x", "w");
    assert_eq!((first.generation, second.generation), (1, 1));
    assert!(matches!(bed.call(wait(Some(first.execution))), Err(RequestError::Replaced { .. })));
    let (waits, waits_for_id) = (bed.ask(wait(Some(second.execution))), bed.ask(wait(None)));
    bed.call(raise("x", "end")).unwrap();
    assert!(matches!(bed.call(wait(Some(first.execution))), Err(RequestError::Replaced { .. })));
    assert!(bed.replies[&waits].is_ok() && bed.replies[&waits_for_id].is_ok());
}

#[test]
fn a_start_that_finds_a_run_names_it_so_that_its_next_generation_is_waited_for() {
    let mut bed = Bed::new();
    bed.script("loop", |turn| match turn.generation {
        1 | 2 if news(turn).contains(&"EventRaised") => vec![Decision::ContinueAsNew(Default::default())],
        3 if news(turn).contains(&"EventRaised") => vec![complete()],
        _ => vec![],
    });
    let first = bed.start("x", "loop");
    bed.call(raise("x", "on")).unwrap();
    let use_existing = StartRequest { reuse: perdura_core::ReusePolicy::USE_EXISTING, ..start("x", "loop") };
    let Ok(Response::Started(found)) = bed.call(Request::Start(use_existing)) else { panic!("not started") };
    assert_eq!((found.outcome, found.execution), (StartOutcome::Existing, first.execution));
    bed.call(raise("x", "on")).unwrap();
    let waits = bed.ask(Request::Wait { id: id("x"), execution: Some(found.execution) });
    bed.crash();
    let waits_again = bed.ask(Request::Wait { id: id("x"), execution: Some(found.execution) });
    bed.call(raise("x", "end")).unwrap();
    assert!(!bed.replies.contains_key(&waits));
    assert!(matches!(&bed.replies[&waits_again], Ok(Response::Ended(record)) if record.generation == 3));
}

#[test]
fn a_recreated_parent_does_not_meet_its_predecessors_child() {
    let mut bed = Bed::new();
    bed.script("p", |turn| if turn.from == 0 { vec![child(0, "c", "")] } else { vec![complete()] });
    bed.script("c", |_| vec![]);
    bed.start("x", "p");
    let old = bed.children_of("x").remove(0);
    bed.call(terminate("x")).unwrap();
    bed.call(purge("x")).unwrap();
    bed.start("x", "p");
    let new = bed.children_of("x").remove(0);
    assert_ne!(old, new);
    assert!(new.starts_with("x:"), "{new}");
    assert_eq!([bed.status(&old), bed.status(&new), bed.status("x")], [Status::Running; 3]);
}

#[test]
fn what_was_kept_for_a_damaged_instance_is_dealt_with_when_it_is_purged() {
    let mut bed = Bed::new();
    bed.script("c", |_| vec![]);
    bed.start("x", "c");
    for row in bed.rows.values_mut() {
        row.record = row.record.slice(..10);
    }
    bed.crash();
    let begin = StartChild { name: "c".into(), detached: true, ..Default::default() };
    let message = Message::new(&id("x"), Body::StartChild(begin));
    let envelope = Envelope { from: PartitionId(1), to: PartitionId(0), number: 7, message: message.seal() };
    let now = bed.now();
    assert!(bed.partition.deliver(vec![envelope.clone()], now).is_empty());
    bed.settle();
    assert!(bed.batches.last().is_none_or(|batch| batch.consumed.is_empty()));
    bed.ask(purge("x"));
    let (batch, _) = bed.partition.seal().unwrap();
    assert_eq!(batch.expect("a batch").purge.len(), 1);
    bed.rows.clear();
    // The partition is told to read its messages.
    let effects = bed.partition.committed();
    assert!(effects.contains(&Effect::Notify(PartitionId(0))), "{effects:?}");
    assert!(bed.partition.deliver(vec![envelope], now).is_empty());
    bed.settle();
    assert_eq!((bed.status("x"), bed.batches.last().unwrap().consumed.len()), (Status::Running, 1));
}
