//! Messages are consumed by existence: each takes effect exactly once.

use super::Place;
use super::fixture::{ONE, Owner, ZERO, append, consume, envelope, insert, send, writes};
use crate::CommitOutcome;
use perdura_core::PartitionId;
use perdura_core::partition::{Batch, EnvelopeId};

pub(super) async fn a_message_reaches_its_receiver_only(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(send([envelope(ONE, 1)])).await;
    assert_eq!(owner.messages(ONE).await, Ok(vec![envelope(ONE, 1)]));
    assert_eq!(owner.messages(ZERO).await, Ok(vec![]));
    assert_eq!(owner.messages(PartitionId(2)).await, Ok(vec![]));
}

pub(super) async fn a_consumed_message_is_gone(place: &dyn Place) {
    let mut owner = Owner::of(place).await;
    owner.commits(send([envelope(ONE, 1), envelope(ONE, 2)])).await;
    owner.grant = owner.store.acquire(ONE, 5).await.expect("a grant");
    owner.commits(consume(ZERO, 1)).await;
    assert_eq!(owner.messages(ONE).await, Ok(vec![envelope(ONE, 2)]));
}

pub(super) async fn a_message_is_consumed_once(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(send([envelope(ZERO, 1)])).await;
    owner.conflicts(consume(ZERO, 2)).await;
    owner.conflicts(consume(ONE, 1)).await;
    let twice = EnvelopeId { from: ZERO, number: 1 };
    owner.conflicts(Batch { consumed: vec![twice, twice], ..Batch::default() }).await;
    owner.commits(consume(ZERO, 1)).await;
    owner.conflicts(consume(ZERO, 1)).await;
}

pub(super) async fn only_the_receiver_consumes(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(send([envelope(ONE, 1)])).await;
    owner.conflicts(consume(ZERO, 1)).await;
    assert_eq!(owner.messages(ONE).await, Ok(vec![envelope(ONE, 1)]));
}

pub(super) async fn messages_come_by_sender_and_number_in_pages(place: &dyn Place) {
    let mut owner = Owner::of(place).await;
    owner.commits(send([envelope(ZERO, 9), envelope(ZERO, 2)])).await;
    owner.commits(send([envelope(ZERO, 5)])).await;
    owner.grant = owner.store.acquire(ONE, 5).await.expect("a grant");
    let mut other = envelope(ZERO, 1);
    other.from = ONE;
    owner.commits(send([other])).await;
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = owner.store.messages(ZERO, after, 2).await.expect("messages");
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = Some(EnvelopeId { from: last.from, number: last.number });
        seen.extend(page.iter().map(|envelope| (envelope.from.0, envelope.number)));
    }
    assert_eq!(seen, [(0, 2), (0, 5), (0, 9), (1, 1)]);
}

pub(super) async fn a_number_is_sent_once(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(send([envelope(ONE, 1)])).await;
    owner.conflicts(send([envelope(ONE, 1)])).await;
    owner.conflicts(send([envelope(ONE, 2), envelope(ONE, 2)])).await;
}

pub(super) async fn a_sender_cannot_be_forged(place: &dyn Place) {
    let owner = Owner::of(place).await;
    let mut forged = envelope(ZERO, 1);
    forged.from = ONE;
    owner.conflicts(send([forged])).await;
}

pub(super) async fn a_message_to_no_partition_is_a_conflict(place: &dyn Place) {
    let owner = Owner::of(place).await;
    let nowhere = PartitionId(owner.store.partitions());
    owner.conflicts(send([envelope(nowhere, 1)])).await;
}

pub(super) async fn a_message_to_oneself_is_kept_for_later(place: &dyn Place) {
    let owner = Owner::of(place).await;
    let own = Batch { outgoing: vec![envelope(ZERO, 1)], ..consume(ZERO, 1) };
    owner.conflicts(own).await;
    owner.commits(send([envelope(ZERO, 1)])).await;
    let swap = Batch { outgoing: vec![envelope(ZERO, 2)], ..consume(ZERO, 1) };
    owner.commits(swap).await;
    assert_eq!(owner.messages(ZERO).await, Ok(vec![envelope(ZERO, 2)]));
}

pub(super) async fn a_rejected_batch_keeps_what_it_consumed(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(writes([insert(1, "a", 1)])).await;
    owner.commits(send([envelope(ZERO, 1)])).await;
    let batch = Batch { consumed: consume(ZERO, 1).consumed, ..writes([append(1, "a", 5)]) };
    assert_ne!(owner.commit(batch).await, CommitOutcome::Committed);
    assert_eq!(owner.messages(ZERO).await, Ok(vec![envelope(ZERO, 1)]));
}
