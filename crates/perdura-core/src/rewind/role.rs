//! What each kind of event is to a rewind. A new kind of event needs its line here, and nowhere else in this module.

use super::timeline::WorkKind;
use crate::history::{Event, EventKind};

/// What an event is to a rewind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A turn begins.
    Turn,
    /// The first event that the code sees.
    Begins,
    /// The code decided on work whose result comes later.
    Schedules(WorkKind, u32),
    /// The code decided on something that has no result.
    Sends,
    /// Work ended well.
    Succeeds(WorkKind, u32),
    /// Work failed.
    Fails(WorkKind, u32),
    /// Something from outside.
    External,
    /// A request to cancel.
    Cancels,
    /// A note that the code does not see.
    Notes,
    /// The end.
    Ends,
}

pub(super) fn role(event: &Event) -> Role {
    match &event.kind {
        EventKind::TurnStarted(_) => Role::Turn,
        EventKind::ExecutionStarted(_) => Role::Begins,
        EventKind::TaskScheduled(e) => Role::Schedules(WorkKind::Activity, e.id),
        EventKind::TimerCreated(e) => Role::Schedules(WorkKind::Timer, e.id),
        EventKind::SubOrchestrationScheduled(e) if e.detached => Role::Sends,
        EventKind::SubOrchestrationScheduled(e) => Role::Schedules(WorkKind::Child, e.id),
        EventKind::EventSent(_) => Role::Sends,
        EventKind::EventRefused(_) => Role::Notes,
        EventKind::EntityOperationCalled(e) => Role::Schedules(WorkKind::EntityCall, e.id),
        EventKind::EntityLockRequested(e) => Role::Schedules(WorkKind::EntityLock, e.id),
        EventKind::EntityOperationSignaled(_) | EventKind::EntityUnlockSent(_) => Role::Sends,
        EventKind::EntityOperationCompleted(e) => Role::Succeeds(WorkKind::EntityCall, e.id),
        EventKind::EntityLockGranted(e) => Role::Succeeds(WorkKind::EntityLock, e.id),
        EventKind::EntityOperationFailed(e) => Role::Fails(WorkKind::EntityCall, e.id),
        EventKind::TaskCompleted(e) => Role::Succeeds(WorkKind::Activity, e.id),
        EventKind::SubOrchestrationCompleted(e) => Role::Succeeds(WorkKind::Child, e.id),
        EventKind::TimerFired(e) => Role::Succeeds(WorkKind::Timer, e.id),
        EventKind::TaskFailed(e) => Role::Fails(WorkKind::Activity, e.id),
        EventKind::SubOrchestrationFailed(e) => Role::Fails(WorkKind::Child, e.id),
        EventKind::EventRaised(_) => Role::External,
        EventKind::CancelRequested(_) => Role::Cancels,
        EventKind::ExecutionSuspended(_)
        | EventKind::ExecutionResumed(_)
        | EventKind::ExecutionTerminated(_)
        | EventKind::TaskResultLate(_)
        | EventKind::ExecutionRewound(_) => Role::Notes,
        EventKind::ExecutionCompleted(_) => Role::Ends,
    }
}

impl Role {
    /// Whether the code decided it.
    pub(super) fn is_decision(self) -> bool {
        matches!(self, Role::Schedules(..) | Role::Sends)
    }

    /// Whether a turn brings it to the code.
    pub(super) fn is_incoming(self) -> bool {
        !self.is_decision() && !matches!(self, Role::Turn | Role::Ends)
    }
}
