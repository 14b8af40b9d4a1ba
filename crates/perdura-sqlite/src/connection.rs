//! Connections and their settings.

use crate::options::SqliteOptions;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Result};
use std::path::Path;
use std::time::Duration;

/// How long a connection waits for another one that holds a lock: the writer for the end of a checkpoint.
const BUSY_WAIT: Duration = Duration::from_secs(30);
/// More statements than this crate has.
const STATEMENTS_CACHED: usize = 64;

/// A connection that may write.
pub(crate) fn open_writer(path: &Path, options: &SqliteOptions) -> Result<Connection> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    set_cache(&connection, options.cache_bytes)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    if let Some(bytes) = options.file_bytes_max {
        let page: u64 = connection.pragma_query_value(None, "page_size", |row| row.get::<_, u32>(0))?.into();
        let pages = u32::try_from(bytes / page).unwrap_or(u32::MAX - 1).max(1);
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    Ok(connection)
}

/// How a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Others may write meanwhile.
    Shared,
    /// Nobody can: SQLite neither locks the file nor looks for a log.
    Alone,
}

/// A connection that cannot write.
pub(crate) fn open_reader(path: &Path, cache_bytes: u32, reading: Reading) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = match (reading, path.to_str()) {
        (Reading::Alone, Some(text)) => {
            let escaped = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
            let uri = format!("file:{escaped}?immutable=1");
            open(Path::new(&uri), flags | OpenFlags::SQLITE_OPEN_URI)?
        }
        _ => open(path, flags)?,
    };
    set_cache(&connection, cache_bytes)?;
    Ok(connection)
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    // Otherwise SQLite prepares some statements anew for each new value, to plan by it: twice the time of a commit.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // A mapped file turns a disk error into a signal that ends the process.
    connection.pragma_update_and_check(None, "mmap_size", 0, |_| Ok(()))?;
    // A damaged page is to be an error, and a damaged schema is not to run anything.
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

fn set_cache(connection: &Connection, bytes: u32) -> Result<()> {
    // A negative number is KiB.
    connection.pragma_update(None, "cache_size", -i64::from(bytes / 1024))
}
