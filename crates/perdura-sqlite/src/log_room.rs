//! Room in the log, made before the commits come that need it. A commit that makes a file longer waits until the file
//! system has noted the new length as well, which is half as long again. SQLite itself makes room by starting over at
//! the head of a long log; a log that has not been long yet is made so, with zeros.
//!
//! Zeros after the last commit are to SQLite what a crash in a commit may leave there: no commit. They are only ever
//! appended, so they cannot hit one, whoever writes meanwhile.

use std::fs::OpenOptions;
use std::io::{Result, Write};
use std::path::{Path, PathBuf};

/// What is added at once, when half of it is left. The disk takes a few milliseconds for it.
const ROOM_BYTES: u64 = 1 << 20;
/// SQLite's log: a header, and one before each page.
const HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 24;

/// The log of a hub, as a file.
#[derive(Debug)]
pub(crate) struct LogRoom {
    log: PathBuf,
    page_bytes: u32,
    room_bytes: u64,
}

impl LogRoom {
    /// The log of the hub at `path`, which starts over soon after `log_bytes`.
    pub(crate) fn new(path: &Path, page_bytes: u32, log_bytes: u32) -> LogRoom {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        LogRoom { log: log.into(), page_bytes, room_bytes: ROOM_BYTES.min(log_bytes.into()) }
    }

    /// Adds room at the end of the file. Says at how many pages in the log more is needed.
    pub(crate) fn add(&self) -> Result<u32> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        // Closing it takes no lock from SQLite, which locks the other two files of the hub.
        let mut file = OpenOptions::new().append(true).open(&self.log)?;
        let mut left = self.room_bytes;
        while left > 0 {
            let some = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
            file.write_all(&ZEROS[..some])?;
            left -= some as u64;
        }
        // Otherwise the next commit would do it.
        file.sync_data()?;
        if self.room_bytes < ROOM_BYTES {
            // Kept so short, the log starts over before it needs more.
            return Ok(u32::MAX);
        }
        let until = file.metadata()?.len().saturating_sub(HEADER_BYTES + self.room_bytes / 2);
        Ok(u32::try_from(until / (u64::from(self.page_bytes) + FRAME_HEADER_BYTES)).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    struct Hub {
        dir: tempfile::TempDir,
        connection: Connection,
        room: LogRoom,
    }

    fn hub() -> Hub {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("hub.db");
        let connection = Connection::open(&path).expect("a file");
        let sql = "CREATE TABLE step (n INTEGER); PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0;";
        connection.execute_batch(sql).expect("a table");
        // SQLite makes the log when it first looks into it.
        connection.query_row("SELECT count(*) FROM step", (), |_| Ok(())).expect("a table");
        let room = LogRoom::new(&path, 4096, 32 << 20);
        Hub { dir, connection, room }
    }

    impl Hub {
        fn commit(&self, steps: std::ops::Range<i64>) {
            for step in steps {
                self.connection.execute("INSERT INTO step VALUES (?1)", [step]).expect("a commit");
            }
        }

        fn log_bytes(&self) -> u64 {
            std::fs::metadata(&self.room.log).expect("a log").len()
        }

        /// What the next process finds after this one was killed.
        fn steps_after_a_crash(&self) -> i64 {
            let crashed = tempfile::tempdir().expect("a directory");
            for file in ["hub.db", "hub.db-wal"] {
                std::fs::copy(self.dir.path().join(file), crashed.path().join(file)).expect("a copy");
            }
            let copy = Connection::open(crashed.path().join("hub.db")).expect("a file");
            copy.query_row("SELECT count(*) FROM step", (), |row| row.get(0)).expect("a readable hub")
        }
    }

    #[test]
    fn commits_into_room_that_was_made_leave_the_length_of_the_log_alone() {
        let hub = hub();
        hub.commit(0..1);
        let enough_until = hub.room.add().expect("room");
        let length = hub.log_bytes();
        assert!(length > ROOM_BYTES);
        // A commit of one row is one page.
        hub.commit(1..enough_until.into());
        assert_eq!(hub.log_bytes(), length);
    }

    #[test]
    fn a_crash_keeps_every_commit_before_and_after_room_was_made() {
        let hub = hub();
        assert_eq!(hub.steps_after_a_crash(), 0);
        hub.room.add().expect("room in an empty log");
        assert_eq!(hub.steps_after_a_crash(), 0);
        hub.commit(0..100);
        assert_eq!(hub.steps_after_a_crash(), 100);
        hub.room.add().expect("more room");
        assert_eq!(hub.steps_after_a_crash(), 100);
        // Over the end of what was added.
        hub.commit(100..700);
        assert_eq!(hub.steps_after_a_crash(), 700);
    }

    #[test]
    fn a_log_that_is_kept_short_gets_room_once() {
        let mut hub = hub();
        hub.room.room_bytes = 8192;
        hub.commit(0..1);
        let before = hub.log_bytes();
        assert_eq!(hub.room.add().expect("room"), u32::MAX);
        assert_eq!(hub.log_bytes(), before + 8192);
    }

    #[test]
    fn a_log_that_is_not_there_is_not_made() {
        let dir = tempfile::tempdir().expect("a directory");
        let room = LogRoom::new(&dir.path().join("hub.db"), 4096, 32 << 20);
        assert!(room.add().is_err());
        assert!(!room.log.exists());
    }
}
