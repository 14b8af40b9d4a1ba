//! The lock file beside a hub. SQLite would let a second process in; two engines on one file would only fence each
//! other for ever.

use perdura_store::StoreError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Held as long as the hub is open for writing; the operating system releases it when the process dies.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Drop for Lock {
    /// A process that this one is just starting has a copy of the file until it runs its own program; closing ours would
    /// leave the lock with that one.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl Lock {
    pub(crate) fn take(hub: &Path) -> Result<Lock, StoreError> {
        let path = lock_path(hub);
        let unavailable = |why: std::io::Error| StoreError::Unavailable {
            store: hub.display().to_string(),
            why: format!("its lock file {} cannot be used: {why}", path.display()),
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(unavailable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let store = hub.display().to_string();
                return Err(StoreError::InUse { store, holder: read_holder(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(unavailable(error)),
        }
        // Who holds it is told for people; the lock does not depend on it.
        let _ = write_holder(&mut file);
        Ok(Lock { file })
    }
}

fn lock_path(hub: &Path) -> PathBuf {
    let mut path = hub.as_os_str().to_owned();
    path.push("-lock");
    PathBuf::from(path)
}

fn write_holder(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "process {} on host {}", std::process::id(), host())
}

fn read_holder(file: &mut File) -> String {
    let mut holder = String::new();
    match file.take(1024).read_to_string(&mut holder) {
        Ok(_) if !holder.trim().is_empty() => holder.trim().to_owned(),
        _ => "another process".to_owned(),
    }
}

fn host() -> String {
    ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .or_else(|| std::env::var("HOSTNAME").ok())
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .map_or_else(|| "unknown".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_let_go_is_free_although_a_child_process_has_a_copy_of_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let hub = directory.path().join("hub.db");
        let lock = Lock::take(&hub).unwrap();
        let _copy = lock.file.try_clone().unwrap();
        assert!(matches!(Lock::take(&hub), Err(StoreError::InUse { .. })));
        drop(lock);
        Lock::take(&hub).unwrap();
    }
}
