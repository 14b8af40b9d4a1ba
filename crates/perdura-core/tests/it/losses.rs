//! Entities: operations that end the process of the engine.

use crate::bed::*;
use crate::entity_bed::*;
use perdura_core::entity::{OperationBatch, OperationsDone};
use perdura_core::partition::*;
use perdura_core::why::{Unknown, why};

const LIMIT: usize = 10;

/// How long an operation takes that is slow, in ms.
const SLOW: i64 = 30_000;

/// A process begins and runs until operations of `killer` are handed out, which end it, or for two minutes. Those of `slow`
/// take their time; all others end at once. Says whether the process has ended.
fn process(bed: &mut Bed, killer: &str, slow: &[&str]) -> bool {
    bed.forget_all();
    bed.partition.begins_process();
    recover(bed);
    goes_on(bed, killer, slow)
}

fn recover(bed: &mut Bed) {
    let rows: Vec<_> = bed.rows.values().filter(|row| !row.status.is_terminal()).cloned().collect();
    let now = bed.now();
    bed.partition.recover(rows, now);
    assert!(bed.partition.deliver(Vec::new(), now).is_empty());
}

fn goes_on(bed: &mut Bed, killer: &str, slow: &[&str]) -> bool {
    let mut slow_since = None;
    for _ in 0..6_000 {
        bed.settle();
        if bed.operations.iter().any(|batch| batch.id.as_str() == killer) {
            return true;
        }
        let is_slow = |batch: &OperationBatch| slow.contains(&batch.id.as_str());
        if bed.operations.iter().any(is_slow) {
            slow_since = slow_since.or(Some(bed.now));
        }
        let is_over = slow_since.is_some_and(|since| bed.now >= since + SLOW);
        let ends: Vec<_> = bed.operations.extract_if(.., |batch| is_over || !is_slow(batch)).collect();
        for batch in ends {
            let mut state = batch.state.clone();
            let results = batch.operations.iter().map(|operation| log(&mut state, operation)).collect();
            bed.partition.operations_done(batch.ticket, OperationsDone { results, state }, bed.now());
        }
        bed.pass(20);
    }
    false
}

/// Each of these entities has been sent the operation `one`.
fn sent(ids: &[&str]) -> Bed {
    let mut bed = Bed::new();
    for id in ids {
        bed.ask(Request::Signal(signal(id, "one")));
    }
    bed.settle();
    bed
}

fn resume(bed: &mut Bed, id: &str) {
    let id = entity(id).instance().clone();
    bed.call(Request::Resume { id, reason: "the code is mended".into() }).unwrap();
}

fn blocked(bed: &Bed, id: &str) -> Option<String> {
    bed.record(id).block.map(|block| block.reason)
}

#[test]
fn an_operation_that_ends_ten_processes_blocks_its_entity_until_it_is_resumed() {
    let mut bed = sent(&["@x@killer", "@log@a"]);
    let (mut deaths, mut waits) = (1, Vec::new());
    loop {
        let began = bed.now;
        if !process(&mut bed, "@x@killer", &[]) {
            break;
        }
        deaths += 1;
        assert!(deaths <= LIMIT, "it is tried for ever");
        waits.push(bed.now - began);
    }
    assert_eq!(deaths, LIMIT);
    assert!(waits[0] == 0 && waits[1] >= 50 && waits[8] >= 5000, "less and less often: {waits:?}");
    let reason = blocked(&bed, "@x@killer").expect("a block");
    assert!(
        reason.starts_with(
            "10 processes ended one after another while they ran its operation \"one\", delivery 10; "
        ),
        "{reason}"
    );
    let told = why(&bed.record("@x@killer"), bed.now(), &Unknown)[0].to_string();
    assert!(told.contains("resumed") && !told.contains("by itself"), "{told}");
    assert_eq!(state(&bed, "@log@a"), "one;", "the others go on");
    // Neither another start nor a lost grant tries it again.
    assert!(!process(&mut bed, "@x@killer", &[]));
    bed.crash();
    assert!(!goes_on(&mut bed, "@x@killer", &[]));
    resume(&mut bed, "@x@killer");
    assert!(!goes_on(&mut bed, "", &[]));
    assert_eq!((state(&bed, "@x@killer").as_str(), blocked(&bed, "@x@killer")), ("one;", None));
    assert_eq!(record(&bed, "@x@killer").lost, 0);
}

#[test]
fn a_dead_entity_whose_state_is_deleted_goes_on() {
    let mut bed = sent(&["@x@killer"]);
    while process(&mut bed, "@x@killer", &[]) {}
    bed.call(Request::DeleteEntity { entity: entity("@x@killer") }).unwrap();
    assert!(!goes_on(&mut bed, "", &[]));
    assert_eq!(state(&bed, "@x@killer"), "one;");
}

