//! Histories: what the core recorded, as the SDKs expect to read it.

use super::entity::{called_out, signaled_out};
use super::failure::failure_out;
use super::legacy;
use super::time::time_out;
use super::{execution_out, id_out, instance_out, parent_out, payload_out, tags_out, trace_out, version_out};
use perdura_core::Timestamp;
use perdura_core::history::{Event, EventKind, ParentLink};
use perdura_core::partition::InstanceRecord;
use perdura_proto as wire;
use perdura_proto::history_event::EventType;
use rustc_hash::FxHashMap;
use serde_json::json;

/// What arrives from outside has no number of its own on the wire; what confirms an action has that of the action.
const FROM_OUTSIDE: i32 = -1;

/// Who reads the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// A worker that replays it. Several SDKs fail on kinds of events that their code never causes.
    Worker,
    /// A person or a program that looks at it.
    Operator,
}

/// Writes the history of one execution for the wire, event by event from the first on.
pub(crate) struct HistoryWriter {
    instance: String,
    branch: u32,
    /// Who waits for the instance now: after a rewind of the parent that is another branch of it than the start tells.
    parent: Option<ParentLink>,
    reader: Reader,
    /// When each timer is due: SDKs expect it once more when the timer has fired.
    timers: FxHashMap<u32, i64>,
    /// The ids of the children: a failure of one is passed on in its own words, which handlers of retries look at.
    children: FxHashMap<u32, String>,
}

impl HistoryWriter {
    pub(crate) fn new(instance: &str, branch: u32, reader: Reader) -> HistoryWriter {
        HistoryWriter {
            instance: instance.to_owned(),
            branch,
            parent: None,
            reader,
            timers: FxHashMap::default(),
            children: FxHashMap::default(),
        }
    }

    /// With what is known of the instance now.
    pub(crate) fn of(record: &InstanceRecord, reader: Reader) -> HistoryWriter {
        let parent = record.parents.first().cloned();
        HistoryWriter { parent, ..HistoryWriter::new(&record.id, record.branch, reader) }
    }

    /// The event for the wire; `None` if it is not for this reader.
    pub(crate) fn write(&mut self, event: &Event) -> Option<wire::HistoryEvent> {
        let (id, kind) = self.kind(event)?;
        Some(wire::HistoryEvent {
            event_id: id.map_or(FROM_OUTSIDE, id_out),
            timestamp: Some(time_out(event.at)),
            event_type: Some(kind),
        })
    }

