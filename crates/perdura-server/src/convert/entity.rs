//! Entities: messages of orchestrations, batches of operations, and what became of them.

use super::action::BadAnswer;
use super::failure::failure_in;
use super::legacy;
use super::time::{InvalidTime, time_in, time_out};
use super::{execution_out, payload_in, payload_out};
use perdura_core::entity::{EntityAction, EntityOperation, OperationBatch, OperationResult, OperationsDone};
use perdura_core::history::{
    EntityLockRequested, EntityOperationCalled, EntityOperationSignaled, EntityUnlockSent,
};
use perdura_core::orchestration::Decision;
use perdura_core::{EntityId, InstanceId, InvalidText, OnExisting, ReusePolicy, Timestamp};
use perdura_proto as wire;
use perdura_proto::history_event::EventType;
use perdura_proto::operation_action::OperationActionType as Action;
use perdura_proto::operation_result::ResultType;
use perdura_proto::send_entity_message_action::EntityMessageType as Message;
use serde_json::json;
use sha2::{Digest, Sha256};

/// What an orchestration sends to an entity, as a decision.
pub(super) fn decision_in(
    index: usize,
    id: u32,
    message: wire::SendEntityMessageAction,
) -> Result<Decision, BadAnswer> {
    let entity = |target: Option<String>| {
        let target = target.ok_or(BadAnswer::Missing { index, field: "targetInstanceId" })?;
        entity_in(index, &target)
    };
    let message = message.entity_message_type.ok_or(BadAnswer::Unknown { index })?;
    Ok(match message {
        Message::EntityOperationSignaled(signal) => {
            let at = signal.scheduled_time.as_ref().map(|at| time_in("scheduledTime", at)).transpose();
            let at = at.map_err(|error| BadAnswer::Time { index, error })?;
            Decision::SignalEntity(EntityOperationSignaled {
                id,
                entity: entity(signal.target_instance_id)?,
                operation: signal.operation,
                input: payload_in(signal.input),
                at: at.map_or(0, |at| at.0.max(0)),
                request: signal.request_id,
            })
        }
        Message::EntityOperationCalled(call) => Decision::CallEntity(EntityOperationCalled {
            id,
            entity: entity(call.target_instance_id)?,
            operation: call.operation,
            input: payload_in(call.input),
            request: call.request_id,
        }),
        Message::EntityLockRequested(lock) => {
            let set = lock.lock_set.iter().map(|id| entity_in(index, id)).collect::<Result<_, _>>()?;
            Decision::RequestLock(EntityLockRequested { id, set, request: lock.critical_section_id })
        }
        Message::EntityUnlockSent(unlock) => Decision::Unlock(EntityUnlockSent {
            id,
            entities: vec![entity(unlock.target_instance_id)?],
            request: unlock.critical_section_id,
        }),
    })
}

fn entity_in(index: usize, id: &str) -> Result<String, BadAnswer> {
    let entity = EntityId::parse(id).map_err(|error| BadAnswer::Entity { index, error })?;
    Ok(entity.as_str().to_owned())
}

/// The message of a call, in the history of its caller.
pub(super) fn called_out(instance: &str, call: &EntityOperationCalled) -> EventType {
    let old = legacy::sent(&call.entity, &call.request, json!({ "op": call.operation }));
    old.unwrap_or_else(|| called_event(instance, call))
}

fn called_event(instance: &str, call: &EntityOperationCalled) -> EventType {
    EventType::EntityOperationCalled(wire::EntityOperationCalledEvent {
        request_id: call.request.clone(),
        operation: call.operation.clone(),
        scheduled_time: None,
        input: payload_out(call.input.as_ref()),
        parent_instance_id: Some(instance.to_owned()),
        parent_execution_id: None,
        target_instance_id: Some(call.entity.clone()),
    })
}

/// The message of a signal, in the history of its sender.
pub(super) fn signaled_out(signal: &EntityOperationSignaled) -> EventType {
    let old = json!({ "op": signal.operation, "signal": true });
    legacy::sent(&signal.entity, &signal.request, old).unwrap_or_else(|| signaled_event(signal))
}

fn signaled_event(signal: &EntityOperationSignaled) -> EventType {
    EventType::EntityOperationSignaled(wire::EntityOperationSignaledEvent {
        request_id: signal.request.clone(),
        operation: signal.operation.clone(),
        scheduled_time: (signal.at != 0).then(|| time_out(Timestamp(signal.at))),
        input: payload_out(signal.input.as_ref()),
        target_instance_id: Some(signal.entity.clone()),
    })
}

/// The work item of a batch.
pub(crate) fn batch_out(batch: &OperationBatch, now: Timestamp) -> wire::EntityRequest {
    let operation_requests = batch.operations.iter().map(|operation| operation_out(batch, operation, now));
    wire::EntityRequest {
        instance_id: batch.id.to_string(),
        execution_id: String::new(),
        entity_state: payload_out(batch.state.as_ref()),
        operation_requests: operation_requests.collect(),
    }
}

