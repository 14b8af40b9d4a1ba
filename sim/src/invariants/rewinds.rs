//! Rewinds (I28): a branch that was opened is what somebody asked for, and nothing of it is asked for twice.

use super::mirror::Seen;
use super::{Change, Checker, Group};
use perdura_core::history::{Event, EventKind, ExecutionRewound, ParentLink};
use perdura_core::partition::{Batch, Body};
use perdura_core::rewind::{BranchRecord, Head, Replaced, RewindSpec, RewindTo, Timers};
use perdura_core::{InstanceId, Status};
use std::collections::BTreeMap;

/// Rewinds that clients asked for, by request id.
#[derive(Debug, Default)]
pub(super) struct Rewinds(BTreeMap<String, (InstanceId, RewindSpec)>);

impl Rewinds {
    pub(super) fn asked(&mut self, id: &InstanceId, spec: &RewindSpec) {
        self.0.insert(spec.order.request_id.clone(), (id.clone(), spec.clone()));
    }

    /// Whether one activity was to have another input or result, or to run again.
    pub(super) fn by_hand(&self) -> bool {
        self.0.values().any(|(_, spec)| {
            let runs_again = matches!(spec.to, RewindTo::Event(_) | RewindTo::Call(_));
            runs_again || !spec.inputs.is_empty() || !spec.results.is_empty()
        })
    }
}

/// A branch that was opened, and why.
struct Opened<'a> {
    after: &'a Seen,
    branch: &'a BranchRecord,
    spec: &'a RewindSpec,
    /// The instance was named by the request; others go along as parents and children.
    is_named: bool,
    /// The history of the branch that it begins with.
    parent: &'a [Event],
}

impl Checker {
    /// An instance was written: if that opened a branch, it is judged.
    pub(super) fn branch_opened(&mut self, change: &Change<'_>) {
        let order = change.after.record.rewinds.as_ref().and_then(|rewinds| rewinds.order.as_ref());
        if order.is_some_and(|order| order.drop_events) {
            self.dropped.insert(change.after.record.execution.to_bytes());
        }
        let Some(before) = change.same_generation().filter(|_| change.is_rewound()) else {
            let result = self.nothing_used_again(change);
            return self.check(Group::Rewinds, result);
        };
        let known = before.record.branches().len();
        let after = change.after;
        let Some(branch) = after.record.branches().get(known) else { return };
        let Some((id, spec)) = self.rewinds.0.get(&branch.request_id) else {
            return self.check(Group::Rewinds, Err(format!("{after:?}: nobody asked for {branch:?}")));
        };
        let empty = Vec::new();
        let parent = after.left.get(&branch.parent).unwrap_or(&empty);
        // Its parent may come along, and take it along once more.
        let mut earlier = before.record.branches().iter();
        let is_first = earlier.all(|other| other.request_id != branch.request_id);
        let may_come_again = spec.order.with_parents && !after.record.parents.is_empty();
        let is_named = after.row.id == *id && (is_first || !may_come_again);
        let opened = Opened { after, branch, spec, is_named, parent };
        let result = (opened.is_allowed(before))
            .and_then(|()| opened.begins_as_asked())
            .and_then(|()| opened.timers_are_due())
            .and_then(|()| self.nothing_used_again(change));
        self.check(Group::Rewinds, result);
    }

