//! Moves committed pages from the log into the file, on a thread of its own: in the commit it would add milliseconds to
//! every thousandth one. The same thread makes room in a log that grows. It sleeps until there is something to do; an
//! idle hub costs nothing.
//!
//! Commits go on meanwhile, so the thread never reaches the end of the log, and only then does the log start over and
//! its space get used again. The writer therefore moves the little that is left, between two commits. (Asking SQLite to
//! wait for the end instead starves: a busy writer always has the lock again first.)

use crate::connection;
use crate::log_room::LogRoom;
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
    wanted: Wanted,
    closed: bool,
}

/// What the thread is to do.
#[derive(Debug, Default)]
struct Wanted {
    checkpoint: bool,
    room: bool,
}

impl Bell {
    fn change(&self, change: impl FnOnce(&mut State)) {
        let (state, changed) = &*self.state;
        change(&mut state.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_one();
    }

    /// Waits until it is rung; `None` when the hub is closed.
    fn wait(&self) -> Option<Wanted> {
        let (state, changed) = &*self.state;
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = changed
            .wait_while(state, |state| !state.wanted.checkpoint && !state.wanted.room && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        let wanted = std::mem::take(&mut state.wanted);
        (!state.closed).then_some(wanted)
    }
}

/// The thread.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    bell: Bell,
    thread: Option<JoinHandle<()>>,
    /// From how many pages on the log is moved.
    log_pages: Arc<AtomicU32>,
    /// From how many pages on the log is given more room.
    room_until: Arc<AtomicU32>,
}

/// The log is never moved more often than this makes it.
const LOG_PAGES_MIN: u32 = 64;
/// No log is so long.
const NEVER: u32 = u32::MAX;

impl Checkpointer {
    pub(crate) fn start(path: &Path, options: &SqliteOptions) -> Result<Checkpointer> {
        // Its pages are read once each, so it needs no cache to speak of.
        let options = SqliteOptions { cache_bytes: 1 << 20, ..options.clone() };
        let connection = connection::open_writer(path, &options)?;
        let page: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let log_pages = Arc::new(AtomicU32::new((options.log_bytes / page.max(1)).max(1)));
        let room_until = Arc::new(AtomicU32::new(NEVER));
        let room = LogRoom::new(path, page, options.log_bytes);
        let bell = Bell::default();
        let thread = std::thread::Builder::new().name("perdura-checkpoint".to_owned()).spawn({
            let (bell, room_until) = (bell.clone(), room_until.clone());
            move || {
                make_room_ahead(&room, &room_until);
                while let Some(wanted) = bell.wait() {
                    if wanted.room {
                        make_room_ahead(&room, &room_until);
                    }
                    if wanted.checkpoint {
                        match checkpoint(&connection) {
                            Ok(()) => bell.nearly_done.store(true, Ordering::Release),
                            Err(error) => warn(&error),
                        }
                    }
                }
            }
        });
        let thread = thread.map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        Ok(Checkpointer { bell, thread: Some(thread), log_pages, room_until })
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

    /// Rings the bell whenever a commit of this connection leaves a log that is long enough, or near the end of its room.
    pub(crate) fn watch(&self, connection: &mut Connection) -> Result<()> {
        let (bell, log_pages, room_until) =
            (self.bell.clone(), self.log_pages.clone(), self.room_until.clone());
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: i32| {
            let pages = u32::try_from(pages).unwrap_or(0);
            if pages >= log_pages.load(Ordering::Acquire) {
                bell.change(|state| state.wanted.checkpoint = true);
            }
            if pages >= room_until.load(Ordering::Acquire) {
                // Until the thread has added some.
                room_until.store(NEVER, Ordering::Release);
                bell.change(|state| state.wanted.room = true);
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

/// Commits are only slower without. A disk that has no space for it is not asked again.
fn make_room_ahead(room: &LogRoom, room_until: &AtomicU32) {
    match room.add() {
        Ok(until) => room_until.store(until, Ordering::Release),
        Err(error) => tracing::debug!(%error, "the log gets no more room ahead of its commits"),
    }
}

fn checkpoint(connection: &Connection) -> Result<()> {
    connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query_row((), |_| Ok(()))
}

fn warn(error: &rusqlite::Error) {
    tracing::warn!(%error, "the log could not be moved into the file; it grows until it can");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_room_from_the_start_and_gets_more_before_it_is_full() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("hub.db");
        let log_bytes = || std::fs::metadata(dir.path().join("hub.db-wal")).expect("a log").len();
        let options = SqliteOptions::default();
        let mut connection = connection::open_writer(&path, &options).expect("a file");
        connection.pragma_update(None, "journal_mode", "wal").expect("a log");
        connection.execute_batch("CREATE TABLE step (n INTEGER)").expect("a table");
        let committed = log_bytes();
        let checkpointer = Checkpointer::start(&path, &options).expect("a thread");
        checkpointer.watch(&mut connection).expect("a hook");
        while checkpointer.room_until.load(Ordering::Acquire) == NEVER {
            std::thread::yield_now();
        }
        let with_room = log_bytes();
        assert!(with_room > committed + 100 * 4096);
        // A commit of one row is one page at least.
        for step in 0..checkpointer.room_until.load(Ordering::Acquire) {
            connection.execute("INSERT INTO step VALUES (?1)", [step]).expect("a commit");
        }
        while checkpointer.room_until.load(Ordering::Acquire) == NEVER {
            std::thread::yield_now();
        }
        assert!(log_bytes() > with_room);
    }
}
