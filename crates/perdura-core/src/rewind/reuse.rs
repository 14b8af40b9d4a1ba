//! Results of a part that was dropped, to be used again when the new branch asks for the same: the same kind of work, of
//! the same name, with the same input. Several of one sort are used in the order in which they were asked for.
//!
//! The results stay where they were recorded. An instance keeps where they are and which of them it has used; the table
//! is made from the old branch, and made again when it is needed after a restart.

use super::attempts::LeftAttempt;
use super::branches::DoneElsewhere;
use super::role::Role;
use super::spec::Replaced;
use super::timeline::{Timeline, WorkKind};
use crate::delivery::Delivery;
use crate::history::{
    EntityOperationCalled, EntityOperationSignaled, Event, EventKind, EventSent, SubOrchestrationCompleted,
    SubOrchestrationScheduled, TaskCompleted, TaskScheduled,
};
use crate::partition::TaskName;
use crate::time::Timestamp;
use bytes::Bytes;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The tag of a call whose value stands for its input: calls of one name with the same value are the same call.
const KEY_TAG: &str = "idempotency-key";

/// A part of a branch whose results may be used again.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ReuseSource {
    /// The branch.
    #[prost(uint32, tag = "1")]
    pub branch: u32,
    /// The first event of the part; it ends with the branch.
    #[prost(uint64, tag = "2")]
    pub from: u64,
    /// Only what was sent counts, so that it is not sent again.
    #[prost(bool, tag = "3")]
    pub no_results: bool,
    /// Work of these names runs again.
    #[prost(string, repeated, tag = "4")]
    pub rerun: Vec<String>,
    /// Work that these events scheduled runs again.
    #[prost(uint64, repeated, tag = "5")]
    pub rerun_events: Vec<u64>,
    /// Results in the place of recorded ones.
    #[prost(message, repeated, tag = "6")]
    pub results: Vec<Replaced>,
    /// How many entries it gives.
    #[prost(uint32, tag = "7")]
    pub entries: u32,
    /// Work of these names runs again although it has one of the results above: a later rewind says so.
    #[prost(string, repeated, tag = "8")]
    pub outdated: Vec<String>,
    /// If there are any: only work that ended with these events, wherever it was scheduled.
    #[prost(uint64, repeated, tag = "9")]
    pub ends: Vec<u64>,
}

/// What an instance keeps of the results that it may use again.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ReuseState {
    /// Where they are, in the order in which they are used.
    #[prost(message, repeated, tag = "1")]
    pub sources: Vec<ReuseSource>,
    /// One bit for each entry of all sources, lowest first: it has been used.
    #[prost(bytes = "vec", tag = "2")]
    pub used: Vec<u8>,
    /// Work of the sources that another branch has done; here `branch` is that of the source.
    #[prost(message, repeated, tag = "3")]
    pub done: Vec<DoneElsewhere>,
    /// Results for work that is open at the cut, before the next turn.
    #[prost(message, repeated, tag = "4")]
    pub due: Vec<ResultDue>,
}

/// The result of another branch for work that is open.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ResultDue {
    /// The number of the work.
    #[prost(uint32, tag = "1")]
    pub task: u32,
    /// It is a child.
    #[prost(bool, tag = "2")]
    pub is_child: bool,
    /// The branch that has the result.
    #[prost(uint32, tag = "3")]
    pub holder: u32,
    /// The number of the event there.
    #[prost(uint64, tag = "4")]
    pub end: u64,
}

impl ResultDue {
    /// The event that brings it; the number of no attempt of this branch is in it.
    pub(crate) fn event(&self, at: Timestamp, end: &Event) -> Event {
        let (id, output) = (self.task, output(end));
        match self.is_child {
            true => Event::new(at, SubOrchestrationCompleted { id, output }),
            false => Event::new(at, TaskCompleted { id, output, ..TaskCompleted::default() }),
        }
    }
}

impl ReuseState {
    /// Entries of all sources.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.sources.iter().map(|source| source.entries as usize).sum()
    }

    /// The branches whose histories are needed.
    pub(crate) fn branches(&self) -> BTreeSet<u32> {
        let sources = self.sources.iter().map(|source| source.branch);
        let done = self.done.iter().map(|done| done.holder);
        sources.chain(done).chain(self.due.iter().map(|due| due.holder)).collect()
    }

    pub(super) fn is_used(&self, entry: usize) -> bool {
        self.used.get(entry / 8).is_some_and(|byte| byte >> (entry % 8) & 1 == 1)
    }

    pub(crate) fn mark_used(&mut self, entry: usize) {
        if self.used.len() <= entry / 8 {
            self.used.resize(entry / 8 + 1, 0);
        }
        self.used[entry / 8] |= 1 << (entry % 8);
    }
}

