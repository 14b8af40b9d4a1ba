//! The store as it must be, made from committed batches alone.

use super::{Change, Checker, Group};
use crate::payload::Input;
use crate::runner::Code;
use perdura_core::history::{EntityOperationCalled, Event, EventKind, TaskScheduled, decode_events};
use perdura_core::partition::{Batch, EnvelopeId, HistoryRow, InstanceRecord, InstanceRow, InstanceWrite};
use perdura_core::rewind::assemble;
use perdura_core::{InstanceId, InstanceKey, PartitionId, Timestamp};
use perdura_store::sim::{Contents, HistoryKey};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

/// An instance as it must be stored.
#[derive(Clone)]
pub struct Seen {
    /// Its key.
    pub key: InstanceKey,
    /// Its row.
    pub row: InstanceRow,
    /// The row's record.
    pub record: InstanceRecord,
    /// The events of the record's inbox.
    pub inbox: Vec<Event>,
    /// The whole history of the present generation and branch.
    pub history: Vec<Event>,
    /// The histories of the other branches, as they were left.
    pub left: BTreeMap<u32, Vec<Event>>,
    /// The input of the present generation.
    pub input: Option<Input>,
    /// What the history has scheduled, by number.
    pub tasks: BTreeMap<u32, TaskScheduled>,
    /// Timers that the history has created: when they are due.
    pub timers: BTreeMap<u32, Timestamp>,
    /// Sub-orchestrations that the history has scheduled; whether somebody waits.
    pub children: BTreeMap<u32, bool>,
    /// Calls of entities that the history has made.
    pub calls: BTreeMap<u32, EntityOperationCalled>,
    /// Locks that the history has asked for.
    pub locks: BTreeSet<u32>,
    /// Numbers of everything that has a completion in the history.
    pub completed: BTreeSet<u32>,
    /// Its code, run once more by the checker; `None` if it is not followed any more.
    pub(super) shadow: Option<Rc<std::cell::RefCell<Code>>>,
    /// What the code says of itself, according to the shadow.
    pub(super) custom_status: Option<bytes::Bytes>,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} generation {} {}", self.row.id, self.row.generation, self.row.status)
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Mirror {
    pub(super) instances: BTreeMap<InstanceKey, Seen>,
    pub(super) ids: BTreeMap<InstanceId, InstanceKey>,
    pub(super) envelopes: BTreeSet<(PartitionId, EnvelopeId)>,
}

impl Mirror {
    /// The instance of an id.
    #[must_use]
    pub fn by_id(&self, id: &InstanceId) -> Option<&Seen> {
        self.instances.get(self.ids.get(id)?)
    }

    /// All instances.
    pub fn instances(&self) -> impl Iterator<Item = &Seen> {
        self.instances.values()
    }

    /// Whether no message is under way.
    #[must_use]
    pub fn has_no_envelopes(&self) -> bool {
        self.envelopes.is_empty()
    }
}

impl Seen {
    fn begin(row: InstanceRow, record: InstanceRecord, inbox: Vec<Event>) -> Seen {
        Seen {
            key: row.key,
            row,
            record,
            inbox,
            history: Vec::new(),
            left: BTreeMap::new(),
            input: None,
            tasks: BTreeMap::new(),
            timers: BTreeMap::new(),
            children: BTreeMap::new(),
            calls: BTreeMap::new(),
            locks: BTreeSet::new(),
            completed: BTreeSet::new(),
            shadow: None,
            custom_status: None,
        }
    }

    /// The instance on another branch: what that one keeps of the branch it left.
    fn on_branch(
        before: &Seen,
        row: InstanceRow,
        record: InstanceRecord,
        inbox: Vec<Event>,
    ) -> Result<Seen, String> {
        let mut left = before.left.clone();
        left.insert(before.record.branch, before.history.clone());
        let branch = record.branch;
        let kept = match left.remove(&branch) {
            Some(known) => known,
            None => {
                let opened = record.branches().iter().find(|opened| opened.branch == branch);
                let opened = opened.ok_or(format!("{before:?}: branch {branch} came from nowhere"))?;
                let parent =
                    left.get(&opened.parent).ok_or(format!("{before:?}: no branch {}", opened.parent))?;
                let cut = opened.cut as usize;
                parent.get(..cut).ok_or(format!("{before:?}: cut {cut} of {}", parent.len()))?.to_vec()
            }
        };
        let mut seen = Seen { left, ..Seen::begin(row, record, inbox) };
        seen.append(&kept)?;
        Ok(seen)
    }

