//! Short words for rows and batches.

use perdura_core::partition::{Batch, HistoryRow, InstanceRecord, InstanceRow, InstanceWrite};
use perdura_core::{InstanceKey, PartitionId, Status};
use perdura_sqlite::{SqliteOptions, SqliteStore};
use perdura_store::conformance::block_on;
use perdura_store::{CommitLog, CommitOutcome, Grant, InstanceQuery, Instances};
use std::path::Path;

pub const ZERO: PartitionId = PartitionId(0);

pub fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, SqliteOptions::default()).unwrap()
}

pub fn acquire(store: &SqliteStore) -> Grant {
    block_on(store.acquire(ZERO, 1)).unwrap()
}

pub fn commit(store: &SqliteStore, grant: &Grant, batch: Batch) -> CommitOutcome {
    block_on(store.commit(grant, batch))
}

/// A new instance with `bytes` bytes of history.
pub fn insert(number: u64, bytes: usize) -> InstanceWrite {
    let record = InstanceRecord {
        id: format!("instance-{number}"),
        name: "order".to_owned(),
        status: Status::Running as u32,
        generation: 1,
        tail: 1,
        ..InstanceRecord::default()
    };
    let row = InstanceRow::new(InstanceKey::new(ZERO, number), &record).unwrap();
    let history = HistoryRow { generation: 1, branch: 0, first: 0, count: 1, events: vec![7; bytes].into() };
    InstanceWrite { expected: None, row, history: Some(history), drop_generations_before: None }
}

pub fn inserts(numbers: impl IntoIterator<Item = u64>, bytes: usize) -> Batch {
    Batch { writes: numbers.into_iter().map(|number| insert(number, bytes)).collect(), ..Batch::default() }
}

pub fn all(store: &SqliteStore) -> Vec<InstanceRow> {
    block_on(store.query(InstanceQuery::default(), usize::MAX)).unwrap()
}
