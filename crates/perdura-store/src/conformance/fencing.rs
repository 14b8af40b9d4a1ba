//! The latest grant is the only one.

use super::Place;
use super::fixture::{ONE, Owner, ZERO, append, envelope, insert, send, writes};
use crate::{CommitOutcome, StoreError};
use perdura_core::partition::Batch;
use perdura_core::{PartitionId, Timestamp};

pub(super) async fn epochs_rise_by_one(place: &dyn Place) {
    let store = place.open().await;
    for epoch in 1..5 {
        let grant = store.acquire(ZERO, 100 + u128::from(epoch)).await.expect("a grant");
        assert_eq!((grant.partition, grant.epoch, grant.nonce), (ZERO, epoch, 100 + u128::from(epoch)));
        assert_eq!((grant.next_key, grant.next_envelope), (1, 1));
    }
}

pub(super) async fn an_old_grant_is_fenced(place: &dyn Place) {
    let mut owner = Owner::of(place).await;
    owner.commits(writes([insert(1, "a", 1)])).await;
    let newer = owner.store.acquire(ZERO, 2).await.expect("a grant");
    assert_eq!(owner.commit(writes([append(1, "a", 1)])).await, CommitOutcome::Fenced);
    owner.grant = newer;
    owner.commits(writes([append(1, "a", 1)])).await;
}

pub(super) async fn the_same_epoch_with_another_nonce_is_fenced(place: &dyn Place) {
    let mut owner = Owner::of(place).await;
    for nonce in [0, 2, u128::MAX, 1 << 64 | 1] {
        owner.grant.nonce = nonce;
        assert_eq!(owner.commit(writes([insert(1, "a", 1)])).await, CommitOutcome::Fenced);
    }
}

pub(super) async fn the_same_nonce_with_another_epoch_is_fenced(place: &dyn Place) {
    let mut owner = Owner::of(place).await;
    for epoch in [0, 2, 1 << 40] {
        owner.grant.epoch = epoch;
        assert_eq!(owner.commit(writes([insert(1, "a", 1)])).await, CommitOutcome::Fenced);
    }
}

pub(super) async fn a_fenced_batch_writes_nothing(place: &dyn Place) {
    let owner = Owner::of(place).await;
    let newer = owner.store.acquire(ZERO, 2).await.expect("a grant");
    let ahead = Timestamp(owner.store.now().0 + 3_600_000);
    let batch =
        Batch { now: ahead, outgoing: send([envelope(ONE, 1)]).outgoing, ..writes([insert(1, "a", 1)]) };
    assert_eq!(owner.commit(batch).await, CommitOutcome::Fenced);
    assert_eq!(owner.find(1).await, None);
    assert_eq!(owner.history(1).await, []);
    assert_eq!(owner.messages(ONE).await, Ok(vec![]));
    assert!(owner.store.now() < ahead);
    let last = owner.store.acquire(ZERO, 3).await.expect("a grant");
    assert_eq!((last.next_key, last.next_envelope), (newer.next_key, newer.next_envelope));
}

pub(super) async fn fencing_comes_before_every_other_check(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.store.acquire(ZERO, 2).await.expect("a grant");
    let early = Batch { not_before: Some(Timestamp::MAX), ..Batch::default() };
    assert_eq!(owner.commit(early).await, CommitOutcome::Fenced);
    assert_eq!(owner.commit(writes([append(1, "a", 1)])).await, CommitOutcome::Fenced);
    assert_eq!(owner.commit(Batch::default()).await, CommitOutcome::Fenced);
}

pub(super) async fn grants_of_other_partitions_are_left_alone(place: &dyn Place) {
    let owner = Owner::of(place).await;
    let other = owner.store.acquire(ONE, 2).await.expect("a grant");
    assert_eq!((other.partition, other.epoch), (ONE, 1));
    owner.commits(writes([insert(1, "a", 1)])).await;
}

pub(super) async fn a_grant_of_no_partition_is_an_error(place: &dyn Place) {
    let store = place.open().await;
    let partitions = store.partitions();
    let expected = StoreError::NoSuchPartition { partitions, asked: partitions };
    assert_eq!(store.acquire(PartitionId(partitions), 1).await, Err(expected));
}

pub(super) async fn a_grant_survives_when_the_hub_is_opened_again(place: &dyn Place) {
    let owner = Owner::of(place).await;
    let old = owner.grant.clone();
    drop(owner);
    let store = place.open().await;
    assert_eq!(store.commit(&old, writes([insert(1, "a", 1)])).await, CommitOutcome::Committed);
    assert_eq!(store.acquire(ZERO, 9).await.map(|grant| grant.epoch), Ok(2));
    assert_eq!(store.commit(&old, Batch::default()).await, CommitOutcome::Fenced);
}