    /// Whether some branch has recorded an event, or had it waiting when it was left.
    pub(crate) fn has_recorded(&self, event: &Event) -> bool {
        let waiting = self.record.branches().iter().filter_map(|opened| opened.untaken.clone());
        let waiting = waiting.filter_map(|untaken| decode_events(untaken).ok()).flatten();
        self.history.contains(event)
            || self.left.values().any(|history| history.contains(event))
            || waiting.into_iter().any(|waiting| waiting == *event)
    }

    /// Takes events that were appended to the history; says which of them break a rule.
    fn append(&mut self, events: &[Event]) -> Result<(), String> {
        for event in events {
            let completion = match &event.kind {
                EventKind::TaskScheduled(task) => {
                    self.tasks.insert(task.id, task.clone());
                    None
                }
                EventKind::TimerCreated(timer) => {
                    self.timers.insert(timer.id, Timestamp(timer.fire_at));
                    None
                }
                EventKind::SubOrchestrationScheduled(child) => {
                    self.children.insert(child.id, !child.detached);
                    None
                }
                EventKind::EntityOperationCalled(called) => {
                    self.calls.insert(called.id, called.clone());
                    None
                }
                EventKind::EntityLockRequested(requested) => {
                    self.locks.insert(requested.id);
                    None
                }
                kind => completion_of(kind),
            };
            self.history.push(event.clone());
            if let Some((id, known)) = completion.map(|id| (id, self.has_scheduled(&event.kind))) {
                if !known {
                    return Err(format!("{}: {} of {id} without a schedule", self.row.id, event.kind.name()));
                }
                if !self.completed.insert(id) {
                    return Err(format!("{}: a second completion of {id}", self.row.id));
                }
            }
        }
        Ok(())
    }

    /// The number of the event that scheduled an activity.
    pub(super) fn scheduled_at(&self, id: u32) -> Option<usize> {
        let is_it = |event: &Event| matches!(&event.kind, EventKind::TaskScheduled(task) if task.id == id);
        self.history.iter().position(is_it)
    }

    /// The input that an activity has: the one that it was scheduled with, or what an operator has given it since.
    pub(crate) fn input_of_task(&self, id: u32) -> Option<bytes::Bytes> {
        let scheduled = self.scheduled_at(id)?;
        let rewinds = self.history[scheduled..].iter().rev().filter_map(|event| match &event.kind {
            EventKind::ExecutionRewound(rewound) => Some(&rewound.inputs),
            _ => None,
        });
        let given = rewinds.flatten().find(|given| given.event == scheduled as u64);
        match given {
            Some(given) => given.payload.clone(),
            None => self.tasks.get(&id)?.input.clone(),
        }
    }

    fn has_scheduled(&self, kind: &EventKind) -> bool {
        match kind {
            EventKind::TaskCompleted(e) => self.tasks.contains_key(&e.id),
            EventKind::TaskFailed(e) => self.tasks.contains_key(&e.id),
            EventKind::TimerFired(e) => self.timers.contains_key(&e.id),
            EventKind::SubOrchestrationCompleted(e) => self.children.get(&e.id) == Some(&true),
            EventKind::SubOrchestrationFailed(e) => self.children.get(&e.id) == Some(&true),
            EventKind::EntityOperationCompleted(e) => self.calls.contains_key(&e.id),
            EventKind::EntityOperationFailed(e) => {
                self.calls.contains_key(&e.id) || self.locks.contains(&e.id)
            }
            EventKind::EntityLockGranted(e) => self.locks.contains(&e.id),
            _ => true,
        }
    }

    /// Numbers of what is completed in history or inbox.
    pub(super) fn is_completed(&self, id: u32) -> bool {
        self.completed.contains(&id) || self.inbox.iter().any(|e| completion_of(&e.kind) == Some(id))
    }
}

/// The number of what an event completes.
pub(super) fn completion_of(kind: &EventKind) -> Option<u32> {
    match kind {
        EventKind::TaskCompleted(e) => Some(e.id),
        EventKind::TaskFailed(e) => Some(e.id),
        EventKind::TimerFired(e) => Some(e.id),
        EventKind::SubOrchestrationCompleted(e) => Some(e.id),
        EventKind::SubOrchestrationFailed(e) => Some(e.id),
        EventKind::EntityOperationCompleted(e) => Some(e.id),
        EventKind::EntityOperationFailed(e) => Some(e.id),
        EventKind::EntityLockGranted(e) => Some(e.id),
        _ => None,
    }
}

