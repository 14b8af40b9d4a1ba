//! What a handler of unknown outcomes is asked, and what it may answer.

use super::AttemptRecord;
use crate::failure::Failure;
use crate::id::{ExecutionId, InstanceId};
use crate::time::Timestamp;
use bytes::Bytes;

/// What a handler is asked: what became of this activity?
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The instance that waits for it.
    pub instance: InstanceId,
    /// Its run.
    pub execution: ExecutionId,
    /// The task's number.
    pub task: u32,
    /// The activity.
    pub activity: String,
    /// What it was given.
    pub input: Option<Bytes>,
    /// What outside systems know this step by.
    pub idempotency_key: String,
    /// Which attempt of the retry policy.
    pub attempt: u32,
    /// Hand-overs so far, the last one in doubt.
    pub attempts: Vec<AttemptRecord>,
    /// Why nobody knows.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
}

/// What follows for an activity whose outcome is unknown.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It had this result.
    Complete(Option<Bytes>),
    /// It failed, and is not retried.
    Fail(Failure),
    /// It may run one more time.
    RunOnceMore,
    /// Nobody can tell; a person has to look.
    Suspend(String),
}
