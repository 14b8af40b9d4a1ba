//! What a new owner reads.

use super::Place;
use super::fixture::{ONE, Owner, ZERO, envelope, events, insert, row, tail, with_status, writes};
use crate::{Lookup, StoreError};
use perdura_core::partition::{Batch, InstanceWrite};
use perdura_core::{InstanceKey, PartitionId, Status};

async fn one_of_each(place: &dyn Place) -> Owner {
    let mut owner = Owner::of(place).await;
    owner
        .commits(writes((1..).zip(Status::ALL).map(|(number, status)| {
            let mut write = insert(number, status.name(), 1);
            write.row.status = status;
            write
        })))
        .await;
    let own = owner.grant.clone();
    owner.grant = owner.store.acquire(ONE, 5).await.expect("a grant");
    let mut other = insert(1, "of partition 1", 1);
    other.row.key = InstanceKey::new(ONE, 1);
    owner.commits(writes([other])).await;
    owner.grant = own;
    owner
}

pub(super) async fn only_unfinished_instances_of_the_partition_are_listed(place: &dyn Place) {
    let owner = one_of_each(place).await;
    let rows = owner.store.unfinished(ZERO, None, 100).await.expect("unfinished");
    let states: Vec<_> = rows.iter().map(|row| row.status).collect();
    assert_eq!(states, [Status::Pending, Status::Running, Status::Suspended]);
    let rows = owner.store.unfinished(ONE, None, 100).await.expect("unfinished");
    assert_eq!(rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["of partition 1"]);
    assert_eq!(owner.store.unfinished(PartitionId(2), None, 100).await, Ok(vec![]));
}

pub(super) async fn unfinished_instances_come_by_key_in_pages(place: &dyn Place) {
    let owner = Owner::of(place).await;
    let states = [Status::Running, Status::Completed, Status::Suspended, Status::Pending];
    owner
        .commits(writes((1..=20_u64).rev().map(|number| {
            let mut write = insert(number, &format!("i{number}"), 1);
            write.row.status = states[number as usize % 4];
            write
        })))
        .await;
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = owner.store.unfinished(ZERO, after, 4).await.expect("unfinished");
        assert!(page.len() <= 4);
        let Some(last) = page.last() else { break };
        after = Some(last.key);
        seen.extend(page.iter().map(|row| row.key.number()));
    }
    let expected: Vec<_> = (1..=20).filter(|number| number % 4 != 1).collect();
    assert_eq!(seen, expected);
}

pub(super) async fn an_ended_instance_that_begins_again_is_unfinished(place: &dyn Place) {
    let owner = Owner::of(place).await;
    for (expected, status, count) in
        [(None, Status::Running, 1), (tail(0), Status::Failed, 0), (tail(0), Status::Running, 1)]
    {
        let write = InstanceWrite {
            expected,
            row: with_status(row(1, "a", 0), status),
            history: None,
            drop_generations_before: None,
        };
        owner.commits(writes([write])).await;
        assert_eq!(owner.store.unfinished(ZERO, None, 9).await.map(|rows| rows.len()), Ok(count));
    }
}

pub(super) async fn all_is_there_when_the_hub_is_opened_again(place: &dyn Place) {
    let owner = Owner::of(place).await;
    let write = insert(1, "a", 3);
    owner.commits(Batch { outgoing: vec![envelope(ONE, 1)], ..writes([write.clone()]) }).await;
    let partitions = owner.store.partitions();
    drop(owner);
    let store = place.open().await;
    assert_eq!(store.partitions(), partitions);
    let found = store.find(vec![Lookup::Key(write.row.key)]).await;
    assert_eq!(found, Ok(vec![Some(write.row.clone())]));
    assert_eq!(store.history(write.row.key, 1, 0, 0, usize::MAX).await, Ok(vec![events(0, 3)]));
    assert_eq!(store.messages(ONE, None, 9).await, Ok(vec![envelope(ONE, 1)]));
    assert_eq!(store.unfinished(ZERO, None, 9).await, Ok(vec![write.row]));
    let grant = store.acquire(ZERO, 2).await.expect("a grant");
    assert_eq!((grant.epoch, grant.next_key, grant.next_envelope), (2, 2, 2));
}

pub(super) async fn reading_no_partition_is_an_error(place: &dyn Place) {
    let store = place.open().await;
    let partitions = store.partitions();
    let expected = StoreError::NoSuchPartition { partitions, asked: partitions };
    assert_eq!(store.unfinished(PartitionId(partitions), None, 1).await, Err(expected.clone()));
    assert_eq!(store.messages(PartitionId(partitions), None, 1).await, Err(expected));
}
