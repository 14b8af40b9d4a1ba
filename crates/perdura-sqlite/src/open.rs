//! From a path to a hub: is it one, is it ours, is it new.

use crate::connection::{self, Reading};
use crate::error::store_error;
use crate::files::{log_path, names};
use crate::options::SqliteOptions;
use crate::sql;
use perdura_core::Timestamp;
use perdura_store::StoreError;
use rusqlite::{Connection, TransactionBehavior};
use std::path::{Path, PathBuf};

/// In the header of every hub: "PRDR".
const APPLICATION_ID: i32 = 0x5052_4452;
/// The schema of this version.
const SCHEMA: i32 = 1;
/// A commit writes whole pages to the log: with 8 KiB those of a single turn were a third slower.
const PAGE_BYTES: u32 = 4096;

/// What an open hub says of itself.
pub(crate) struct Hub {
    pub(crate) partitions: u16,
    pub(crate) clock: Timestamp,
}

/// Opens the writer's connection, and makes the hub if there is none. The place was checked before it was locked.
pub(crate) fn open_or_create(path: &Path, options: &SqliteOptions) -> Result<(Connection, Hub), StoreError> {
    let store = path.display().to_string();
    let fail = |error: rusqlite::Error| store_error(&store, &error);
    let mut connection = connection::open_writer(path, options).map_err(fail)?;
    if names(path) > 1 {
        let why = format!(
            "the file has {} names (hard links), and its log belongs to one of them: under another name a part of the hub is missing. Remove the other names, or copy the file",
            names(path)
        );
        return Err(StoreError::Unavailable { store, why });
    }
    if connection.is_readonly("main").map_err(fail)? {
        return Err(StoreError::Unavailable { store, why: "the file or its directory is read-only".into() });
    }
    if identify(path, &connection)? == Found::Nothing {
        create(&mut connection, options.partitions).map_err(fail)?;
    }
    // After the schema, so that the file itself tells what it is from its first page on.
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(fail)?;
    if mode != "wal" {
        let why = format!("the file system does not allow a write-ahead log (journal mode is {mode})");
        return Err(StoreError::Unavailable { store, why });
    }
    let hub = summary(path, &connection)?;
    Ok((connection, hub))
}

/// Looks at a hub that exists, without the right to write; says how it can be read.
pub(crate) fn open_existing(path: &Path, cache_bytes: u32) -> Result<(Reading, Hub), StoreError> {
    let store = path.display().to_string();
    check_place(path)?;
    if !path.exists() {
        return Err(StoreError::Unavailable { store, why: "there is no such file".into() });
    }
    let why = match look(path, cache_bytes, Reading::Shared) {
        Ok(hub) => return Ok((Reading::Shared, hub)),
        Err(StoreError::Unavailable { why, .. }) => why,
        Err(error) => return Err(error),
    };
    // Where nothing can be written, SQLite cannot share a log. Without a log there is nothing to share.
    if std::fs::metadata(log_path(path)).is_ok_and(|log| log.len() > 0) {
        let why = format!(
            "{why}. It has a log ({}), which cannot be read without the right to write to its directory: copy both files to another directory",
            log_path(path).display()
        );
        return Err(StoreError::Unavailable { store, why });
    }
    look(path, cache_bytes, Reading::Alone).map(|hub| (Reading::Alone, hub))
}

fn look(path: &Path, cache_bytes: u32, reading: Reading) -> Result<Hub, StoreError> {
    let store = path.display().to_string();
    let connection =
        connection::open_reader(path, cache_bytes, reading).map_err(|e| store_error(&store, &e))?;
    if identify(path, &connection)? == Found::Nothing {
        return Err(StoreError::Foreign { store, why: "the file is empty".into() });
    }
    summary(path, &connection)
}

/// The path without links, as far as it exists: a new file is in a folder that does.
pub(crate) fn real_path(path: &Path) -> PathBuf {
    let in_folder = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(folder.canonicalize().ok()?.join(path.file_name()?))
    };
    path.canonicalize().ok().or_else(in_folder).unwrap_or_else(|| path.to_owned())
}

/// The two mistakes for which SQLite's own message would be "unable to open database file".
pub(crate) fn check_place(path: &Path) -> Result<(), StoreError> {
    let unavailable = |why: String| StoreError::Unavailable { store: path.display().to_string(), why };
    if path.is_dir() {
        return Err(unavailable("it is a directory; name a file".into()));
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => {
            Err(unavailable(format!("there is no directory {}; create it first", parent.display())))
        }
        _ => Ok(()),
    }
}

#[derive(PartialEq, Eq)]
enum Found {
    Nothing,
    Hub,
}

fn identify(path: &Path, connection: &Connection) -> Result<Found, StoreError> {
    let store = path.display().to_string();
    let fail = |error: rusqlite::Error| store_error(&store, &error);
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let application = number("application_id").map_err(fail)?;
    let schema = number("user_version").map_err(fail)?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0)).map_err(fail)?;
    match (application, schema) {
        (0, 0) if tables == 0 => Ok(Found::Nothing),
        (APPLICATION_ID, SCHEMA) => Ok(Found::Hub),
        (APPLICATION_ID, found) if found > SCHEMA => {
            Err(StoreError::Newer { store, found: found.unsigned_abs(), known: SCHEMA.unsigned_abs() })
        }
        (APPLICATION_ID, found) => {
            Err(StoreError::Damaged { store, what: format!("schema number {found} was never used") })
        }
        _ => Err(StoreError::Foreign { store, why: "it is the SQLite file of another program".into() }),
    }
}

/// All or nothing: a crash in here leaves a file that the next open takes for new.
fn create(connection: &mut Connection, partitions: u16) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(sql::SCHEMA)?;
    for partition in 0..partitions.max(1) {
        transaction.execute(sql::PARTITION_CREATE, [partition])?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    transaction.commit()
}

fn summary(path: &Path, connection: &Connection) -> Result<Hub, StoreError> {
    let store = path.display().to_string();
    let (count, highest, clock) = connection
        .query_row(sql::PARTITION_SUMMARY, (), |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        })
        .map_err(|error| store_error(&store, &error))?;
    match u16::try_from(count) {
        Ok(partitions) if partitions > 0 && highest == count - 1 => {
            Ok(Hub { partitions, clock: Timestamp(clock) })
        }
        _ => {
            let what = format!("its partitions are not numbered from 0: {count}, the highest is {highest}");
            Err(StoreError::Damaged { store, what })
        }
    }
}
