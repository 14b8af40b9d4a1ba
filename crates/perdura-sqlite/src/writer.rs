//! The one connection that writes, and the thread behind it. Jobs come over a channel and are answered in order, and
//! dropping the future of a job does not stop the job. A small batch that finds the connection free is written by
//! whoever brings it: the two changes of thread that this saves are a good part of a commit's time when little is going
//! on, and when much is going on batches are not small.

use crate::checkpoint::Checkpointer;
use crate::clock::Clock;
use crate::commit::{Stop, commit, commit_begun};
use crate::connection;
use crate::error::store_error;
use crate::files::Files;
use crate::guest::Guest;
use crate::options::SqliteOptions;
use crate::sql;
use crate::works::{REFERS, begin_with};
use futures_channel::oneshot;
use perdura_core::PartitionId;
use perdura_core::partition::Batch;
use perdura_store::{CommitOutcome, Grant, Rejection, StoreError, Work, WorkEnd};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, ffi};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Rows of instances in a batch that is written at once.
const SMALL_BATCH_WRITES_MAX: usize = 4;

enum Job {
    Commit { grant: Grant, batch: Batch, done: oneshot::Sender<CommitOutcome> },
    Acquire { partition: PartitionId, nonce: u128, done: oneshot::Sender<Result<Grant, StoreError>> },
}

/// The way to the connection. Dropping it lets the thread finish what was sent, and waits for that.
#[derive(Debug)]
pub(crate) struct Writer {
    desk: Arc<Mutex<Desk>>,
    /// Jobs that are sent and not finished.
    waiting: Arc<AtomicUsize>,
    // Bounded by its users: a processor has one job under way.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(seat: Seat, connection: Connection) -> std::io::Result<Writer> {
        let (jobs, queue) = channel();
        let files = Files::of(&seat.path);
        let desk = Arc::new(Mutex::new(Desk { seat, connection: Some(connection), full: false, files }));
        let waiting = Arc::new(AtomicUsize::new(0));
        let thread = std::thread::Builder::new().name("perdura-writer".to_owned()).spawn({
            let (desk, waiting) = (desk.clone(), waiting.clone());
            move || work(&desk, &waiting, &queue)
        })?;
        Ok(Writer { desk, waiting, jobs: Some(jobs), thread: Some(thread) })
    }

    pub(crate) fn commit(&self, grant: &Grant, batch: Batch) -> Commit {
        let small = batch.writes.len() <= SMALL_BATCH_WRITES_MAX;
        if small
            && self.waiting.load(Ordering::Acquire) == 0
            && let Ok(mut desk) = self.desk.try_lock()
        {
            return Commit::Over(desk.commit(grant, &batch));
        }
        let (done, outcome) = oneshot::channel();
        self.send(Job::Commit { grant: grant.clone(), batch, done });
        Commit::UnderWay(outcome)
    }

    /// Blocks, and keeps every other commit waiting: nothing may come between the works and the batch.
    pub(crate) fn commit_with(
        &self,
        grant: &Grant,
        works: &[Work],
        seal: &mut dyn FnMut(Vec<WorkEnd>) -> Option<Batch>,
    ) -> CommitOutcome {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner).commit_with(grant, works, seal)
    }

    pub(crate) fn define(&self, statements: &str) -> Result<(), StoreError> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner).define(statements)
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
            self.waiting.fetch_add(1, Ordering::AcqRel);
            if jobs.send(job).is_err() {
                self.waiting.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

/// A commit that was asked for.
pub(crate) enum Commit {
    Over(CommitOutcome),
    UnderWay(oneshot::Receiver<CommitOutcome>),
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What writing needs besides the connection.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) path: PathBuf,
    pub(crate) options: SqliteOptions,
    pub(crate) partitions: u16,
    pub(crate) clock: Arc<Clock>,
    pub(crate) checkpointer: Checkpointer,
    pub(crate) guest: Guest,
}

/// The connection with everything around it. Whoever has it writes.
#[derive(Debug)]
struct Desk {
    seat: Seat,
    /// None after one had to be thrown away.
    connection: Option<Connection>,
    /// The last write found no room.
    full: bool,
    files: Files,
}

