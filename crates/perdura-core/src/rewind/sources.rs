//! The results that a new branch may use, and where they are.

use super::opening::Drawing;
use super::plan::ChildPlan;
use super::reuse::{self, Found, ResultDue, ReuseSource, ReuseState};
use super::spec::{Replaced, RewindTo};
use rustc_hash::FxHashSet;

impl Drawing<'_> {
    /// The results that the new branch may use, and where they are.
    pub(super) fn reuse(&mut self, due: Vec<ResultDue>) -> Option<ReuseState> {
        let order = &self.spec.order;
        let mut rerun = order.rerun.clone();
        if let RewindTo::Call(name) = &self.spec.to {
            rerun.push(name.clone());
        }
        let dropped = |at: &usize| *at >= self.cut.at;
        // Results that came too late for the history count as well, unless their work is to run again.
        let runs_again = |late: &Replaced| {
            let at = late.event as usize;
            let name = self.timeline.work_at(at).map(|work| self.timeline.name(work));
            let is_named = name.is_some_and(|name| rerun.iter().any(|rerun| rerun == name));
            order.no_reuse || is_named || self.cut.rerun.iter().any(|event| *event == at)
        };
        let late = self.timeline.late_results(self.cut.at).filter(|late| !runs_again(late));
        let given = self.results.iter().filter(|(at, _)| dropped(at));
        let given = given.map(|(at, payload)| Replaced { event: *at as u64, payload: payload.clone() });
        let results = given.chain(late).collect();
        let mut source = ReuseSource {
            branch: self.plan.from_branch,
            from: self.plan.cut,
            no_results: order.no_reuse,
            rerun: rerun.clone(),
            rerun_events: self.cut.rerun.iter().filter(|at| dropped(at)).map(|at| *at as u64).collect(),
            results,
            ..ReuseSource::default()
        };
        let entries = reuse::entries(self.timeline, &source);
        source.entries = entries.len() as u32;
        let done = self.done_of(&source);
        let done: FxHashSet<u64> = done.map(|done| done.event).collect();
        for entry in &entries {
            let has_result = match entry.found {
                Some(Found::Result(_)) => !self.is_served(entry.scheduled),
                Some(Found::Call(name)) => self.record.has_call_under_way(name),
                Some(Found::Sent | Found::Rerun) => false,
                _ => done.contains(&(entry.scheduled as u64)),
            };
            if let Some((Found::Child(instance), work)) =
                entry.found.as_ref().zip(self.timeline.work_at(entry.scheduled))
            {
                let (event, instance) = (entry.scheduled as u64, instance.clone());
                self.plan.children_asked_again.push(ChildPlan { event, task: work.id, instance });
            }
            let Some(work) = self.timeline.work_at(entry.scheduled) else { continue };
            let has_succeeded = work.ended.is_some_and(|(_, well)| well);
            let reference = self.reference(work);
            if has_result {
                self.plan.reused.push(reference);
            } else if entry.found == Some(Found::Rerun) || order.no_reuse && has_succeeded {
                self.plan.rerun.push(reference);
            }
        }
        let template = ReuseSource { branch: self.record.branch, entries: 0, ..source.clone() };
        let mut state = ReuseState { sources: vec![source], due, ..ReuseState::default() };
        if let Some(elsewhere) = &self.elsewhere {
            let template = ReuseSource { rerun_events: Vec::new(), results: Vec::new(), ..template };
            let (source, both) = elsewhere.source(self.timeline, template);
            both.into_iter().for_each(|entry| state.mark_used(entries.len() + entry));
            state.sources.push(source);
        }
        let earlier = self.record.rewinds.as_ref().and_then(|rewinds| rewinds.reuse.as_ref());
        let mut first = 0;
        for source in earlier.iter().flat_map(|earlier| &earlier.sources) {
            // What the branch itself has, it has. What others have of tries that failed is found again.
            if source.branch != self.plan.from_branch && source.ends.is_empty() {
                let at = state.entries();
                for entry in 0..source.entries as usize {
                    if earlier.is_some_and(|earlier| earlier.is_used(first + entry)) {
                        state.mark_used(at + entry);
                    }
                }
                let mut source = source.clone();
                source.no_results |= order.no_reuse;
                if order.no_reuse {
                    source.results.clear();
                }
                source.rerun.extend(rerun.iter().cloned());
                source.outdated.extend(rerun.iter().cloned());
                state.sources.push(source);
            }
            first += source.entries as usize;
        }
        self.add_done(&mut state);
        self.add_spare(&mut state, &rerun);
        (state.entries() > 0 || !state.due.is_empty()).then_some(state)
    }

    /// Whether a call which is open at the cut gets the result of this one, which the cut drops.
    fn is_served(&self, scheduled: usize) -> bool {
        let ended = self.timeline.work_at(scheduled).and_then(|work| work.ended);
        ended.is_some_and(|(end, _)| self.spare.served.contains(&(self.plan.from_branch, end as u64)))
    }
}
