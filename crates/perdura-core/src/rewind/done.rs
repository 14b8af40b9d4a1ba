//! Work that another branch has done: it is not done again where it is open, and its numbers are not given again.

use super::branches::{DoneElsewhere, LeftTask};
use super::opening::Drawing;
use super::reuse::{self, Found, ReuseSource, ReuseState, Sort};
use super::spare::is_call;
use super::timeline::{Timeline, Work, WorkKind};
use crate::history::{EventKind, TaskScheduled};
use rustc_hash::FxHashMap;
use std::collections::{BTreeSet, VecDeque};

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
        let name = (self.origin(work), work.scheduled as u64, self.given(work));
        self.opening.done.iter().rev().find(|done| (done.branch, done.event, done.given) == name)
    }

    /// The branch whose rewind, which is kept, has given work its input; 0 if the code has.
    pub(super) fn given(&self, work: &Work) -> u32 {
        let given = self.timeline.given_input(work, self.cut.at);
        given.map_or(0, |(at, _)| self.record.origin_on(self.plan.from_branch, at as u64))
    }

    /// The same on the present branch, of work that ended there with an event.
    pub(super) fn given_here(&self, work: &Work, end: usize) -> u32 {
        let present = self.elsewhere.as_ref().map_or(self.timeline, |elsewhere| &elsewhere.timeline);
        present.given_input(work, end).map_or(0, |(at, _)| self.record.origin(at as u64))
    }

    /// Work of older branches that the branch which is left has done: one of those may be gone back to. What the operator
    /// wants to run again is not known as done any more.
    pub(super) fn remember_done(&mut self) {
        let (record, order) = (self.record, &self.spec.order);
        let present = self.elsewhere.as_ref().map_or(self.timeline, |elsewhere| &elsewhere.timeline);
        let mut done: Vec<DoneElsewhere> =
            record.rewinds.iter().flat_map(|rewinds| &rewinds.done).cloned().collect();
        let know = |done: &mut Vec<DoneElsewhere>, new: DoneElsewhere| {
            let name = |done: &DoneElsewhere| (done.branch, done.event, done.given);
            done.retain(|known| name(known) != name(&new));
            done.push(new);
        };
        let holder = record.branch;
        let cut = record.branches().iter().find(|opened| opened.branch == holder);
        for work in present.work.iter().filter(|_| cut.is_some()) {
            let (event, cut) = (work.scheduled as u64, cut.map_or(0, |opened| opened.cut));
            let is_work = matches!(work.kind, WorkKind::Activity | WorkKind::Child);
            if let Some((end, true)) = work.ended.filter(|(end, _)| is_work && *end < present.recorded)
                && event < cut
                && end as u64 >= cut
            {
                let (branch, name) = (record.origin(event), present.name(work).to_owned());
                let given = self.given_here(work, end);
                know(&mut done, DoneElsewhere { branch, event, holder, end: end as u64, name, given });
            }
        }
        for (there, here) in self.elsewhere.iter().flat_map(|elsewhere| elsewhere.same_work(self.timeline)) {
            let (branch, event) = (self.origin(&there), there.scheduled as u64);
            let name = self.timeline.name(&there).to_owned();
            // With an input by hand it is other work.
            let until = here.ended.map_or(present.len(), |(end, _)| end);
            if self.given(&there) != 0 || self.given_here(&here, until) != 0 {
                continue;
            }
            let place = match here.ended {
                Some((end, true)) if end < present.recorded => Some((holder, end as u64)),
                // A third one may have done it.
                _ => {
                    let here = (record.origin(here.scheduled as u64), here.scheduled as u64);
                    let known = done.iter().find(|known| (known.branch, known.event) == here);
                    known.map(|known| (known.holder, known.end))
                }
            };
            if let Some((holder, end)) = place.filter(|(holder, _)| *holder != self.plan.from_branch) {
                know(&mut done, DoneElsewhere { branch, event, holder, end, name, given: 0 });
            }
        }
        let mut unused = self.unused_elsewhere(&done);
        let unfinished = self.timeline.work.iter().filter(|work| !work.ended.is_some_and(|(_, well)| well));
        for work in unfinished.filter(is_call).filter(|work| self.given(work) == 0) {
            let (branch, event) = (self.origin(work), work.scheduled as u64);
            let is_known = done.iter().any(|known| (known.branch, known.event) == (branch, event));
            let sort = Sort::of(&self.timeline.event(work.scheduled).kind).filter(|_| !is_known);
            let place = sort.and_then(|sort| unused.get_mut(&sort)?.pop_front());
            if let Some((holder, end)) = place {
                let name = self.timeline.name(work).to_owned();
                done.push(DoneElsewhere { branch, event, holder, end, name, given: 0 });
            }
        }
        let again = |done: &DoneElsewhere| order.no_reuse || order.rerun.contains(&done.name);
        done.retain(|done| !again(done));
        self.opening.done = done;
    }

    /// Successes of other branches that the present one might have used, and has not: it has no copy of them.
    fn unused_elsewhere(&self, done: &[DoneElsewhere]) -> FxHashMap<Sort, VecDeque<(u32, u64)>> {
        let mut unused: FxHashMap<Sort, VecDeque<(u32, u64)>> = FxHashMap::default();
        let mut seen: BTreeSet<(u32, u64)> = done.iter().map(|done| (done.holder, done.end)).collect();
        let Some(reuse) = self.record.rewinds.as_ref().and_then(|rewinds| rewinds.reuse.as_ref()) else {
            return unused;
        };
        let mut first = 0;
        for source in &reuse.sources {
            let history = self.others.get(&source.branch).map_or(&[][..], Vec::as_slice);
            let timeline = Timeline::of(history, &[]);
            for (index, entry) in reuse::entries(&timeline, source).into_iter().enumerate() {
                let is_replaced = source.results.iter().any(|late| late.event == entry.scheduled as u64);
                let is_result = matches!(entry.found, Some(Found::Result(_))) && !is_replaced;
                let work = timeline.work_at(entry.scheduled).filter(|_| is_result);
                let Some((work, (end, _))) = work.and_then(|work| Some((work, work.ended?))) else {
                    continue;
                };
                let is_own = match work.kind {
                    WorkKind::Activity => timeline.delivery(end) > 0,
                    kind => kind == WorkKind::Child,
                };
                let is_here = end < self.timeline.len() && self.timeline.event(end) == timeline.event(end);
                if is_own
                    && !is_here
                    && !reuse.is_used(first + index)
                    && timeline.given_input(work, end).is_none()
                    && seen.insert((source.branch, end as u64))
                {
                    unused.entry(entry.sort).or_default().push_back((source.branch, end as u64));
                }
            }
            first += source.entries as usize;
        }
        unused
    }

    /// Names the results that other branches have of work of the sources.
    pub(super) fn add_done(&self, state: &mut ReuseState) {
        for source in &state.sources {
            let done = self.done_of(source);
            state.done.extend(done.map(|done| DoneElsewhere { branch: source.branch, ..done.clone() }));
        }
    }

    /// What other branches have done of the work of a source, and no call that is open at the cut gets.
    pub(super) fn done_of(&self, source: &ReuseSource) -> impl Iterator<Item = &DoneElsewhere> {
        let of_source = move |done: &&DoneElsewhere| {
            let is_of = self.record.origin_on(source.branch, done.event) == done.branch;
            let again = source.rerun.contains(&done.name) || source.rerun_events.contains(&done.event);
            let is_served = self.spare.served.contains(&(done.holder, done.end));
            is_of && done.event >= source.from && done.holder != source.branch && !again && !is_served
        };
        self.opening.done.iter().filter(|_| !source.no_results).filter(of_source)
    }
}