impl Checker {
    /// A batch has become durable.
    pub fn committed(&mut self, partition: PartitionId, batch: &Batch, now: Timestamp) {
        let active_before: Vec<Seen> = self.about_to_end(batch);
        for key in &batch.purge {
            self.purged(*key);
        }
        for write in &batch.writes {
            self.wrote(write, now);
        }
        for id in &batch.consumed {
            let known = self.mirror.envelopes.remove(&(partition, *id));
            let missing = || format!("message {id:?} was consumed, but it is not there");
            self.check(Group::Storage, known.then_some(()).ok_or_else(missing));
        }
        for envelope in &batch.outgoing {
            let id = EnvelopeId { from: envelope.from, number: envelope.number };
            let new = self.mirror.envelopes.insert((envelope.to, id));
            let again = || format!("message {id:?} was sent twice");
            self.check(Group::Storage, new.then_some(()).ok_or_else(again));
        }
        for before in active_before {
            self.family_told(&before, batch);
        }
        self.parents_taken_along(batch);
        self.entities_after_batch();
    }

    /// Instances that a batch ends or replaces, as they were.
    fn about_to_end(&self, batch: &Batch) -> Vec<Seen> {
        let ends = |write: &&InstanceWrite| {
            self.mirror.instances.get(&write.row.key).is_some_and(|before| {
                !before.is_entity()
                    && !before.row.status.is_terminal()
                    && (write.row.status.is_terminal() || write.row.generation > before.row.generation)
            })
        };
        batch.writes.iter().filter(ends).map(|write| self.mirror.instances[&write.row.key].clone()).collect()
    }

    fn wrote(&mut self, write: &InstanceWrite, now: Timestamp) {
        let before = self.mirror.instances.remove(&write.row.key);
        let opened = write.row.open().and_then(|record| record.inbox_events().map(|inbox| (record, inbox)));
        let (record, inbox) = match opened {
            Ok(opened) => opened,
            Err(damage) => return self.check(Group::Storage, Err(format!("{}: {damage}", write.row.id))),
        };
        let appended = match write.history.as_ref().map(HistoryRow::open).transpose() {
            Ok(events) => events.unwrap_or_default(),
            Err(damage) => return self.check(Group::Storage, Err(format!("{}: {damage}", write.row.id))),
        };
        let mut after = match before.clone().filter(|b| b.row.generation == write.row.generation) {
            Some(before) if before.row.branch != write.row.branch => {
                match Seen::on_branch(&before, write.row.clone(), record, inbox) {
                    Ok(mut seen) => {
                        self.follow_kept(&mut seen);
                        seen
                    }
                    Err(what) => return self.check(Group::History, Err(what)),
                }
            }
            Some(before) => Seen { row: write.row.clone(), record, inbox, ..before },
            None => {
                let mut begun = Seen::begin(write.row.clone(), record, inbox);
                // What a generation said that came and went within one batch is not known.
                let is_rewound = begun.record.branch > 0;
                if is_rewound {
                    // It began and was rewound within one batch: there was nothing on the branch that it left.
                    begun.left.insert(0, Vec::new());
                } else if begun.record.generation > begun.record.start_generation {
                    begun.custom_status.clone_from(&begun.record.custom_status);
                }
                begun
            }
        };
        let kept = after.history.len() as u64;
        let ended = after.append(&appended);
        if after.input.is_none() {
            after.input = input_of(after.history.iter().chain(&after.inbox));
        }
        if write.drop_generations_before.is_none_or(|keep| keep < write.row.generation)
            && before.as_ref().is_some_and(|before| before.row.generation < write.row.generation)
        {
            // Generations that are not dropped would have to be kept in the mirror too.
            self.check(Group::Storage, Err(format!("{}: an old generation is kept", after.row.id)));
        }
        let follows = write.history.as_ref().is_none_or(|row| row.first == kept);
        let gap = || format!("{after:?}: {:?} does not follow the history", write.history);
        let gap = follows.then_some(()).ok_or_else(gap);
        self.check(Group::Storage, gap);
        if after.is_entity() {
            self.entity_wrote(before.as_ref(), &after, now);
            self.mirror.ids.insert(after.row.id.clone(), after.key);
            self.mirror.instances.insert(after.key, after);
            return;
        }
        self.check(Group::History, ended);
        self.follow(&mut after, &appended);
        self.note_executions(&after);
        let change = Change { before: before.as_ref(), after: &after, appended: &appended, now };
        if change.is_rewound() && asks_for_more(&after.record) {
            self.by_hand.insert(after.record.execution.to_bytes());
        }
        self.branch_opened(&change);
        self.changed(&change);
        let keys = self.check_keys(&change);
        self.check(Group::Activities, keys);
        self.orchestration_wrote(&change);
        let successes = self.successes_of(&change);
        for (success, branch) in successes {
            self.successes.entry(success).or_insert(branch);
        }
        self.remember_end(&after);
        self.mirror.ids.insert(after.row.id.clone(), after.key);
        self.mirror.instances.insert(after.key, after);
    }

