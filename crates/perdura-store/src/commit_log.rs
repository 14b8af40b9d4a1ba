//! The side of a store that the owner of a partition uses.

use crate::{BoxFuture, StoreError};
use perdura_core::partition::{Batch, Envelope, EnvelopeId, InstanceRow};
use perdura_core::{InstanceId, InstanceKey, PartitionId, Timestamp};

/// The right to write one partition. Taking a grant ends every earlier one of that partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which partition.
    pub partition: PartitionId,
    /// Rises by one with every grant of the partition.
    pub epoch: u64,
    /// Random, drawn by whoever asked. An epoch can come twice after a fail-over, a nonce cannot.
    pub nonce: u128,
    /// The number for the next new [`InstanceKey`]: higher than every one ever used in the partition, purged ones too.
    pub next_key: u64,
    /// The number for the next [`Envelope`] that the partition sends: higher than every one ever used.
    pub next_envelope: u64,
}

/// How a commit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// All of it is durable.
    Committed,
    /// The grant is not the latest one; nothing was written.
    Fenced,
    /// Nothing was written.
    Rejected(Rejection),
    /// All of it was written, or nothing; nobody knows. The text says what happened.
    Unknown(String),
}

/// Why a batch was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// What is stored is not what the writer believed.
    #[error("the store holds something else: {what}")]
    Conflict {
        /// Whose write it is due to, if it is due to one: without that write the batch could go in.
        instance: Option<InstanceId>,
        /// What differs.
        what: String,
    },
    /// A deadline that the batch treats as past is not.
    #[error("the store's clock says {now}, the batch needs {needed}")]
    TooEarly {
        /// The store's time.
        now: Timestamp,
        /// The batch's `not_before`.
        needed: Timestamp,
    },
    /// What [works](crate::Work) of users have written cannot be committed, which showed only at the end: a deferred
    /// constraint does not hold.
    #[error("what transactional activities wrote cannot be committed: {what}")]
    Works {
        /// What does not hold.
        what: String,
    },
    /// No room.
    #[error("storage is full")]
    Full,
    /// Anything else that certainly wrote nothing.
    #[error("{what}")]
    Failed {
        /// Whose write it is due to, if it is due to one: without that write the batch could go in.
        instance: Option<InstanceId>,
        /// What failed.
        what: String,
    },
}

impl Rejection {
    /// The instance whose write the batch was rejected for, if it is due to one.
    #[must_use]
    pub fn instance(&self) -> Option<&InstanceId> {
        match self {
            Rejection::Conflict { instance, .. } | Rejection::Failed { instance, .. } => instance.as_ref(),
            Rejection::TooEarly { .. } | Rejection::Works { .. } | Rejection::Full => None,
        }
    }
}

/// The durable state of partitions, written by their owners.
///
/// To ensure correctness:
/// - A batch is all or nothing, whatever fails, and durable when [`CommitOutcome::Committed`] is returned.
/// - The check of the grant (epoch *and* nonce) and the write are one atomic act: once `acquire` has returned a newer
///   grant, no commit of an older one becomes visible.
/// - Each write checks its `expected` tail; each `consumed` message must exist; each history row must hold an event and
///   begin where the stored history of its generation and branch ends. Where that has no row yet, it begins at 0 on
///   branch 0, and anywhere on another branch, which is that of a rewind and begins at its cut. Keys, senders of
///   outgoing messages and receivers of consumed ones are of the grant's partition; receivers of outgoing ones exist. A
///   violation rejects the whole batch as a conflict. Purging what does not exist is none.
/// - A rejection that is due to the write of one instance, so that the batch could go in without it, names the instance.
/// - The grant is checked first, then `not_before` against the store's clock (not the batch's), then the rest.
/// - The future of a commit may be dropped by its caller: the commit goes on.
pub trait CommitLog: Send + Sync + 'static {
    /// Takes the partition over.
    fn acquire(&self, partition: PartitionId, nonce: u128) -> BoxFuture<'_, Result<Grant, StoreError>>;

    /// Writes a batch. Order: purge, writes, consumed, outgoing. A purged id may be inserted again by the same batch.
    fn commit(&self, grant: &Grant, batch: Batch) -> BoxFuture<'_, CommitOutcome>;

    /// Instances of the partition that have not ended, by rising key, from the first one after `after`, at most `limit`.
    fn unfinished(
        &self,
        partition: PartitionId,
        after: Option<InstanceKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InstanceRow>, StoreError>>;

    /// Messages to the partition that are not consumed, by rising (sender, number), after `after`, at most `limit`.
    fn messages(
        &self,
        partition: PartitionId,
        after: Option<EnvelopeId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Envelope>, StoreError>>;

    /// The store's time, never less than any time that a committed batch carried. Cheap. When a store is opened again
    /// after a crash, a tenth of a second may be missing.
    fn now(&self) -> Timestamp;
}
