//! Entities in a partition. An entity is an instance with the id `@name@key`: it lives in the same rows, leaves memory and
//! comes back the same way, but has operations instead of turns.
//!
//! An operation is handed out when the batch that put it in the queue, with its delivery count, is durable; what it did
//! is written by one batch, with everything that it sent. Operations that wait are handed out together.
//!
//! Signals of one sender run in the order in which they were sent, and so do its calls. A call inside a critical section
//! may run before a signal that its caller sent earlier: a lock request comes by way of the other entities of its set.

mod callers;
mod circle;
mod locks;
mod losses;
mod operations;
mod record;
mod state;

pub use callers::{LockGranted, OperationEnded};
pub use circle::{CircleStep, FindCircle};
pub use locks::Unlock;
pub(super) use losses::Suspects;
pub use record::{
    CallRecord, DelayedSignal, EntityRecord, LeftCall, LockRecord, LockRequest, Operation, Queued,
    SectionRecord, Stamp, TaskName, Wanted,
};
pub(super) use state::{Entity, operation_weight};