/// What was found for work that is scheduled again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It ended well, with this.
    Result(Option<Bytes>),
    /// It has left, and is not to leave again.
    Sent,
    /// The child is there, perhaps: it has not ended well.
    Child(String),
    /// The call of an entity had no result when the branch was left; perhaps it is under way.
    Call(TaskName),
    /// Nobody knows how an activity ended that runs at most once, or whether it had begun when the branch was left.
    Attempt(LeftAttempt),
    /// The operator wants it to run again.
    Rerun,
}

/// What makes two pieces of work the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sort {
    kind: u8,
    name: String,
    /// Whom an event is sent to.
    to: String,
    input: Option<Bytes>,
}

/// One entry of a source.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// The event that scheduled it.
    pub(super) scheduled: usize,
    pub(super) sort: Sort,
    pub(super) found: Option<Found>,
}

impl Sort {
    pub(crate) fn of_task(task: &TaskScheduled) -> Sort {
        match task.tags.get(KEY_TAG) {
            Some(key) => Sort::new(1, &task.name, "", Some(Bytes::copy_from_slice(key.as_bytes()))),
            None => Sort::new(0, &task.name, "", task.input.clone()),
        }
    }

    pub(crate) fn of_child(child: &SubOrchestrationScheduled) -> Sort {
        Sort::new(if child.detached { 3 } else { 2 }, &child.name, "", child.input.clone())
    }

    pub(crate) fn of_sent(sent: &EventSent) -> Sort {
        Sort::new(4, &sent.name, &sent.instance, sent.input.clone())
    }

    pub(crate) fn of_call(called: &EntityOperationCalled) -> Sort {
        Sort::new(5, &called.operation, &called.entity, called.input.clone())
    }

    pub(crate) fn of_signal(sent: &EntityOperationSignaled) -> Sort {
        Sort::new(6, &sent.operation, &sent.entity, sent.input.clone())
    }

    fn new(kind: u8, name: &str, to: &str, input: Option<Bytes>) -> Sort {
        Sort { kind, name: name.into(), to: to.into(), input }
    }

    pub(super) fn of(event: &EventKind) -> Option<Sort> {
        match event {
            EventKind::TaskScheduled(task) => Some(Sort::of_task(task)),
            EventKind::SubOrchestrationScheduled(child) => Some(Sort::of_child(child)),
            EventKind::EventSent(sent) => Some(Sort::of_sent(sent)),
            EventKind::EntityOperationCalled(called) => Some(Sort::of_call(called)),
            EventKind::EntityOperationSignaled(sent) => Some(Sort::of_signal(sent)),
            _ => None,
        }
    }
}

/// The entries of a source, in the order in which they were scheduled: one for each call and each sending, so that their
/// numbers depend on the history alone.
pub(super) fn entries(timeline: &Timeline<'_>, source: &ReuseSource) -> Vec<Entry> {
    let ended = |end: &u64| timeline.work_at(usize::try_from(*end).ok()?).map(|work| work.scheduled);
    if !source.ends.is_empty() {
        let entry = |at: usize| {
            let sort = Sort::of(&timeline.event(at).kind)?;
            Some(Entry { scheduled: at, sort, found: what_is_found(timeline, source, at) })
        };
        return source.ends.iter().filter_map(ended).filter_map(entry).collect();
    }
    let from = usize::try_from(source.from).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    for at in from..timeline.recorded {
        if !timeline.role(at).is_decision() {
            continue;
        }
        if let Some(sort) = Sort::of(&timeline.event(at).kind) {
            found.push(Entry { scheduled: at, sort, found: what_is_found(timeline, source, at) });
        }
    }
    found
}