#[test]
fn entities_that_are_at_work_when_another_ends_the_process_are_not_taken_for_it() {
    let quick: Vec<String> = (0..300).map(|n| format!("@log@{n}")).collect();
    let mut ids: Vec<&str> = quick.iter().map(String::as_str).collect();
    ids.extend(["@x@killer", "@log@slow"]);
    let mut bed = sent(&ids);
    let mut deaths = 1;
    while process(&mut bed, "@x@killer", &["@log@slow"]) {
        deaths += 1;
        assert!(deaths <= 50, "it is tried for ever");
    }
    ids.retain(|id| exists(&bed, id) && blocked(&bed, id).is_some());
    assert_eq!(ids, ["@x@killer"]);
    assert!(record(&bed, "@log@slow").lost <= 4);
    assert!(!goes_on(&mut bed, "@x@killer", &[]));
    assert!(quick.iter().all(|id| state(&bed, id) == "one;" && record(&bed, id).lost == 0));
    assert_eq!((state(&bed, "@log@slow").as_str(), record(&bed, "@log@slow").lost), ("one;", 0));
}

#[test]
fn two_entities_that_end_the_process_are_both_blocked_and_an_activity_beside_them_goes_on() {
    let (a, b) = ("@x@a", "@x@b");
    let mut bed = sent(&[a, b]);
    bed.script("works", |turn| if turn.from == 0 { vec![task(0, "long")] } else { vec![complete()] });
    bed.start("works", "works");
    let mut starts = 0;
    loop {
        bed.forget_all();
        bed.partition.begins_process();
        recover(&mut bed);
        starts += 1;
        assert!(starts < 30, "they are tried for ever");
        let mut ended = false;
        for _ in 0..12_000 {
            bed.pass(5);
            let now = bed.now();
            for start in bed.started.clone() {
                bed.partition.task_taken(start.task, "w", now);
            }
            ended |= !bed.operations.is_empty();
            if ended {
                break;
            }
        }
        if !ended {
            break;
        }
    }
    assert!(blocked(&bed, a).is_some() && blocked(&bed, b).is_some());
    let works = bed.record("works");
    assert_eq!((works.tasks.len(), works.failed.len()), (1, 0));
}

#[test]
fn a_grant_that_is_lost_while_the_process_lives_counts_nothing() {
    let mut bed = sent(&["@x@a"]);
    for _ in 0..3 * LIMIT {
        bed.crash();
        assert_eq!(bed.operations.len(), 1, "it is handed out at once");
    }
    assert_eq!(record(&bed, "@x@a").lost, 0);
}

#[test]
fn operations_that_a_process_gives_back_when_it_ends_are_not_lost() {
    let mut bed = sent(&["@x@a"]);
    for life in 1..2 * LIMIT {
        assert_eq!(bed.operations[0].operations[0].delivery, life as u32);
        bed.ask(Request::Signal(signal("@x@b", "one")));
        bed.partition.hand_out_no_operations();
        let ticket = bed.operations.remove(0).ticket;
        bed.partition.operations_given_back(ticket);
        bed.settle();
        assert!(bed.operations.is_empty(), "nothing is handed out any more");
        bed.forget_all();
        bed.partition.begins_process();
        recover(&mut bed);
        bed.settle();
        bed.operations.retain(|batch| batch.id.as_str() == "@x@a");
        assert_eq!(record(&bed, "@x@a").lost, 0);
    }
}

#[test]
fn an_operation_that_ends_well_begins_the_count_anew() {
    let mut bed = sent(&["@x@a"]);
    for _ in 0..LIMIT - 2 {
        assert!(process(&mut bed, "@x@a", &[]));
    }
    assert!(!process(&mut bed, "", &[]));
    assert_eq!((state(&bed, "@x@a").as_str(), record(&bed, "@x@a").lost), ("one;", 0));
}

#[test]
fn a_command_on_a_hub_at_rest_hands_no_operation_out() {
    let mut bed = Bed::new();
    bed.script("Holder", steps(vec![vec![lock(0, &["@x@a"])]]));
    bed.start("h", "Holder");
    bed.call(Request::Signal(signal("@x@a", "one"))).unwrap();
    bed.forget_all();
    bed.partition.hand_out_no_operations();
    let terminate = Request::Terminate { id: id("h"), reason: String::new(), recurse: false };
    bed.call(terminate).unwrap();
    assert!(holder_of(&bed, "@x@a").is_none() && bed.operations.is_empty());
    assert_eq!((record(&bed, "@x@a").running, record(&bed, "@x@a").queue[0].delivery), (0, 0));
    bed.crash();
    assert_eq!(bed.operations[0].operations[0].delivery, 1);
}

fn holder_of(bed: &Bed, id: &str) -> Option<LockRecord> {
    record(bed, id).lock
}
