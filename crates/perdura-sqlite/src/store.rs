//! A hub in an SQLite file.

use crate::backup::backup;
use crate::checkpoint::Checkpointer;
use crate::clock::Clock;
use crate::connection::Reading;
use crate::error::store_error;
use crate::guest::Guest;
use crate::lock::Lock;
use crate::open::{self, Hub};
use crate::options::SqliteOptions;
use crate::query;
use crate::readers::Readers;
use crate::writer::{Commit, Seat, Writer};
use futures_channel::oneshot;
use perdura_core::partition::{Batch, Envelope, EnvelopeId, HistoryRow, InstanceRow};
use perdura_core::{InstanceId, InstanceKey, PartitionId, Timestamp};
use perdura_store::{
    BoxFuture, CommitLog, CommitOutcome, EndedQuery, Grant, InstanceQuery, Instances, Lookup, Rejection,
    Store, StoreError, Transactions, Work, WorkEnd,
};
use rusqlite::Connection;
use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A task hub in a file. Dropping it finishes the commits that were begun and closes the file.
#[derive(Debug)]
pub struct SqliteStore {
    // Closed in this order: the last connection to close moves the log into the file, and only then may others have it.
    readers: Readers,
    writer: Option<Writer>,
    _lock: Option<Lock>,
    path: PathBuf,
    partitions: u16,
    clock: Arc<Clock>,
}

impl SqliteStore {
    /// Opens a hub, and makes it if the file does not exist or is empty. One process at a time may have it open so.
    pub fn open(path: impl AsRef<Path>, options: SqliteOptions) -> Result<SqliteStore, StoreError> {
        let path = path.as_ref();
        open::check_place(path)?;
        // One lock for one file, by whatever name it is opened.
        let path = &open::real_path(path);
        let lock = Lock::take(path)?;
        let (mut connection, Hub { partitions, clock }) = open::open_or_create(path, &options)?;
        let fail = |error: rusqlite::Error| store_error(&path.display().to_string(), &error);
        let clock = Arc::new(Clock::new(clock));
        let readers = Readers::open(path, options.cache_bytes / 4, Reading::Shared).map_err(fail)?;
        let checkpointer = Checkpointer::start(path, &options).map_err(fail)?;
        checkpointer.watch(&mut connection).map_err(fail)?;
        let guest = Guest::default();
        guest.watch(&mut connection).map_err(fail)?;
        let (path_owned, clock_shared) = (path.to_owned(), Arc::clone(&clock));
        let seat = Seat { path: path_owned, options, partitions, clock: clock_shared, checkpointer, guest };
        let writer = Writer::start(seat, connection).map_err(|error| StoreError::Unavailable {
            store: path.display().to_string(),
            why: format!("no thread for its writer: {error}"),
        })?;
        Ok(SqliteStore {
            readers,
            writer: Some(writer),
            _lock: Some(lock),
            path: path.to_owned(),
            partitions,
            clock,
        })
    }

    /// Opens a hub to look at, whether or not a process has it open. Commits are rejected.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<SqliteStore, StoreError> {
        let path = path.as_ref();
        let cache_bytes = SqliteOptions::default().cache_bytes / 4;
        let (reading, Hub { partitions, clock }) = open::open_existing(path, cache_bytes)?;
        let readers = Readers::open(path, cache_bytes, reading)
            .map_err(|error| store_error(&path.display().to_string(), &error))?;
        let clock = Arc::new(Clock::new(clock));
        Ok(SqliteStore { readers, writer: None, _lock: None, path: path.to_owned(), partitions, clock })
    }

    /// Reads the whole file and tells what SQLite finds wrong with its structure; an empty list is good news. Takes as
    /// long as reading the file, so it is not part of opening.
    pub fn check(&self) -> Result<Vec<String>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare("PRAGMA quick_check")?;
            let lines = statement.query_map((), |row| row.get(0))?;
            let lines: Vec<String> = lines.collect::<Result<_, _>>()?;
            Ok(lines.into_iter().filter(|line| line != "ok").collect())
        })
    }

    fn read<R>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<R>) -> Result<R, StoreError> {
        self.readers.read(read).map_err(|error| store_error(&self.path.display().to_string(), &error))
    }

    fn check_partition(&self, partition: PartitionId) -> Result<(), StoreError> {
        if partition.0 < self.partitions {
            Ok(())
        } else {
            Err(StoreError::NoSuchPartition { partitions: self.partitions, asked: partition.0 })
        }
    }

    fn unavailable(&self, why: &str) -> StoreError {
        StoreError::Unavailable { store: self.path.display().to_string(), why: why.to_owned() }
    }
}