fn what_is_found(timeline: &Timeline<'_>, source: &ReuseSource, at: usize) -> Option<Found> {
    if timeline.role(at) == Role::Sends {
        return Some(Found::Sent);
    }
    let work = timeline.work_at(at)?;
    let is_outdated = source.outdated.iter().any(|name| name == timeline.name(work));
    let replaced = source.results.iter().find(|replaced| replaced.event == at as u64 && !is_outdated);
    if let Some(replaced) = replaced {
        return Some(Found::Result(replaced.payload.clone()));
    }
    let rerun = source.rerun.iter().any(|name| name == timeline.name(work))
        || source.rerun_events.contains(&(at as u64));
    match work.ended {
        Some((_, true)) if rerun => Some(Found::Rerun),
        Some((_, true)) if source.no_results => None,
        Some((end, true)) => Some(Found::Result(output(timeline.event(end)))),
        None if work.kind == WorkKind::EntityCall && !rerun && !source.no_results => {
            Some(Found::Call(TaskName { branch: source.branch, task: work.id }))
        }
        ended => match &timeline.event(at).kind {
            EventKind::TaskScheduled(task)
                if !source.no_results
                    && runs_at_most_once(task)
                    // Of a call under a key that was given up, the key knows it.
                    && ended.is_none_or(|(end, _)| task.key.is_none() && timeline.has_unknown_end(end)) =>
            {
                let delivery = ended.map_or(0, |(end, _)| timeline.delivery(end));
                let (branch, event, step) = (source.branch, at as u64, task.step);
                let found = LeftAttempt { branch, event, task: work.id, step, delivery, again: rerun };
                Some(Found::Attempt(found))
            }
            EventKind::SubOrchestrationScheduled(child) if work.kind == WorkKind::Child => {
                Some(Found::Child(child.instance.clone()))
            }
            _ => None,
        },
    }
}

fn runs_at_most_once(task: &TaskScheduled) -> bool {
    matches!(Delivery::of_recorded(&task.delivery), Ok(Delivery::AtMostOnce(_)))
}

pub(super) fn output(event: &Event) -> Option<Bytes> {
    match &event.kind {
        EventKind::TaskCompleted(done) => done.output.clone(),
        EventKind::SubOrchestrationCompleted(done) => done.output.clone(),
        EventKind::EntityOperationCompleted(done) => done.output.clone(),
        _ => None,
    }
}

/// Results that may be used again, by what asks for them.
#[derive(Debug, Default)]
pub(crate) struct ReuseTable {
    by_sort: FxHashMap<Sort, VecDeque<(usize, Found)>>,
}

impl ReuseTable {
    /// The table of what is left, from the histories of its sources in their order. What open work gets of it is used.
    pub(crate) fn new(state: &mut ReuseState, histories: &BTreeMap<u32, Vec<Event>>) -> ReuseTable {
        let timeline = |branch| Timeline::of(histories.get(&branch).map_or(&[][..], Vec::as_slice), &[]);
        let due: BTreeSet<_> = state.due.iter().map(|due| (due.holder, due.end)).collect();
        let (mut all, mut ends, mut used, mut first) = (Vec::new(), BTreeSet::new(), Vec::new(), 0);
        for source in &state.sources {
            let timeline = timeline(source.branch);
            for (index, entry) in entries(&timeline, source).into_iter().enumerate() {
                let number = first + index;
                if !state.is_used(number) {
                    let ended = timeline.work_at(entry.scheduled).and_then(|work| work.ended);
                    let has_result = matches!(entry.found, Some(Found::Result(_)));
                    let end = ended.filter(|(_, well)| *well && has_result);
                    let end = end.map(|(end, _)| (source.branch, end as u64));
                    if end.is_some_and(|end| due.contains(&end)) {
                        used.push(number);
                        continue;
                    }
                    if end.is_some_and(|end| !ends.insert(end)) && !source.ends.is_empty() {
                        continue;
                    }
                    all.push((number, source.branch, entry));
                }
            }
            first += source.entries as usize;
        }
        used.into_iter().for_each(|entry| state.mark_used(entry));
        let mut table = ReuseTable::default();
        for (number, branch, entry) in all {
            let has_own = matches!(entry.found, Some(Found::Result(_) | Found::Sent | Found::Rerun));
            let name = (branch, entry.scheduled as u64);
            let done = state.done.iter().rev().find(|done| !has_own && (done.branch, done.event) == name);
            // The branch that has done it may be a source itself.
            let done = done.filter(|done| !ends.contains(&(done.holder, done.end)));
            let done = done.and_then(|done| histories.get(&done.holder)?.get(done.end as usize));
            let found = done.map(|end| Found::Result(output(end))).or(entry.found);
            if let Some(found) = found {
                table.by_sort.entry(entry.sort).or_default().push_back((number, found));
            }
        }
        table
    }

    /// The next entry of a sort, which is used by this.
    pub(crate) fn take(&mut self, sort: &Sort) -> Option<(usize, Found)> {
        self.by_sort.get_mut(sort)?.pop_front()
    }
}
