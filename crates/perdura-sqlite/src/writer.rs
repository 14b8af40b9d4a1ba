//! The thread that owns the connection that writes. Jobs come over a channel and are answered in order, so that nobody
//! has to hold a lock while a disk works, and dropping the future of a job does not stop the job.

use crate::checkpoint::Checkpointer;
use crate::clock::Clock;
use crate::commit::commit;
use crate::connection;
use crate::error::store_error;
use crate::options::SqliteOptions;
use crate::sql;
use futures_channel::oneshot;
use perdura_core::PartitionId;
use perdura_core::partition::Batch;
use perdura_store::{CommitOutcome, Grant, Rejection, StoreError};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

enum Job {
    Commit { grant: Grant, batch: Batch, done: oneshot::Sender<CommitOutcome> },
    Acquire { partition: PartitionId, nonce: u128, done: oneshot::Sender<Result<Grant, StoreError>> },
}

/// The way to the thread. Dropping it lets the thread finish what was sent, and waits for that.
#[derive(Debug)]
pub(crate) struct Writer {
    // Bounded by its users: a processor has one job under way.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(seat: Seat, connection: Connection) -> std::io::Result<Writer> {
        let (jobs, queue) = channel();
        let thread = std::thread::Builder::new()
            .name("perdura-writer".to_owned())
            .spawn(move || seat.work(Some(connection), &queue))?;
        Ok(Writer { jobs: Some(jobs), thread: Some(thread) })
    }

    pub(crate) fn commit(&self, grant: Grant, batch: Batch) -> oneshot::Receiver<CommitOutcome> {
        let (done, outcome) = oneshot::channel();
        self.send(Job::Commit { grant, batch, done });
        outcome
    }

    pub(crate) fn acquire(
        &self,
        partition: PartitionId,
        nonce: u128,
    ) -> oneshot::Receiver<Result<Grant, StoreError>> {
        let (done, grant) = oneshot::channel();
        self.send(Job::Acquire { partition, nonce, done });
        grant
    }

    /// A job that cannot be sent is dropped, and its receiver hears that.
    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread works with.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) path: PathBuf,
    pub(crate) options: SqliteOptions,
    pub(crate) partitions: u16,
    pub(crate) clock: Arc<Clock>,
    pub(crate) checkpointer: Checkpointer,
}

impl Seat {
    fn work(self, mut connection: Option<Connection>, jobs: &Receiver<Job>) {
        let mut full = false;
        while let Ok(job) = jobs.recv() {
            let usable = self.usable(&mut connection);
            if let Ok(connection) = usable {
                self.checkpointer.finish(connection);
                if full {
                    self.checkpointer.make_room(connection);
                }
            }
            // Whoever asked may have left; the work is done all the same.
            match job {
                Job::Commit { grant, batch, done } => {
                    let outcome = match usable {
                        Ok(connection) => self.commit(connection, &grant, &batch),
                        Err(error) => CommitOutcome::Rejected(Rejection::Failed(error.to_string())),
                    };
                    full = outcome == CommitOutcome::Rejected(Rejection::Full);
                    let _ = done.send(outcome);
                }
                Job::Acquire { partition, nonce, done } => {
                    let grant = usable.and_then(|connection| {
                        acquire(connection, partition, nonce).map_err(|error| self.error(&error))
                    });
                    let grant = grant.and_then(|grant| {
                        let (partitions, asked) = (self.partitions, partition.0);
                        grant.ok_or(StoreError::NoSuchPartition { partitions, asked })
                    });
                    full = matches!(grant, Err(StoreError::Full { .. }));
                    let _ = done.send(grant);
                }
            }
        }
    }

    fn commit(&self, connection: &Connection, grant: &Grant, batch: &Batch) -> CommitOutcome {
        let outcome = commit(connection, self.clock.now(), grant, batch);
        if outcome == CommitOutcome::Committed {
            self.clock.committed(batch.now);
        }
        outcome
    }

    /// The connection, or a new one if a transaction is stuck in it.
    fn usable<'a>(&self, connection: &'a mut Option<Connection>) -> Result<&'a Connection, StoreError> {
        if connection.as_ref().is_some_and(|connection| !connection.is_autocommit()) {
            *connection = None;
        }
        match connection {
            Some(connection) => Ok(connection),
            None => {
                let mut fresh =
                    connection::open_writer(&self.path, &self.options).map_err(|error| self.error(&error))?;
                self.checkpointer.watch(&mut fresh).map_err(|error| self.error(&error))?;
                Ok(connection.insert(fresh))
            }
        }
    }

    fn error(&self, error: &rusqlite::Error) -> StoreError {
        store_error(&self.path.display().to_string(), error)
    }
}

fn acquire(connection: &Connection, partition: PartitionId, nonce: u128) -> rusqlite::Result<Option<Grant>> {
    let unsigned = |row: &rusqlite::Row<'_>, column: usize| {
        let value: i64 = row.get(column)?;
        u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
    };
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let grant = transaction
        .prepare_cached(sql::PARTITION_ACQUIRE)?
        .query_row((partition.0, nonce.to_be_bytes()), |row| {
            Ok(Grant {
                partition,
                epoch: unsigned(row, 0)?,
                nonce,
                next_key: unsigned(row, 1)?,
                next_envelope: unsigned(row, 2)?,
            })
        })
        .optional()?;
    transaction.commit()?;
    Ok(grant)
}