    /// Parents in other partitions learn that they are to come along.
    pub(super) fn parents_taken_along(&mut self, batch: &Batch) {
        for write in &batch.writes {
            let Some(seen) = self.mirror.instances.get(&write.row.key) else { continue };
            let rewound =
                matches!(seen.history.last().map(|e| &e.kind), Some(EventKind::ExecutionRewound(_)));
            let order = seen.record.rewinds.as_ref().and_then(|rewinds| rewinds.order.as_ref());
            let wrote = write.history.as_ref().is_some_and(|row| row.count == 1);
            // One that its parent took along, which it had taken along itself, does not take it along once more.
            let Some(order) = order.filter(|order| order.with_parents && rewound && wrote) else { continue };
            let with_parents = self
                .rewinds
                .0
                .get(&order.request_id)
                .is_some_and(|(id, spec)| *id == seen.row.id && spec.order.with_parents);
            let is_away = |link: &&ParentLink| self.partition_of(&link.instance) != seen.key.partition();
            let is_told = |link: &ParentLink| {
                batch.outgoing.iter().filter_map(|envelope| envelope.open().ok()).any(|message| {
                    matches!(&message.body, Some(Body::RewindParent(body)) if body.link.as_ref() == Some(link))
                })
            };
            let missed =
                seen.record.parents.iter().filter(is_away).find(|link| with_parents && !is_told(link));
            let result =
                missed.map_or(Ok(()), |link| Err(format!("{seen:?}: its parent {link:?} is left behind")));
            self.check(Group::Rewinds, result);
        }
    }

    /// Where nothing was to be used again, no result is that of another branch.
    fn nothing_used_again(&self, change: &Change<'_>) -> Result<(), String> {
        let after = change.after;
        let Some(rewinds) = &after.record.rewinds else { return Ok(()) };
        let branch = rewinds.branches.iter().find(|opened| opened.branch == after.record.branch);
        let asked = branch.and_then(|branch| self.rewinds.0.get(&branch.request_id));
        let anew = |spec: &RewindSpec| {
            let order = &spec.order;
            spec.branch.is_none() && (order.no_reuse || order.rerun.iter().any(|name| name == "task"))
        };
        if !asked.is_some_and(|(_, spec)| rewinds.returns.is_empty() && anew(spec)) {
            return Ok(());
        }
        // What an operator has given by hand, here or earlier, stands.
        let rewinds = after.history.iter().chain(after.left.values().flatten());
        let given: Vec<_> = rewinds
            .filter_map(|event| match &event.kind {
                EventKind::ExecutionRewound(rewound) => Some(&rewound.results),
                _ => None,
            })
            .flatten()
            .collect();
        let again = change.arrived().find(|event| match &event.kind {
            EventKind::TaskCompleted(done) => {
                // A key promises that what was done under it is not done again.
                done.delivery == 0
                    && done.settled_by.is_empty()
                    && !given.iter().any(|given| given.payload == done.output)
            }
            _ => false,
        });
        match again {
            Some(event) => Err(format!("{after:?}: a result was used again, but all was to run: {event:?}")),
            None => Ok(()),
        }
    }
}