fn work(desk: &Mutex<Desk>, waiting: &AtomicUsize, jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        // A panic in a commit leaves a transaction behind at worst, which the next use throws away.
        let mut desk = desk.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever asked may have left; the work is done all the same.
        match job {
            Job::Commit { grant, batch, done } => {
                let outcome = desk.commit(&grant, &batch);
                drop(desk);
                waiting.fetch_sub(1, Ordering::AcqRel);
                let _ = done.send(outcome);
            }
            Job::Acquire { partition, nonce, done } => {
                let grant = desk.acquire(partition, nonce);
                drop(desk);
                waiting.fetch_sub(1, Ordering::AcqRel);
                let _ = done.send(grant);
            }
        }
    }
}

impl Desk {
    fn commit(&mut self, grant: &Grant, batch: &Batch) -> CommitOutcome {
        let outcome = match self.prepare() {
            Ok((seat, connection)) => seat.commit(connection, grant, batch),
            Err(error) => {
                CommitOutcome::Rejected(Rejection::Failed { instance: None, what: error.to_string() })
            }
        };
        self.committed(outcome)
    }

    fn commit_with(
        &mut self,
        grant: &Grant,
        works: &[Work],
        seal: &mut dyn FnMut(Vec<WorkEnd>) -> Option<Batch>,
    ) -> CommitOutcome {
        let outcome = match self.prepare() {
            Ok((seat, connection)) => seat.commit_with(connection, grant, works, seal),
            Err(error) => {
                CommitOutcome::Rejected(Rejection::Failed { instance: None, what: error.to_string() })
            }
        };
        self.committed(outcome)
    }

    fn define(&mut self, statements: &str) -> Result<(), StoreError> {
        let (seat, connection) = self.prepare()?;
        let defined =
            Transaction::new_unchecked(connection, TransactionBehavior::Immediate).and_then(|transaction| {
                seat.guest.define(|| transaction.execute_batch(statements))?;
                if seat.guest.refers_to_hub(&transaction)? {
                    let code = ffi::Error::new(ffi::SQLITE_CONSTRAINT);
                    return Err(rusqlite::Error::SqliteFailure(code, Some(REFERS.to_owned())));
                }
                transaction.commit()
            });
        defined.map_err(|error| StoreError::Unavailable {
            store: seat.path.display().to_string(),
            why: format!("its tables of users could not be made: {error}"),
        })
    }

    fn committed(&mut self, outcome: CommitOutcome) -> CommitOutcome {
        self.full = outcome == CommitOutcome::Rejected(Rejection::Full);
        match self.files.check() {
            Err(why) if outcome == CommitOutcome::Committed => CommitOutcome::Unknown(why),
            _ => outcome,
        }
    }

    fn acquire(&mut self, partition: PartitionId, nonce: u128) -> Result<Grant, StoreError> {
        let files = self.files.check_store();
        let grant = files.and_then(|()| self.prepare()).and_then(|(seat, connection)| {
            let grant = acquire(connection, partition, nonce).map_err(|error| seat.error(&error))?;
            let (partitions, asked) = (seat.partitions, partition.0);
            grant.ok_or(StoreError::NoSuchPartition { partitions, asked })
        });
        self.full = matches!(grant, Err(StoreError::Full { .. }));
        grant
    }

    /// A connection that can be written to, with what the checkpointer left to do done.
    fn prepare(&mut self) -> Result<(&Seat, &Connection), StoreError> {
        let Desk { seat, connection, full, files } = self;
        if connection.is_none() {
            files.check_store()?;
        }
        let connection = seat.usable(connection)?;
        seat.checkpointer.finish(connection);
        if *full {
            seat.checkpointer.make_room(connection);
        }
        Ok((seat, connection))
    }
}

impl Seat {
    fn commit(&self, connection: &Connection, grant: &Grant, batch: &Batch) -> CommitOutcome {
        let outcome = commit(connection, self.clock.now(), grant, batch);
        if outcome == CommitOutcome::Committed {
            self.clock.committed(batch.now);
        }
        outcome
    }

    fn commit_with(
        &self,
        connection: &Connection,
        grant: &Grant,
        works: &[Work],
        seal: &mut dyn FnMut(Vec<WorkEnd>) -> Option<Batch>,
    ) -> CommitOutcome {
        let nothing =
            || Stop::Rejected(Rejection::Failed { instance: None, what: "nothing to write".into() });
        let batch =
            begin_with(connection, &self.guest, grant, works).and_then(|ends| seal(ends).ok_or_else(nothing));
        let now = batch.as_ref().map(|batch| batch.now).ok();
        let outcome = commit_begun(connection, self.clock.now(), grant, batch);
        if let (CommitOutcome::Committed, Some(now)) = (&outcome, now) {
            self.clock.committed(now);
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
                self.guest.watch(&mut fresh).map_err(|error| self.error(&error))?;
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
