//! Replay (I10): the checker runs the code of every execution once more, from the committed history alone, and it must
//! decide the same.

use super::mirror::Seen;
use super::{Checker, Group};
use crate::runner::Code;
use perdura_core::Status;
use perdura_core::history::{Event, EventKind, TaskScheduled};
use perdura_core::orchestration::Decision;
use std::cell::RefCell;
use std::rc::Rc;

/// Whether an event comes from outside the code.
pub(super) fn is_incoming(kind: &EventKind) -> bool {
    !matches!(
        kind,
        EventKind::TurnStarted(_)
            | EventKind::TaskScheduled(_)
            | EventKind::TimerCreated(_)
            | EventKind::SubOrchestrationScheduled(_)
            | EventKind::EventSent(_)
            | EventKind::EntityOperationCalled(_)
            | EventKind::EntityOperationSignaled(_)
            | EventKind::EntityLockRequested(_)
            | EventKind::EntityUnlockSent(_)
            | EventKind::ExecutionCompleted(_)
            | EventKind::ExecutionTerminated(_)
            | EventKind::ExecutionRewound(_)
    )
}

impl Checker {
    /// Runs the code over events that were just appended.
    pub(super) fn follow(&mut self, seen: &mut Seen, appended: &[Event]) {
        if appended.is_empty() {
            return;
        }
        if seen.history.len() == appended.len() {
            let code = Code::new(seen.row.id.clone(), self.limits.clone(), self.programs.clone());
            seen.shadow = Some(Rc::new(RefCell::new(code)));
        }
        let Some(shadow) = seen.shadow.take() else { return };
        let result = follow(seen, &shadow, appended);
        let is_rewound = matches!(appended.last().map(|e| &e.kind), Some(EventKind::ExecutionRewound(_)));
        if result == Ok(true) {
            seen.shadow = Some(shadow);
        }
        let is_followed = seen.shadow.is_some() || seen.row.status != Status::Terminated;
        self.check(Group::Replay, result.map(drop));
        // What the code says of itself at the cut is known when it runs again.
        if !is_followed || is_rewound {
            return;
        }
        let said = (seen.custom_status == seen.record.custom_status).then_some(());
        let other = || {
            format!(
                "{seen:?}: custom status {:?}, expected {:?}",
                seen.record.custom_status, seen.custom_status
            )
        };
        let said = said.ok_or_else(other);
        self.check(Group::Replay, said);
    }
}

impl Checker {
    /// Runs the code over what a new branch keeps of the one before.
    pub(super) fn follow_kept(&mut self, seen: &mut Seen) {
        let code = Code::new(seen.row.id.clone(), self.limits.clone(), self.programs.clone());
        let shadow = Rc::new(RefCell::new(code));
        let kept = seen.history.clone();
        let result = follow(seen, &shadow, &kept);
        if result == Ok(true) {
            seen.shadow = Some(shadow);
        }
        self.check(Group::Replay, result.map(drop));
    }
}

/// Says whether the execution is to be followed further.
fn follow(seen: &mut Seen, shadow: &RefCell<Code>, mut events: &[Event]) -> Result<bool, String> {
    let mut code = shadow.borrow_mut();
    while let Some(first) = events.first() {
        if matches!(first.kind, EventKind::ExecutionRewound(_)) {
            code.accept(&events[..1]).map_err(|mismatch| format!("{seen:?}: {mismatch}"))?;
            events = &events[1..];
            continue;
        }
        if !matches!(first.kind, EventKind::TurnStarted(_)) {
            // What waited is recorded before an end by force.
            return Ok(false);
        }
        let taken = 1 + events[1..].iter().take_while(|event| is_incoming(&event.kind)).count();
        let (turn, rest) = events.split_at(taken);
        // What waited when an end by force came is recorded as if the last turn had taken it.
        if matches!(rest.first().map(|e| &e.kind), Some(EventKind::ExecutionTerminated(_))) {
            return Ok(false);
        }
        code.accept(turn).map_err(|mismatch| format!("{seen:?}: {mismatch}"))?;
        let result = code.take_result();
        if let Some(status) = result.custom_status {
            seen.custom_status = status;
        }
        events = rest;
        for decision in result.decisions {
            let Some((recorded, rest)) = events.split_first() else {
                return Err(format!("{seen:?}: {} is not recorded", decision.describe()));
            };
            if !is_record_of(&decision, &recorded.kind) {
                return Err(format!("{seen:?}: decided {decision:?}, recorded is {:?}", recorded.kind));
            }
            events = rest;
        }
    }
    Ok(true)
}

fn is_record_of(decision: &Decision, recorded: &EventKind) -> bool {
    match (decision, recorded) {
        // The engine knows which step of another branch it goes on with, not the code.
        (Decision::ScheduleTask(a), EventKind::TaskScheduled(b)) => {
            *a == TaskScheduled { step: None, ..b.clone() }
        }
        (Decision::CreateTimer(a), EventKind::TimerCreated(b)) => a == b,
        (Decision::ScheduleSubOrchestration(a), EventKind::SubOrchestrationScheduled(b)) => {
            let mut a = a.clone();
            if a.instance.is_empty() {
                a.instance.clone_from(&b.instance);
            }
            a == *b && !b.instance.is_empty()
        }
        (Decision::SendEvent(a), EventKind::EventSent(b)) => a == b,
        (Decision::CallEntity(a), EventKind::EntityOperationCalled(b)) => a == b,
        (Decision::SignalEntity(a), EventKind::EntityOperationSignaled(b)) => a == b,
        (Decision::RequestLock(a), EventKind::EntityLockRequested(b)) => a == b,
        (Decision::Unlock(a), EventKind::EntityUnlockSent(b)) => a == b,
        (Decision::Complete(a), EventKind::ExecutionCompleted(b)) => a == b,
        _ => false,
    }
}
