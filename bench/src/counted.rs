//! A store that counts the commits of another.

use perdura_core::partition::{Batch, Envelope, EnvelopeId, HistoryRow, InstanceRow};
use perdura_core::{InstanceId, InstanceKey, PartitionId, Timestamp};
use perdura_store::{
    BoxFuture, CommitLog, CommitOutcome, EndedQuery, Grant, InstanceQuery, Instances, Lookup, Rejection,
    Store, StoreError, Transactions, Work, WorkEnd,
};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// See the [module](self).
pub(crate) struct Counted<S> {
    store: S,
    commits: AtomicU64,
    rows: AtomicU64,
    record_bytes: AtomicU64,
}

/// What was written so far.
#[derive(Clone, Copy)]
pub(crate) struct Written {
    pub(crate) commits: u64,
    /// Instance rows.
    pub(crate) rows: u64,
    /// The records in them.
    pub(crate) record_bytes: u64,
}

impl<S> Counted<S> {
    pub(crate) fn new(store: S) -> Counted<S> {
        let zero = AtomicU64::default;
        Counted { store, commits: zero(), rows: zero(), record_bytes: zero() }
    }

    pub(crate) fn written(&self) -> Written {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        Written {
            commits: read(&self.commits),
            rows: read(&self.rows),
            record_bytes: read(&self.record_bytes),
        }
    }
}

impl<S: Store> Transactions for Counted<S> {
    fn commit_with(
        &self,
        grant: &Grant,
        works: &[Work],
        seal: &mut dyn FnMut(Vec<WorkEnd>) -> Option<Batch>,
    ) -> CommitOutcome {
        self.commits.fetch_add(1, Relaxed);
        let failed = Rejection::Failed { instance: None, what: "no transactions".into() };
        let transactions = self.store.transactions().ok_or(CommitOutcome::Rejected(failed));
        transactions.map_or_else(|outcome| outcome, |to| to.commit_with(grant, works, seal))
    }

    fn define(&self, statements: &str) -> Result<(), StoreError> {
        self.store.transactions().map_or(Ok(()), |to| to.define(statements))
    }
}

impl<S: CommitLog> CommitLog for Counted<S> {
    fn acquire(&self, partition: PartitionId, nonce: u128) -> BoxFuture<'_, Result<Grant, StoreError>> {
        self.store.acquire(partition, nonce)
    }

    fn commit(&self, grant: &Grant, batch: Batch) -> BoxFuture<'_, CommitOutcome> {
        self.commits.fetch_add(1, Relaxed);
        self.rows.fetch_add(batch.writes.len() as u64, Relaxed);
        let bytes = batch.writes.iter().map(|write| write.row.record.len() as u64).sum();
        self.record_bytes.fetch_add(bytes, Relaxed);
        self.store.commit(grant, batch)
    }

    fn unfinished(
        &self,
        partition: PartitionId,
        after: Option<InstanceKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InstanceRow>, StoreError>> {
        self.store.unfinished(partition, after, limit)
    }

    fn messages(
        &self,
        partition: PartitionId,
        after: Option<EnvelopeId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Envelope>, StoreError>> {
        self.store.messages(partition, after, limit)
    }

    fn now(&self) -> Timestamp {
        self.store.now()
    }
}

impl<S: Instances> Instances for Counted<S> {
    fn find(&self, wanted: Vec<Lookup>) -> BoxFuture<'_, Result<Vec<Option<InstanceRow>>, StoreError>> {
        self.store.find(wanted)
    }

    fn history(
        &self,
        key: InstanceKey,
        generation: u32,
        branch: u32,
        from: u64,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<HistoryRow>, StoreError>> {
        self.store.history(key, generation, branch, from, bytes_max)
    }

    fn query(
        &self,
        query: InstanceQuery,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InstanceRow>, StoreError>> {
        self.store.query(query, limit)
    }

    fn ended(
        &self,
        query: EndedQuery,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Timestamp, InstanceId)>, StoreError>> {
        self.store.ended(query, limit)
    }
}

impl<S: Store> Store for Counted<S> {
    fn partitions(&self) -> u16 {
        self.store.partitions()
    }

    fn backup<'a>(&'a self, to: &'a Path) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.backup(to)
    }

    fn transactions(&self) -> Option<&dyn Transactions> {
        self.store.transactions().is_some().then_some(self)
    }
}
