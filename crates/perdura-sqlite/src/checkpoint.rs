//! Moves committed pages from the log into the file, on a thread of its own: in the commit it would add milliseconds to
//! every thousandth one. The thread sleeps until the log has grown; an idle hub costs nothing.

use crate::connection;
use crate::options::SqliteOptions;
use rusqlite::{Connection, Result};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Commits go on while a passive checkpoint runs, so under load it never reaches the end of the log. At this many times
/// the size at which it begins, the writer waits for the rest, so that the log starts over and its space is used again.
const RESTART_FACTOR: u32 = 4;

/// Tells the thread that there is work.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bell {
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    rung: bool,
    closed: bool,
}

impl Bell {
    fn change(&self, change: impl FnOnce(&mut State)) {
        let (state, changed) = &*self.state;
        change(&mut state.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_one();
    }

    fn ring(&self) {
        self.change(|state| state.rung = true);
    }

    /// Waits until it is rung; `false` when the hub is closed.
    fn wait(&self) -> bool {
        let (state, changed) = &*self.state;
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = changed
            .wait_while(state, |state| !state.rung && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        state.rung = false;
        !state.closed
    }
}

/// The thread.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    bell: Bell,
    thread: Option<JoinHandle<()>>,
    log_pages: u32,
}

impl Checkpointer {
    pub(crate) fn start(path: &Path, options: &SqliteOptions) -> Result<Checkpointer> {
        // Its pages are read once each, so it needs no cache to speak of.
        let options = SqliteOptions { cache_bytes: 1 << 20, ..options.clone() };
        let connection = connection::open_writer(path, &options)?;
        let page: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let log_pages = (options.log_bytes / page.max(1)).max(1);
        let bell = Bell::default();
        let thread = std::thread::Builder::new().name("perdura-checkpoint".to_owned()).spawn({
            let bell = bell.clone();
            move || {
                while bell.wait() {
                    if let Err(error) = checkpoint(&connection, log_pages) {
                        tracing::warn!(%error, "the log could not be moved into the file; it grows until it can");
                    }
                }
            }
        });
        let thread = thread.map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        Ok(Checkpointer { bell, thread: Some(thread), log_pages })
    }

    /// Rings the bell whenever a commit of this connection leaves a log that is long enough.
    pub(crate) fn watch(&self, connection: &mut Connection) -> Result<()> {
        let (bell, log_pages) = (self.bell.clone(), self.log_pages);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: i32| {
            if u32::try_from(pages).is_ok_and(|pages| pages >= log_pages) {
                bell.ring();
            }
            Ok(())
        }))
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.bell.change(|state| state.closed = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn checkpoint(connection: &Connection, log_pages: u32) -> Result<()> {
    let pages = run(connection, "PRAGMA wal_checkpoint(PASSIVE)")?;
    if pages >= i64::from(log_pages) * i64::from(RESTART_FACTOR) {
        run(connection, "PRAGMA wal_checkpoint(RESTART)")?;
    }
    Ok(())
}

/// Runs a checkpoint and returns the pages in the log.
fn run(connection: &Connection, pragma: &str) -> Result<i64> {
    connection.query_row(pragma, (), |row| row.get(1))
}
