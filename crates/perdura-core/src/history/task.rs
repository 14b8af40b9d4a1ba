//! Events of activities. Field numbers are stored: never reuse one.

use super::event::TimeLimits;
use crate::failure::Failure;
use crate::id::Tags;
use crate::retry::RetryPolicy;
use bytes::Bytes;

/// See [`EventKind::TaskScheduled`](super::EventKind::TaskScheduled).
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskScheduled {
    /// The task's number in this execution.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// The activity's name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The version asked for. Absent: nothing was said of it; empty: the one without a version.
    #[prost(string, optional, tag = "3")]
    pub version: Option<String>,
    /// Its input.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub input: Option<Bytes>,
    /// How it is retried.
    #[prost(message, optional, tag = "5")]
    pub retry: Option<RetryPolicy>,
    /// How long it may take.
    #[prost(message, optional, tag = "6")]
    pub limits: Option<TimeLimits>,
    /// Tags.
    #[prost(btree_map = "string, string", tag = "7")]
    pub tags: Tags,
    /// The trace context for the activity. The engine only hands it on.
    #[prost(bytes = "bytes", optional, tag = "8")]
    pub trace: Option<Bytes>,
    /// How often it may run, as [`Delivery::recorded`](crate::delivery::Delivery::recorded) writes it; empty if nothing
    /// was said.
    #[prost(string, tag = "60")]
    pub delivery: String,
    /// Its idempotency key within the instance.
    #[prost(string, optional, tag = "61")]
    pub key: Option<String>,
    /// The step of a branch that was left with which it goes on, since nobody knows how that ended: outside systems know it
    /// by the same idempotency key, and its count goes on.
    #[prost(message, optional, tag = "62")]
    pub step: Option<Step>,
}

/// A step of an execution: the event that scheduled it, and where.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Step {
    /// The branch on which that was recorded.
    #[prost(uint32, tag = "1")]
    pub branch: u32,
    /// Its number there.
    #[prost(uint64, tag = "2")]
    pub event: u64,
    /// The task's number there.
    #[prost(uint32, tag = "3")]
    pub task: u32,
}

/// See [`EventKind::TaskCompleted`](super::EventKind::TaskCompleted).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TaskCompleted {
    /// The task.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// What it returned.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub output: Option<Bytes>,
    /// Which attempt of the retry policy it was.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// The delivery count of that attempt.
    #[prost(uint32, tag = "4")]
    pub delivery: u32,
    /// Who said so, if it was not the worker: the handler of unknown outcomes, or an operator.
    #[prost(string, tag = "60")]
    pub settled_by: String,
}

/// See [`EventKind::TaskFailed`](super::EventKind::TaskFailed).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TaskFailed {
    /// The task.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// The failure of the last attempt.
    #[prost(message, optional, tag = "2")]
    pub failure: Option<Failure>,
    /// Which attempt of the retry policy it was.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// The delivery count of that attempt.
    #[prost(uint32, tag = "4")]
    pub delivery: u32,
    /// Who said so, if it was not the worker: the handler of unknown outcomes, or an operator.
    #[prost(string, tag = "60")]
    pub settled_by: String,
}

/// See [`EventKind::TaskResultLate`](super::EventKind::TaskResultLate). The code does not see it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TaskResultLate {
    /// The task.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// The delivery count of the attempt that brought it.
    #[prost(uint32, tag = "2")]
    pub delivery: u32,
    /// What it returned.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub output: Option<Bytes>,
    /// Why it failed; absent if it ended well.
    #[prost(message, optional, tag = "4")]
    pub failure: Option<Failure>,
}
