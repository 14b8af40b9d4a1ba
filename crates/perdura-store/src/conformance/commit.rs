//! A batch is all or nothing, and checks what it replaces.

use super::Place;
use super::fixture::{ONE, Owner, ZERO, append, consume, envelope, events, insert, row, send, tail, writes};
use perdura_core::partition::{Batch, InstanceWrite};
use perdura_core::{InstanceKey, Status, Timestamp};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

pub(super) async fn what_is_committed_is_read_back(place: &dyn Place) {
    let owner = Owner::of(place).await;
    let write = insert(1, "a", 2);
    let batch = Batch { outgoing: vec![envelope(ONE, 1)], ..writes([write.clone()]) };
    owner.commits(batch).await;
    assert_eq!(owner.find(1).await, Some(write.row));
    assert_eq!(owner.history(1).await, [events(0, 2)]);
    assert_eq!(owner.messages(ONE).await, Ok(vec![envelope(ONE, 1)]));
}

pub(super) async fn an_empty_batch_commits(place: &dyn Place) {
    Owner::of(place).await.commits(Batch::default()).await;
}

pub(super) async fn a_batch_is_all_or_nothing(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(writes([insert(1, "a", 1), insert(2, "b", 1), insert(3, "c", 1)])).await;
    owner.commits(send([envelope(ZERO, 1)])).await;
    let before = owner.find(1).await;
    let mut batch = writes([append(1, "a", 1), insert(4, "d", 1), append(2, "b", 7)]);
    batch.purge = vec![super::fixture::key(3)];
    batch.consumed = consume(ZERO, 1).consumed;
    batch.outgoing = vec![envelope(ONE, 2)];
    owner.conflicts(batch).await;
    assert_eq!(owner.find(1).await, before);
    assert_eq!(owner.history(1).await, [events(0, 1)]);
    assert!(owner.find(3).await.is_some());
    assert_eq!(owner.history(3).await, [events(0, 1)]);
    assert_eq!(owner.find(4).await, None);
    assert_eq!(owner.history(4).await, []);
    assert_eq!(owner.messages(ZERO).await, Ok(vec![envelope(ZERO, 1)]));
    assert_eq!(owner.messages(ONE).await, Ok(vec![]));
    owner.commits(writes([append(1, "a", 1), insert(4, "d", 1)])).await;
}

pub(super) async fn an_instance_is_inserted_once(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(writes([insert(1, "a", 1)])).await;
    owner.conflicts(writes([insert(1, "b", 1)])).await;
    owner.conflicts(writes([insert(2, "c", 1), insert(2, "d", 1)])).await;
    assert_eq!(owner.find_id("b").await, None);
}

pub(super) async fn an_id_is_taken_once(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(writes([insert(1, "a", 1)])).await;
    owner.conflicts(writes([insert(2, "a", 1)])).await;
    assert_eq!(owner.find_id("a").await.map(|row| row.key.number()), Some(1));
}

pub(super) async fn an_update_of_nothing_is_a_conflict(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.conflicts(writes([append(1, "a", 0)])).await;
    owner.commits(writes([insert(1, "a", 1)])).await;
    owner.conflicts(writes([append(1, "b", 1)])).await;
}

pub(super) async fn an_update_from_another_tail_is_a_conflict(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(writes([insert(1, "a", 3)])).await;
    for from in [0, 2, 4] {
        owner.conflicts(writes([append(1, "a", from)])).await;
    }
    for (generation, branch) in [(2, 0), (0, 0), (1, 1)] {
        let mut write = append(1, "a", 3);
        if let Some(expected) = &mut write.expected {
            (expected.generation, expected.branch) = (generation, branch);
        }
        owner.conflicts(writes([write])).await;
    }
    owner.commits(writes([append(1, "a", 3)])).await;
}

pub(super) async fn two_writes_of_one_instance_follow_each_other(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(writes([insert(1, "a", 1), append(1, "a", 1), append(1, "a", 2)])).await;
    assert_eq!(owner.find(1).await.map(|row| row.tail), Some(3));
    owner.conflicts(writes([append(1, "a", 3), append(1, "a", 3)])).await;
}

pub(super) async fn every_column_can_change(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(writes([insert(1, "a", 1)])).await;
    let mut changed = row(1, "a", 9);
    changed.name = "refund".to_owned();
    changed.status = Status::Failed;
    changed.created_at = Timestamp(77);
    changed.updated_at = Timestamp(88);
    changed.completed_at = Some(Timestamp(99));
    (changed.generation, changed.branch) = (4, 5);
    let write = InstanceWrite {
        expected: tail(1),
        row: changed.clone(),
        history: None,
        drop_generations_before: None,
    };
    owner.commits(writes([write])).await;
    assert_eq!(owner.find(1).await, Some(changed));
}

pub(super) async fn a_key_of_another_partition_is_a_conflict(place: &dyn Place) {
    let owner = Owner::of(place).await;
    let mut foreign = insert(1, "a", 1);
    foreign.row.key = InstanceKey::new(ONE, 1);
    let purge = Batch { purge: vec![foreign.row.key], ..Batch::default() };
    owner.conflicts(writes([foreign])).await;
    owner.conflicts(purge).await;
}

pub(super) async fn dropping_the_future_does_not_stop_the_commit(place: &dyn Place) {
    let owner = Owner::of(place).await;
    {
        let mut commit = pin!(owner.commit(writes([insert(1, "a", 1)])));
        // Whether it is done at the first look does not matter; it is not looked at again.
        let _ = commit.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    let begin = Instant::now();
    while owner.find(1).await.is_none() {
        assert!(begin.elapsed() < Duration::from_secs(20), "the commit never happened");
        std::thread::sleep(Duration::from_millis(1));
    }
}
