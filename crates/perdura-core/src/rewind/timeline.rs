//! A history, read for a rewind: its turns, and the work that it scheduled.

use super::reuse::output;
use super::role::{Role, role};
use super::spec::Replaced;
use crate::failure::Failure;
use crate::history::{Event, EventKind};
use bytes::Bytes;
use std::collections::BTreeMap;

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkKind {
    /// An activity.
    Activity,
    /// A sub-orchestration.
    Child,
    /// A timer.
    Timer,
    /// An operation of an entity.
    EntityCall,
    /// A critical section.
    EntityLock,
}

/// Work that a history scheduled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    pub(super) kind: WorkKind,
    /// Its number as a task.
    pub(super) id: u32,
    /// The number of the event that scheduled it.
    pub(super) scheduled: usize,
    /// The number of the event that ended it, and whether it ended well.
    pub(super) ended: Option<(usize, bool)>,
}

/// See the [module](self). Events that no turn has taken yet follow those of the history.
pub(super) struct Timeline<'a> {
    events: Vec<&'a Event>,
    roles: Vec<Role>,
    /// How many of them are history.
    pub(super) recorded: usize,
    turns: Vec<usize>,
    pub(super) work: Vec<Work>,
    /// By event, the work that it schedules or ends.
    work_of: BTreeMap<usize, usize>,
    /// Rewinds that gave work another input.
    gave_inputs: Vec<usize>,
}

