//! What is recorded of an error: of user code, or of the engine in its place.

use crate::id::InstanceId;
use crate::limits::{FAILURE_DEPTH_MAX, FAILURE_TEXT_BYTES_MAX};
use bytes::Bytes;
use std::fmt;

/// Kinds of failures that the engine itself makes. User code has its own names.
pub mod kind {
    /// The attempt took longer than its limit.
    pub const TIMEOUT: &str = "perdura.Timeout";
    /// The instance, or the task, was cancelled.
    pub const CANCELED: &str = "perdura.Canceled";
    /// The child was terminated.
    pub const TERMINATED: &str = "perdura.Terminated";
    /// No activity of this name is registered.
    pub const NOT_REGISTERED: &str = "perdura.NotRegistered";
    /// An instance with this id exists.
    pub const ALREADY_EXISTS: &str = "perdura.AlreadyExists";
    /// A limit would be passed.
    pub const LIMIT: &str = "perdura.Limit";
    /// An argument of a call breaks a rule.
    pub const INVALID: &str = "perdura.InvalidArgument";
    /// User code panicked.
    pub const PANIC: &str = "perdura.Panic";
    /// The orchestration awaited something that is not durable.
    pub const NOT_DURABLE: &str = "perdura.NotDurable";
    /// A payload could not be encoded or decoded.
    pub const PAYLOAD: &str = "perdura.Payload";
    /// Worker after worker was lost while it ran the activity.
    pub const WORKER_LOST: &str = "perdura.WorkerLost";
    /// An activity that runs at most once was handed to a worker, and nobody knows whether it ran.
    pub const UNKNOWN_OUTCOME: &str = "perdura.UnknownOutcome";
    /// An idempotency key was used for another call.
    pub const KEY_REUSED: &str = "perdura.IdempotencyKeyReused";
    /// A record cannot be read.
    pub const DAMAGED: &str = "perdura.Damaged";
}

/// An error as history keeps it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Failure {
    /// What sort of error: the type's name in user code, or one of [`kind`].
    #[prost(string, tag = "1")]
    pub kind: String,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// Where it happened, if known.
    #[prost(string, optional, tag = "3")]
    pub stack: Option<String>,
    /// What caused it.
    #[prost(message, optional, boxed, tag = "4")]
    pub cause: Option<Box<Failure>>,
    /// A retry policy must not try again.
    #[prost(bool, tag = "5")]
    pub non_retryable: bool,
    /// What else the worker says of it, in a form that only workers know.
    #[prost(bytes = "bytes", optional, tag = "6")]
    pub properties: Option<Bytes>,
}

impl Failure {
    /// A failure of `kind` with a message.
    #[must_use]
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Failure {
        Failure { kind: kind.into(), message: message.into(), ..Failure::default() }
    }

    /// The same, not to be retried.
    #[must_use]
    pub fn non_retryable(mut self) -> Failure {
        self.non_retryable = true;
        self
    }

    /// The same as the parent of the instance that failed sees it: of the same kind, and it names the instance.
    #[must_use]
    pub fn of_child(mut self, id: &InstanceId) -> Failure {
        self.message = format!("{}{}", child_prefix(id.as_str()), self.message);
        self.within_limits()
    }

    /// The reverse of [`of_child`](Self::of_child), for those who pass on what the child itself said.
    #[must_use]
    pub fn as_child_said(mut self, id: &str) -> Failure {
        if let Some(message) = self.message.strip_prefix(&child_prefix(id)) {
            self.message = message.to_owned();
        }
        self
    }

    /// Cuts texts and causes down to the limits, so that a failure can always be recorded.
    #[must_use]
    pub fn within_limits(mut self) -> Failure {
        let mut at = &mut self;
        for depth in 1.. {
            truncate(&mut at.kind, crate::limits::NAME_BYTES_MAX);
            truncate(&mut at.message, FAILURE_TEXT_BYTES_MAX);
            if let Some(stack) = &mut at.stack {
                truncate(stack, FAILURE_TEXT_BYTES_MAX);
            }
            // Cut, it would mean nothing to anybody.
            if at.properties.as_ref().is_some_and(|properties| properties.len() > FAILURE_TEXT_BYTES_MAX) {
                at.properties = None;
            }
            if depth == FAILURE_DEPTH_MAX {
                at.cause = None;
            }
            match &mut at.cause {
                Some(cause) => at = cause,
                None => break,
            }
        }
        self
    }
}

fn child_prefix(id: &str) -> String {
    format!("sub-orchestration {id:?}: ")
}

fn truncate(text: &mut String, limit: usize) {
    const MARK: &str = " [truncated]";
    if text.len() > limit {
        let mut end = limit - MARK.len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(MARK);
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)?;
        let mut cause = &self.cause;
        while let Some(inner) = cause {
            write!(f, "; caused by {}: {}", inner.kind, inner.message)?;
            cause = &inner.cause;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_huge_failure_is_cut_down_and_says_so() {
        let mut failure = Failure::new("E", "ä".repeat(10 << 20));
        for i in 0..1000 {
            failure = Failure { cause: Some(Box::new(failure)), ..Failure::new("E", format!("level {i}")) };
        }
        let mut cut = failure.within_limits();
        let mut depth = 1;
        while let Some(cause) = cut.cause.take() {
            cut = *cause;
            depth += 1;
        }
        assert_eq!(depth, FAILURE_DEPTH_MAX);
        let long = Failure::new("E", "ä".repeat(10 << 20)).within_limits();
        assert!(long.message.len() <= FAILURE_TEXT_BYTES_MAX && long.message.ends_with("[truncated]"));
    }
}
