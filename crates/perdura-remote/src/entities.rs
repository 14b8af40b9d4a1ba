//! Operations of entities that a server hands over.

use crate::wire::{failure_out, payload, text, time_in, time_out};
use perdura::{EntityId, Failure, Registry, Timestamp};
use perdura_core::entity::{BatchTicket, EntityAction, EntityOperation, OperationBatch, OperationsDone};
use perdura_core::failure::kind;
use perdura_core::history::ParentLink;
use perdura_core::{InstanceKey, ReusePolicy};
use perdura_engine::{BatchEnd, EntityHost};
use perdura_proto::history_event::EventType;
use perdura_proto::operation_action::OperationActionType;
use perdura_proto::operation_result::ResultType;
use perdura_proto::*;

/// Runs a batch and gives what to answer.
pub(crate) async fn run(registry: Registry, token: String, request: EntityRequest) -> EntityBatchResult {
    let refused = |failure: Failure| EntityBatchResult {
        failure_details: Some(failure_out(failure)),
        completion_token: token.clone(),
        ..EntityBatchResult::default()
    };
    let batch = match batch(request) {
        Ok(batch) => as_registered(batch, &registry),
        Err(why) => return refused(Failure::new(kind::INVALID, why)),
    };
    let ran = tokio::spawn(async move { EntityHost::run(&registry, batch).await });

    match ran.await {
        Ok(BatchEnd::Done(done) | BatchEnd::Brought(done, _)) => match answer(done) {
            Ok(result) => EntityBatchResult { completion_token: token, ..result },
            Err(failure) => refused(failure),
        },
        Ok(BatchEnd::Lost { why } | BatchEnd::CannotRun { why }) => {
            refused(Failure::new(kind::NOT_REGISTERED, why))
        }
        Ok(BatchEnd::LostBeside) => refused(Failure::new(kind::WORKER_LOST, "they were lost")),
        Err(error) => refused(Failure::new(kind::PANIC, error.to_string())),
    }
}

fn batch(request: EntityRequest) -> Result<OperationBatch, String> {
    let now = request.operation_requests.first().and_then(|event| event.timestamp.as_ref()).map(time_in);
    let operations = request.operation_requests.into_iter().map(operation).collect::<Result<_, _>>()?;
    Ok(OperationBatch {
        ticket: BatchTicket { key: InstanceKey(0), number: 0 },
        id: EntityId::parse(&request.instance_id).map_err(|error| error.to_string())?,
        state: payload(request.entity_state),
        now: now.unwrap_or(Timestamp(0)),
        lost: 0,
        operations,
    })
}

/// Other SDKs write the names of entities in lower case; here they are registered as the code writes them.
fn as_registered(mut batch: OperationBatch, registry: &Registry) -> OperationBatch {
    let names = registry.names().entities;
    if !names.iter().any(|name| name == batch.id.name()) {
        let same = names.iter().find(|name| name.to_lowercase() == batch.id.name());
        let id = same.and_then(|name| EntityId::of_any_key(name, batch.id.key()).ok());
        batch.id = id.unwrap_or(batch.id);
    }
    batch
}

fn operation(event: HistoryEvent) -> Result<EntityOperation, String> {
    let (name, input, caller, request) = match event.event_type {
        Some(EventType::EntityOperationSignaled(signal)) => {
            (signal.operation, signal.input, None, signal.request_id)
        }
        Some(EventType::EntityOperationCalled(call)) => {
            let instance = call.parent_instance_id.unwrap_or_default();
            let caller = ParentLink { instance, ..ParentLink::default() };
            (call.operation, call.input, Some(caller), call.request_id)
        }
        _ => return Err("an operation that is neither a call nor a signal".into()),
    };
    Ok(EntityOperation { name, input: payload(input), caller, request, delivery: 1 })
}

fn answer(done: OperationsDone) -> Result<EntityBatchResult, Failure> {
    let mut result = EntityBatchResult { entity_state: text(done.state)?, ..EntityBatchResult::default() };
    for operation in done.results {
        let outcome = operation.outcome.and_then(text);
        let kind = match outcome {
            Ok(output) => {
                for action in operation.actions {
                    let id = i32::try_from(result.actions.len()).unwrap_or(i32::MAX);
                    result
                        .actions
                        .push(OperationAction { id, operation_action_type: Some(action_out(action)?) });
                }
                ResultType::Success(OperationResultSuccess { result: output, ..Default::default() })
            }
            Err(failure) => {
                let failure_details = Some(failure_out(failure));
                ResultType::Failure(OperationResultFailure { failure_details, ..Default::default() })
            }
        };
        result.results.push(OperationResult { result_type: Some(kind) });
    }
    Ok(result)
}

fn action_out(action: EntityAction) -> Result<OperationActionType, Failure> {
    Ok(match action {
        EntityAction::Signal { to, operation, input, at, request: _ } => {
            OperationActionType::SendSignal(SendSignalAction {
                instance_id: to.to_string(),
                name: operation,
                input: text(input)?,
                scheduled_time: at.map(time_out),
                ..SendSignalAction::default()
            })
        }
        EntityAction::Start { id, name, version, input, at, reuse } => {
            OperationActionType::StartNewOrchestration(StartNewOrchestrationAction {
                instance_id: id.to_string(),
                name,
                version: Some(version),
                input: text(input)?,
                scheduled_time: at.map(time_out),
                perdura_unless_taken: reuse == ReusePolicy::FAIL,
                ..StartNewOrchestrationAction::default()
            })
        }
    })
}
