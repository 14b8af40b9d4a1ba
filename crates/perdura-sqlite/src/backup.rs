//! A consistent copy while the engine runs.

use crate::connection;
use crate::error::store_error;
use perdura_store::StoreError;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// What the copy is named until it is complete.
const PARTIAL: &str = "-partial";
/// The copy reads every page once.
const CACHE_BYTES: u32 = 4 << 20;

/// Copies the hub at `from` as it is at this moment. The target appears under its name only when it is complete.
pub(crate) fn backup(from: &Path, to: &Path) -> Result<(), StoreError> {
    let unavailable = |why: String| StoreError::Unavailable { store: to.display().to_string(), why };
    if to.exists() {
        return Err(unavailable("it exists already; a backup never overwrites a file".into()));
    }
    let mut partial = to.as_os_str().to_owned();
    partial.push(PARTIAL);
    let partial = PathBuf::from(partial);
    let Some(partial_text) = partial.to_str() else {
        return Err(unavailable("SQLite needs a path that is valid UTF-8".into()));
    };
    // What an interrupted backup left; its name says that nobody needs it.
    let _ = std::fs::remove_file(&partial);
    let copied = connection::open_reader(from, CACHE_BYTES)
        .and_then(|connection| connection.execute("VACUUM INTO ?1", [partial_text]))
        .map_err(|error| store_error(&to.display().to_string(), &error))
        .and_then(|_| publish(&partial, to).map_err(|error| unavailable(error.to_string())));
    if copied.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    copied
}

fn publish(partial: &Path, to: &Path) -> io::Result<()> {
    // SQLite does not sync what it vacuums into.
    File::open(partial)?.sync_all()?;
    std::fs::rename(partial, to)?;
    if cfg!(unix) {
        let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}