fn operation_out(batch: &OperationBatch, operation: &EntityOperation, now: Timestamp) -> wire::HistoryEvent {
    let request_id = request_id(&operation.request);
    let (name, input) = (operation.name.clone(), payload_out(operation.input.as_ref()));
    let target_instance_id = Some(batch.id.to_string());
    let event = match &operation.caller {
        Some(caller) => EventType::EntityOperationCalled(wire::EntityOperationCalledEvent {
            request_id,
            operation: name,
            scheduled_time: None,
            input,
            parent_instance_id: Some(caller.instance.clone()),
            parent_execution_id: execution_out(&caller.execution, caller.branch),
            target_instance_id,
        }),
        None => EventType::EntityOperationSignaled(wire::EntityOperationSignaledEvent {
            request_id,
            operation: name,
            scheduled_time: None,
            input,
            target_instance_id,
        }),
    };
    wire::HistoryEvent { event_id: -1, timestamp: Some(time_out(now)), event_type: Some(event) }
}

/// Some SDKs read a request id as a GUID and fail on anything else: another id is given as a GUID that is made of it, the
/// same each time.
fn request_id(given: &str) -> String {
    let given = super::legacy::plain(given);
    if given.is_empty() {
        return guid(0);
    }
    if is_guid(given) {
        return given.to_owned();
    }
    let hash = Sha256::digest(given);
    guid_text(hash.iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte)), 8)
}

/// Whether this is the text of a GUID, with hyphens or without.
fn is_guid(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    let is_hex = text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    is_hex && matches!(groups[..], [8, 4, 4, 4, 12] | [32])
}

/// The text of a GUID, random if the system has random numbers.
pub(crate) fn guid(otherwise: u128) -> String {
    let mut bytes = otherwise.to_be_bytes();
    let _ = getrandom::fill(&mut bytes);
    guid_text(u128::from_be_bytes(bytes), 4)
}

