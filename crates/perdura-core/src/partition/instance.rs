//! An instance in memory.

use super::batch::{HistoryRow, InstanceWrite, Tail};
use super::record::{ChildRecord, InstanceRecord, InstanceRow, TaskRecord, TimerRecord};
use super::request::ReplyToken;
use super::results::Reuse;
use crate::history::{
    Damaged, Event, EventKind, ParentLink, SubOrchestrationScheduled, TaskScheduled, encode_events,
};
use crate::id::{ExecutionId, InstanceId, InstanceKey};
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
    /// This turn is with the runner.
    Running(u64),
    /// The runner could not run it; only a new life of the processor tries again.
    Blocked,
}

/// An activity that is not finished.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) record: TaskRecord,
    /// What to run; read from the history after a recovery.
    pub(super) scheduled: Option<Arc<TaskScheduled>>,
    /// An attempt has been handed out in this life of the processor.
    pub(super) running: bool,
    /// When that attempt began and when it was last heard of; `None` while it waits for a worker.
    pub(super) began: Option<(Timestamp, Timestamp)>,
}

/// A child that has not answered.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) record: ChildRecord,
    /// How to start it again; read from the history after a recovery.
    pub(super) scheduled: Option<Arc<SubOrchestrationScheduled>>,
}

/// Somebody who waits for the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) token: ReplyToken,
    pub(super) generation: Option<u32>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) key: InstanceKey,
    pub(super) id: InstanceId,
    pub(super) status: Status,
    /// All else that is stored; its lists of outstanding work and its inbox are empty, they live in the fields below.
    pub(super) record: InstanceRecord,
    pub(super) tasks: BTreeMap<u32, Task>,
    pub(super) timers: BTreeMap<u32, Timestamp>,
    pub(super) children: BTreeMap<u32, Child>,
    /// Events that no turn has taken.
    pub(super) inbox: Vec<Event>,
    /// Events of a turn that is away while batches are committed.
    pub(super) away: Vec<Event>,
    /// Events to be written by the open batch; the last of `record.tail`.
    pub(super) unwritten: Vec<Event>,
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
}

impl Instance {
    pub(super) fn new(key: InstanceKey, record: InstanceRecord, status: Status) -> Instance {
        Instance {
            key,
            id: record.instance_id(),
            status,
            record,
            tasks: BTreeMap::new(),
            timers: BTreeMap::new(),
            children: BTreeMap::new(),
            inbox: Vec::new(),
            away: Vec::new(),
            unwritten: Vec::new(),
            stored: None,
            drop_before: None,
            turn: TurnState::Idle,
            waiters: Vec::new(),
            dirty: false,
            last_batch: 0,
            turns_in_batch: (0, 0),
            touched: true,
            reading: false,
            history_asked: 0,
            renewals: (Timestamp(0), 0),
            reuse: None,
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
        let mut instance = Instance::new(row.key, record, row.status);
        instance.inbox = inbox;
        instance.stored = Some(Tail { generation: row.generation, branch: row.branch, events: row.tail });
        let task =
            |record: TaskRecord| (record.id, Task { record, scheduled: None, running: false, began: None });
        instance.tasks = tasks.into_iter().map(task).collect();
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

    pub(super) fn execution(&self) -> ExecutionId {
        ExecutionId(u128::from_be_bytes(<[u8; 16]>::try_from(&self.record.execution[..]).unwrap_or_default()))
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
            && self.last_batch <= committed
            && matches!(self.turn, TurnState::Idle | TurnState::Blocked)
            && !self.reading
            && !matches!(self.reuse.as_deref(), Some(Reuse::Reading(_)))
            && self.tasks.is_empty()
            && (self.inbox.is_empty()
                || self.is_suspended()
                || self.turn == TurnState::Blocked
                || !self.is_active()
                || !self.has_begun())
            && self.waiters.is_empty()
    }

    /// What the store shall hold of it. Called once per batch.
    pub(super) fn write(&mut self, now: Timestamp) -> Result<InstanceWrite, Damaged> {
        let record = self.record_at(now);
        let row = InstanceRow::new(self.key, &record)?;
        let count = self.unwritten.len() as u32;
        let history = (count > 0).then(|| HistoryRow {
            generation: record.generation,
            branch: record.branch,
            first: record.tail - u64::from(count),
            count,
            events: encode_events(std::mem::take(&mut self.unwritten)),
        });
        let tail = Tail { generation: record.generation, branch: record.branch, events: record.tail };
        self.record = record;
        self.record.tasks.clear();
        self.record.timers.clear();
        self.record.children.clear();
        self.record.inbox = None;
        let expected = self.stored.replace(tail);
        Ok(InstanceWrite { expected, row, history, drop_generations_before: self.drop_before.take() })
    }

    /// The whole record. Leaves `self.record` empty: the caller puts it back.
    fn record_at(&mut self, now: Timestamp) -> InstanceRecord {
        let mut record = std::mem::take(&mut self.record);
        record.status = u32::from(self.status as u8);
        record.updated_at = now.0;
        record.tasks = self.tasks.values().map(|task| task.record.clone()).collect();
        record.timers = self.timers.iter().map(|(id, at)| TimerRecord { id: *id, fire_at: at.0 }).collect();
        record.children = self.children.values().map(|child| child.record.clone()).collect();
        record.set_inbox_events(self.away.iter().chain(&self.inbox).cloned().collect());
        record
    }

    /// A copy of the record with what is outstanding.
    pub(super) fn whole_record(&self) -> InstanceRecord {
        InstanceRecord {
            tasks: self.tasks.values().map(|task| task.record.clone()).collect(),
            ..self.final_record()
        }
    }

    /// Events that no turn has taken, or only one that is not over.
    pub(super) fn pending(&self) -> Vec<Event> {
        self.away.iter().chain(&self.inbox).cloned().collect()
    }

    /// Names a task of this run, as a child sees it.
    pub(super) fn link(&self, task: u32, attempt: u32) -> ParentLink {
        ParentLink {
            instance: self.id.as_str().to_owned(),
            generation: self.record.generation,
            branch: self.record.branch,
            task,
            attempt,
            execution: self.record.execution.clone(),
            attached: false,
        }
    }

    /// The parent that waits for this instance was rewound: it waits by another link.
    pub(super) fn relink(&mut self, link: &ParentLink) {
        let parents = &mut self.record.parents;
        let same_task = parents.iter().position(|p| p.is_same_run(link) && p.task == link.task);
        let same_run = same_task.or_else(|| parents.iter().position(|p| p.is_same_run(link)));
        if let Some(parent) = same_run.and_then(|at| parents.get_mut(at)) {
            *parent = ParentLink { attached: parent.attached, ..link.clone() };
        }
    }

    /// A copy of the record for whoever waited for the end.
    pub(super) fn final_record(&self) -> InstanceRecord {
        InstanceRecord { status: u32::from(self.status as u8), ..self.record.clone() }
    }

    /// The inbox without what a new generation must not see: only what came from outside stays.
    pub(super) fn external_events(events: Vec<Event>) -> impl Iterator<Item = Event> {
        events
            .into_iter()
            .filter(|event| matches!(event.kind, EventKind::EventRaised(_) | EventKind::CancelRequested(_)))
    }
}

/// An execution id as it is stored.
pub(super) fn execution_bytes(id: ExecutionId) -> Bytes {
    Bytes::copy_from_slice(&id.0.to_be_bytes())
}
