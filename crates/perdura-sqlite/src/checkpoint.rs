//! Moves committed pages from the log into the file, on a thread of its own: in the commit it would add milliseconds to
//! every thousandth one. The thread sleeps until the log has grown; an idle hub costs nothing.
//!
//! Commits go on meanwhile, so the thread never reaches the end of the log, and only then does the log start over and
//! its space get used again. The writer therefore moves the little that is left, between two commits. (Asking SQLite to
//! wait for the end instead starves: a busy writer always has the lock again first.)

use crate::connection;
use crate::options::SqliteOptions;
use rusqlite::{Connection, Result};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Tells the thread that there is work.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bell {
    state: Arc<(Mutex<State>, Condvar)>,
    /// Set when the thread has moved most of the log.
    nearly_done: Arc<AtomicBool>,
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
    /// From how many pages on the log is moved.
    log_pages: Arc<AtomicU32>,
}

/// The log is never moved more often than this makes it.
const LOG_PAGES_MIN: u32 = 64;

impl Checkpointer {
    pub(crate) fn start(path: &Path, options: &SqliteOptions) -> Result<Checkpointer> {
        // Its pages are read once each, so it needs no cache to speak of.
        let options = SqliteOptions { cache_bytes: 1 << 20, ..options.clone() };
        let connection = connection::open_writer(path, &options)?;
        let page: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let log_pages = Arc::new(AtomicU32::new((options.log_bytes / page.max(1)).max(1)));
        let bell = Bell::default();
        let thread = std::thread::Builder::new().name("perdura-checkpoint".to_owned()).spawn({
            let bell = bell.clone();
            move || {
                while bell.wait() {
                    match checkpoint(&connection) {
                        Ok(()) => bell.nearly_done.store(true, Ordering::Release),
                        Err(error) => warn(&error),
                    }
                }
            }
        });
        let thread = thread.map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        Ok(Checkpointer { bell, thread: Some(thread), log_pages })
    }

    /// Moves the rest of the log, if the thread has moved most of it. For the writer, between two commits.
    pub(crate) fn finish(&self, connection: &Connection) {
        if self.bell.nearly_done.swap(false, Ordering::AcqRel)
            && let Err(error) = checkpoint(connection)
        {
            warn(&error);
        }
    }

    /// Moves the whole log before the first write after one that found no room. It may be the log itself that fills the
    /// disk: its space is given back, and from here on it is moved before it is as long again.
    pub(crate) fn make_room(&self, connection: &Connection) {
        let moved = connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |row| row.get::<_, i64>(1))
            .and_then(|pages| {
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))?;
                Ok(u32::try_from(pages).unwrap_or(0))
            });
        match moved {
            Ok(pages) => {
                self.log_pages.fetch_min((pages / 2).max(LOG_PAGES_MIN), Ordering::AcqRel);
            }
            Err(error) => warn(&error),
        }
    }

    /// Rings the bell whenever a commit of this connection leaves a log that is long enough.
    pub(crate) fn watch(&self, connection: &mut Connection) -> Result<()> {
        let (bell, log_pages) = (self.bell.clone(), self.log_pages.clone());
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: i32| {
            if u32::try_from(pages).is_ok_and(|pages| pages >= log_pages.load(Ordering::Acquire)) {
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

fn checkpoint(connection: &Connection) -> Result<()> {
    connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query_row((), |_| Ok(()))
}

fn warn(error: &rusqlite::Error) {
    tracing::warn!(%error, "the log could not be moved into the file; it grows until it can");
}
