//! Work that another branch has done: it is not done again where it is open, and its numbers are not given again.

use super::branches::{DoneElsewhere, LeftTask};
use super::opening::Drawing;
use super::reuse::ReuseState;
use super::timeline::{Work, WorkKind};
use crate::history::{EventKind, TaskScheduled};

impl Drawing<'_> {
    /// Activities that the branch which is left has in common with older ones, and ended itself: another rewind may go
    /// on from one of those, and has neither history to look at.
    pub(super) fn remember_ended(&mut self) {
        let record = self.record;
        let Some(opened) = record.branches().iter().find(|opened| opened.branch == record.branch) else {
            return;
        };
        let present = self.elsewhere.as_ref().map_or(self.timeline, |elsewhere| &elsewhere.timeline);
        let known = record.rewinds.iter().flat_map(|rewinds| &rewinds.left);
        for work in present.work.iter().filter(|work| work.kind == WorkKind::Activity) {
            let event = work.scheduled as u64;
            let end = work.ended.map(|(end, _)| end).filter(|end| *end as u64 >= opened.cut);
            let delivery = end.map_or(0, |end| present.delivery(end));
            if let EventKind::TaskScheduled(TaskScheduled { step: Some(step), .. }) =
                &present.event(work.scheduled).kind
                && delivery > 0
            {
                self.opening.left.push(LeftTask::of_step(*step, delivery));
            }
            if event < opened.cut && delivery > 0 {
                let branch = record.origin(event);
                let mut known = known.clone().filter(|left| (left.branch, left.event) == (branch, event));
                let in_doubt = known.any(|left| left.in_doubt);
                let id = work.id;
                self.opening.left.push(LeftTask {
                    id,
                    delivery,
                    event,
                    branch,
                    in_doubt,
                    ..LeftTask::default()
                });
            }
        }
    }

    /// What is known of work that another branch has done.
    pub(super) fn done_by(&self, work: &Work) -> Option<&DoneElsewhere> {
        let name = (self.origin(work), work.scheduled as u64);
        self.opening.done.iter().rev().find(|done| (done.branch, done.event) == name)
    }

    /// Work of older branches that the branch which is left has done: one of those may be gone back to. What the operator
    /// wants to run again is not known as done any more.
    pub(super) fn remember_done(&mut self) {
        let (record, order) = (self.record, &self.spec.order);
        let present = self.elsewhere.as_ref().map_or(self.timeline, |elsewhere| &elsewhere.timeline);
        let mut done: Vec<DoneElsewhere> =
            record.rewinds.iter().flat_map(|rewinds| &rewinds.done).cloned().collect();
        let mut know = |branch, event, end, name: &str| {
            done.retain(|known| (known.branch, known.event) != (branch, event));
            done.push(DoneElsewhere { branch, event, holder: record.branch, end, name: name.to_owned() });
        };
        let cut = record.branches().iter().find(|opened| opened.branch == record.branch);
        for work in present.work.iter().filter(|_| cut.is_some()) {
            let (event, cut) = (work.scheduled as u64, cut.map_or(0, |opened| opened.cut));
            let is_work = matches!(work.kind, WorkKind::Activity | WorkKind::Child);
            if let Some((end, true)) = work.ended.filter(|(end, _)| is_work && *end < present.recorded)
                && event < cut
                && end as u64 >= cut
            {
                know(record.origin(event), event, end as u64, present.name(work));
            }
        }
        if let Some(elsewhere) = &self.elsewhere {
            for (work, end) in elsewhere.results_for(self.timeline) {
                let event = work.scheduled as u64;
                let branch = record.origin_on(self.plan.from_branch, event);
                know(branch, event, end as u64, self.timeline.name(&work));
            }
        }
        let again = |done: &DoneElsewhere| order.no_reuse || order.rerun.contains(&done.name);
        done.retain(|done| !again(done));
        self.opening.done = done;
    }

    /// Names the results that other branches have of work of the sources.
    pub(super) fn add_done(&self, state: &mut ReuseState) {
        for source in state.sources.iter().filter(|source| !source.no_results) {
            for done in &self.opening.done {
                let is_of = self.record.origin_on(source.branch, done.event) == done.branch;
                let again = source.rerun.contains(&done.name) || source.rerun_events.contains(&done.event);
                if is_of && done.event >= source.from && done.holder != source.branch && !again {
                    state.done.push(DoneElsewhere { branch: source.branch, ..done.clone() });
                }
            }
        }
    }
}
