//! An instance in memory.

use super::away::Away;
use super::batch::{HistoryRow, InstanceWrite, Tail};
use super::dead_letter::Caution;
use super::effect::TaskRef;
use super::entities::{CallRecord, Entity};
use super::events::Events;
use super::held::HeldQueue;
use super::left_keys::LeftAttempt;
use super::record::{ChildRecord, FailedTask, InstanceRecord, InstanceRow, TaskRecord, TimerRecord};
use super::request::ReplyToken;
use super::results::Reuse;
use super::tasks::plus;
use crate::delivery::{Delivery, Stage};
use crate::failure::{Failure, kind};
use crate::history::{
    Damaged, Event, EventKind, ParentLink, SubOrchestrationScheduled, TaskScheduled, TimeLimits,
    encode_events,
};
use crate::id::{ExecutionId, InstanceId, InstanceKey};
use crate::limits::FAILED_REMEMBERED;
use crate::status::Status;
use crate::time::Timestamp;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where the instance is with its next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TurnState {
    /// Nothing to do.
    Idle,
    /// In the queue.
    Queued,
    /// This turn is with the runner, or away.
    Running(u64),
    /// This turn waits for the history.
    Parked(u64),
    /// The runner could not run it; only a new life of the processor tries again.
    Blocked,
}

/// An activity that is not finished.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) record: TaskRecord,
    /// What to run; read from the history after a recovery.
    pub(super) scheduled: Option<Arc<TaskScheduled>>,
    /// An attempt, or the handler that is asked about one, has been handed out in this life of the processor.
    pub(super) running: bool,
    /// That attempt waits for a worker, and its hand-over is not committed.
    pub(super) offered: bool,
    /// When that attempt began and when it was last heard of; `None` while it waits for a worker.
    pub(super) began: Option<(Timestamp, Timestamp)>,
    /// When the limits of that attempt are looked at.
    pub(super) attempt_limit_at: Option<Timestamp>,
    /// How that attempt ended, while the inbox has no room for it.
    pub(super) ended: Option<Result<Option<Bytes>, Failure>>,
    /// The process before ended while its handler was asked.
    pub(super) handler_suspect: bool,
}

impl Task {
    pub(super) fn new(record: TaskRecord, scheduled: Option<Arc<TaskScheduled>>) -> Task {
        Task {
            record,
            scheduled,
            running: false,
            offered: false,
            began: None,
            attempt_limit_at: None,
            ended: None,
            handler_suspect: false,
        }
    }

    /// Where it is, if its hand-overs are committed.
    pub(super) fn stage(&self) -> Option<Stage> {
        self.record.once.as_ref().map(|once| once.stage())
    }

    /// The delivery count of the attempt that is handed out, or was last.
    pub(super) fn delivery(&self) -> u32 {
        self.record.delivery + u32::from(self.offered)
    }

    /// Whether it is not to run again while the outcome of an attempt is unknown.
    pub(super) fn is_at_most_once(&self) -> bool {
        let delivery = self.scheduled.as_ref().map(|scheduled| Delivery::of_recorded(&scheduled.delivery));
        // What cannot be read, or is not known yet, may be a policy.
        self.record.once.is_some() && !matches!(delivery, Some(Ok(Delivery::AtLeastOnce | Delivery::Precise)))
    }

    /// How many of its hand-overs ended without a word.
    pub(super) fn unexplained(&self) -> u32 {
        let TaskRecord { attempt, delivery, lost, accounted, .. } = self.record;
        delivery.saturating_sub(accounted.max(attempt.saturating_sub(1).saturating_add(lost)))
    }

    /// It is known how the present attempt ended: another may follow.
    pub(super) fn note_end(&mut self, end: &str) {
        let delivery = self.record.delivery;
        self.record.accounted = delivery;
        if let Some(once) = &mut self.record.once {
            if let Some(attempt) = once.attempt(delivery).filter(|attempt| attempt.end.is_empty()) {
                attempt.end = end.chars().take(256).collect();
            }
            once.enter(Stage::Queued);
            (once.once_more, once.since) = (0, 0);
        }
    }

    /// Whether this names what is handed out now.
    pub(super) fn is_present(&self, task: TaskRef) -> bool {
        let asked = self.record.once.as_ref().filter(|once| once.stage() == Stage::Asked);
        self.running
            && match (task.asks, asked) {
                (true, Some(once)) => once.asked == task.delivery,
                (false, None) => self.delivery() == task.delivery,
                _ => false,
            }
    }

