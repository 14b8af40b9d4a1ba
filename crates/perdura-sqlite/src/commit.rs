//! One batch, one transaction. After any error in it the transaction is rolled back and nothing of the batch is run
//! again: SQLite ends a transaction by itself when the disk is full, and a statement after that would be committed alone.

use crate::row::to_column;
use crate::sql;
use perdura_core::partition::{Batch, Envelope, EnvelopeId, HistoryRow, InstanceWrite, Tail};
use perdura_core::{InstanceId, InstanceKey, PartitionId, Timestamp};
use perdura_store::{CommitOutcome, Grant, Rejection};
use rusqlite::{Connection, Error, ErrorCode, OptionalExtension};

/// The clock of a partition is written when it has gone on so far. After a crash the hub's time may lie so much behind
/// what was committed, if the wall clock was set back meanwhile.
const CLOCK_STEP_MS: i64 = 100;

/// The columns of an instance row, in the order of the statements, and what a statement has beside them.
macro_rules! columns {
    ($row:expr $(, $more:expr)*) => {
        (
            to_column($row.key.0)?,
            $row.id.as_str(),
            &$row.name,
            $row.status as u8,
            $row.created_at.0,
            $row.updated_at.0,
            $row.completed_at.map(|at| at.0),
            $row.generation,
            $row.branch,
            to_column($row.tail)?,
            &$row.record[..],
            $($more),*
        )
    };
}

/// Why a batch was given up before its commit.
pub(crate) enum Stop {
    Fenced,
    Rejected(Rejection),
    Sqlite(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Sqlite(error)
    }
}

fn conflict(what: String) -> Stop {
    Stop::Rejected(Rejection::Conflict { instance: None, what })
}

impl Stop {
    /// What stopped the write of an instance is due to this instance, unless it would have stopped any other too.
    fn of(self, id: &InstanceId) -> Stop {
        let instance = Some(id.clone());
        match self {
            Stop::Rejected(Rejection::Conflict { what, .. }) => {
                Stop::Rejected(Rejection::Conflict { instance, what })
            }
            Stop::Sqlite(error) if is_about_values(&error) => {
                Stop::Rejected(Rejection::Failed { instance, what: error.to_string() })
            }
            other => other,
        }
    }
}

/// Too large a value, a number out of range, a damaged page: not the disk, not the memory, not a lock.
fn is_about_values(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        None | Some(
            ErrorCode::TooBig
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch
        )
    )
}

/// Commits a batch. `now` is the store's time.
pub(crate) fn commit(connection: &Connection, now: Timestamp, grant: &Grant, batch: &Batch) -> CommitOutcome {
    let written = begin(connection).and_then(|()| write(connection, now, grant, batch));
    finish(connection, written, false)
}

/// Commits a batch in the transaction in which works of users have run, if all is well with it.
pub(crate) fn commit_begun(
    connection: &Connection,
    now: Timestamp,
    grant: &Grant,
    batch: Result<Batch, Stop>,
) -> CommitOutcome {
    let written = batch.and_then(|batch| write(connection, now, grant, &batch));
    finish(connection, written, true)
}

fn finish(connection: &Connection, written: Result<(), Stop>, has_works: bool) -> CommitOutcome {
    let stop = match written {
        Ok(()) => match connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute(())) {
            Ok(_) => return CommitOutcome::Committed,
            // The hub has no constraint that is looked at so late, and the transaction is still open.
            Err(error) if has_works && is_taken(&error) => {
                Stop::Rejected(Rejection::Works { what: error.to_string() })
            }
            Err(error) => return after_failed_commit(connection, &error),
        },
        Err(stop) => stop,
    };
    roll_back(connection);
    match stop {
        Stop::Fenced => CommitOutcome::Fenced,
        Stop::Rejected(rejection) => CommitOutcome::Rejected(rejection),
        Stop::Sqlite(error) if is_full(&error) => CommitOutcome::Rejected(Rejection::Full),
        Stop::Sqlite(error) => {
            CommitOutcome::Rejected(Rejection::Failed { instance: None, what: error.to_string() })
        }
    }
}

/// A full disk cuts the log before the mark of the commit. After any other error the mark may be on the disk, and a
/// crash now would bring the batch back; only the next commit overwrites it.
fn after_failed_commit(connection: &Connection, error: &Error) -> CommitOutcome {
    roll_back(connection);
    if is_full(error) {
        CommitOutcome::Rejected(Rejection::Full)
    } else {
        CommitOutcome::Unknown(format!("commit failed: {error}"))
    }
}

fn is_full(error: &Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// Ends the transaction, if SQLite has not done so. The writer gives the connection up if it is still open after this.
fn roll_back(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::warn!(%error, "a transaction could not be rolled back");
    }
}

fn begin(connection: &Connection) -> Result<(), Stop> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute(())?;
    Ok(())
}

/// Whether the grant is the latest one; then the clock and the counters of its partition.
pub(crate) fn check_guard(connection: &Connection, grant: &Grant) -> Result<(i64, i64, i64), Stop> {
    let guard = (grant.partition.0, to_column(grant.epoch)?, grant.nonce.to_be_bytes());
    let mut statement = connection.prepare_cached(sql::PARTITION_GUARD)?;
    let counters = statement.query_row(guard, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    counters.optional()?.ok_or(Stop::Fenced)
}

fn write(connection: &Connection, now: Timestamp, grant: &Grant, batch: &Batch) -> Result<(), Stop> {
    let writer = Writer { connection, partition: grant.partition };
    writer.advance(grant, batch)?;
    if let Some(needed) = batch.not_before.filter(|needed| *needed > now) {
        return Err(Stop::Rejected(Rejection::TooEarly { now, needed }));
    }
    batch.purge.iter().try_for_each(|key| writer.purge(*key))?;
    batch.writes.iter().try_for_each(|write| writer.write(write).map_err(|stop| stop.of(&write.row.id)))?;
    batch.consumed.iter().try_for_each(|message| writer.consume(*message))?;
    batch.outgoing.iter().try_for_each(|envelope| writer.send(envelope))
}

struct Writer<'a> {
    connection: &'a Connection,
    partition: PartitionId,
}

