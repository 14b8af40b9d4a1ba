//! What passes between the processor and whoever runs orchestration code.

use crate::delivery::RESOLVE_EVENT;
use crate::failure::{Failure, kind};
use crate::history::{
    EntityLockRequested, EntityOperationCalled, EntityOperationSignaled, EntityUnlockSent, Event, EventKind,
    EventRaised, EventSent, ExecutionCompleted, SubOrchestrationScheduled, TaskScheduled, TimerCreated,
    TurnLimits,
};
use crate::id::{ExecutionId, InstanceId, InstanceKey, Tags};
use crate::orchestration::Mismatch;
use crate::time::Timestamp;
use bytes::Bytes;
use prost::Message;

/// Something that orchestration code decided.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Run an activity.
    ScheduleTask(TaskScheduled),
    /// Wake me.
    CreateTimer(TimerCreated),
    /// Start a child.
    ScheduleSubOrchestration(SubOrchestrationScheduled),
    /// Send an event to another instance.
    SendEvent(EventSent),
    /// End another instance by force. Nothing is recorded of it here.
    Terminate(TerminateInstance),
    /// Run an operation of an entity, and tell me.
    CallEntity(EntityOperationCalled),
    /// Run an operation of an entity.
    SignalEntity(EntityOperationSignaled),
    /// Give me these entities, all of them.
    RequestLock(EntityLockRequested),
    /// I am done with them.
    Unlock(EntityUnlockSent),
    /// This was all.
    Complete(ExecutionCompleted),
    /// Begin again with a new input and an empty history.
    ContinueAsNew(ContinueAsNew),
}

/// See [`Decision::Terminate`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TerminateInstance {
    /// Whom.
    pub instance: String,
    /// Why.
    pub reason: String,
    /// Its children too.
    pub recurse: bool,
}

/// See [`Decision::ContinueAsNew`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContinueAsNew {
    /// The input of the next generation.
    pub input: Option<Bytes>,
    /// Its version; `None` keeps the present one.
    pub version: Option<String>,
    /// External events that were not consumed, in order of arrival.
    pub carry_over: Vec<EventRaised>,
    /// Its tags; `None` keeps the present ones.
    pub tags: Option<Tags>,
}

impl ContinueAsNew {
    /// How much the events weigh that it carries over.
    #[must_use]
    pub fn carried_bytes(&self) -> u64 {
        let bytes =
            |event: &EventRaised| (event.name.len() + event.input.as_ref().map_or(0, Bytes::len)) as u64;
        self.carry_over.iter().map(bytes).sum()
    }
}

impl Decision {
    /// Whether nothing can follow it.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, Decision::Complete(_) | Decision::ContinueAsNew(_))
    }

    /// In words, for a determinism report.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Decision::ScheduleTask(task) => describe_task(task),
            Decision::CreateTimer(timer) => describe_timer(timer),
            Decision::ScheduleSubOrchestration(child) => describe_child(child),
            Decision::SendEvent(sent) => describe_sent(sent),
            Decision::Terminate(end) => format!("termination of {:?}", end.instance),
            Decision::CallEntity(called) => describe_called(called),
            Decision::SignalEntity(signaled) => describe_signaled(signaled),
            Decision::RequestLock(requested) => describe_requested(requested),
            Decision::Unlock(sent) => describe_unlock(sent),
            Decision::Complete(end) => describe_end(end),
            Decision::ContinueAsNew(_) => "continue as new".into(),
        }
    }

    /// Whether `event` is the record of this decision. Inputs and deadlines are not compared: a deploy may change them.
    #[must_use]
    pub fn matches(&self, event: &EventKind) -> bool {
        match (self, event) {
            (Decision::ScheduleTask(a), EventKind::TaskScheduled(b)) => a.id == b.id && a.name == b.name,
            (Decision::CreateTimer(a), EventKind::TimerCreated(b)) => a.id == b.id,
            (Decision::ScheduleSubOrchestration(a), EventKind::SubOrchestrationScheduled(b)) => {
                a.id == b.id && a.name == b.name && (a.instance.is_empty() || a.instance == b.instance)
            }
            (Decision::SendEvent(a), EventKind::EventSent(b)) => {
                a.id == b.id && a.name == b.name && a.instance == b.instance
            }
            (Decision::CallEntity(a), EventKind::EntityOperationCalled(b)) => {
                a.id == b.id && a.entity == b.entity && a.operation == b.operation
            }
            (Decision::SignalEntity(a), EventKind::EntityOperationSignaled(b)) => {
                a.id == b.id && a.entity == b.entity && a.operation == b.operation
            }
            (Decision::RequestLock(a), EventKind::EntityLockRequested(b)) => a.id == b.id && a.set == b.set,
            (Decision::Unlock(a), EventKind::EntityUnlockSent(b)) => a.id == b.id,
            (Decision::Complete(a), EventKind::ExecutionCompleted(b)) => a.status == b.status,
            _ => false,
        }
    }
}

fn describe_task(task: &TaskScheduled) -> String {
    format!("activity {:?} (task {})", task.name, task.id)
}

fn describe_timer(timer: &TimerCreated) -> String {
    format!("timer (task {})", timer.id)
}

fn describe_child(child: &SubOrchestrationScheduled) -> String {
    format!("sub-orchestration {:?} (task {})", child.name, child.id)
}

fn describe_sent(sent: &EventSent) -> String {
    format!("event {:?} to {:?} (task {})", sent.name, sent.instance, sent.id)
}

fn describe_called(called: &EntityOperationCalled) -> String {
    format!("call of {:?} of entity {:?} (task {})", called.operation, called.entity, called.id)
}

