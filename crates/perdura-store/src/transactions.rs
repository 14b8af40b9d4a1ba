//! Work of users inside the transaction of a commit, where the store is a database in which they have tables of their own.

use crate::{CommitOutcome, Grant, StoreError};
use bytes::Bytes;
use perdura_core::Failure;
use perdura_core::partition::Batch;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What an activity wants to write together with its completion.
#[derive(Clone)]
pub struct Work(Arc<RunWork>);

/// The code of a work. It is given the store's own kind of transaction.
type RunWork = dyn Fn(&dyn Any) -> WorkEnd + Send + Sync;

/// How a work ended: the result of the activity, or why it failed. A work that failed has written nothing.
pub type WorkEnd = Result<Option<Bytes>, Failure>;

impl Work {
    /// A work of this code. It may be run several times before one of them is committed, so all that it does is to read
    /// and write by the transaction that it is given.
    pub fn new(run: impl Fn(&dyn Any) -> WorkEnd + Send + Sync + 'static) -> Work {
        Work(Arc::new(run))
    }

    /// Runs it. For stores.
    pub fn run(&self, transaction: &dyn Any) -> WorkEnd {
        (self.0)(transaction)
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Work")
    }
}

impl PartialEq for Work {
    fn eq(&self, other: &Work) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Work {}

/// A store in whose database users have tables of their own.
///
/// To ensure correctness:
/// - What a work wrote and the batch are committed together, or neither is.
/// - A work that fails, panics or ends the transaction leaves nothing behind, and takes no other work with it.
/// - No work reads or writes what the store itself keeps.
/// - All else is as in [`CommitLog::commit`](crate::CommitLog::commit).
pub trait Transactions {
    /// Runs works, gives `seal` their ends in the same order, and commits the batch that it returns; with `None` nothing
    /// is written. Blocks until it is durable. `seal` is not called if the grant is not the latest one.
    fn commit_with(
        &self,
        grant: &Grant,
        works: &[Work],
        seal: &mut dyn FnMut(Vec<WorkEnd>) -> Option<Batch>,
    ) -> CommitOutcome;

    /// Runs statements that make tables of users, all or none of them. Blocks. They must be such that they can be run at
    /// each start (`CREATE TABLE IF NOT EXISTS`).
    fn define(&self, statements: &str) -> Result<(), StoreError>;
}
