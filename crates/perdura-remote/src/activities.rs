//! Activities that a server hands over.

use crate::attendance::Attendant;
use crate::wire::{failure_out, payload, text};
use perdura::{ExecutionId, Failure, InstanceId, Limits, Registry};
use perdura_core::failure::kind;
use perdura_engine::{ActivityEnd, ActivityHost, ActivityTask, panic_text};
use perdura_proto::{ActivityRequest, ActivityResponse};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Runs an activity and gives what to answer. Meanwhile the attendant speaks of it.
pub(crate) async fn run(
    registry: Registry,
    attendant: &Attendant,
    token: String,
    request: ActivityRequest,
) -> ActivityResponse {
    let instance = request.orchestration_instance.clone().unwrap_or_default();
    let mut response = ActivityResponse {
        instance_id: instance.instance_id.clone(),
        task_id: request.task_id,
        completion_token: token.clone(),
        ..ActivityResponse::default()
    };
    let end = match task(request, instance.execution_id) {
        Ok(task) => {
            attendant.begun(&token, task.canceled.clone()).await;
            let task = ActivityTask { heartbeat: attendant.heartbeat(&token), ..task };
            // A task of its own, so that a panic ends nothing but the attempt.
            let end = match tokio::spawn(async move { ActivityHost::run(&registry, task).await }).await {
                Ok(end) => end,
                Err(error) => ActivityEnd::Failed(match error.try_into_panic() {
                    Ok(panic) => Failure::new(kind::PANIC, panic_text(panic.as_ref())),
                    Err(error) => Failure::new(kind::WORKER_LOST, error.to_string()),
                }),
            };
            attendant.ended(token).await;
            end
        }
        Err(why) => ActivityEnd::Failed(Failure::new(kind::INVALID, why)),
    };
    let result = match end {
        ActivityEnd::Completed(output) => text(output),
        ActivityEnd::Failed(failure) => Err(failure),
        ActivityEnd::Lost { reason } | ActivityEnd::LostBeside { reason } => {
            Err(Failure::new(kind::WORKER_LOST, reason))
        }
        ActivityEnd::Transaction(_) => {
            let text =
                "a transactional activity runs in the process whose hub is the SQLite file, not in a worker";
            Err(Failure::new(kind::INVALID, text).non_retryable())
        }
        ActivityEnd::NotStarted | ActivityEnd::Brought(..) => {
            Err(Failure::new(kind::WORKER_LOST, "it was not started"))
        }
    };
    match result {
        Ok(output) => response.result = output,
        Err(failure) => response.failure_details = Some(failure_out(failure)),
    }
    response
}

fn task(request: ActivityRequest, execution: Option<String>) -> Result<ActivityTask, String> {
    let instance = request.orchestration_instance.unwrap_or_default().instance_id;
    let execution = u128::from_str_radix(&execution.unwrap_or_default(), 16);
    Ok(ActivityTask {
        instance: InstanceId::new(&instance).map_err(|error| error.to_string())?,
        execution: ExecutionId(execution.map_err(|error| format!("execution id: {error}"))?),
        task: u32::try_from(request.task_id).map_err(|error| format!("task id: {error}"))?,
        name: request.name,
        version: request.version,
        orchestration_version: String::new(),
        input: payload(request.input),
        step: request.tags.get("perdura.idempotency-key").map(|step| step.as_str().into()),
        tags: request.tags.into_iter().collect(),
        trace: None,
        attempt: request.perdura_attempt.max(1),
        delivery: request.perdura_delivery.max(1),
        lost: 0,
        last_heartbeat: request.perdura_last_heartbeat.map(Into::into),
        origin: request.perdura_origin,
        // Only the engine tells them apart.
        branch: 0,
        epoch: request.perdura_epoch,
        hand_over: None,
        canceled: CancellationToken::new(),
        began: Arc::new(|| {}),
        details_bytes_max: Limits::default().payload_bytes_max,
        heartbeat: Arc::new(|_| {}),
    })
}
