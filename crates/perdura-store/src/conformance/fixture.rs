//! What the tests share: an open hub with a grant, and short words for rows and batches.

use crate::{CommitOutcome, Grant, Lookup, Rejection, Store, StoreError};
use bytes::Bytes;
use perdura_core::partition::{
    Batch, Envelope, EnvelopeId, HistoryRow, InstanceRecord, InstanceRow, InstanceWrite, Tail,
};
use perdura_core::{InstanceId, InstanceKey, PartitionId, Status};

pub(super) const ZERO: PartitionId = PartitionId(0);
pub(super) const ONE: PartitionId = PartitionId(1);

pub(super) fn key(number: u64) -> InstanceKey {
    InstanceKey::new(ZERO, number)
}

/// A row in its first generation.
pub(super) fn row(number: u64, id: &str, tail: u64) -> InstanceRow {
    let record = InstanceRecord {
        id: id.to_owned(),
        name: "order".to_owned(),
        status: Status::Running as u32,
        generation: 1,
        tail,
        created_at: 1_000 + number as i64,
        updated_at: 2_000,
        ..InstanceRecord::default()
    };
    InstanceRow::new(key(number), &record).expect("the record is sound")
}

pub(super) fn with_status(mut row: InstanceRow, status: Status) -> InstanceRow {
    row.status = status;
    row
}

pub(super) fn events(first: u64, count: u32) -> HistoryRow {
    let events = Bytes::from(format!("events {first} to {}", first + u64::from(count)));
    HistoryRow { generation: 1, branch: 0, first, count, events }
}

pub(super) fn tail(events: u64) -> Option<Tail> {
    Some(Tail { generation: 1, branch: 0, events })
}

/// A new instance with a history of `events` events.
pub(super) fn insert(number: u64, id: &str, count: u32) -> InstanceWrite {
    InstanceWrite {
        expected: None,
        row: row(number, id, count.into()),
        history: (count > 0).then(|| events(0, count)),
        drop_generations_before: None,
    }
}

/// One more event.
pub(super) fn append(number: u64, id: &str, from: u64) -> InstanceWrite {
    InstanceWrite {
        expected: tail(from),
        row: row(number, id, from + 1),
        history: Some(events(from, 1)),
        drop_generations_before: None,
    }
}

pub(super) fn writes(writes: impl IntoIterator<Item = InstanceWrite>) -> Batch {
    Batch { writes: writes.into_iter().collect(), ..Batch::default() }
}

pub(super) fn purge(number: u64) -> Batch {
    Batch { purge: vec![key(number)], ..Batch::default() }
}

pub(super) fn envelope(to: PartitionId, number: u64) -> Envelope {
    Envelope { from: ZERO, to, number, message: Bytes::from(format!("message {number}")) }
}

pub(super) fn send(envelopes: impl IntoIterator<Item = Envelope>) -> Batch {
    Batch { outgoing: envelopes.into_iter().collect(), ..Batch::default() }
}

pub(super) fn consume(from: PartitionId, number: u64) -> Batch {
    Batch { consumed: vec![EnvelopeId { from, number }], ..Batch::default() }
}

/// An open hub with a grant of partition 0.
pub(super) struct Owner {
    pub(super) store: Box<dyn Store>,
    pub(super) grant: Grant,
}

impl Owner {
    pub(super) async fn of(place: &dyn super::Place) -> Owner {
        let store = place.open().await;
        let grant = store.acquire(ZERO, 1).await.expect("partition 0 can be acquired");
        Owner { store, grant }
    }

    pub(super) async fn commit(&self, batch: Batch) -> CommitOutcome {
        self.store.commit(&self.grant, batch).await
    }

    pub(super) async fn commits(&self, batch: Batch) {
        assert_eq!(self.commit(batch).await, CommitOutcome::Committed);
    }

    /// The batch is rejected because what is stored is something else, and the rejection names the instance.
    pub(super) async fn conflicts(&self, batch: Batch) {
        let only_writes = batch.purge.is_empty() && batch.consumed.is_empty() && batch.outgoing.is_empty();
        let written: Vec<_> = batch.writes.iter().map(|write| write.row.id.clone()).collect();
        match self.commit(batch).await {
            CommitOutcome::Rejected(Rejection::Conflict { instance: Some(id), .. }) => {
                assert!(written.contains(&id), "{id:?} is not written");
            }
            CommitOutcome::Rejected(Rejection::Conflict { instance: None, what }) => {
                assert!(!only_writes, "whose write it is due to is not said: {what}");
            }
            outcome => panic!("{outcome:?}"),
        }
    }

    pub(super) async fn find(&self, number: u64) -> Option<InstanceRow> {
        self.store.find(vec![Lookup::Key(key(number))]).await.expect("find").remove(0)
    }

    pub(super) async fn find_id(&self, id: &str) -> Option<InstanceRow> {
        let id = InstanceId::new(id).expect("a good id");
        self.store.find(vec![Lookup::Id(id)]).await.expect("find").remove(0)
    }

    /// All history rows of generation 1, branch 0.
    pub(super) async fn history(&self, number: u64) -> Vec<HistoryRow> {
        self.history_of(number, 1, 0).await
    }

    pub(super) async fn history_of(&self, number: u64, generation: u32, branch: u32) -> Vec<HistoryRow> {
        let rows = self.store.history(key(number), generation, branch, 0, usize::MAX).await;
        rows.expect("history")
    }

    pub(super) async fn messages(&self, partition: PartitionId) -> Result<Vec<Envelope>, StoreError> {
        self.store.messages(partition, None, usize::MAX).await
    }
}
