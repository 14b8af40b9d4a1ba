//! What is purged is gone, and its numbers do not come again.

use super::Place;
use super::fixture::{ONE, Owner, ZERO, append, consume, envelope, insert, key, purge, send, writes};
use crate::InstanceQuery;
use perdura_core::partition::Batch;

pub(super) async fn a_purged_instance_leaves_nothing(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(writes([insert(1, "a", 1)])).await;
    owner.commits(writes([append(1, "a", 1)])).await;
    owner.commits(purge(1)).await;
    assert_eq!(owner.find(1).await, None);
    assert_eq!(owner.find_id("a").await, None);
    assert_eq!(owner.history(1).await, []);
    assert_eq!(owner.store.unfinished(ZERO, None, 10).await, Ok(vec![]));
    assert_eq!(owner.store.query(InstanceQuery::default(), 10).await, Ok(vec![]));
}

pub(super) async fn a_purged_id_is_free_in_the_same_batch(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(writes([insert(1, "a", 2)])).await;
    owner.commits(Batch { purge: vec![key(1)], ..writes([insert(2, "a", 1)]) }).await;
    assert_eq!(owner.find(1).await, None);
    assert_eq!(owner.history(1).await, []);
    assert_eq!(owner.find_id("a").await.map(|row| row.key), Some(key(2)));
}

pub(super) async fn purging_nothing_is_no_error(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(purge(7)).await;
}

pub(super) async fn purging_leaves_the_neighbours(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(writes([insert(1, "a", 1), insert(2, "b", 1), insert(3, "c", 1)])).await;
    owner.commits(purge(2)).await;
    for number in [1, 3] {
        assert!(owner.find(number).await.is_some());
        assert_eq!(owner.history(number).await.len(), 1);
    }
}

pub(super) async fn keys_are_not_reused_after_a_purge(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(writes([insert(3, "c", 1), insert(7, "g", 1), insert(5, "e", 1)])).await;
    owner.commits(Batch { purge: vec![key(3), key(5), key(7)], ..Batch::default() }).await;
    drop(owner);
    let store = place.open().await;
    assert_eq!(store.acquire(ZERO, 2).await.map(|grant| grant.next_key), Ok(8));
    assert_eq!(store.acquire(ONE, 3).await.map(|grant| grant.next_key), Ok(1));
}

pub(super) async fn message_numbers_are_not_reused_after_they_were_consumed(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(send([envelope(ZERO, 4), envelope(ZERO, 2)])).await;
    owner.commits(consume(ZERO, 4)).await;
    owner.commits(consume(ZERO, 2)).await;
    drop(owner);
    let store = place.open().await;
    assert_eq!(store.acquire(ZERO, 2).await.map(|grant| grant.next_envelope), Ok(5));
}
