//! The simulated store: its settings, and the traits over the synchronous methods.

use super::bug::Planted;
use super::commit::commit;
use super::contents::{Contents, HistoryKey};
use crate::{
    BoxFuture, CommitLog, CommitOutcome, EndedQuery, Grant, InstanceQuery, Instances, Lookup, Store,
    StoreError,
};
use perdura_core::partition::{Batch, Envelope, EnvelopeId, HistoryRow, InstanceRow};
use perdura_core::{InstanceId, InstanceKey, PartitionId, Timestamp};
use std::collections::VecDeque;
use std::future::ready;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A hub in memory. Clones share it. Every method of the traits has a synchronous twin named `…_now`, which does the
/// same; a future of this store is ready at once.
#[derive(Clone, Debug)]
pub struct SimStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    contents: Contents,
    clock: Timestamp,
    planted: Planted,
    /// The contents before each of the last commits, oldest first.
    past: VecDeque<Contents>,
    past_max: usize,
}

impl SimStore {
    /// An empty hub. Its clock says 0 until it is set.
    #[must_use]
    pub fn new(partitions: u16) -> SimStore {
        let inner = Inner {
            contents: Contents::new(partitions),
            clock: Timestamp::default(),
            planted: Planted::default(),
            past: VecDeque::new(),
            past_max: 0,
        };
        SimStore { inner: Arc::new(Mutex::new(inner)) }
    }

    // Nothing is left half done when a checker panics while it holds the lock, so a poisoned lock is a good one.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the store wrong.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&self, bug: super::StoreBug) {
        self.inner().planted.add(bug);
    }

    /// Sets the store's clock. It may run back; [`CommitLog::now`] still never goes below a committed time.
    pub fn set_clock(&self, now: Timestamp) {
        self.inner().clock = now;
    }

    /// Keeps the contents before each of the last `commits` grants and commits, for [`fail_over`](Self::fail_over).
    pub fn keep_past(&self, commits: usize) {
        let mut inner = self.inner();
        inner.past_max = commits;
        while inner.past.len() > commits {
            inner.past.pop_front();
        }
    }

    /// Goes on as a standby that lacks the last `lost` grants and commits, as far as they were kept. Returns how many
    /// were lost. Grants among them are forgotten, so that their epochs come again.
    pub fn fail_over(&self, lost: usize) -> usize {
        let mut inner = self.inner();
        let lost = lost.min(inner.past.len());
        let kept = inner.past.len() - lost;
        inner.past.truncate(kept + 1);
        if lost > 0
            && let Some(contents) = inner.past.pop_back()
        {
            inner.contents = contents;
        }
        lost
    }

    /// A copy of everything.
    #[must_use]
    pub fn contents(&self) -> Contents {
        self.inner().contents.clone()
    }

    /// Looks at everything without a copy.
    pub fn with_contents<R>(&self, look: impl FnOnce(&Contents) -> R) -> R {
        look(&self.inner().contents)
    }

    /// See [`CommitLog::acquire`].
    pub fn acquire_now(&self, partition: PartitionId, nonce: u128) -> Result<Grant, StoreError> {
        let mut inner = self.inner();
        inner.check(partition)?;
        inner.remember();
        let state = &mut inner.contents.partitions[usize::from(partition.0)];
        state.epoch += 1;
        state.nonce = nonce;
        Ok(Grant {
            partition,
            epoch: state.epoch,
            nonce,
            next_key: state.next_key,
            next_envelope: state.next_envelope,
        })
    }

    /// See [`CommitLog::commit`].
    pub fn commit_now(&self, grant: &Grant, batch: Batch) -> CommitOutcome {
        let mut inner = self.inner();
        inner.remember();
        let (planted, clock) = (inner.planted, inner.clock);
        let outcome = commit(&mut inner.contents, planted, clock, grant, batch);
        if outcome != CommitOutcome::Committed {
            inner.past.pop_back();
        }
        outcome
    }

    /// See [`CommitLog::unfinished`].
    pub fn unfinished_now(
        &self,
        partition: PartitionId,
        after: Option<InstanceKey>,
        limit: usize,
    ) -> Result<Vec<InstanceRow>, StoreError> {
        let inner = self.inner();
        inner.check(partition)?;
        Ok(inner.contents.unfinished(partition, after, limit))
    }

    /// See [`CommitLog::messages`].
    pub fn messages_now(
        &self,
        partition: PartitionId,
        after: Option<EnvelopeId>,
        limit: usize,
    ) -> Result<Vec<Envelope>, StoreError> {
        let inner = self.inner();
        inner.check(partition)?;
        Ok(inner.contents.messages(partition, after, limit))
    }

    /// See [`Instances::find`].
    #[must_use]
    pub fn find_now(&self, wanted: &[Lookup]) -> Vec<Option<InstanceRow>> {
        let inner = self.inner();
        wanted.iter().map(|wanted| inner.contents.find(wanted)).collect()
    }

    /// See [`Instances::history`].
    #[must_use]
    pub fn history_now(
        &self,
        key: InstanceKey,
        generation: u32,
        branch: u32,
        from: u64,
        bytes_max: usize,
    ) -> Vec<HistoryRow> {
        self.inner().contents.history(HistoryKey { key, generation, branch }, from, bytes_max)
    }

    /// See [`Instances::query`].
    #[must_use]
    pub fn query_now(&self, query: &InstanceQuery, limit: usize) -> Vec<InstanceRow> {
        self.inner().contents.query(query, limit)
    }
}