fn describe_signaled(signaled: &EntityOperationSignaled) -> String {
    format!("signal {:?} to entity {:?} (task {})", signaled.operation, signaled.entity, signaled.id)
}

fn describe_requested(requested: &EntityLockRequested) -> String {
    format!("lock of {} (task {})", requested.set.join(", "), requested.id)
}

fn describe_unlock(sent: &EntityUnlockSent) -> String {
    format!("unlock (task {})", sent.id)
}

fn describe_end(end: &ExecutionCompleted) -> String {
    end.final_status().map_or("the end".into(), |status| format!("the end, {status}"))
}

/// Whether an event comes from outside, not from the code's own decisions.
pub(super) fn is_incoming(event: &EventKind) -> bool {
    !matches!(event, EventKind::TurnStarted(_)) && describe_recorded(event).is_none()
}

/// In words, the decision that `event` records; `None` if it records something else.
pub(super) fn describe_recorded(event: &EventKind) -> Option<String> {
    match event {
        EventKind::TaskScheduled(task) => Some(describe_task(task)),
        EventKind::TimerCreated(timer) => Some(describe_timer(timer)),
        EventKind::SubOrchestrationScheduled(child) => Some(describe_child(child)),
        EventKind::EventSent(sent) => Some(describe_sent(sent)),
        EventKind::EntityOperationCalled(called) => Some(describe_called(called)),
        EventKind::EntityOperationSignaled(signaled) => Some(describe_signaled(signaled)),
        EventKind::EntityLockRequested(requested) => Some(describe_requested(requested)),
        EventKind::EntityUnlockSent(sent) => Some(describe_unlock(sent)),
        EventKind::ExecutionCompleted(end) => Some(describe_end(end)),
        _ => None,
    }
}

/// Work for whoever runs orchestration code: the events that it has not seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// Which instance.
    pub key: InstanceKey,
    /// Its id.
    pub id: InstanceId,
    /// The orchestration's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// This run of it.
    pub execution: ExecutionId,
    /// Its generation.
    pub generation: u32,
    /// The branch of its history.
    pub branch: u32,
    /// How many events of the history come before these.
    pub from: u64,
    /// Distinguishes this turn from every other one of the processor's life.
    pub number: u64,
    /// The trace context that the turn before gave back, if it did.
    pub trace: Option<Bytes>,
    /// Workers that were lost one after another while they had it.
    pub lost: u32,
    /// The new events; the first is `TurnStarted`.
    pub events: Vec<Event>,
}

/// Names a turn that is away, within one life of the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TurnTicket {
    /// Whose turn.
    pub key: InstanceKey,
    /// The turn's number.
    pub number: u64,
}

impl Turn {
    /// Its name while it is away.
    #[must_use]
    pub fn ticket(&self) -> TurnTicket {
        TurnTicket { key: self.key, number: self.number }
    }

    /// The events as they are to be recorded after the turn had this result.
    #[must_use]
    pub fn recorded(mut self, result: &TurnResult) -> Vec<Event> {
        if let Some(Event { kind: EventKind::TurnStarted(started), .. }) = self.events.first_mut() {
            started.limits = result.limits_met;
        }
        self.events
    }
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq)]
pub enum TurnOutcome {
    /// The code ran.
    Done(TurnResult),
    /// The code and the history disagree; nothing may be recorded.
    Diverged(Mismatch),
    /// Nobody here runs this orchestration, or its history cannot be read. The text says what to do.
    CannotRun(String),
}

impl TurnOutcome {
    /// What keeps the instance from going on, if the turn could not be run.
    #[must_use]
    pub fn obstacle(&self) -> Option<String> {
        match self {
            TurnOutcome::Done(_) => None,
            TurnOutcome::Diverged(mismatch) => Some(mismatch.to_string()),
            TurnOutcome::CannotRun(reason) => Some(reason.clone()),
        }
    }
}

/// What the code did in a turn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TurnResult {
    /// Its decisions, in order; an end comes last.
    pub decisions: Vec<Decision>,
    /// What it says of itself now; `None` if it said nothing new.
    pub custom_status: Option<Option<Bytes>>,
    /// The limits under which it ran, if it met one of them.
    pub limits_met: Option<TurnLimits>,
    /// Only so many of the turn's events after `TurnStarted` were taken; the others come again in the next turn. `None`
    /// means all.
    pub taken: Option<usize>,
    /// When the turn began for the code, if that was later than the turn says: it had waited for a worker. The code was
    /// told this time, so it is what the history keeps.
    pub began: Option<Timestamp>,
    /// The trace context for the next turn; `None` keeps the present one.
    pub trace: Option<Bytes>,
    /// Whether it waits for an external event now, perhaps among other things; `None`: nobody knows.
    pub awaits_event: Option<bool>,
    /// All tasks, timers, children and calls without a result that it has begun, and does not wait for any more.
    pub gave_up: Vec<u32>,
}

/// What an orchestration that sends [`RESOLVE_EVENT`] is told: it is the word of somebody who has looked.
pub(crate) const NO_RESOLVING: &str =
    "an orchestration cannot say what follows for an activity in doubt; let an activity do so, as a client";

/// The bytes of an event that is to be sent, if it may be.
pub(super) fn check_sent(event: &EventSent) -> Result<usize, Failure> {
    match event.name == RESOLVE_EVENT {
        true => {
            let message = format!("event {RESOLVE_EVENT:?} to {:?}: {NO_RESOLVING}", event.instance);
            Err(Failure::new(kind::INVALID, message).non_retryable())
        }
        false => Ok(event.encoded_len()),
    }
}
