//! What the simulation needs of the store besides the contract.

use perdura_core::partition::{Batch, InstanceRecord, InstanceRow, InstanceWrite};
use perdura_core::{InstanceKey, PartitionId, Status, Timestamp};
use perdura_store::sim::SimStore;
use perdura_store::{CommitLog, CommitOutcome};

const ZERO: PartitionId = PartitionId(0);

fn insert(number: u64) -> Batch {
    let record = InstanceRecord {
        id: format!("i{number}"),
        status: Status::Running as u32,
        generation: 1,
        ..InstanceRecord::default()
    };
    let row = InstanceRow::new(InstanceKey::new(ZERO, number), &record).unwrap();
    let write = InstanceWrite { expected: None, row, history: None, drop_generations_before: None };
    Batch { writes: vec![write], ..Batch::default() }
}

#[test]
fn a_fail_over_loses_the_last_commits_and_gives_their_epochs_again() {
    let store = SimStore::new(1);
    store.keep_past(10);
    let first = store.acquire_now(ZERO, 1).unwrap();
    assert_eq!(store.commit_now(&first, insert(1)), CommitOutcome::Committed);
    let second = store.acquire_now(ZERO, 2).unwrap();
    assert_eq!(store.commit_now(&second, insert(2)), CommitOutcome::Committed);
    assert_eq!(store.fail_over(2), 2);
    assert_eq!(store.with_contents(|contents| contents.instances.len()), 1);
    let third = store.acquire_now(ZERO, 3).unwrap();
    assert_eq!((third.epoch, third.next_key), (second.epoch, 2));
    assert_eq!(store.commit_now(&second, insert(3)), CommitOutcome::Fenced);
    assert_eq!(store.fail_over(99), 3);
    assert!(store.contents().instances.is_empty());
}

#[test]
fn only_what_was_committed_can_be_lost() {
    let store = SimStore::new(1);
    store.keep_past(10);
    let grant = store.acquire_now(ZERO, 1).unwrap();
    assert_eq!(store.commit_now(&grant, insert(1)), CommitOutcome::Committed);
    assert!(matches!(store.commit_now(&grant, insert(1)), CommitOutcome::Rejected(_)));
    assert_eq!(store.fail_over(1), 1);
    assert!(store.contents().instances.is_empty());
}

#[test]
fn the_clock_is_what_it_was_set_to_but_never_behind_a_commit() {
    let store = SimStore::new(1);
    let grant = store.acquire_now(ZERO, 1).unwrap();
    store.set_clock(Timestamp(50));
    assert_eq!(store.now(), Timestamp(50));
    store.commit_now(&grant, Batch { now: Timestamp(40), ..Batch::default() });
    store.set_clock(Timestamp(10));
    assert_eq!(store.now(), Timestamp(40));
}