    fn changed(&mut self, change: &Change<'_>) {
        let by_hand = self.by_hand.contains(&change.after.record.execution.to_bytes());
        let results = [
            (Group::History, super::history::check(change)),
            (Group::Activities, super::activities::check(change, by_hand)),
            (Group::Timers, super::timers::check(change)),
            (Group::Events, super::events::check(change)),
        ];
        for (group, result) in results {
            self.check(group, result);
        }
        let began = change.same_start().is_none();
        if began {
            let result = self.execution_began(change);
            self.check(Group::Starts, result);
        }
        if change.after.row.status.is_terminal() {
            let result = self.legal_end(change.after);
            self.check(Group::Results, result);
        }
    }

    fn remember_end(&mut self, after: &Seen) {
        if after.row.status.is_terminal() {
            let name = (after.record.execution.to_bytes(), after.record.branch);
            self.ended.insert(name, after.record.clone());
        }
    }

    fn purged(&mut self, key: InstanceKey) {
        // An instance may begin, end and be purged within one batch: then it was never there.
        let Some(seen) = self.mirror.instances.remove(&key) else { return };
        self.mirror.ids.remove(&seen.row.id);
        if seen.is_entity() {
            return self.entity_vanished(&seen);
        }
        let result = self.purge_allowed(&seen);
        self.check(Group::Starts, result);
    }

    /// The store has become an earlier one.
    pub fn failed_over(&mut self, contents: &Contents) {
        self.mirror = Mirror::default();
        for (partition, state) in contents.partitions.iter().enumerate() {
            self.latest[partition] = state.nonce;
        }
        self.mirror.envelopes.extend(contents.envelopes.keys().copied());
        for row in contents.instances.values() {
            let Ok(record) = row.open() else { continue };
            let Ok(inbox) = record.inbox_events() else { continue };
            let mut seen = Seen::begin(row.clone(), record, inbox);
            let mut events = stored_history(contents, &seen, seen.record.branch).unwrap_or_default();
            for branch in seen.record.branches().iter().map(|opened| opened.branch).chain([0]) {
                if branch != seen.record.branch {
                    let left = stored_history(contents, &seen, branch).unwrap_or_default();
                    seen.left.insert(branch, left);
                }
            }
            events.truncate(seen.record.tail as usize);
            let sound = seen.append(&events);
            self.check(Group::History, sound);
            seen.input = input_of(seen.history.iter().chain(&seen.inbox));
            // What the code of an instance that was just rewound says of itself is known when it runs.
            let is_rewound = matches!(events.last().map(|e| &e.kind), Some(EventKind::ExecutionRewound(_)));
            seen.custom_status = seen.record.custom_status.clone().filter(|_| !is_rewound);
            if !seen.history.is_empty() {
                self.follow(&mut seen, &events);
            }
            self.mirror.ids.insert(row.id.clone(), row.key);
            self.mirror.instances.insert(row.key, seen);
        }
    }
}

/// Whether the last rewind, perhaps that of a parent, lets successes run again.
fn asks_for_more(record: &InstanceRecord) -> bool {
    let order = record.rewinds.as_ref().and_then(|rewinds| rewinds.order.as_ref());
    order.is_some_and(|order| order.no_reuse || !order.rerun.is_empty())
}

/// The history of a branch as it is stored.
pub(super) fn stored_history(contents: &Contents, seen: &Seen, branch: u32) -> Option<Vec<Event>> {
    let parts = seen.record.history_parts(branch)?;
    let rows = parts.into_iter().map(|part| {
        let name = HistoryKey { key: seen.key, generation: seen.row.generation, branch: part.branch };
        let rows = contents.histories.get(&name).map(|rows| rows.values().cloned().collect::<Vec<_>>());
        let holds = |row: &HistoryRow| row.first + u64::from(row.count) > part.from;
        (part, rows.unwrap_or_default().into_iter().filter(holds).collect())
    });
    assemble(&rows.collect::<Vec<_>>()).ok()
}

fn input_of<'a>(mut events: impl Iterator<Item = &'a Event>) -> Option<Input> {
    events.find_map(|event| match &event.kind {
        EventKind::ExecutionStarted(started) => Input::decode(&started.input),
        _ => None,
    })
}