impl Opened<'_> {
    fn is_allowed(&self, before: &Seen) -> Result<(), String> {
        let (spec, after) = (self.spec, self.after);
        let status = u8::try_from(self.branch.status).ok().and_then(Status::from_number);
        if self.is_named && !spec.force && !status.is_some_and(Status::is_terminal) {
            return Err(format!("{after:?} was {status:?}, and was rewound without force"));
        }
        let (generation, branch) = (before.record.generation, before.record.branch);
        let execution = before.record.execution.id();
        let head = Head { execution, generation, branch, events: before.history.len() as u64 };
        if self.is_named && spec.head.is_some_and(|expected| expected != head) {
            return Err(format!("{after:?}: planned for {:?}, done at {head:?}", spec.head));
        }
        let same = after.record.branches().iter().filter(|b| b.request_id == self.branch.request_id).count();
        // With its parents it may come along once more, as their child.
        if self.is_named && !spec.order.with_parents && same > 1 {
            return Err(format!("{after:?}: one request has opened {same} branches"));
        }
        // It may have been suspended anew in the same batch.
        let anew = after.inbox.iter().any(|event| matches!(event.kind, EventKind::ExecutionSuspended(_)));
        if after.record.suspended.is_some() && !anew {
            return Err(format!("{after:?} was rewound, and is suspended"));
        }
        match after.record.tasks.iter().find(|task| task.attempt != 1) {
            Some(task) => Err(format!("{after:?} was rewound, and {task:?} has not its whole budget")),
            None => Ok(()),
        }
    }

    fn begins_as_asked(&self) -> Result<(), String> {
        let (spec, after) = (self.spec, self.after);
        let cut = self.branch.cut as usize;
        let here = || after.history.get(cut..).unwrap_or_default().iter().chain(&after.inbox);
        if spec.order.drop_events {
            let gone = self.parent.get(cut..).unwrap_or_default();
            let kept =
                |event: &&Event| matches!(event.kind, EventKind::EventRaised(_)) && gone.contains(event);
            if let Some(event) = here().find(kept) {
                return Err(format!("{after:?}: {event:?} was to be dropped"));
            }
        }
        if !self.is_named {
            return Ok(());
        }
        if let Some(input) = &spec.input {
            let begins = here().any(|event| match &event.kind {
                EventKind::ExecutionStarted(started) => started.input == *input,
                _ => false,
            });
            if cut != 0 || !begins {
                return Err(format!("{after:?}: rewound to {cut} without the input that was given"));
            }
        }
        let rewound = here().find_map(|event| match &event.kind {
            EventKind::ExecutionRewound(rewound) => Some(rewound),
            _ => None,
        });
        let Some(rewound) = rewound else {
            return Err(format!("{after:?}: nothing says that it was rewound"));
        };
        self.has_what_was_given(rewound)
    }

    fn has_what_was_given(&self, rewound: &ExecutionRewound) -> Result<(), String> {
        let (spec, after) = (self.spec, self.after);
        let differ = |asked: &[Replaced], recorded: &[Replaced]| {
            asked.iter().any(|given| !recorded.contains(given)) || asked.len() != recorded.len()
        };
        if differ(&spec.inputs, &rewound.inputs) || differ(&spec.results, &rewound.results) {
            return Err(format!("{after:?}: asked for {spec:?}, recorded is {rewound:?}"));
        }
        for given in spec.results.iter().filter(|given| given.event < self.branch.cut) {
            // A termination in the same batch has recorded it.
            let recorded = after.history.iter().skip(self.branch.cut as usize);
            let known = after.inbox.iter().chain(recorded).any(|event| match &event.kind {
                EventKind::TaskCompleted(done) => done.output == given.payload,
                _ => false,
            });
            // A request to cancel that is kept ends what was waited for.
            if !known && after.record.cancel_requested.is_none() {
                return Err(format!("{after:?}: the result of event {} is not delivered", given.event));
            }
        }
        Ok(())
    }

    /// Timers that were pending have the deadline of the order.
    fn timers_are_due(&self) -> Result<(), String> {
        let (after, cut, at) = (self.after, self.branch.cut as usize, self.branch.at);
        let cut_at = self.parent.get(cut).map_or(at, |event| event.at.0);
        for timer in &after.record.timers {
            // The event that created it, its time then, and when it is due since the last rewind that met it.
            let mut known: Option<(u64, i64, i64)> = None;
            for (number, event) in after.history.iter().take(cut).enumerate() {
                match (&event.kind, &mut known) {
                    (EventKind::TimerCreated(timer_of), _) if timer_of.id == timer.id => {
                        let due = timer_of.fire_at;
                        known = Some((number as u64, due - event.at.0, due));
                    }
                    (EventKind::ExecutionRewound(rewound), Some((number, .., due))) => {
                        let given = rewound.timers.iter().find(|given| given.event == *number);
                        *due = given.map_or(*due, |given| given.at);
                    }
                    _ => {}
                }
            }
            let Some((_, time, was)) = known else { continue };
            let (left, anew) = (was - cut_at, at + time);
            let due = match self.spec.order.timers() {
                Timers::Keep => was,
                Timers::Extend if left > 0 => at + left,
                Timers::Extend | Timers::Restart => anew,
            };
            if timer.fire_at != due {
                return Err(format!(
                    "{after:?}: timer {} is due {}, by the order {due}",
                    timer.id, timer.fire_at
                ));
            }
        }
        Ok(())
    }
}
