//! A consistent copy while the engine runs.

use crate::connection::{self, Reading};
use crate::error::store_error;
use perdura_store::StoreError;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// What the copy is named until it is complete, and after it what tells this copy from another one.
const PARTIAL: &str = "-partial";
static COPIES: AtomicU64 = AtomicU64::new(0);
/// The copy reads every page once.
const CACHE_BYTES: u32 = 4 << 20;

/// Copies the hub at `from` as it is at this moment. The target appears under its name only when it is complete.
pub(crate) fn backup(from: &Path, to: &Path) -> Result<(), StoreError> {
    let unavailable = |why: String| StoreError::Unavailable { store: to.display().to_string(), why };
    if to.exists() {
        return Err(unavailable("it exists already; a backup never overwrites a file".into()));
    }
    let mut partial = to.as_os_str().to_owned();
    let number = COPIES.fetch_add(1, Ordering::Relaxed);
    partial.push(format!("{PARTIAL}-{}-{number}", std::process::id()));
    let partial = PathBuf::from(partial);
    let Some(partial_text) = partial.to_str() else {
        return Err(unavailable("SQLite needs a path that is valid UTF-8".into()));
    };
    // What an earlier process of this number left.
    let _ = std::fs::remove_file(&partial);
    let copied = connection::open_reader(from, CACHE_BYTES, Reading::Shared)
        .and_then(|connection| connection.execute("VACUUM INTO ?1", [partial_text]))
        .map_err(|error| store_error(&to.display().to_string(), &error))
        .and_then(|_| {
            publish(&partial, to).map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => unavailable("another backup made it meanwhile".into()),
                _ => unavailable(error.to_string()),
            })
        });
    let _ = std::fs::remove_file(&partial);
    copied
}

fn publish(partial: &Path, to: &Path) -> io::Result<()> {
    // SQLite does not sync what it vacuums into.
    File::open(partial)?.sync_all()?;
    // A name is given only if nobody has it; where a file can have one name only, there is a moment between.
    match std::fs::hard_link(partial, to) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists && !to.exists() => {
            std::fs::rename(partial, to)?;
        }
        linked => {
            linked?;
            // A hub has one name.
            std::fs::remove_file(partial)?;
        }
    }
    if cfg!(unix) {
        let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}
