//! Attempts of activities that other branches have made: their numbers are not given again, and nobody knows more of them
//! on the new branch than on theirs.

use super::branches::LeftTask;
use super::cut::Because;
use super::opening::{Drawing, Open};
use super::timeline::{Timeline, Work, WorkKind};
use crate::delivery::{Delivery, OnceRecord, Stage};
use crate::failure::kind;
use crate::history::{EventKind, Step, TaskScheduled};
use crate::partition::{InstanceRecord, TaskRecord};

impl Drawing<'_> {
    /// The new branch does not show attempts of work that gets a result by hand, or that was tried more often elsewhere:
    /// should it run later, its numbers go on from theirs.
    pub(super) fn remember_deliveries(&mut self, work: &Work, becomes: &Open) {
        let shown = match becomes {
            Open::Given(_) | Open::DoneBy { .. } => 0,
            Open::Carried(end) => self.timeline.delivery(*end),
            Open::Runs(_) => return,
        };
        let delivery = self.delivery(work);
        if work.kind == WorkKind::Activity && delivery > shown {
            let (id, event, branch) = (work.id, work.scheduled as u64, self.origin(work));
            self.opening.left.push(LeftTask { id, delivery, event, branch, ..LeftTask::default() });
        }
    }

    /// Of an activity whose hand-overs are committed. One that runs at most once, and whose last attempt has no known end,
    /// is in doubt on the new branch, too, unless it is named to run again, or it is the failure which ended the instance that
    /// is undone.
    pub(super) fn once(&self, work: &Work, scheduled: &TaskScheduled) -> Option<Box<OnceRecord>> {
        let delivery = Delivery::of_recorded(&scheduled.delivery).ok()?;
        let mut once = delivery.has_barrier().then(Box::<OnceRecord>::default)?;
        let named = self.is_named(work) || self.spec.order.rerun.contains(&scheduled.name);
        let is_unknown = match work.ended {
            Some((end, _)) => {
                let undone = matches!(self.cut.because, Because::Failure { .. } | Because::LastTurn);
                !undone && self.timeline.has_unknown_end(end)
            }
            None => {
                let mut outstanding = self.outstanding(work).filter_map(|task| task.once.as_ref());
                self.left(work).any(|left| left.in_doubt)
                    || outstanding.any(|once| once.stage() != Stage::Queued)
            }
        };
        if matches!(delivery, Delivery::AtMostOnce(_)) && !named && is_unknown {
            let at = self.timeline.event(work.scheduled).at;
            let token = self.left(work).map(|left| left.token.clone()).next();
            let present = self.outstanding(work).find_map(|task| task.once.as_ref());
            match present {
                Some(present) => {
                    once.attempts.clone_from(&present.attempts);
                    once.enter(Stage::Out);
                    once.attempts.iter_mut().for_each(|attempt| attempt.left = true);
                }
                None => once.was_left(self.delivery(work), at.0, token.unwrap_or_default()),
            }
        }
        Some(once)
    }

    /// How often the work was handed out: no attempt on the new branch has the number of an earlier one.
    pub(super) fn delivery(&self, work: &Work) -> u32 {
        let present = self.outstanding(work).map(|task| task.delivery);
        let left = self.left(work).map(|task| task.delivery);
        let ended = work.ended.map_or(0, |(end, _)| self.timeline.delivery(end));
        let elsewhere = self.elsewhere.as_ref().map_or(0, |elsewhere| elsewhere.delivery(work));
        present.chain(left).chain([ended, elsewhere]).max().unwrap_or(0)
    }

    /// What the present branch still has of an activity.
    fn outstanding(&self, work: &Work) -> impl Iterator<Item = &TaskRecord> {
        let (event, origin) = (work.scheduled as u64, self.origin(work));
        let tasks = self.record.tasks.iter().filter(move |task| task.event == event);
        tasks.filter(move |task| self.record.origin(task.event) == origin)
    }

    /// What is remembered of an activity that a branch was left with.
    fn left(&self, work: &Work) -> impl Iterator<Item = &LeftTask> {
        let name = (self.origin(work), work.scheduled as u64);
        let left = self.record.rewinds.iter().flat_map(|rewinds| &rewinds.left);
        left.filter(move |left| (left.branch, left.event) == name)
    }
}

impl Timeline<'_> {
    /// Whether an activity was given up by this event although an attempt may have run to its end: nobody knew, or its time
    /// was over.
    pub(super) fn has_unknown_end(&self, at: usize) -> bool {
        let EventKind::TaskFailed(failed) = &self.event(at).kind else { return false };
        let kind = failed.failure.as_ref().map_or("", |failure| &failure.kind);
        failed.delivery > 0
            && failed.settled_by.is_empty()
            && (kind == kind::UNKNOWN_OUTCOME || kind == kind::TIMEOUT)
    }
}

/// What another branch knows of an activity that runs at most once, and of which nobody knows how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeftAttempt {
    /// The branch.
    pub(crate) branch: u32,
    /// The event that scheduled it there.
    pub(crate) event: u64,
    /// Its number there.
    pub(crate) task: u32,
    /// The step that it went on with itself.
    pub(crate) step: Option<Step>,
    /// The delivery with which it was given up; 0 if it had not ended.
    pub(crate) delivery: u32,
    /// The operator wants it to run again.
    pub(crate) again: bool,
}

impl InstanceRecord {
    /// The step that goes on with an attempt of another branch, its last delivery, and the token of that one; `None` if no
    /// attempt of it was ever handed over.
    pub(crate) fn left_step(&self, found: &LeftAttempt) -> Option<(Step, OnceRecord, u32)> {
        let left = self.rewinds.as_ref().map_or(&[][..], |rewinds| &rewinds.left);
        let find = |branch, event| left.iter().find(|left| (left.branch, left.event) == (branch, event));
        let branch = self.origin_on(found.branch, found.event);
        let own = find(branch, found.event);
        if found.delivery == 0 && !own.is_some_and(|own| own.in_doubt) {
            return None;
        }
        let step = found.step.unwrap_or(Step { branch, event: found.event, task: found.task });
        let known = [own, find(step.branch, step.event)];
        let delivery = known.iter().flatten().map(|left| left.delivery).max().unwrap_or(0);
        let delivery = delivery.max(found.delivery);
        let mut once = OnceRecord::default();
        if !found.again {
            let token = own.filter(|own| own.delivery == delivery).map(|own| own.token.clone());
            once.was_left(delivery, 0, token.unwrap_or_default());
        }
        Some((step, once, delivery))
    }
}
