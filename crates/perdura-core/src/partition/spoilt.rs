//! Bugs that are planted in rewinds.

use super::rewind::Awaited;
use super::{Bug, Partition};
use crate::history::EventKind;
use crate::rewind::Opening;

impl Partition {
    /// What an operator asked for, as these bugs read it.
    pub(super) fn misread(&self, mut awaited: Awaited) -> Awaited {
        let spec = &mut awaited.spec;
        if self.planted(Bug::RewindKeepsInput) {
            spec.input = None;
        }
        if self.planted(Bug::RewindKeepsEvents) {
            spec.order.drop_events = false;
        }
        if self.planted(Bug::RewindIgnoresHead) {
            spec.head = None;
        }
        if self.planted(Bug::RewindReusesAll) {
            spec.order.no_reuse = false;
            spec.order.rerun.clear();
        }
        if self.planted(Bug::RewindIgnoresGiven) {
            spec.inputs.clear();
            spec.results.clear();
        }
        spec.force |= self.planted(Bug::RewindWithoutForce);
        awaited
    }

    /// The state in which a branch begins, with these bugs.
    pub(super) fn spoil(&self, opening: &mut Opening) {
        if self.planted(Bug::RewindForgetsEvents) {
            opening.inbox.retain(|event| !matches!(event.kind, EventKind::EventRaised(_)));
        }
        if self.planted(Bug::RewindLosesResults) {
            opening.inbox.retain(|event| !matches!(event.kind, EventKind::TaskCompleted(_)));
        }
        if self.planted(Bug::RewindRunsSuccesses) {
            opening.reuse = None;
        }
        if self.planted(Bug::RewindForgetsTimers) {
            opening.timers.clear();
        }
        if self.planted(Bug::RewindFiresTimers) {
            opening.timers.iter_mut().for_each(|timer| timer.fire_at = self.now.0);
        }
        if self.planted(Bug::RewindForgetsDeliveries) {
            opening.tasks.iter_mut().for_each(|(task, _)| task.delivery = 0);
        }
        if self.planted(Bug::RewindKeepsAttempts) {
            opening.tasks.iter_mut().for_each(|(task, _)| task.attempt += 1);
        }
    }
}