    /// Its time limits; `None` while it is not known what it is.
    pub(super) fn limits(&self) -> Option<TimeLimits> {
        self.scheduled.as_ref().map(|scheduled| scheduled.limits.unwrap_or_default())
    }

    /// When its handler has taken too long, if a worker has that and may take so many ms.
    pub(super) fn limit_of_handler(&self, ms: u64) -> Option<Timestamp> {
        let is_asked = self.running && ms > 0 && self.stage() == Some(Stage::Asked);
        self.began.filter(|_| is_asked).map(|(began, _)| plus(began, ms))
    }

    /// When it has taken too long as a whole.
    pub(super) fn total_limit_at(&self) -> Option<Timestamp> {
        let limits = self.limits().filter(|limits| limits.total_ms > 0)?;
        Some(plus(Timestamp(self.record.scheduled_at), limits.total_ms))
    }
}

/// A child that has not answered.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) record: ChildRecord,
    /// How to start it again; read from the history after a recovery.
    pub(super) scheduled: Option<Arc<SubOrchestrationScheduled>>,
}

/// Somebody who waits for the end, or for the beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) token: ReplyToken,
    pub(super) for_begin: bool,
    pub(super) execution: Option<ExecutionId>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) key: InstanceKey,
    pub(super) id: InstanceId,
    pub(super) status: Status,
    /// All else that is stored. Its id, its lists of outstanding work and its inbox are empty: they live in the other
    /// fields.
    pub(super) record: InstanceRecord,
    pub(super) tasks: BTreeMap<u32, Task>,
    pub(super) timers: BTreeMap<u32, Timestamp>,
    pub(super) children: BTreeMap<u32, Child>,
    pub(super) calls: BTreeMap<u32, CallRecord>,
    /// What it has as an entity; `None`: an orchestration.
    pub(super) entity: Option<Box<Entity>>,
    /// Events that no turn has taken.
    pub(super) inbox: Events,
    /// The turn that is away, or waits for the history, while batches are committed.
    pub(super) away: Option<Box<Away>>,
    /// What came and waits until the inbox has room.
    pub(super) held: HeldQueue,
    /// Events to be written by the open batch; the last of `record.tail`.
    pub(super) unwritten: Events,
    /// Where the history ends in the store, as the last sealed batch will have left it; `None`: no row.
    pub(super) stored: Option<Tail>,
    /// Generations before this one are to be deleted with the next write.
    pub(super) drop_before: Option<u32>,
    pub(super) turn: TurnState,
    pub(super) waiters: Vec<Waiter>,
    /// Part of the open batch.
    pub(super) dirty: bool,
    /// The last sealed batch that it is part of.
    pub(super) last_batch: u64,
    /// Turns taken in that open batch.
    pub(super) turns_in_batch: (u64, u32),
    /// The store refuses to write it: nothing is done with it but to end it.
    pub(super) set_aside: bool,
    /// Used since the eviction hand last passed.
    pub(super) touched: bool,
    /// A history is being read for it.
    pub(super) reading: bool,
    /// How many events the store held when it was asked: fewer are damage.
    pub(super) history_asked: u64,
    /// Continue-as-new turns since a time, to hold back a tight loop.
    pub(super) renewals: (Timestamp, u32),
    /// Results of other branches that it may use again, once they are read.
    pub(super) reuse: Option<Box<Reuse>>,
    /// Whether its next turn may end this process.
    pub(super) caution: Caution,
    /// Attempts of calls under idempotency keys that nobody waits for any more, and that have not ended.
    pub(super) left_running: Vec<LeftAttempt>,
}

impl Instance {
    pub(super) fn new(key: InstanceKey, mut record: InstanceRecord, status: Status) -> Instance {
        Instance {
            key,
            id: InstanceId::recorded(&std::mem::take(&mut record.id)),
            status,
            record,
            tasks: BTreeMap::new(),
            timers: BTreeMap::new(),
            children: BTreeMap::new(),
            calls: BTreeMap::new(),
            entity: None,
            inbox: Events::default(),
            away: None,
            held: HeldQueue::default(),
            unwritten: Events::default(),
            stored: None,
            drop_before: None,
            turn: TurnState::Idle,
            waiters: Vec::new(),
            dirty: false,
            last_batch: 0,
            turns_in_batch: (0, 0),
            set_aside: false,
            touched: true,
            reading: false,
            history_asked: 0,
            renewals: (Timestamp(0), 0),
            reuse: None,
            caution: Caution::None,
            left_running: Vec::new(),
        }
    }

