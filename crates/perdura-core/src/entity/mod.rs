//! Entities: keyed state, changed by operations that run one after another. What passes between a processor and whoever
//! runs operations.

mod id;

pub use id::EntityId;

use crate::delivery::check_no_hub_key;
use crate::failure::{Failure, kind};
use crate::history::ParentLink;
use crate::id::{InstanceId, InstanceKey};
use crate::limits::{DELAY_MS_MAX, Limits};
use crate::status::ReusePolicy;
use crate::time::Timestamp;
use bytes::Bytes;

/// What something that an operation sends weighs besides its texts and its payload, at most.
const MESSAGE_BYTES: usize = 64;

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
    /// When it was handed out, by the store's clock.
    pub now: Timestamp,
    /// How often in a row operations of this entity were lost with whoever ran them.
    pub lost: u32,
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

impl OperationResult {
    /// Whether it keeps to the limits. One that does not is no result: the operation has failed.
    pub fn check(&self, limits: &Limits, now: Timestamp) -> Result<(), Failure> {
        if let Ok(output) = &self.outcome {
            check_payload(|| "output of the operation".into(), output, limits.payload_bytes_max)?;
        }
        self.actions.iter().try_for_each(|action| action.check(limits.payload_bytes_max, now))?;
        // As much as the decisions of a turn.
        match (self.sent_bytes(), limits.turn_bytes_max) {
            (bytes, limit) if bytes > limit => {
                let text = format!(
                    "signals and starts of one operation: {bytes} bytes, limit {limit}; send less at a time"
                );
                Err(over_limit(text))
            }
            _ => Ok(()),
        }
    }

    /// How much it sent, in bytes.
    #[must_use]
    pub fn sent_bytes(&self) -> usize {
        self.actions.iter().map(EntityAction::bytes).sum()
    }
}

impl EntityAction {
    /// What it weighs as a message, at least as much as its stored form.
    fn bytes(&self) -> usize {
        let payload = |input: &Option<Bytes>| input.as_ref().map_or(0, Bytes::len);
        let texts = match self {
            EntityAction::Signal { to, operation, input, request, .. } => {
                to.as_str().len() + operation.len() + request.len() + payload(input)
            }
            EntityAction::Start { id, name, version, input, .. } => {
                id.as_str().len() + name.len() + version.len() + payload(input)
            }
        };
        texts + MESSAGE_BYTES
    }

    fn check(&self, payload_bytes_max: usize, now: Timestamp) -> Result<(), Failure> {
        let (what, input, at) = match self {
            EntityAction::Signal { to, input, at, .. } => (format!("signal to {:?}", to.as_str()), input, at),
            EntityAction::Start { id, input, at, .. } => (format!("start of {:?}", id.as_str()), input, at),
        };
        if let EntityAction::Start { id, .. } = self {
            check_no_hub_key(id.as_str())
                .map_err(|error| Failure::new(kind::INVALID, error.to_string()).non_retryable())?;
        }
        if at.is_some_and(|at| at.0.saturating_sub(now.0) > DELAY_MS_MAX) {
            return Err(over_limit(format!("{what}: more than ten years ahead")));
        }
        check_payload(|| format!("input of the {what}"), input, payload_bytes_max)
    }
}

fn check_payload(
    what: impl FnOnce() -> String,
    payload: &Option<Bytes>,
    limit: usize,
) -> Result<(), Failure> {
    match payload.as_ref().map_or(0, Bytes::len) {
        bytes if bytes <= limit => Ok(()),
        bytes => Err(over_limit(format!("{}: {bytes} bytes, limit {limit}", what()))),
    }
}

fn over_limit(message: String) -> Failure {
    Failure::new(kind::LIMIT, message).non_retryable()
}

impl OperationsDone {
    /// Whether all of it keeps to the limits. What does not is refused as a whole: the state is that after the last
    /// operation, so nothing of it can be taken alone.
    pub fn check(&self, limits: &Limits, now: Timestamp) -> Result<(), Failure> {
        check_payload(|| "state of the entity".into(), &self.state, limits.payload_bytes_max)?;
        self.results.iter().try_for_each(|result| result.check(limits, now))
    }
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
    /// A new orchestration, for which nobody waits.
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
        /// What to do when the id is taken. Nobody learns of a refusal.
        reuse: ReusePolicy,
    },
}
