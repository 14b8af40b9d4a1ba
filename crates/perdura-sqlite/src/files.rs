//! The files of an open hub under their names. SQLite goes on writing to a file that was deleted or replaced, and
//! everything that is committed from then on would be gone with the process.

use perdura_store::StoreError;
use std::path::{Path, PathBuf};

/// What tells a file from another one with the same name.
type Identity = (u64, u64);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Files {
    hub: (PathBuf, Option<Identity>),
    /// SQLite makes it with the first commit at the latest.
    log: (PathBuf, Option<Identity>),
}

impl Files {
    pub(crate) fn of(hub: &Path) -> Files {
        let log = log_path(hub);
        Files { hub: (hub.to_owned(), identity(hub)), log: (log.clone(), identity(&log)) }
    }

    /// Whether the files are still those that were opened; the text says what to do. Two questions to the file system,
    /// which answers them from memory.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        for (path, known) in [&mut self.hub, &mut self.log] {
            let found = identity(path);
            if known.is_none() {
                *known = found;
            }
            if *known != found {
                return Err(format!(
                    "{} was deleted, moved or replaced while the hub was open, and what is written now would be lost; \
                     put it back, or stop the program and restore the hub from a backup",
                    path.display()
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn check_store(&mut self) -> Result<(), StoreError> {
        let store = self.hub.0.display().to_string();
        self.check().map_err(|why| StoreError::Unavailable { store, why })
    }
}

pub(crate) fn log_path(hub: &Path) -> PathBuf {
    let mut path = hub.as_os_str().to_owned();
    path.push("-wal");
    PathBuf::from(path)
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Elsewhere an open file can be neither deleted nor replaced.
#[cfg(not(unix))]
fn identity(_: &Path) -> Option<Identity> {
    None
}

/// How many names a file has.
#[cfg(unix)]
pub(crate) fn names(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map_or(1, |file| file.nlink())
}

/// How many names a file has, as far as known.
#[cfg(not(unix))]
pub(crate) fn names(_: &Path) -> u64 {
    1
}
