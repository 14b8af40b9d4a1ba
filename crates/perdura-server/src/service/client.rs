//! What clients do with one instance.

use super::instance_id;
use super::refusal::Refusal;
use crate::convert::state::{Payloads, state_out};
use crate::convert::time::time_in;
use crate::convert::{opaque, payload_in, tags_in};
use crate::hub::Hub;
use perdura_core::delivery::RESOLVE_EVENT;
use perdura_core::partition::{InstanceRecord, RequestError, StartRequest};
use perdura_core::rewind::{RewindOrder, RewindSpec};
use perdura_core::{ExecutionId, InstanceId, OnExisting, ReusePolicy, Status as InstanceStatus};
use perdura_engine::{Client, EngineError, RestartUnder};
use perdura_proto::*;
use tonic::Status;

pub(super) async fn start(
    hub: &Hub,
    request: CreateInstanceRequest,
) -> Result<CreateInstanceResponse, Status> {
    let fresh = request.instance_id.is_empty();
    let id = match fresh {
        true => Client::random_id().map_err(|error| Status::refusal(&error))?,
        false => instance_id(&request.instance_id)?,
    };
    let start_at = match &request.scheduled_start_timestamp {
        Some(at) => Some(time_in("scheduledStartTimestamp", at).map_err(invalid)?),
        None => None,
    };
    let start = StartRequest {
        id,
        fresh,
        name: request.name,
        version: request.version.unwrap_or_default(),
        input: payload_in(request.input),
        tags: tags_in(request.tags),
        // A time in the past is no time: the SDK for JavaScript sends the year 1970 when the user gave none.
        start_at: start_at.filter(|at| *at > hub.now()),
        reuse: reuse(request.orchestration_id_reuse_policy)?,
        request_id: String::new(),
        execution: execution(request.execution_id.as_deref())?,
        trace: opaque(request.parent_trace_context),
    };
    let started = hub.client.start(start).await.map_err(|error| Status::refusal(&error))?;
    Ok(CreateInstanceResponse { instance_id: started.id.to_string() })
}

/// The id of a run that a client has drawn: 32 hex digits, perhaps with the dashes of a GUID.
fn execution(text: Option<&str>) -> Result<Option<ExecutionId>, Status> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let hex = text.replace('-', "");
    let number = u128::from_str_radix(&hex, 16).ok();
    let number = number.filter(|_| hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    let number = number.ok_or_else(|| invalid("executionId: it must have 32 hex digits"))?;
    Ok(Some(ExecutionId(number)))
}

/// What a start does when its id is taken, in both shapes that clients use.
pub(crate) fn reuse(policy: Option<OrchestrationIdReusePolicy>) -> Result<ReusePolicy, Status> {
    let Some(policy) = policy else {
        return Ok(ReusePolicy::FAIL.when_terminal(OnExisting::Replace));
    };
    let mut listed = Vec::new();
    for number in policy.replaceable_status {
        listed.extend(status_in(number)?);
    }
    let action = match policy.legacy_action {
        0 => {
            let has_active = listed.iter().any(|status| !status.is_terminal());
            if has_active && !listed.contains(&InstanceStatus::Terminated) {
                return Err(Status::invalid_argument(
                    "Invalid reusable statuses: cannot exclude 'Terminated' while also allowing reuse of running \
                     instances",
                ));
            }
            OnExisting::Replace
        }
        1 => OnExisting::UseExisting,
        2 => OnExisting::Replace,
        other => {
            return Err(Status::invalid_argument(format!("id reuse policy: there is no action {other}")));
        }
    };
    Ok(listed.into_iter().fold(ReusePolicy::FAIL, |reuse, status| reuse.when(status, action)))
}

/// The status with a number of the wire; `None` for "continued as new", in which no instance stays.
pub(super) fn status_in(number: i32) -> Result<Option<InstanceStatus>, Status> {
    if number == OrchestrationStatus::ContinuedAsNew as i32 {
        return Ok(None);
    }
    let status = u8::try_from(number).ok().and_then(InstanceStatus::from_number);
    status.map(Some).ok_or_else(|| Status::invalid_argument(format!("there is no status {number}")))
}

pub(super) async fn get(hub: &Hub, request: GetInstanceRequest) -> Result<GetInstanceResponse, Status> {
    let id = instance_id(&request.instance_id)?;
    let found = if request.get_inputs_and_outputs {
        let found = hub.client.get_started(&id).await.map_err(|error| Status::refusal(&error))?;
        found.map(|(record, started)| state_out(&record, Some(Payloads { input: started.input })))
    } else {
        let found = hub.client.get(&id).await.map_err(|error| Status::refusal(&error))?;
        found.map(|record| state_out(&record, None))
    };
    Ok(GetInstanceResponse { exists: found.is_some(), orchestration_state: found })
}

pub(super) async fn wait_for_start(
    hub: &Hub,
    request: GetInstanceRequest,
) -> Result<GetInstanceResponse, Status> {
    let id = instance_id(&request.instance_id)?;
    let begun = hub.client.wait_begun(id).await;
    waited(hub, begun, request.get_inputs_and_outputs).await
}

pub(super) async fn wait_for_completion(
    hub: &Hub,
    request: GetInstanceRequest,
) -> Result<GetInstanceResponse, Status> {
    let id = instance_id(&request.instance_id)?;
    let ended = hub.client.wait(id, None).await;
    waited(hub, ended, request.get_inputs_and_outputs).await
}

