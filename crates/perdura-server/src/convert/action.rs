//! What a worker decided in an episode, as decisions of the core.

use super::failure::failure_in;
use super::time::{InvalidTime, time_in};
use super::{opaque, payload_in, tags_in};
use perdura_core::history::{
    EventRaised, EventSent, ExecutionCompleted, SubOrchestrationScheduled, TaskScheduled, TimerCreated,
};
use perdura_core::orchestration::{ContinueAsNew, Decision, TerminateInstance, TurnResult};
use perdura_core::{Failure, InvalidText, OnExisting, ReusePolicy, Status};
use perdura_proto as wire;
use perdura_proto::OrchestrationStatus as WireStatus;
use perdura_proto::history_event::EventType;
use perdura_proto::orchestrator_action::OrchestratorActionType as Action;

/// Why the answer of a worker cannot be taken. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadAnswer {
    #[error("action {index}: it has no kind that this server knows")]
    Unknown { index: usize },
    #[error("action {index}: id {id} is negative")]
    NegativeId { index: usize, id: i32 },
    #[error("action {index}: {field} is missing")]
    Missing { index: usize, field: &'static str },
    #[error("action {index}: {error}")]
    Time { index: usize, error: InvalidTime },
    #[error("action {index}: an orchestration cannot complete with status {status}")]
    Status { index: usize, status: i32 },
    #[error("action {index}: {error}")]
    Entity { index: usize, error: InvalidText },
    #[error("action {index}: the orchestration has completed already by action {first}")]
    SecondEnd { index: usize, first: usize },
    #[error("action {index}: a rewind comes alone")]
    RewindNotAlone { index: usize },
    #[error("the history that it wants has all that it was sent: nothing would be undone")]
    NothingLeftOut,
    #[error("{count} events processed, but {sent} were sent")]
    Processed { count: i32, sent: usize },
    #[error("{0}")]
    Undecodable(String),
    #[error("the parts of this answer have more than {limit} bytes together")]
    TooLarge { limit: usize },
    #[error("part {index} of this answer came where part {due} is due")]
    Part { index: i32, due: i32 },
    #[error("the first parts of this answer were dropped when the stream ended or another part was refused")]
    PartsDropped,
}

/// The result of a turn. `taken` and `began` are the caller's: they depend on what was sent.
pub(crate) fn result_in(response: wire::OrchestratorResponse) -> Result<TurnResult, BadAnswer> {
    let mut decisions = Vec::with_capacity(response.actions.len());
    let mut end = None;
    for (index, action) in response.actions.into_iter().enumerate() {
        let kind = action.orchestrator_action_type.ok_or(BadAnswer::Unknown { index })?;
        if let Action::CompleteOrchestration(complete) = kind {
            if let Some((first, _)) = end {
                return Err(BadAnswer::SecondEnd { index, first });
            }
            end = Some((index, end_in(index, complete)?));
        } else {
            decisions.push(decision_in(index, action.id, kind)?);
        }
    }
    // Whatever came with the end happens before it, wherever it stood.
    decisions.extend(end.map(|(_, end)| end));
    // Some SDKs always send a custom status, and an empty one when there is none.
    let custom_status =
        response.custom_status.map(|status| payload_in(Some(status)).filter(|status| !status.is_empty()));
    Ok(TurnResult {
        decisions,
        custom_status,
        trace: opaque(response.orchestration_trace_context),
        ..TurnResult::default()
    })
}