impl<'a> Timeline<'a> {
    pub(super) fn of(history: &'a [Event], pending: &'a [Event]) -> Timeline<'a> {
        let events: Vec<&Event> = history.iter().chain(pending).collect();
        let roles: Vec<Role> = events.iter().map(|event| role(event)).collect();
        let mut timeline = Timeline {
            gave_inputs: (0..events.len()).filter(|at| !inputs_of(events[*at]).is_empty()).collect(),
            turns: roles.iter().enumerate().filter(|(_, r)| **r == Role::Turn).map(|(at, _)| at).collect(),
            events,
            roles,
            recorded: history.len(),
            work: Vec::new(),
            work_of: BTreeMap::new(),
        };
        timeline.find_work();
        timeline
    }

    fn find_work(&mut self) {
        // The last one with a number: some SDKs schedule a retry under the number of the first try.
        let mut open: BTreeMap<(WorkKind, u32), usize> = BTreeMap::new();
        for (at, role) in self.roles.iter().enumerate() {
            match *role {
                Role::Schedules(kind, id) => {
                    open.insert((kind, id), self.work.len());
                    self.work_of.insert(at, self.work.len());
                    self.work.push(Work { kind, id, scheduled: at, ended: None });
                }
                Role::Succeeds(kind, id) | Role::Fails(kind, id) => {
                    let mut ended = open.remove(&(kind, id));
                    if ended.is_none() && *role == Role::Fails(WorkKind::EntityCall, id) {
                        // So does a critical section that cannot be granted.
                        ended = open.remove(&(WorkKind::EntityLock, id));
                    }
                    if let Some(index) = ended {
                        self.work[index].ended = Some((at, matches!(role, Role::Succeeds(..))));
                        self.work_of.insert(at, index);
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn event(&self, at: usize) -> &'a Event {
        self.events[at]
    }

    pub(super) fn role(&self, at: usize) -> Role {
        self.roles[at]
    }

    /// Where the turns begin.
    pub(super) fn turns(&self) -> &[usize] {
        &self.turns
    }

    /// Where the turn of an event begins; 0 before the first.
    pub(super) fn turn_of(&self, at: usize) -> usize {
        let before = self.turns.partition_point(|turn| *turn <= at);
        before.checked_sub(1).map_or(0, |index| self.turns[index])
    }

    /// The events that a turn brought to the code.
    pub(super) fn incoming(&self, turn: usize) -> impl Iterator<Item = usize> {
        (turn + 1..self.recorded).take_while(|at| self.roles[*at].is_incoming())
    }

    /// Whether the code decided anything from one event to another.
    pub(super) fn decides(&self, from: usize, to: usize) -> bool {
        self.roles[from..to].iter().any(|role| role.is_decision())
    }

    /// The work that an event schedules or ends.
    pub(super) fn work_at(&self, at: usize) -> Option<&Work> {
        self.work_of.get(&at).map(|index| &self.work[*index])
    }

    /// Events by which work failed, oldest first.
    pub(super) fn failures(&self) -> impl DoubleEndedIterator<Item = usize> {
        (0..self.recorded).filter(|at| matches!(self.roles[*at], Role::Fails(..)))
    }

    pub(super) fn failure(&self, at: usize) -> Option<&'a Failure> {
        match &self.events[at].kind {
            EventKind::TaskFailed(e) => e.failure.as_ref(),
            EventKind::SubOrchestrationFailed(e) => e.failure.as_ref(),
            EventKind::EntityOperationFailed(e) => e.failure.as_ref(),
            _ => None,
        }
    }

    /// The message of a failure; if it is a child's, without the child's name, as some workers are told it.
    pub(super) fn said_by_child(&self, at: usize, failure: &Failure) -> String {
        match self.work_at(at).map(|work| &self.events[work.scheduled].kind) {
            Some(EventKind::SubOrchestrationScheduled(child)) => {
                failure.clone().as_child_said(&child.instance).message
            }
            _ => failure.message.clone(),
        }
    }

    /// Whether work that the code asked for after an event has ended well, and the code has seen it.
    pub(super) fn succeeds_after(&self, at: usize) -> bool {
        let is_work = |work: &&Work| !matches!(work.kind, WorkKind::Timer | WorkKind::EntityLock);
        let later = self.work.iter().filter(is_work).filter(|work| work.scheduled > at);
        later.into_iter().any(|work| work.ended.is_some_and(|(end, well)| well && end < self.recorded))
    }

    /// What was asked for: name and input. Timers have none.
    pub(super) fn call(&self, work: &Work) -> Option<(&'a str, Option<&'a Bytes>)> {
        match &self.events[work.scheduled].kind {
            EventKind::TaskScheduled(e) => Some((&e.name, e.input.as_ref())),
            EventKind::SubOrchestrationScheduled(e) => Some((&e.name, e.input.as_ref())),
            EventKind::EntityOperationCalled(e) => Some((&e.operation, e.input.as_ref())),
            _ => None,
        }
    }

    pub(super) fn name(&self, work: &Work) -> &'a str {
        self.call(work).map_or("", |(name, _)| name)
    }

    /// The last rewind before an event that gave work another input, and the input.
    pub(super) fn given_input(&self, work: &Work, until: usize) -> Option<(usize, &'a Option<Bytes>)> {
        let before = self.gave_inputs.iter().rev().filter(|at| **at < until);
        let found = before.filter_map(|at| {
            let inputs = inputs_of(self.events[*at]).iter();
            let mut of_work = inputs.filter(|replaced| replaced.event == work.scheduled as u64);
            of_work.next().map(|replaced| (*at, &replaced.payload))
        });
        found.take_while(|(at, _)| *at > work.scheduled).next()
    }

    /// The delivery that an event ended; 0 for other events.
    pub(super) fn delivery(&self, at: usize) -> u32 {
        match &self.event(at).kind {
            EventKind::TaskCompleted(done) => done.delivery,
            EventKind::TaskFailed(failed) => failed.delivery,
            _ => 0,
        }
    }

    /// Results that arrived too late for the history, of work scheduled from an event on.
    pub(super) fn late_results(&self, from: usize) -> impl Iterator<Item = Replaced> {
        self.work.iter().filter_map(move |work| {
            let (end, well) = work.ended?;
            let late = well && end >= self.recorded && work.scheduled >= from;
            late.then(|| Replaced { event: work.scheduled as u64, payload: output(self.events[end]) })
        })
    }

    /// The last event of a kind, by role.
    pub(super) fn last(&self, wanted: Role) -> Option<usize> {
        (0..self.recorded).rev().find(|at| self.roles[*at] == wanted)
    }
}

fn inputs_of(event: &Event) -> &[Replaced] {
    match &event.kind {
        EventKind::ExecutionRewound(rewound) => &rewound.inputs,
        _ => &[],
    }
}