/// The answer to a wait: the instance as it was when the wait ended.
async fn waited(
    hub: &Hub,
    result: Result<InstanceRecord, EngineError>,
    payloads: bool,
) -> Result<GetInstanceResponse, Status> {
    let record = match result {
        Ok(record) => record,
        Err(EngineError::Refused(RequestError::NotFound { .. })) => {
            return Ok(GetInstanceResponse::default());
        }
        Err(error) => return Err(Status::refusal(&error)),
    };
    let state = match payloads {
        false => state_out(&record, None),
        true => {
            let id = record.instance_id();
            let present = hub.client.get_started(&id).await.map_err(|error| Status::refusal(&error))?;
            // If another execution has begun meanwhile, its input is not that of the one that was waited for.
            let same = present.filter(|(present, _)| present.generation == record.generation);
            state_out(&record, Some(Payloads { input: same.and_then(|(_, started)| started.input) }))
        }
    };
    Ok(GetInstanceResponse { exists: true, orchestration_state: Some(state) })
}

pub(super) async fn raise(hub: &Hub, request: RaiseEventRequest) -> Result<RaiseEventResponse, Status> {
    let id = instance_id(&request.instance_id)?;
    // Who says what follows for a task in doubt is told if there is none.
    let is_answered = request.perdura_unless_ended || request.name == RESOLVE_EVENT;
    let raised = hub.client.raise_event(id, request.name, payload_in(request.input)).await;
    match is_answered {
        true => raised.map_err(|error| Status::refusal(&error))?,
        // Who has ended takes no more events, and nobody minds.
        false => unless_ended(raised)?,
    }
    Ok(RaiseEventResponse {})
}

pub(super) async fn terminate(hub: &Hub, request: TerminateRequest) -> Result<TerminateResponse, Status> {
    let id = instance_id(&request.instance_id)?;
    let terminated = hub.client.terminate(id, request.output.unwrap_or_default(), request.recursive).await;
    unless_ended(terminated)?;
    Ok(TerminateResponse {})
}

pub(super) async fn suspend(hub: &Hub, request: SuspendRequest) -> Result<SuspendResponse, Status> {
    let id = instance_id(&request.instance_id)?;
    unless_ended(hub.client.suspend(id, request.reason.unwrap_or_default()).await)?;
    Ok(SuspendResponse {})
}

pub(super) async fn resume(hub: &Hub, request: ResumeRequest) -> Result<ResumeResponse, Status> {
    let id = instance_id(&request.instance_id)?;
    unless_ended(hub.client.resume(id, request.reason.unwrap_or_default()).await)?;
    Ok(ResumeResponse {})
}

fn unless_ended(result: Result<(), EngineError>) -> Result<(), Status> {
    match result {
        Ok(()) | Err(EngineError::Refused(RequestError::Ended { .. })) => Ok(()),
        Err(error) => Err(Status::refusal(&error)),
    }
}

pub(super) async fn restart(
    hub: &Hub,
    request: RestartInstanceRequest,
) -> Result<RestartInstanceResponse, Status> {
    let old = instance_id(&request.instance_id)?;
    let under = match request.restart_with_new_instance_id {
        true => RestartUnder::RandomId,
        false => RestartUnder::SameId,
    };
    let started = hub.client.restart(&old, under).await.map_err(|error| match error {
        // Somebody else was faster.
        EngineError::Refused(RequestError::AlreadyExists { id, status, .. }) => {
            Status::refusal(&RequestError::NotEnded { id, status }.into())
        }
        error => Status::refusal(&error),
    })?;
    Ok(RestartInstanceResponse { instance_id: started.id.to_string() })
}

/// Undoes the failure that ended an instance. What has not failed is for the management API, which says what to undo.
pub(super) async fn rewind(
    hub: &Hub,
    request: RewindInstanceRequest,
) -> Result<RewindInstanceResponse, Status> {
    let id = instance_id(&request.instance_id)?;
    let record = hub.client.get(&id).await.map_err(|error| Status::refusal(&error))?;
    let status = record.and_then(|record| record.status().ok());
    if let Some(status) = status.filter(|status| *status != InstanceStatus::Failed) {
        return Err(Status::failed_precondition(format!(
            "instance {id:?} is {status}; only one that has failed can be rewound"
        )));
    }
    let reason = request.reason.unwrap_or_default();
    let order = RewindOrder { by: "a client".into(), reason, ..RewindOrder::default() };
    let spec = RewindSpec { order, ..RewindSpec::default() };
    hub.client.rewind(id, spec).await.map_err(|error| Status::refusal(&error))?;
    Ok(RewindInstanceResponse {})
}

pub(super) async fn terminate_batch(
    hub: &Hub,
    request: SkipGracefulOrchestrationTerminationsRequest,
) -> Result<SkipGracefulOrchestrationTerminationsResponse, Status> {
    let reason = request.reason.unwrap_or_default();
    let mut unterminated_instance_ids = Vec::new();
    for text in request.instance_batch.unwrap_or_default().instance_ids {
        let Ok(id) = InstanceId::new(&text) else {
            unterminated_instance_ids.push(text);
            continue;
        };
        let present = hub.client.get(&id).await.map_err(|error| Status::refusal(&error))?;
        let ended = present.is_some_and(|record| record.completed_at != 0);
        match hub.client.terminate(id, reason.clone(), false).await {
            Ok(()) if !ended => {}
            Ok(()) | Err(EngineError::Refused(_)) => unterminated_instance_ids.push(text),
            Err(error) => return Err(Status::refusal(&error)),
        }
    }
    Ok(SkipGracefulOrchestrationTerminationsResponse { unterminated_instance_ids })
}

pub(super) fn invalid(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
