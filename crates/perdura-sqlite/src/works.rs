//! Works of users inside the transaction of a commit: each in a savepoint, so that one that fails leaves nothing behind.

use crate::commit::{Stop, check_guard};
use crate::guest::{Guest, overdue};
use perdura_core::Failure;
use perdura_core::failure::kind;
use perdura_store::{Grant, Work, WorkEnd};
use rusqlite::Connection;

pub(crate) const REFERS: &str =
    "a foreign key of a table refers to a table of the hub; keep the instance id as a value";

/// Begins a transaction and runs the works in it. A work can end the transaction in spite of all (`INSERT OR ROLLBACK`, a
/// full disk, too long a time), and what ran before it is gone with it: then all others run again without that one.
pub(crate) fn begin_with(
    connection: &Connection,
    guest: &Guest,
    grant: &Grant,
    works: &[Work],
) -> Result<Vec<WorkEnd>, Stop> {
    let mut spoilers: Vec<Option<Failure>> = vec![None; works.len()];
    let mut is_tried = false;
    loop {
        let ends = begin_and_run(connection, guest, grant, works, &mut spoilers)?;
        if is_tried || ends.iter().all(Result::is_err) || !has_deferred(connection)? {
            return Ok(ends);
        }
        refuse_deferred(connection, guest, grant, works, &mut spoilers)?;
        is_tried = true;
    }
}

fn begin_and_run(
    connection: &Connection,
    guest: &Guest,
    grant: &Grant,
    works: &[Work],
    spoilers: &mut [Option<Failure>],
) -> Result<Vec<WorkEnd>, Stop> {
    loop {
        run(connection, "BEGIN IMMEDIATE")?;
        check_guard(connection, grant)?;
        if let Some(ends) = run_all(connection, guest, works, spoilers)? {
            return Ok(ends);
        }
    }
}

/// Whether a table has a constraint that is looked at when all is committed.
fn has_deferred(connection: &Connection) -> rusqlite::Result<bool> {
    let deferred =
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%DEFERRED%')";
    connection.prepare_cached(deferred)?.query_row((), |row| row.get(0))
}

/// A work that leaves behind what such a constraint forbids has failed, and only that one: the commit of the whole would be
/// refused when nobody can tell any more whose fault it is. All works have run; their transaction is ended, and they are
/// to run again.
fn refuse_deferred(
    connection: &Connection,
    guest: &Guest,
    grant: &Grant,
    works: &[Work],
    spoilers: &mut [Option<Failure>],
) -> Result<(), Stop> {
    if guest.try_commit(connection)?.is_none() {
        return Ok(());
    }
    for last in 0..works.len() {
        if spoilers[last].is_some() {
            continue;
        }
        begin_and_run(connection, guest, grant, &works[..=last], &mut spoilers[..=last])?;
        if let Some(what) = guest.try_commit(connection)? {
            let text = format!("what the activity wrote could not be committed: {what}");
            spoilers[last] = Some(Failure::new(kind::INVALID, text).non_retryable());
        }
    }
    Ok(())
}

/// `None` if one more spoiler has shown itself.
fn run_all(
    connection: &Connection,
    guest: &Guest,
    works: &[Work],
    spoilers: &mut [Option<Failure>],
) -> Result<Option<Vec<WorkEnd>>, Stop> {
    let mut ends = Vec::with_capacity(works.len());
    for (work, spoiler) in works.iter().zip(spoilers) {
        if let Some(failure) = spoiler {
            ends.push(Err(failure.clone()));
            continue;
        }
        run(connection, "SAVEPOINT work")?;
        let (end, is_overdue) = guest.enter(|| work.run(connection));
        let end = match end {
            _ if is_overdue => Err(Failure::new(kind::TIMEOUT, overdue())),
            end => end,
        };
        let end = match end {
            Ok(_) if guest.refers_to_hub(connection)? => {
                Err(Failure::new(kind::INVALID, REFERS).non_retryable())
            }
            end => end,
        };
        if connection.is_autocommit() {
            let ended = || Failure::new(kind::INVALID, "a statement of the activity ended its transaction");
            *spoiler = Some(end.err().unwrap_or_else(ended));
            return Ok(None);
        }
        if end.is_err() {
            run(connection, "ROLLBACK TO work")?;
        }
        run(connection, "RELEASE work")?;
        ends.push(end);
    }
    Ok(Some(ends))
}

fn run(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute(()).map(drop)
}