impl CommitLog for SqliteStore {
    fn acquire(&self, partition: PartitionId, nonce: u128) -> BoxFuture<'_, Result<Grant, StoreError>> {
        let Some(writer) = &self.writer else {
            return Box::pin(ready(Err(self.unavailable(READ_ONLY))));
        };
        let grant = writer.acquire(partition, nonce);
        Box::pin(async move { grant.await.unwrap_or_else(|_| Err(self.unavailable(WRITER_STOPPED))) })
    }

    fn commit(&self, grant: &Grant, batch: Batch) -> BoxFuture<'_, CommitOutcome> {
        let Some(writer) = &self.writer else {
            return Box::pin(ready(CommitOutcome::Rejected(Rejection::Failed {
                instance: None,
                what: READ_ONLY.to_owned(),
            })));
        };
        match writer.commit(grant, batch) {
            Commit::Over(outcome) => Box::pin(ready(outcome)),
            Commit::UnderWay(outcome) => Box::pin(async move {
                outcome.await.unwrap_or_else(|_| CommitOutcome::Unknown(WRITER_STOPPED.to_owned()))
            }),
        }
    }

    fn unfinished(
        &self,
        partition: PartitionId,
        after: Option<InstanceKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InstanceRow>, StoreError>> {
        let rows = self
            .check_partition(partition)
            .and_then(|()| self.read(|connection| query::unfinished(connection, partition, after, limit)));
        Box::pin(ready(rows))
    }

    fn messages(
        &self,
        partition: PartitionId,
        after: Option<EnvelopeId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Envelope>, StoreError>> {
        let rows = self
            .check_partition(partition)
            .and_then(|()| self.read(|connection| query::messages(connection, partition, after, limit)));
        Box::pin(ready(rows))
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl Instances for SqliteStore {
    fn find(&self, wanted: Vec<Lookup>) -> BoxFuture<'_, Result<Vec<Option<InstanceRow>>, StoreError>> {
        let rows =
            self.read(|connection| wanted.iter().map(|wanted| query::find(connection, wanted)).collect());
        Box::pin(ready(rows))
    }

    fn history(
        &self,
        key: InstanceKey,
        generation: u32,
        branch: u32,
        from: u64,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<HistoryRow>, StoreError>> {
        let rows =
            self.read(|connection| query::history(connection, key, generation, branch, from, bytes_max));
        Box::pin(ready(rows))
    }

    fn query(
        &self,
        query: InstanceQuery,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InstanceRow>, StoreError>> {
        Box::pin(ready(self.read(|connection| query::query(connection, &query, limit))))
    }

    fn ended(
        &self,
        query: EndedQuery,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Timestamp, InstanceId)>, StoreError>> {
        Box::pin(ready(self.read(|connection| query::ended(connection, &query, limit))))
    }
}

impl Store for SqliteStore {
    fn partitions(&self) -> u16 {
        self.partitions
    }

    fn backup<'a>(&'a self, to: &'a Path) -> BoxFuture<'a, Result<(), StoreError>> {
        let (done, outcome) = oneshot::channel();
        let (from, target) = (self.path.clone(), to.to_owned());
        // On a thread of its own, because it takes as long as reading the file.
        let thread = std::thread::Builder::new()
            .name("perdura-backup".to_owned())
            .spawn(move || done.send(backup(&from, &target)));
        Box::pin(async move {
            thread.map_err(|error| self.unavailable(&format!("no thread for its backup: {error}")))?;
            outcome.await.unwrap_or_else(|_| Err(self.unavailable("the backup was broken off")))
        })
    }

    fn transactions(&self) -> Option<&dyn Transactions> {
        Some(self)
    }
}

impl Transactions for SqliteStore {
    fn commit_with(
        &self,
        grant: &Grant,
        works: &[Work],
        seal: &mut dyn FnMut(Vec<WorkEnd>) -> Option<Batch>,
    ) -> CommitOutcome {
        match &self.writer {
            Some(writer) => writer.commit_with(grant, works, seal),
            None => CommitOutcome::Rejected(Rejection::Failed { instance: None, what: READ_ONLY.to_owned() }),
        }
    }

    fn define(&self, statements: &str) -> Result<(), StoreError> {
        match &self.writer {
            Some(writer) => writer.define(statements),
            None => Err(self.unavailable(READ_ONLY)),
        }
    }
}

const READ_ONLY: &str = "it was opened only to be read";
const WRITER_STOPPED: &str = "its writer has stopped; open it again";
