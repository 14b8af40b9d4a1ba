//! Bytes are bytes, and long is not too long.

use super::Place;
use super::fixture::{ONE, Owner, envelope, events, insert, send, writes};
use bytes::Bytes;
use perdura_core::partition::HistoryRow;
use perdura_core::{InstanceKey, Timestamp};

async fn keeps(place: &dyn Place, payload: &Bytes) {
    let owner = Owner::of(place).await;
    let mut write = insert(1, "a", 1);
    write.row.record = payload.clone();
    write.history = Some(HistoryRow { events: payload.clone(), ..events(0, 1) });
    owner.commits(writes([write.clone()])).await;
    let mut sent = envelope(ONE, 1);
    sent.message = payload.clone();
    owner.commits(send([sent.clone()])).await;
    assert!(owner.find(1).await == Some(write.row), "the record has changed");
    assert!(owner.history(1).await.first() == write.history.as_ref(), "the history has changed");
    assert!(owner.messages(ONE).await == Ok(vec![sent]), "the message has changed");
}

pub(super) async fn bytes_come_back_as_they_went_in(place: &dyn Place) {
    let all: Vec<u8> = (0..=255).chain(*b"\0\0\xff\xff'\"\\%{}\xed\xa0\x80\0").collect();
    keeps(place, &all.into()).await;
}

pub(super) async fn an_empty_record_is_not_a_missing_row(place: &dyn Place) {
    keeps(place, &Bytes::new()).await;
}

pub(super) async fn a_payload_of_four_mebibytes_is_kept(place: &dyn Place) {
    let long: Vec<u8> = (0..4_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    keeps(place, &long.into()).await;
}

pub(super) async fn a_thousand_writes_fit_a_batch(place: &dyn Place) {
    let owner = Owner::of(place).await;
    let mut batch = writes((1..=1000).map(|number| insert(number, &format!("i{number}"), 2)));
    batch.outgoing = (1..=1000).map(|number| envelope(ONE, number)).collect();
    owner.commits(batch).await;
    assert_eq!(owner.messages(ONE).await.map(|all| all.len()), Ok(1000));
    assert_eq!(owner.history(1000).await, [events(0, 2)]);
}

pub(super) async fn the_highest_numbers_are_kept(place: &dyn Place) {
    let owner = Owner::of(place).await;
    let highest = InstanceKey(InstanceKey::new(ONE, 0).0 - 2).number();
    let mut write = insert(highest, "a", 0);
    (write.row.generation, write.row.branch) = (u32::MAX, u32::MAX);
    write.row.tail = i64::MAX as u64;
    write.row.created_at = Timestamp(i64::MIN);
    write.row.updated_at = Timestamp::MAX;
    write.row.completed_at = Some(Timestamp(-1));
    owner.commits(writes([write.clone()])).await;
    assert_eq!(owner.find(highest).await, Some(write.row));
}