    fn kind(&mut self, event: &Event) -> Option<(Option<u32>, EventType)> {
        Some(match &event.kind {
            // Its code does not see that it was rewound.
            EventKind::ExecutionRewound(_) => return None,
            EventKind::TurnStarted(_) => {
                (None, EventType::OrchestratorStarted(wire::OrchestratorStartedEvent {}))
            }
            EventKind::ExecutionStarted(started) => {
                let execution = execution_out(&started.execution, self.branch);
                let parent = started.parent.as_ref().filter(|parent| !parent.attached);
                let present = self.parent.as_ref();
                let present =
                    present.filter(|present| parent.is_some_and(|parent| parent.is_same_run(present)));
                let started = wire::ExecutionStartedEvent {
                    name: started.name.clone(),
                    version: version_out(&started.version),
                    input: payload_out(started.input.as_ref()),
                    orchestration_instance: Some(instance_out(&self.instance, execution)),
                    parent_instance: present.or(parent).map(parent_out),
                    scheduled_start_timestamp: started.start_at.map(|at| time_out(Timestamp(at))),
                    parent_trace_context: trace_out(started.trace.as_ref()),
                    orchestration_span_id: None,
                    tags: tags_out(&started.tags),
                };
                (None, EventType::ExecutionStarted(started))
            }
            EventKind::TaskScheduled(task) => {
                let scheduled = wire::TaskScheduledEvent {
                    name: task.name.clone(),
                    version: task.version.clone(),
                    input: payload_out(task.input.as_ref()),
                    parent_trace_context: trace_out(task.trace.as_ref()),
                    tags: tags_out(&task.tags),
                };
                (Some(task.id), EventType::TaskScheduled(scheduled))
            }
            EventKind::TaskCompleted(task) => {
                let completed = wire::TaskCompletedEvent {
                    task_scheduled_id: id_out(task.id),
                    result: payload_out(task.output.as_ref()),
                };
                (None, EventType::TaskCompleted(completed))
            }
            EventKind::TaskFailed(task) => {
                let failed = wire::TaskFailedEvent {
                    task_scheduled_id: id_out(task.id),
                    failure_details: Some(task.failure.as_ref().map(failure_out).unwrap_or_default()),
                };
                (None, EventType::TaskFailed(failed))
            }
            EventKind::SubOrchestrationScheduled(child) => {
                self.children.insert(child.id, child.instance.clone());
                let created = wire::SubOrchestrationInstanceCreatedEvent {
                    instance_id: child.instance.clone(),
                    name: child.name.clone(),
                    version: version_out(&child.version),
                    input: payload_out(child.input.as_ref()),
                    parent_trace_context: trace_out(child.trace.as_ref()),
                    tags: tags_out(&child.tags),
                };
                (Some(child.id), EventType::SubOrchestrationInstanceCreated(created))
            }
            EventKind::SubOrchestrationCompleted(child) => {
                let completed = wire::SubOrchestrationInstanceCompletedEvent {
                    task_scheduled_id: id_out(child.id),
                    result: payload_out(child.output.as_ref()),
                };
                (None, EventType::SubOrchestrationInstanceCompleted(completed))
            }
            EventKind::SubOrchestrationFailed(child) => {
                let failure = child.failure.clone().unwrap_or_default();
                let failure = match self.children.get(&child.id) {
                    Some(id) => failure.as_child_said(id),
                    None => failure,
                };
                let failed = wire::SubOrchestrationInstanceFailedEvent {
                    task_scheduled_id: id_out(child.id),
                    failure_details: Some(failure_out(&failure)),
                };
                (None, EventType::SubOrchestrationInstanceFailed(failed))
            }
            EventKind::TimerCreated(timer) => {
                self.timers.insert(timer.id, timer.fire_at);
                let fire_at = Some(time_out(Timestamp(timer.fire_at)));
                (Some(timer.id), EventType::TimerCreated(wire::TimerCreatedEvent { fire_at }))
            }
            EventKind::TimerFired(timer) => {
                let due = self.timers.get(&timer.id).map_or(event.at, |due| Timestamp(*due));
                let fired =
                    wire::TimerFiredEvent { fire_at: Some(time_out(due)), timer_id: id_out(timer.id) };
                (None, EventType::TimerFired(fired))
            }
            EventKind::EventSent(sent) => {
                let event = wire::EventSentEvent {
                    instance_id: sent.instance.clone(),
                    name: sent.name.clone(),
                    input: payload_out(sent.input.as_ref()),
                };
                (Some(sent.id), EventType::EventSent(event))
            }
            EventKind::EventRaised(raised) => {
                let input = payload_out(raised.input.as_ref());
                (None, EventType::EventRaised(wire::EventRaisedEvent { name: raised.name.clone(), input }))
            }
            EventKind::EntityOperationCalled(call) => (Some(call.id), called_out(&self.instance, call)),
            EventKind::EntityOperationSignaled(signal) => (Some(signal.id), signaled_out(signal)),
            EventKind::EntityOperationCompleted(done) => {
                if let Some(old) = legacy::completed(&done.request, done.output.as_ref()) {
                    return Some((None, old));
                }
                let event = wire::EntityOperationCompletedEvent {
                    request_id: done.request.clone(),
                    output: payload_out(done.output.as_ref()),
                };
                (None, EventType::EntityOperationCompleted(event))
            }
            EventKind::EntityOperationFailed(failed) => {
                let failure = failed.failure.clone().unwrap_or_default();
                if let Some(old) = legacy::failed(&failed.request, &failure) {
                    return Some((None, old));
                }
                let event = wire::EntityOperationFailedEvent {
                    request_id: failed.request.clone(),
                    failure_details: Some(failure_out(&failure)),
                };
                (None, EventType::EntityOperationFailed(event))
            }
            EventKind::EntityLockRequested(lock) => {
                let first = lock.set.first().map(String::as_str).unwrap_or_default();
                if let Some(old) = legacy::sent(first, &lock.request, json!({ "op": null, "pos": 0 })) {
                    return Some((Some(lock.id), old));
                }
                let event = wire::EntityLockRequestedEvent {
                    critical_section_id: lock.request.clone(),
                    lock_set: lock.set.clone(),
                    position: 0,
                    parent_instance_id: Some(self.instance.clone()),
                };
                (Some(lock.id), EventType::EntityLockRequested(event))
            }
            EventKind::EntityLockGranted(lock) => {
                if let Some(old) = legacy::granted(&lock.request) {
                    return Some((None, old));
                }
                let critical_section_id = lock.request.clone();
                (None, EventType::EntityLockGranted(wire::EntityLockGrantedEvent { critical_section_id }))
            }
            EventKind::EntityUnlockSent(unlock) => {
                let first = unlock.entities.first().map(String::as_str).unwrap_or_default();
                if let Some(old) = legacy::sent(first, &unlock.request, json!({ "parent": self.instance })) {
                    return Some((Some(unlock.id), old));
                }
                let event = wire::EntityUnlockSentEvent {
                    critical_section_id: unlock.request.clone(),
                    parent_instance_id: Some(self.instance.clone()),
                    target_instance_id: unlock.entities.first().cloned(),
                };
                (Some(unlock.id), EventType::EntityUnlockSent(event))
            }
            EventKind::ExecutionSuspended(suspended) => {
                let input = Some(suspended.reason.clone());
                (None, EventType::ExecutionSuspended(wire::ExecutionSuspendedEvent { input }))
            }
            EventKind::ExecutionResumed(resumed) => {
                let input = Some(resumed.reason.clone());
                (None, EventType::ExecutionResumed(wire::ExecutionResumedEvent { input }))
            }
            EventKind::ExecutionTerminated(terminated) => {
                let input = Some(terminated.reason.clone());
                let event = wire::ExecutionTerminatedEvent { input, recurse: terminated.recurse };
                (None, EventType::ExecutionTerminated(event))
            }
            EventKind::ExecutionCompleted(end) if self.reader == Reader::Operator => {
                let completed = wire::ExecutionCompletedEvent {
                    orchestration_status: i32::try_from(end.status).unwrap_or(i32::MAX),
                    result: payload_out(end.output.as_ref()),
                    failure_details: end.failure.as_ref().map(failure_out),
                };
                (None, EventType::ExecutionCompleted(completed))
            }
            // The wire has no word for it. What it led to is in the history.
            EventKind::CancelRequested(cancel) if self.reader == Reader::Operator => {
                let data = Some(format!("asked to cancel: {}", cancel.reason));
                (None, EventType::GenericEvent(wire::GenericEvent { data }))
            }
            EventKind::EventRefused(refused) if self.reader == Reader::Operator => {
                let why = refused.failure.as_ref().map(ToString::to_string).unwrap_or_default();
                let data = Some(format!("event {} was refused: {why}", refused.id));
                (None, EventType::GenericEvent(wire::GenericEvent { data }))
            }
            EventKind::TaskResultLate(late) if self.reader == Reader::Operator => {
                let data =
                    Some(format!("task {}: delivery {} ended too late to count", late.id, late.delivery));
                (None, EventType::GenericEvent(wire::GenericEvent { data }))
            }
            EventKind::ExecutionCompleted(_)
            | EventKind::CancelRequested(_)
            | EventKind::EventRefused(_)
            | EventKind::TaskResultLate(_) => return None,
        })
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
