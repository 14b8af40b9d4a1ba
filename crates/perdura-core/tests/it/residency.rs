//! What waits for a row of the store.

use crate::bed::*;
use perdura_core::partition::{Need, ReplyToken, Request};
use perdura_core::{Limits, Status};

/// A bed without anything in memory, in which the instance `x` waits for its timer.
fn cold() -> Bed {
    let mut bed = Bed::with_limits(Limits { resident_instances_max: 0, ..Limits::default() });
    let due = bed.now + 50;
    bed.script("t", move |turn| if turn.from == 0 { vec![timer(0, due)] } else { vec![] });
    bed.script("c", |_| vec![complete()]);
    bed.start("x", "t");
    bed.start("y", "c");
    assert_eq!(bed.partition.resident(), 0);
    bed
}

#[test]
fn a_request_does_not_overtake_another_that_waits_for_the_row() {
    let mut bed = cold();
    let row = bed.rows.values().find(|row| row.id == id("x")).cloned().unwrap();
    bed.ask(raise("x", "first"));
    assert_eq!(bed.partition.needs(), [Need::FindId(id("x"))]);
    // The timer's read is the faster one.
    bed.now += 50;
    let now = bed.now();
    bed.partition.tick(now);
    assert_eq!(bed.partition.needs(), [Need::FindKey(row.key)]);
    bed.partition.found_key(row.key, Some(row.clone()), now);
    bed.ask(raise("x", "second"));
    bed.partition.found_id(&id("x"), Some(row.clone()), now);
    bed.settle();
    let names: Vec<_> = bed.history[&(row.key, 1)]
        .iter()
        .filter_map(|event| match &event.kind {
            perdura_core::history::EventKind::EventRaised(raised) => Some(raised.name.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(names, ["first", "second"]);
}

#[test]
fn a_waiter_that_leaves_while_the_row_is_read_is_forgotten() {
    let mut bed = cold();
    let row = bed.rows.values().find(|row| row.id == id("x")).cloned().unwrap();
    let waits = bed.ask(Request::Wait { id: id("x"), execution: None });
    assert_eq!(bed.partition.needs(), [Need::FindId(id("x"))]);
    bed.partition.stop_waiting(ReplyToken(waits), &id("x"));
    // Who comes now shares the read that is under way.
    let raised = bed.ask(raise("x", "e"));
    assert_eq!(bed.partition.needs(), []);
    let now = bed.now();
    bed.partition.found_id(&id("x"), Some(row), now);
    bed.settle();
    bed.call(Request::Terminate { id: id("x"), reason: "r".into(), recurse: false }).unwrap();
    assert_eq!(bed.status("x"), Status::Terminated);
    assert_eq!((bed.replies.contains_key(&waits), bed.replies.contains_key(&raised)), (false, true));
}