/// The text of a GUID of this version, with these bits elsewhere.
fn guid_text(bits: u128, version: u128) -> String {
    let bits = bits & !(0xf << 76) & !(0b11 << 62) | version << 76 | 0b10 << 62;
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Why the result of a batch cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadBatch {
    #[error("{results} results for {operations} operations")]
    TooMany { results: usize, operations: usize },
    #[error("result {index} is neither a success nor a failure")]
    NoResult { index: usize },
    #[error("action {index}: it has no kind that this server knows")]
    Unknown { index: usize },
    #[error("action {index}: {error}")]
    Text { index: usize, error: InvalidText },
    #[error("action {index}: {error}")]
    Time { index: usize, error: InvalidTime },
    #[error("no random numbers: {0}")]
    System(String),
}

/// What became of a batch of so many operations.
pub(crate) fn done_in(
    result: wire::EntityBatchResult,
    operations: usize,
) -> Result<OperationsDone, BadBatch> {
    let count = result.results.len();
    if count > operations {
        return Err(BadBatch::TooMany { results: count, operations });
    }
    let mut results = Vec::with_capacity(count);
    for (index, result) in result.results.into_iter().enumerate() {
        let outcome = match result.result_type {
            Some(ResultType::Success(success)) => Ok(payload_in(success.result)),
            Some(ResultType::Failure(failure)) => {
                Err(failure.failure_details.map(failure_in).unwrap_or_default())
            }
            None => return Err(BadBatch::NoResult { index }),
        };
        results.push(OperationResult { outcome, actions: Vec::new() });
    }
    let actions = result.actions.into_iter().enumerate().map(|(index, action)| action_in(index, action));
    let actions = actions.collect::<Result<Vec<_>, _>>()?;
    // The worker has already left out what failed operations sent, and does not say which one sent what.
    if let Some(last) = results.iter_mut().rev().find(|result| result.outcome.is_ok()) {
        last.actions = actions;
    }
    Ok(OperationsDone { results, state: payload_in(result.entity_state) })
}

fn action_in(index: usize, action: wire::OperationAction) -> Result<EntityAction, BadBatch> {
    let text = |error| BadBatch::Text { index, error };
    let time = |at: Option<prost_types::Timestamp>| {
        let at = at.as_ref().map(|at| time_in("scheduledTime", at)).transpose();
        at.map_err(|error| BadBatch::Time { index, error })
    };
    Ok(match action.operation_action_type.ok_or(BadBatch::Unknown { index })? {
        Action::SendSignal(signal) => EntityAction::Signal {
            to: EntityId::parse(&signal.instance_id).map_err(text)?,
            operation: signal.name,
            input: payload_in(signal.input),
            at: time(signal.scheduled_time)?,
            request: guid(0),
        },
        Action::StartNewOrchestration(start) => EntityAction::Start {
            id: match start.instance_id.as_str() {
                "" => perdura_engine::Client::random_id().map_err(|e| BadBatch::System(e.to_string()))?,
                id => InstanceId::new(id).map_err(text)?,
            },
            name: start.name,
            version: start.version.unwrap_or_default(),
            input: payload_in(start.input),
            at: time(start.scheduled_time)?,
            reuse: match start.perdura_unless_taken {
                true => ReusePolicy::FAIL,
                // As what a client starts without a policy.
                false => ReusePolicy::FAIL.when_terminal(OnExisting::Replace),
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use perdura_core::InstanceKey;
    use perdura_core::entity::BatchTicket;
    use perdura_core::history::ParentLink;

    #[test]
    fn a_request_id_reaches_a_worker_as_a_guid_the_same_each_time() {
        let guid = "0a0b0c0d-0000-4000-8000-000000000001";
        let plain = "0A0B0C0D000040008000000000000001";
        assert_eq!((request_id(guid).as_str(), request_id(plain).as_str()), (guid, plain));
        let made = request_id("not-a-guid");
        assert!(is_guid(&made), "{made}");
        assert_eq!(made, request_id("not-a-guid"));
        assert_ne!(made, request_id("not-a-guie"));
        for other in ["", "\u{e9}", "----", "0a0b0c0d-0000-4000-8000-00000000000g", &"0".repeat(33)] {
            assert!(!is_guid(other) && is_guid(&request_id(other)), "{other:?}");
        }
    }

    fn batch() -> OperationBatch {
        let operation = |name: &str, caller| EntityOperation {
            name: name.into(),
            input: Some("1".into()),
            caller,
            request: String::new(),
            delivery: 1,
        };
        let caller =
            ParentLink { instance: "c".into(), execution: vec![7; 16].into(), ..ParentLink::default() };
        OperationBatch {
            ticket: BatchTicket { key: InstanceKey(1), number: 1 },
            id: EntityId::parse("@counter@a").unwrap(),
            state: Some("5".into()),
            now: Timestamp(1000),
            lost: 0,
            operations: vec![operation("add", None), operation("get", Some(caller))],
        }
    }

    #[test]
    fn a_batch_goes_out_as_events_with_guids() {
        let request = batch_out(&batch(), Timestamp(1000));
        assert_eq!(
            (request.instance_id.as_str(), request.entity_state.as_deref()),
            ("@counter@a", Some("5"))
        );
        let [signal, call] = &request.operation_requests[..] else { panic!("two operations") };
        let Some(EventType::EntityOperationSignaled(signal)) = &signal.event_type else { panic!("a signal") };
        assert_eq!((signal.operation.as_str(), signal.request_id.len()), ("add", 36));
        let Some(EventType::EntityOperationCalled(call)) = &call.event_type else { panic!("a call") };
        assert_eq!(call.parent_instance_id.as_deref(), Some("c"));
        assert_eq!(call.parent_execution_id.as_deref(), Some("07070707070707070707070707070707"));
    }

    #[test]
    fn results_come_in_and_nonsense_does_not() {
        let success = wire::OperationResult {
            result_type: Some(ResultType::Success(wire::OperationResultSuccess {
                result: Some("6".into()),
                ..wire::OperationResultSuccess::default()
            })),
        };
        let failure = wire::OperationResult {
            result_type: Some(ResultType::Failure(wire::OperationResultFailure::default())),
        };
        let signal = |to: &str| wire::OperationAction {
            id: 0,
            operation_action_type: Some(Action::SendSignal(wire::SendSignalAction {
                instance_id: to.into(),
                name: "add".into(),
                ..wire::SendSignalAction::default()
            })),
        };
        let result = |results: &[&wire::OperationResult], actions| wire::EntityBatchResult {
            results: results.iter().map(|result| (*result).clone()).collect(),
            actions,
            entity_state: Some("6".into()),
            ..wire::EntityBatchResult::default()
        };
        let done = done_in(result(&[&success, &failure], vec![signal("@counter@b")]), 2).unwrap();
        assert_eq!(done.results[0].outcome, Ok(Some("6".into())));
        assert_eq!(done.results[0].actions.len(), 1);
        assert!(done.results[1].outcome.is_err() && done.results[1].actions.is_empty());
        assert_eq!(done.state, Some("6".into()));
        let bad = |result, operations| done_in(result, operations).unwrap_err().to_string();
        assert_eq!(bad(result(&[&success, &success], vec![]), 1), "2 results for 1 operations");
        assert_eq!(
            bad(result(&[&wire::OperationResult::default()], vec![]), 1),
            "result 0 is neither a success nor a failure"
        );
        assert_eq!(
            bad(result(&[&success], vec![signal("counter")]), 1),
            "action 0: entity id must have the form @name@key"
        );
        assert_eq!(
            bad(result(&[&success], vec![wire::OperationAction::default()]), 1),
            "action 0: it has no kind that this server knows"
        );
    }
}
