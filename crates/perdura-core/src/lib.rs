//! The pure core of Perdura. Functions from (state, input, now) to (state, effects): no clock, no input or output, no
//! async, no randomness but what comes in as an argument.
//!
//! - [`history`]: what is recorded, and how it is stored.
//! - [`delivery`]: how often an activity may run, and what follows when nobody knows whether it did.
//! - [`entity`]: keyed state, and operations on it.
//! - [`partition`]: the processor of one partition, which decides everything.
//! - [`why`](mod@why): what an instance waits for, in words.
//! - [`rewind`]: how an instance goes back to an earlier point, and what becomes of what came after.

pub mod delivery;
pub mod entity;
pub mod failure;
pub mod history;
mod id;
pub mod limits;
pub mod orchestration;
pub mod partition;
mod retry;
pub mod rewind;
mod status;
mod time;
pub mod why;

pub use entity::EntityId;
pub use failure::Failure;
pub use id::{
    ExecutionId, InstanceId, InstanceKey, InvalidText, PartitionId, Tags, check_key, check_name, check_tags,
    check_text,
};
pub use limits::Limits;
pub use retry::{InvalidPolicy, RetryPolicy};
pub use status::{OnExisting, ReusePolicy, Status};
pub use time::Timestamp;