fn decision_in(index: usize, id: i32, action: Action) -> Result<Decision, BadAnswer> {
    let number = || u32::try_from(id).map_err(|_| BadAnswer::NegativeId { index, id });
    Ok(match action {
        Action::ScheduleTask(task) => Decision::ScheduleTask(TaskScheduled {
            id: number()?,
            name: task.name,
            version: task.version,
            input: payload_in(task.input),
            tags: tags_in(task.tags),
            trace: opaque(task.parent_trace_context),
            ..TaskScheduled::default()
        }),
        Action::CreateTimer(timer) => {
            let at = timer.fire_at.ok_or(BadAnswer::Missing { index, field: "fireAt" })?;
            let at = time_in("fireAt", &at).map_err(|error| BadAnswer::Time { index, error })?;
            Decision::CreateTimer(TimerCreated { id: number()?, fire_at: at.0 })
        }
        Action::CreateSubOrchestration(child) => {
            Decision::ScheduleSubOrchestration(SubOrchestrationScheduled {
                id: number()?,
                instance: child.instance_id,
                name: child.name,
                version: child.version.unwrap_or_default(),
                input: payload_in(child.input),
                // Retries in the SDKs start the same id again.
                reuse: ReusePolicy::FAIL.when_terminal(OnExisting::Replace).to_bits(),
                tags: tags_in(child.tags),
                trace: opaque(child.parent_trace_context),
                ..SubOrchestrationScheduled::default()
            })
        }
        Action::SendEvent(event) if is_to_entity(&event) => {
            super::legacy::decision_in(index, number()?, event)?
        }
        Action::SendEvent(event) => {
            let to = event.instance.ok_or(BadAnswer::Missing { index, field: "instance" })?;
            Decision::SendEvent(EventSent {
                id: number()?,
                instance: to.instance_id,
                name: event.name,
                input: payload_in(event.data),
            })
        }
        Action::TerminateOrchestration(terminate) => Decision::Terminate(TerminateInstance {
            instance: terminate.instance_id,
            reason: terminate.reason.unwrap_or_default(),
            recurse: terminate.recurse,
        }),
        Action::SendEntityMessage(message) => super::entity::decision_in(index, number()?, message)?,
        Action::RewindOrchestration(_) => return Err(BadAnswer::RewindNotAlone { index }),
        Action::CompleteOrchestration(_) => return Err(BadAnswer::Unknown { index }),
    })
}

/// No instance of an orchestration has an id that begins so.
fn is_to_entity(event: &wire::SendEventAction) -> bool {
    event.instance.as_ref().is_some_and(|to| to.instance_id.starts_with('@'))
}

fn end_in(index: usize, complete: wire::CompleteOrchestrationAction) -> Result<Decision, BadAnswer> {
    let output = payload_in(complete.result);
    let failure = complete.failure_details.map(failure_in);
    let status = match WireStatus::try_from(complete.orchestration_status) {
        Ok(WireStatus::ContinuedAsNew) => {
            return Ok(Decision::ContinueAsNew(ContinueAsNew {
                input: output,
                version: complete.new_version,
                carry_over: complete.carryover_events.into_iter().filter_map(raised_in).collect(),
                // None at all is what SDKs send that know nothing of it.
                tags: Some(tags_in(complete.tags)).filter(|tags| !tags.is_empty()),
            }));
        }
        Ok(WireStatus::Completed) => Status::Completed,
        Ok(WireStatus::Failed) => Status::Failed,
        Ok(WireStatus::Canceled) => Status::Canceled,
        Ok(WireStatus::Terminated) => Status::Terminated,
        _ => return Err(BadAnswer::Status { index, status: complete.orchestration_status }),
    };
    let failure = match status {
        // A failure without details is one all the same.
        Status::Failed => {
            Some(failure.unwrap_or_else(|| Failure::new("", complete.details.unwrap_or_default())))
        }
        _ => failure,
    };
    Ok(Decision::Complete(ExecutionCompleted::new(status, output, failure)))
}

/// Only external events are carried over; their times are those of the next generation.
fn raised_in(event: wire::HistoryEvent) -> Option<EventRaised> {
    match event.event_type {
        Some(EventType::EventRaised(raised)) => {
            Some(EventRaised { name: raised.name, input: payload_in(raised.input) })
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "action_tests.rs"]
mod tests;