impl Inner {
    fn check(&self, partition: PartitionId) -> Result<(), StoreError> {
        let partitions = self.contents.partitions.len();
        if usize::from(partition.0) < partitions {
            Ok(())
        } else {
            Err(StoreError::NoSuchPartition { partitions: partitions as u16, asked: partition.0 })
        }
    }

    fn remember(&mut self) {
        if self.past_max > 0 {
            if self.past.len() == self.past_max {
                self.past.pop_front();
            }
            self.past.push_back(self.contents.clone());
        }
    }
}

impl CommitLog for SimStore {
    fn acquire(&self, partition: PartitionId, nonce: u128) -> BoxFuture<'_, Result<Grant, StoreError>> {
        Box::pin(ready(self.acquire_now(partition, nonce)))
    }

    fn commit(&self, grant: &Grant, batch: Batch) -> BoxFuture<'_, CommitOutcome> {
        Box::pin(ready(self.commit_now(grant, batch)))
    }

    fn unfinished(
        &self,
        partition: PartitionId,
        after: Option<InstanceKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InstanceRow>, StoreError>> {
        Box::pin(ready(self.unfinished_now(partition, after, limit)))
    }

    fn messages(
        &self,
        partition: PartitionId,
        after: Option<EnvelopeId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Envelope>, StoreError>> {
        Box::pin(ready(self.messages_now(partition, after, limit)))
    }

    fn now(&self) -> Timestamp {
        let inner = self.inner();
        inner.clock.max(inner.contents.clock)
    }
}

impl Instances for SimStore {
    fn find(&self, wanted: Vec<Lookup>) -> BoxFuture<'_, Result<Vec<Option<InstanceRow>>, StoreError>> {
        Box::pin(ready(Ok(self.find_now(&wanted))))
    }

    fn history(
        &self,
        key: InstanceKey,
        generation: u32,
        branch: u32,
        from: u64,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<HistoryRow>, StoreError>> {
        Box::pin(ready(Ok(self.history_now(key, generation, branch, from, bytes_max))))
    }

    fn query(
        &self,
        query: InstanceQuery,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InstanceRow>, StoreError>> {
        Box::pin(ready(Ok(self.query_now(&query, limit))))
    }

    fn ended(
        &self,
        query: EndedQuery,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Timestamp, InstanceId)>, StoreError>> {
        Box::pin(ready(Ok(self.inner().contents.ended(&query, limit))))
    }
}

impl Store for SimStore {
    fn partitions(&self) -> u16 {
        self.with_contents(|contents| contents.partitions.len() as u16)
    }

    fn backup<'a>(&'a self, _to: &'a Path) -> BoxFuture<'a, Result<(), StoreError>> {
        let why = "it is kept in memory only, there is nothing to copy".to_owned();
        Box::pin(ready(Err(StoreError::Unavailable { store: "the simulated store".to_owned(), why })))
    }
}