    /// The instance of a stored row.
    pub(super) fn load(row: &InstanceRow) -> Result<Instance, Damaged> {
        let mut record = row.open()?;
        let inbox = record.inbox_events()?;
        record.inbox = None;
        let (tasks, timers, children) = (
            std::mem::take(&mut record.tasks),
            std::mem::take(&mut record.timers),
            std::mem::take(&mut record.children),
        );
        let (entity, calls) = (record.entity.take(), std::mem::take(&mut record.calls));
        let mut instance = Instance::new(row.key, record, row.status);
        instance.entity = entity.map(|entity| Box::new(Entity::load(*entity)));
        instance.calls = calls.into_iter().map(|call| (call.id, call)).collect();
        instance.inbox = Events::from(inbox);
        instance.stored = Some(Tail { generation: row.generation, branch: row.branch, events: row.tail });
        instance.tasks = tasks.into_iter().map(|record| (record.id, Task::new(record, None))).collect();
        instance.timers = timers.into_iter().map(|timer| (timer.id, Timestamp(timer.fire_at))).collect();
        instance.children =
            children.into_iter().map(|record| (record.id, Child { record, scheduled: None })).collect();
        Ok(instance)
    }

    pub(super) fn is_active(&self) -> bool {
        !self.status.is_terminal()
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.record.suspended.is_some()
    }

    /// Whether its code has run: its history has begun.
    pub(super) fn has_begun(&self) -> bool {
        self.record.tail > 0
    }

    /// Whether it begins at a time, and has not begun. A rewind is all of its history then, if it has one.
    pub(super) fn awaits_start(&self) -> bool {
        let begins = |event: &Event| matches!(event.kind, EventKind::ExecutionStarted(_));
        let is_rewound = self.record.rewinds.is_some();
        self.record.start_at != 0 && (!self.has_begun() || is_rewound && self.inbox.iter().any(begins))
    }

    /// Whether its code has run since it was started. Between two generations its history is empty, too.
    pub(super) fn has_run(&self) -> bool {
        let has_begun = self.has_begun() && !self.awaits_start();
        has_begun || self.record.generation > self.record.start_generation
    }

    /// The code does not wait any more for some of what it has begun, if that is still under way.
    pub(super) fn note_given_up(&mut self, mut given_up: Vec<u32>) {
        given_up.retain(|id| {
            self.tasks.contains_key(id)
                || self.timers.contains_key(id)
                || self.children.contains_key(id)
                || self.calls.contains_key(id)
        });
        self.record.given_up = given_up;
    }

    /// Whether the code waits for what it has begun under this number.
    pub(super) fn waits_for(&self, id: u32) -> bool {
        !self.record.given_up.contains(&id)
    }

    /// Events of the turn that is away.
    pub(super) fn away_events(&self) -> &[Event] {
        self.away.as_ref().map_or(&[], |away| &away.turn.events[1..])
    }

    pub(super) fn execution(&self) -> ExecutionId {
        self.record.execution.id()
    }

    /// The execution that the last start began.
    pub(super) fn run(&self) -> ExecutionId {
        let run = self.record.run.id();
        if run == ExecutionId::default() { self.execution() } else { run }
    }

    /// Appends to the history; gives the event's number.
    pub(super) fn append(&mut self, event: Event) -> u64 {
        self.unwritten.push(event);
        self.record.tail += 1;
        self.record.tail - 1
    }

    /// Whether nothing keeps it in memory.
    pub(super) fn may_leave(&self, committed: u64) -> bool {
        !self.dirty
            && self.entity.as_ref().is_none_or(|entity| entity.may_leave())
            && self.last_batch <= committed
            && matches!(self.turn, TurnState::Idle | TurnState::Blocked)
            && !self.reading
            && !matches!(self.reuse.as_deref(), Some(Reuse::Reading(_)))
            && !self.set_aside
            && self.held.is_empty()
            && self.left_running.is_empty()
            && self.tasks.values().all(|task| task.stage() == Some(Stage::Suspended))
            && (self.inbox.is_empty()
                || self.is_suspended()
                || self.turn == TurnState::Blocked
                || !self.is_active()
                || !self.has_begun())
            && self.waiters.is_empty()
    }

