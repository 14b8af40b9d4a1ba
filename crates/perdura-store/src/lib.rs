//! The storage boundary of Perdura: open, commit a batch, read. A store keeps rows and guards them; it decides nothing.
//!
//! Three traits, by who calls them: [`CommitLog`] by the processor that owns a partition, [`Instances`] by whoever
//! reads, [`Store`] by the program that opens a hub.

mod commit_log;
pub mod conformance;
mod error;
mod instances;
pub mod sim;
mod transactions;

pub use commit_log::{CommitLog, CommitOutcome, Grant, Rejection};
pub use error::StoreError;
pub use instances::{EndedQuery, HistoryRows, InstanceKind, InstanceQuery, Instances, Lookup, read_history};
pub use transactions::{Transactions, Work, WorkEnd};

use std::future::Future;
use std::path::Path;
use std::pin::Pin;

/// A boxed future, so that stores can be chosen at run time.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A task hub in a database.
pub trait Store: CommitLog + Instances {
    /// How many partitions the hub has; fixed when it was created.
    fn partitions(&self) -> u16;

    /// Writes a consistent copy of the hub to a new file or place while the engine runs. An existing target is an error.
    fn backup<'a>(&'a self, to: &'a Path) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Where activities may write in the transaction of a commit, if they can here.
    fn transactions(&self) -> Option<&dyn Transactions> {
        None
    }
}
