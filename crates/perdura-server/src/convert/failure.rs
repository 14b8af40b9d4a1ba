//! Failures. Everything that a worker says of one comes out again as it went in.

use bytes::Bytes;
use perdura_core::Failure;
use perdura_proto::TaskFailureDetails;
use prost::Message;

pub(crate) fn failure_in(details: TaskFailureDetails) -> Failure {
    // Only the properties, as the wire writes them.
    let properties = (!details.properties.is_empty()).then(|| {
        let only = TaskFailureDetails { properties: details.properties, ..TaskFailureDetails::default() };
        Bytes::from(only.encode_to_vec())
    });
    Failure {
        kind: details.error_type,
        message: details.error_message,
        stack: details.stack_trace,
        // Decoding has bounded the depth.
        cause: details.inner_failure.map(|inner| Box::new(failure_in(*inner))),
        non_retryable: details.is_non_retriable,
        properties,
    }
}

pub(crate) fn failure_out(failure: &Failure) -> TaskFailureDetails {
    let properties = failure.properties.as_ref();
    let properties = properties.and_then(|bytes| TaskFailureDetails::decode(bytes.clone()).ok());
    TaskFailureDetails {
        error_type: failure.kind.clone(),
        error_message: failure.message.clone(),
        stack_trace: failure.stack.clone(),
        inner_failure: failure.cause.as_ref().map(|cause| Box::new(failure_out(cause))),
        is_non_retriable: failure.non_retryable,
        properties: properties.map(|only| only.properties).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_types::Value;
    use prost_types::value::Kind;

    #[test]
    fn a_failure_comes_out_as_it_went_in() {
        let details = TaskFailureDetails {
            error_type: "builtins.ValueError".into(),
            error_message: "".into(),
            stack_trace: Some("".into()),
            inner_failure: Some(Box::new(TaskFailureDetails {
                error_type: "Inner".into(),
                error_message: "why".into(),
                is_non_retriable: true,
                ..TaskFailureDetails::default()
            })),
            is_non_retriable: false,
            properties: [("code".to_owned(), Value { kind: Some(Kind::NumberValue(7.5)) })].into(),
        };
        assert_eq!(failure_out(&failure_in(details.clone())), details);
    }
}
