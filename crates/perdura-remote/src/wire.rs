//! Between values and the words of the wire.

use bytes::Bytes;
use perdura::{Failure, Timestamp};
use perdura_core::failure::kind;
use perdura_proto::TaskFailureDetails;

/// A payload for the wire, where it must be text.
pub(crate) fn text(payload: Option<Bytes>) -> Result<Option<String>, Failure> {
    let text = payload.map(|bytes| String::from_utf8(bytes.into())).transpose();
    text.map_err(|_| {
        Failure::new(kind::PAYLOAD, "a payload that is not text cannot be sent to a server").non_retryable()
    })
}

pub(crate) fn payload(text: Option<String>) -> Option<Bytes> {
    text.map(Bytes::from)
}

pub(crate) fn failure_in(details: TaskFailureDetails) -> Failure {
    Failure {
        kind: details.error_type,
        message: details.error_message,
        stack: details.stack_trace,
        cause: details.inner_failure.map(|inner| Box::new(failure_in(*inner))),
        non_retryable: details.is_non_retriable,
        properties: None,
    }
}

pub(crate) fn failure_out(failure: Failure) -> TaskFailureDetails {
    TaskFailureDetails {
        error_type: failure.kind,
        error_message: failure.message,
        stack_trace: failure.stack,
        inner_failure: failure.cause.map(|cause| Box::new(failure_out(*cause))),
        is_non_retriable: failure.non_retryable,
        ..TaskFailureDetails::default()
    }
}

pub(crate) fn time_out(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.0.div_euclid(1000),
        nanos: i32::try_from(at.0.rem_euclid(1000) * 1_000_000).unwrap_or(0),
    }
}

pub(crate) fn time_in(at: &prost_types::Timestamp) -> Timestamp {
    Timestamp(at.seconds.saturating_mul(1000).saturating_add(i64::from(at.nanos) / 1_000_000))
}
