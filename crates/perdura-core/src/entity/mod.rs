//! Entities: keyed state, changed by operations that run one after another. What passes between a processor and whoever
//! runs operations.

mod id;

pub use id::EntityId;

use crate::failure::Failure;
use crate::history::ParentLink;
use crate::id::{InstanceId, InstanceKey};
use crate::time::Timestamp;
use bytes::Bytes;

/// The operation that takes an entity's state away, where the entity has none of its own of this name.
pub const DELETE: &str = "delete";

/// Operations of one entity, to be run one after another on its state.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationBatch {
    /// Names the batch to the processor.
    pub ticket: BatchTicket,
    /// Which entity.
    pub id: EntityId,
    /// Its state; `None`: it has none yet.
    pub state: Option<Bytes>,
    /// What to do, in order.
    pub operations: Vec<EntityOperation>,
}

/// Names a batch of operations to the processor that handed it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchTicket {
    /// The entity.
    pub key: InstanceKey,
    /// Distinguishes the batch from every other one, of other lives too.
    pub number: u64,
}

/// One operation to run.
#[derive(Clone, Debug, PartialEq)]
pub struct EntityOperation {
    /// Its name.
    pub name: String,
    /// Its input.
    pub input: Option<Bytes>,
    /// Who waits for the result; `None`: a signal.
    pub caller: Option<ParentLink>,
    /// The sender's name for it; empty if it gave none.
    pub request: String,
    /// How many times it has been handed out, this one included.
    pub delivery: u32,
}

/// What became of a batch. Everything in it becomes durable together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OperationsDone {
    /// A result for each operation that was run, from the first on. Those without one are handed out again.
    pub results: Vec<OperationResult>,
    /// The state after the last operation; `None`: the entity has none any more.
    pub state: Option<Bytes>,
}

/// What became of one operation.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationResult {
    /// What it returned, or why it failed. One that failed has left the state as it was.
    pub outcome: Result<Option<Bytes>, Failure>,
    /// What it sent, in order. Nothing of it leaves if the operation failed.
    pub actions: Vec<EntityAction>,
}

/// Something that an operation sent.
#[derive(Clone, Debug, PartialEq)]
pub enum EntityAction {
    /// A signal to an entity.
    Signal {
        /// To which.
        to: EntityId,
        /// The operation.
        operation: String,
        /// Its input.
        input: Option<Bytes>,
        /// Not before.
        at: Option<Timestamp>,
        /// A name for it; may be empty.
        request: String,
    },
    /// A new orchestration, for which nobody waits. One whose id is taken is not started.
    Start {
        /// Its id.
        id: InstanceId,
        /// The orchestration's name.
        name: String,
        /// Its version; empty if it has none.
        version: String,
        /// Its input.
        input: Option<Bytes>,
        /// Not before.
        at: Option<Timestamp>,
    },
}
