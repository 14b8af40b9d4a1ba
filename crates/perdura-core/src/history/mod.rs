//! What is recorded of an instance: events, and how they are stored.

mod codec;
mod event;
mod rewound;
mod task;
mod words;

pub use codec::{Damaged, decode_events, encode_events, open_record, seal_record};
pub use event::*;
pub use rewound::ExecutionRewound;
pub use task::{Step, TaskCompleted, TaskFailed, TaskResultLate, TaskScheduled};
pub use words::payload_in_words;