impl Writer<'_> {
    fn run(&self, statement: &str, params: impl rusqlite::Params) -> Result<usize, Error> {
        self.connection.prepare_cached(statement)?.execute(params)
    }

    /// The guard, and the counters of the partition. A commit that moves no counter leaves its row alone, unless the
    /// clock has gone on: that is one page less in the log.
    fn advance(&self, grant: &Grant, batch: &Batch) -> Result<(), Stop> {
        let (clock, next_key, next_envelope) = check_guard(self.connection, grant)?;
        let inserted = batch.writes.iter().filter(|write| write.expected.is_none());
        let after_key = to_column(inserted.map(|write| write.row.key.number() + 1).max().unwrap_or(0))?;
        let sent = batch.outgoing.iter().map(|sent| sent.number.saturating_add(1));
        let after_envelope = to_column(sent.max().unwrap_or(0))?;
        let ticks = batch.now.0.saturating_sub(clock) >= CLOCK_STEP_MS;
        if ticks || after_key > next_key || after_envelope > next_envelope {
            let row = (grant.partition.0, batch.now.0, after_key, after_envelope);
            self.run(sql::PARTITION_ADVANCE, row)?;
        }
        Ok(())
    }

    fn check_owner(&self, key: InstanceKey) -> Result<(), Stop> {
        if key.partition() == self.partition {
            Ok(())
        } else {
            Err(conflict(format!("key {} is not one of partition {}", key.0, self.partition.0)))
        }
    }

    fn purge(&self, key: InstanceKey) -> Result<(), Stop> {
        self.check_owner(key)?;
        let key = to_column(key.0)?;
        self.run(sql::HISTORY_DELETE, (key, i64::MAX))?;
        self.run(sql::INSTANCE_DELETE, [key])?;
        Ok(())
    }

    fn write(&self, write: &InstanceWrite) -> Result<(), Stop> {
        self.check_owner(write.row.key)?;
        match write.expected {
            None => self.insert(write)?,
            Some(expected) => self.update(write, expected)?,
        }
        if let Some(row) = &write.history {
            self.append(write.row.key, row)?;
        }
        if let Some(generation) = write.drop_generations_before {
            self.run(sql::HISTORY_DELETE, (to_column(write.row.key.0)?, generation))?;
        }
        Ok(())
    }

    fn insert(&self, write: &InstanceWrite) -> Result<(), Stop> {
        let row = &write.row;
        match self.run(sql::INSTANCE_INSERT, columns!(row)) {
            Ok(_) => Ok(()),
            Err(error) if is_taken(&error) => Err(conflict(format!(
                "there is an instance {} or one with key {} already",
                row.id, row.key.0
            ))),
            Err(error) => Err(error.into()),
        }
    }

    fn update(&self, write: &InstanceWrite, expected: Tail) -> Result<(), Stop> {
        let row = &write.row;
        for statement in [sql::INSTANCE_UPDATE_SAME_STATUS, sql::INSTANCE_UPDATE] {
            let tail = to_column(expected.events)?;
            if self.run(statement, columns!(row, expected.generation, expected.branch, tail))? == 1 {
                return Ok(());
            }
        }
        Err(conflict(format!("instance {} is not where {expected:?} says", row.id)))
    }

    fn append(&self, key: InstanceKey, row: &HistoryRow) -> Result<(), Stop> {
        if row.count == 0 {
            return Err(conflict(format!("an empty history row for key {}", key.0)));
        }
        let added = self.run(
            sql::HISTORY_APPEND,
            (
                to_column(key.0)?,
                row.generation,
                row.branch,
                to_column(row.first)?,
                row.count,
                &row.events[..],
            ),
        )?;
        if added == 1 {
            Ok(())
        } else {
            Err(conflict(format!("the history of key {} does not end at {}", key.0, row.first)))
        }
    }

    fn consume(&self, message: EnvelopeId) -> Result<(), Stop> {
        let at = (self.partition.0, message.from.0, to_column(message.number)?);
        if self.run(sql::MESSAGE_DELETE, at)? == 1 {
            Ok(())
        } else {
            let (number, from) = (message.number, message.from.0);
            Err(conflict(format!("there is no message {number} from partition {from}")))
        }
    }

    fn send(&self, envelope: &Envelope) -> Result<(), Stop> {
        if envelope.from != self.partition {
            return Err(conflict(format!("partition {} sends as {}", self.partition.0, envelope.from.0)));
        }
        let row = (envelope.to.0, envelope.from.0, to_column(envelope.number)?, &envelope.message[..]);
        match self.run(sql::MESSAGE_INSERT, row) {
            Ok(1) => Ok(()),
            Ok(_) => Err(conflict(format!("there is no partition {} to send to", envelope.to.0))),
            Err(error) if is_taken(&error) => {
                Err(conflict(format!("message {} was sent before", envelope.number)))
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn is_taken(error: &Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}
