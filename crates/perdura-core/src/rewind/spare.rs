//! Calls that code makes again by itself: a try that failed does not stand for one that succeeded. A success that no call
//! of the new branch has, of whatever try and on whatever branch, is for the next of these calls, and for one of them.

use super::branches::DoneElsewhere;
use super::opening::Drawing;
use super::reuse::{ReuseSource, ReuseState, Sort};
use super::timeline::{Timeline, Work, WorkKind};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::VecDeque;

/// Where a success is: the branch, and the number of the event there.
type Place = (u32, u64);

/// Successes that no call of the new branch has.
#[derive(Default)]
pub(super) struct Spare {
    by_sort: FxHashMap<Sort, VecDeque<Place>>,
    /// Those that calls which are open at the cut get.
    pub(super) served: FxHashSet<Place>,
}

pub(super) fn is_call(work: &&Work) -> bool {
    matches!(work.kind, WorkKind::Activity | WorkKind::Child)
}

fn sort_of(timeline: &Timeline<'_>, work: &Work) -> Option<Sort> {
    Sort::of(&timeline.event(work.scheduled).kind)
}

impl Drawing<'_> {
    /// Finds the successes that calls which are open at the cut may get: of later calls, which the cut drops, and of
    /// other branches.
    pub(super) fn find_spare(&mut self) {
        let order = &self.spec.order;
        if order.no_reuse {
            return;
        }
        let mut by_sort: FxHashMap<Sort, VecDeque<Place>> = FxHashMap::default();
        let mut add = |timeline: &Timeline<'_>, work: &Work, place| {
            let again = order.rerun.iter().any(|name| name == timeline.name(work));
            if let Some(sort) = sort_of(timeline, work).filter(|_| !again) {
                by_sort.entry(sort).or_default().push_back(place);
            }
        };
        let timeline = self.timeline;
        let done = self.done_by_name();
        let is_named = |at: usize| self.results.contains_key(&at) || self.cut.rerun == Some(at);
        let place = |done: &&DoneElsewhere| (done.holder, done.end);
        let dropped = timeline.work.iter().filter(is_call).filter(|work| work.scheduled >= self.cut.at);
        for work in dropped.filter(|work| !is_named(work.scheduled)) {
            let is_other = timeline.given_input(work, timeline.recorded).is_some();
            let own = work.ended.filter(|(end, well)| *well && *end < timeline.recorded && !is_other);
            let own = own.map(|(end, _)| (self.plan.from_branch, end as u64));
            let known = || done.get(&(self.origin(work), work.scheduled as u64)).map(place);
            if let Some(place) = own.or_else(known) {
                add(timeline, work, place);
            }
        }
        for (work, end) in self.elsewhere.iter().flat_map(|elsewhere| elsewhere.only_here(timeline)) {
            if let Some(elsewhere) = &self.elsewhere {
                add(&elsewhere.timeline, &work, (self.record.branch, end as u64));
            }
        }
        for (work, done) in self.failed_tries(&done) {
            add(timeline, work, place(&done));
        }
        self.spare.by_sort = by_sort;
    }

    /// The success that a call which is open at the cut gets.
    pub(super) fn spare_for(&mut self, work: &Work) -> Option<Place> {
        if !is_call(&work) || self.given(work) != 0 {
            return None;
        }
        let place = self.spare.by_sort.get_mut(&sort_of(self.timeline, work)?)?.pop_front()?;
        self.spare.served.insert(place);
        Some(place)
    }

    /// Successes that other branches have of tries that are kept, and failed: the next call is not to try again.
    pub(super) fn add_spare(&mut self, state: &mut ReuseState, rerun: &[String]) {
        let done = self.done_by_name();
        let mut used_up = self.reused_after_failure();
        let is_present = self.elsewhere.is_none();
        let mut found = Vec::new();
        for (work, done) in self.failed_tries(&done) {
            let place = (done.holder, done.end);
            if rerun.contains(&done.name) || self.spare.served.contains(&place) {
                continue;
            }
            let is_used = match self.was_used(place) {
                Some(used) if used || is_present => used,
                _ => {
                    let left = sort_of(self.timeline, work).and_then(|sort| used_up.get_mut(&sort));
                    left.filter(|left| **left > 0).map(|left| *left -= 1).is_some()
                }
            };
            found.push((place, is_used, self.reference(work)));
        }
        for ((branch, end), is_used, reference) in found {
            if is_used {
                state.mark_used(state.entries());
            } else {
                self.plan.reused.push(reference);
            }
            state.sources.push(ReuseSource { branch, ends: vec![end], entries: 1, ..ReuseSource::default() });
        }
    }

    fn done_by_name(&self) -> FxHashMap<Place, &DoneElsewhere> {
        self.opening.done.iter().map(|done| ((done.branch, done.event), done)).collect()
    }

    /// Calls that are kept, and failed, and that another branch has done.
    fn failed_tries<'a>(
        &'a self,
        done: &FxHashMap<Place, &'a DoneElsewhere>,
    ) -> Vec<(&'a Work, &'a DoneElsewhere)> {
        let is_kept = |work: &&Work| work.ended.is_some_and(|(end, well)| !well && end < self.cut.at);
        let failed = self.timeline.work.iter().filter(is_call).filter(is_kept);
        let name = |work: &Work| (self.origin(work), work.scheduled as u64);
        failed.filter_map(|work| Some((work, *done.get(&name(work))?))).collect()
    }

    /// Whether the present branch has used a success of another one, if that was for it to use.
    fn was_used(&self, place: Place) -> Option<bool> {
        let earlier = self.record.rewinds.as_ref()?.reuse.as_ref()?;
        let mut first = 0;
        for source in &earlier.sources {
            if source.branch == place.0 && source.ends.contains(&place.1) {
                return Some(earlier.is_used(first));
            }
            first += source.entries as usize;
        }
        None
    }

    /// How many calls of a sort have the result of another branch after a try that failed: no attempt of them has a number.
    fn reused_after_failure(&self) -> FxHashMap<Sort, usize> {
        let mut reused = FxHashMap::default();
        for work in self.timeline.work.iter().filter(is_call) {
            let Some(sort) = sort_of(self.timeline, work) else { continue };
            match work.ended {
                Some((_, false)) => drop(reused.entry(sort).or_insert(0)),
                Some((end, true)) if self.timeline.delivery(end) == 0 => {
                    reused.entry(sort).and_modify(|count| *count += 1);
                }
                _ => {}
            }
        }
        reused
    }
}