    /// What the store shall hold of it. Called once per batch.
    pub(super) fn write(&mut self, now: Timestamp) -> Result<InstanceWrite, Damaged> {
        let mut record = self.record_at(now);
        let row = InstanceRow::new(self.key, &record);
        if let (Some(entity), Some(lent)) = (&mut self.entity, record.entity.take()) {
            entity.give_back(*lent);
        }
        let row = row?;
        let count = self.unwritten.len() as u32;
        let history = (count > 0).then(|| HistoryRow {
            generation: record.generation,
            branch: record.branch,
            first: record.tail - u64::from(count),
            count,
            events: encode_events(self.unwritten.take()),
        });
        let tail = Tail { generation: record.generation, branch: record.branch, events: record.tail };
        // Nothing is kept of what the row had beside: an instance that waits is to be small.
        self.record = InstanceRecord {
            id: String::new(),
            tasks: Vec::new(),
            timers: Vec::new(),
            children: Vec::new(),
            calls: Vec::new(),
            inbox: None,
            ..record
        };
        let expected = self.stored.replace(tail);
        Ok(InstanceWrite { expected, row, history, drop_generations_before: self.drop_before.take() })
    }

    /// The whole record. Leaves `self.record` empty: the caller puts it back.
    fn record_at(&mut self, now: Timestamp) -> InstanceRecord {
        let mut record = std::mem::take(&mut self.record);
        record.id = self.id.as_str().to_owned();
        record.status = u32::from(self.status as u8);
        record.updated_at = now.0;
        record.tasks = self.tasks.values().map(|task| task.record.clone()).collect();
        record.timers = self.timers.iter().map(|(id, at)| TimerRecord { id: *id, fire_at: at.0 }).collect();
        record.children = self.children.values().map(|child| child.record.clone()).collect();
        record.entity = self.entity.as_mut().map(|entity| Box::new(entity.lend()));
        record.calls = self.calls.values().cloned().collect();
        record.set_inbox_events(self.away_events().iter().chain(self.inbox.iter()).cloned().collect());
        record
    }

    /// Whether no other attempt may follow this failure, also not by a retry under the same number.
    pub(super) fn has_last_word(&self, id: u32, failure: &Failure) -> bool {
        let known = self.record.failed.iter().find(|failed| failed.id == id);
        failure.kind == kind::UNKNOWN_OUTCOME || known.is_some_and(|failed| failed.last_word.is_some())
    }

    /// An activity has failed: should it be scheduled again under its number, its counts go on.
    pub(super) fn remember_failed(&mut self, failed: FailedTask) {
        let known = &mut self.record.failed;
        known.retain(|other| other.id != failed.id);
        if known.len() == FAILED_REMEMBERED {
            known.remove(0);
        }
        known.push(failed);
    }

    /// A copy of the record with what is outstanding.
    pub(super) fn whole_record(&self) -> InstanceRecord {
        InstanceRecord {
            tasks: self.tasks.values().map(|task| task.record.clone()).collect(),
            calls: self.calls.values().cloned().collect(),
            ..self.final_record()
        }
    }

    /// Events that no turn has taken, or only one that is not over.
    pub(super) fn pending(&self) -> Vec<Event> {
        self.away_events().iter().chain(self.inbox.iter()).cloned().collect()
    }

    /// The parent that waits for this instance was rewound: it waits by another link. A task that waits for it
    /// already on the new branch keeps its own.
    pub(super) fn relink(&mut self, link: &ParentLink) {
        let parents = &mut self.record.parents;
        let same_task = parents.iter().position(|p| p.is_same_run(link) && p.task == link.task);
        let is_left = |p: &ParentLink| p.is_same_run(link) && p.branch != link.branch;
        let known = same_task.or_else(|| parents.iter().position(is_left));
        match known.and_then(|at| parents.get_mut(at)) {
            Some(parent) => *parent = ParentLink { attached: parent.attached, ..link.clone() },
            None => parents.push(ParentLink { attached: true, ..link.clone() }),
        }
    }

    /// A copy of the record for whoever waited for the end.
    pub(super) fn final_record(&self) -> InstanceRecord {
        let id = self.id.as_str().to_owned();
        InstanceRecord { id, status: u32::from(self.status as u8), ..self.record.clone() }
    }

    /// The inbox without what a new generation must not see: only what came from outside stays.
    pub(super) fn external_events(events: Vec<Event>) -> impl Iterator<Item = Event> {
        events
            .into_iter()
            .filter(|event| matches!(event.kind, EventKind::EventRaised(_) | EventKind::CancelRequested(_)))
    }
}
