//! What the present branch has that the branch does not which an operator goes back to: it must not be lost either.

use super::plan::Subject;
use super::reuse::{self, Entry, Found, ReuseSource, Sort};
use super::timeline::{Timeline, Work, WorkKind};
use crate::history::{Event, EventKind};
use bytes::Bytes;
use rustc_hash::FxHashMap;
use std::collections::{BTreeSet, VecDeque};

/// The present branch, seen from another one.
pub(super) struct Elsewhere<'a> {
    pub(super) timeline: Timeline<'a>,
    events: Vec<&'a Event>,
    /// How many events both begin with.
    common: usize,
}

impl<'a> Elsewhere<'a> {
    pub(super) fn of(subject: Subject<'a>) -> Elsewhere<'a> {
        let both = subject.history.iter().zip(subject.present);
        Elsewhere {
            timeline: Timeline::of(subject.present, subject.pending),
            events: subject.present.iter().chain(subject.pending).collect(),
            common: both.take_while(|(other, present)| other == present).count(),
        }
    }

    /// The result that work which both branches have scheduled has had here, and where it ended.
    pub(super) fn result(&self, work: &Work) -> Option<(usize, Option<Bytes>)> {
        if work.scheduled >= self.common {
            return None;
        }
        let (end, well) = self.timeline.work_at(work.scheduled)?.ended?;
        well.then(|| (end, reuse::output(self.timeline.event(end))))
    }

    /// Work of the other branch that has not ended well there, and that this one was asked for under another number: both.
    pub(super) fn same_work(&self, other: &Timeline<'_>) -> Vec<(Work, Work)> {
        let source = ReuseSource { from: self.common as u64, ..ReuseSource::default() };
        let mut here: FxHashMap<Sort, VecDeque<usize>> = FxHashMap::default();
        for entry in reuse::entries(&self.timeline, &source) {
            here.entry(entry.sort).or_default().push_back(entry.scheduled);
        }
        let there = reuse::entries(other, &source);
        // What this branch has from the other one is a success of no other work of that.
        for entry in &there {
            if let (Some(Found::Result(output)), Some(same)) = (&entry.found, here.get_mut(&entry.sort))
                && let Some(at) = same.iter().position(|at| self.is_copy(*at, output))
            {
                same.remove(at);
            }
        }
        let mut both = Vec::new();
        for entry in there.into_iter().filter(|entry| !matches!(entry.found, Some(Found::Result(_)))) {
            let same = here.get_mut(&entry.sort).and_then(VecDeque::pop_front);
            let same = same.and_then(|at| self.timeline.work_at(at));
            let work = other.work_at(entry.scheduled).filter(|work| {
                matches!(work.kind, WorkKind::Activity | WorkKind::Child)
                    && !work.ended.is_some_and(|(_, well)| well)
            });
            both.extend(work.copied().zip(same.copied()));
        }
        both
    }

    /// Whether an activity has a result here that is no attempt's: it is another branch's, which may be this one.
    fn is_copy(&self, scheduled: usize, of: &Option<Bytes>) -> bool {
        let end = self.timeline.work_at(scheduled).and_then(|work| work.ended);
        let event = end.map(|(end, _)| self.timeline.event(end));
        event.is_some_and(|event| match &event.kind {
            EventKind::TaskCompleted(done) => done.delivery == 0 && done.output == *of,
            _ => false,
        })
    }

    /// Work that only this branch was asked for, and has done, with where it ended.
    pub(super) fn only_here(&self, other: &Timeline<'_>) -> Vec<(Work, usize)> {
        let (source, both) = self.source(other, ReuseSource::default());
        let both: BTreeSet<usize> = both.into_iter().collect();
        let entries = reuse::entries(&self.timeline, &source).into_iter().enumerate();
        let only = entries.filter(|(index, _)| !both.contains(index));
        let done = only.filter_map(|(_, entry)| {
            let work = self.timeline.work_at(entry.scheduled)?;
            let (end, well) = work.ended?;
            let is_call = matches!(work.kind, WorkKind::Activity | WorkKind::Child);
            (well && is_call && end < self.timeline.recorded).then_some((*work, end))
        });
        done.collect()
    }

    /// The delivery that ended an activity here which both branches have scheduled; 0 if there is none.
    pub(super) fn delivery(&self, work: &Work) -> u32 {
        let here = self.timeline.work_at(work.scheduled).filter(|_| work.scheduled < self.common);
        here.and_then(|here| here.ended).map_or(0, |(end, _)| self.timeline.delivery(end))
    }

    /// External events that only this branch has.
    pub(super) fn external_events(&self, known: &Timeline<'_>) -> Vec<Event> {
        let is_external = |event: &&Event| matches!(event.kind, EventKind::EventRaised(_));
        let mut known: Vec<&Event> = (0..known.len()).map(|at| known.event(at)).filter(is_external).collect();
        let mut only_here = Vec::new();
        for event in self.events.iter().copied().filter(is_external) {
            match known.iter().position(|known| *known == event) {
                Some(at) => drop(known.swap_remove(at)),
                None => only_here.push(event.clone()),
            }
        }
        only_here
    }

    /// What was done here and not on the other branch, as a source of results; and which entries the other one has too.
    pub(super) fn source(&self, other: &Timeline<'_>, template: ReuseSource) -> (ReuseSource, Vec<usize>) {
        let results = self.timeline.late_results(self.common).collect();
        let mut source = ReuseSource { from: self.common as u64, results, ..template };
        let entries = reuse::entries(&self.timeline, &source);
        source.entries = entries.len() as u32;
        let there =
            reuse::entries(other, &ReuseSource { from: self.common as u64, ..ReuseSource::default() });
        let mut counts: FxHashMap<Sort, usize> = FxHashMap::default();
        for Entry { sort, .. } in there {
            *counts.entry(sort).or_default() += 1;
        }
        let mut both = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            if let Some(count) = counts.get_mut(&entry.sort).filter(|count| **count > 0) {
                *count -= 1;
                both.push(index);
            }
        }
        (source, both)
    }
}
