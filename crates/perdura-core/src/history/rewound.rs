//! What the history says of a rewind.

use crate::rewind::{Replaced, TimerDue};

/// See [`EventKind::ExecutionRewound`](super::EventKind::ExecutionRewound).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ExecutionRewound {
    /// Who.
    #[prost(string, tag = "1")]
    pub by: String,
    /// Why.
    #[prost(string, tag = "2")]
    pub reason: String,
    /// The branch that was left; its events before this one's number are those of this branch too.
    #[prost(uint32, tag = "3")]
    pub from_branch: u32,
    /// New inputs of activities that run again.
    #[prost(message, repeated, tag = "4")]
    pub inputs: Vec<Replaced>,
    /// Results that the operator gave.
    #[prost(message, repeated, tag = "5")]
    pub results: Vec<Replaced>,
    /// When timers are due that were pending at the cut.
    #[prost(message, repeated, tag = "6")]
    pub timers: Vec<TimerDue>,
}
