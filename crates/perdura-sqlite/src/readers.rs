//! The connections that read. A read by key takes microseconds, so it happens in place.

use crate::connection::{self, Reading};
use rusqlite::{Connection, Result};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};

/// Enough that a long list does not hold up reads by key.
const READERS: usize = 4;

#[derive(Debug)]
pub(crate) struct Readers {
    connections: Vec<Mutex<Connection>>,
    next: AtomicUsize,
}

impl Readers {
    pub(crate) fn open(path: &Path, cache_bytes: u32, reading: Reading) -> Result<Readers> {
        let connections = (0..READERS)
            .map(|_| connection::open_reader(path, cache_bytes, reading).map(Mutex::new))
            .collect::<Result<Vec<_>>>()?;
        Ok(Readers { connections, next: AtomicUsize::new(0) })
    }

    /// Reads with a connection that is free, or waits for one. All that `read` sees is of one moment.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&Connection) -> Result<R>) -> Result<R> {
        for connection in &self.connections {
            match connection.try_lock() {
                Ok(connection) => return at_one_moment(&connection, read),
                Err(TryLockError::Poisoned(connection)) => {
                    return at_one_moment(&connection.into_inner(), read);
                }
                Err(TryLockError::WouldBlock) => {}
            }
        }
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        let connection = self.connections[next].lock().unwrap_or_else(PoisonError::into_inner);
        at_one_moment(&connection, read)
    }
}

fn at_one_moment<R>(connection: &Connection, read: impl FnOnce(&Connection) -> Result<R>) -> Result<R> {
    let transaction = connection.unchecked_transaction()?;
    // Dropping the transaction ends it; nothing was written.
    read(&transaction)
}
