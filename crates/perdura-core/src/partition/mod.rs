//! The processor of one partition: a state machine that decides everything and does nothing.

mod batch;
mod message;
mod record;

pub use batch::{Batch, Envelope, EnvelopeId, HistoryRow, InstanceWrite, Tail};
pub use message::{Body, Cancel, ChildEnded, Message, Raise, StartChild, Terminate};
pub use record::{AnsweredStart, Block, ChildRecord, InstanceRecord, InstanceRow, TaskRecord, TimerRecord};
