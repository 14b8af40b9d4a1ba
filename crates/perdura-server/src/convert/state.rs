//! What a client sees of an instance.

use super::failure::failure_out;
use super::time::time_out;
use super::{payload_out, run_out, tags_out, version_out};
use bytes::Bytes;
use perdura_core::partition::InstanceRecord;
use perdura_core::{Status, Timestamp};
use perdura_proto::OrchestrationState;

/// The parts of a state that can be large; a client may do without.
pub(crate) struct Payloads {
    /// What the present execution was started with.
    pub(crate) input: Option<Bytes>,
}

/// The state of an instance; without `payloads` also without its output, custom status and failure.
pub(crate) fn state_out(record: &InstanceRecord, payloads: Option<Payloads>) -> OrchestrationState {
    let time = |ms: i64| time_out(Timestamp(ms));
    let status = record.status().unwrap_or_default();
    let parent = record.parents.first().filter(|parent| !parent.attached);
    let mut state = OrchestrationState {
        instance_id: record.id.clone(),
        name: record.name.clone(),
        version: version_out(&record.version),
        orchestration_status: status as i32,
        scheduled_start_timestamp: (record.start_at != 0).then(|| time(record.start_at)),
        created_timestamp: Some(time(record.created_at)),
        last_updated_timestamp: Some(time(record.updated_at)),
        execution_id: Some(run_out(record.execution.id(), record.branch)),
        completed_timestamp: (record.completed_at != 0).then(|| time(record.completed_at)),
        parent_instance_id: parent.map(|parent| parent.instance.clone()),
        tags: tags_out(&record.tags),
        ..OrchestrationState::default()
    };
    if let Some(payloads) = payloads {
        state.input = payload_out(payloads.input.as_ref());
        state.output = payload_out(record.output.as_ref());
        state.custom_status = payload_out(record.custom_status.as_ref());
        let failure = record.failure.as_deref();
        if status == Status::Terminated {
            // On the wire the reason of a termination is the output of the instance, not a failure of it.
            let reason = failure.map(|failure| failure.message.clone()).filter(|reason| !reason.is_empty());
            state.output = state.output.or(reason);
        } else {
            state.failure_details = failure.map(failure_out);
        }
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use perdura_core::Failure;

    fn record(status: Status) -> InstanceRecord {
        InstanceRecord {
            id: "a".into(),
            name: "order".into(),
            status: status as u32,
            execution: perdura_core::ExecutionId(0xabab_abab_abab_abab_abab_abab_abab_abab).into(),
            created_at: 1000,
            updated_at: 2500,
            output: Some(Bytes::from_static(b"1")),
            custom_status: Some(Bytes::from_static(b"2")),
            failure: Some(Box::new(Failure::new("E", "why"))),
            ..InstanceRecord::default()
        }
    }

    #[test]
    fn without_payloads_all_four_large_fields_are_left_out() {
        let state = state_out(&record(Status::Failed), None);
        assert_eq!(
            (state.input, state.output, state.custom_status, state.failure_details),
            (None, None, None, None)
        );
        assert_eq!(state.execution_id.unwrap(), "ab".repeat(16));
        assert!(state.created_timestamp.is_some() && state.last_updated_timestamp.is_some());
        assert!(state.completed_timestamp.is_none() && state.version.is_none());
    }

    #[test]
    fn the_reason_of_a_termination_is_its_output() {
        let terminated = InstanceRecord { output: None, ..record(Status::Terminated) };
        let state = state_out(&terminated, Some(Payloads { input: None }));
        assert_eq!(state.output.as_deref(), Some("why"));
        assert_eq!(state.failure_details, None);
        let failed = state_out(&record(Status::Failed), Some(Payloads { input: Some(Bytes::new()) }));
        assert_eq!(failed.failure_details.unwrap().error_message, "why");
        assert_eq!(failed.input.as_deref(), Some(""));
    }
}
