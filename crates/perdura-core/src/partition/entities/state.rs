//! An entity in memory: its state, its queue, its lock.

use super::record::{DelayedSignal, EntityRecord, LockRecord, LockRequest, Operation, Queued, Stamp, Wanted};
use crate::history::ParentLink;
use crate::limits::{ENTITY_BATCH_MAX, SIGNAL_REQUESTS_REMEMBERED};
use crate::time::Timestamp;
use bytes::Bytes;
use std::collections::VecDeque;

/// Doors remembered: one for each process that took signals lately. Only the latest can ask again.
const DOORS_REMEMBERED: usize = 4;

/// See the [module](self).
#[derive(Debug, Default)]
pub(in crate::partition) struct Entity {
    pub(super) state: Option<Bytes>,
    pub(super) queue: VecDeque<Queued>,
    /// What was handed out, and the number of that batch.
    pub(super) running: Option<(u64, Vec<Queued>)>,
    pub(super) lock: Option<LockRecord>,
    pub(super) delayed: Vec<DelayedSignal>,
    next_delayed: u64,
    doors: Vec<Stamp>,
    requests: Vec<String>,
    /// Nothing is left of it: its row goes with the batch after the one that says so.
    pub(super) vanishing: bool,
}

impl Entity {
    pub(in crate::partition) fn load(record: EntityRecord) -> Entity {
        Entity {
            state: record.state,
            queue: record.queue.into(),
            running: None,
            lock: record.lock,
            delayed: record.delayed,
            next_delayed: record.next_delayed,
            doors: record.doors,
            requests: record.requests,
            vanishing: false,
        }
    }

    pub(in crate::partition) fn record(&self) -> EntityRecord {
        let running = self.running.iter().flat_map(|(_, running)| running);
        EntityRecord {
            state: self.state.clone(),
            queue: running.chain(&self.queue).cloned().collect(),
            lock: self.lock.clone(),
            delayed: self.delayed.clone(),
            next_delayed: self.next_delayed,
            doors: self.doors.clone(),
            requests: self.requests.clone(),
        }
    }

    /// Whether it has anything but state: work, a lock, or signals that wait for their time.
    pub(in crate::partition) fn is_busy(&self) -> bool {
        self.running.is_some() || !self.queue.is_empty() || self.lock.is_some() || !self.delayed.is_empty()
    }

    /// Whether nothing is left of it.
    pub(super) fn is_empty(&self) -> bool {
        self.state.is_none() && !self.is_busy()
    }

    /// Whether it can leave memory: what waits in it waits for a message.
    pub(in crate::partition) fn may_leave(&self) -> bool {
        self.running.is_none() && !self.vanishing && (self.queue.is_empty() || self.lock.is_some())
    }

    /// Operations that wait or run, lock requests too.
    pub(super) fn backlog(&self) -> usize {
        self.running.as_ref().map_or(0, |(_, running)| running.len()) + self.queue.len() + self.delayed.len()
    }

    /// Whether a client's signal was taken before.
    pub(super) fn has_taken(&self, stamp: Option<Stamp>, request: &str) -> bool {
        let is_known = |stamp: Stamp| {
            self.doors.iter().any(|door| door.door == stamp.door && door.number >= stamp.number)
        };
        stamp.is_some_and(is_known)
            || (!request.is_empty() && self.requests.iter().any(|taken| taken == request))
    }

    /// Remembers that a client's signal was taken.
    pub(super) fn remember(&mut self, stamp: Option<Stamp>, request: &str) {
        if let Some(stamp) = stamp {
            self.doors.retain(|door| door.door != stamp.door);
            if self.doors.len() == DOORS_REMEMBERED {
                self.doors.remove(0);
            }
            self.doors.push(stamp);
        }
        if !request.is_empty() {
            if self.requests.len() == SIGNAL_REQUESTS_REMEMBERED {
                self.requests.remove(0);
            }
            self.requests.push(request.to_owned());
        }
    }

    /// Puts a signal aside until its time; gives its number.
    pub(super) fn delay(&mut self, operation: Operation) -> u64 {
        let number = self.next_delayed;
        self.next_delayed += 1;
        self.delayed.push(DelayedSignal { number, operation: Some(operation) });
        number
    }

    /// Takes a delayed signal whose time has come; gives when that was.
    pub(super) fn take_due(&mut self, number: u64, now: Timestamp) -> Option<(Timestamp, Operation)> {
        let due = |delayed: &DelayedSignal| {
            let at = delayed.operation.as_ref().map_or(0, |operation| operation.at);
            delayed.number == number && at <= now.0
        };
        let at = self.delayed.iter().position(due)?;
        let operation = self.delayed.remove(at).operation?;
        Some((Timestamp(operation.at), operation))
    }

    /// Takes the next operations to be handed out together. While the entity is held, only its holder's; otherwise those
    /// before the next lock request.
    pub(super) fn next_operations(&mut self) -> Vec<Queued> {
        let Some(lock) = &self.lock else {
            let is_operation = |queued: &&Queued| matches!(queued.wanted, Some(Wanted::Operation(_)));
            let count = self.queue.iter().take(ENTITY_BATCH_MAX).take_while(is_operation).count();
            return self.queue.drain(..count).collect();
        };
        let holder = lock.holder.clone().unwrap_or_default();
        let of_holder = |queued: &Queued| match &queued.wanted {
            Some(Wanted::Operation(operation)) => {
                operation.caller.as_ref().is_some_and(|caller| same_run(caller, &holder))
            }
            _ => false,
        };
        let mut taken = Vec::new();
        let mut at = 0;
        while at < self.queue.len() && taken.len() < ENTITY_BATCH_MAX {
            if of_holder(&self.queue[at]) {
                taken.extend(self.queue.remove(at));
            } else {
                at += 1;
            }
        }
        taken
    }

    /// Takes the lock request at the head of the queue, if the entity is free for it.
    pub(super) fn next_lock(&mut self) -> Option<LockRequest> {
        if self.lock.is_some() || !matches!(self.queue.front()?.wanted, Some(Wanted::Lock(_))) {
            return None;
        }
        match self.queue.pop_front()?.wanted {
            Some(Wanted::Lock(request)) => Some(request),
            _ => None,
        }
    }

    /// Gives up the lock of a critical section; says whether it was held.
    pub(super) fn unlock(&mut self, holder: &ParentLink) -> bool {
        let held = self.lock.as_ref().and_then(|lock| lock.holder.as_ref()) == Some(holder);
        if held {
            self.lock = None;
        }
        held
    }

    /// Takes a lock request that waits out of the queue.
    pub(super) fn withdraw(&mut self, holder: &ParentLink) {
        self.queue.retain(|queued| match &queued.wanted {
            Some(Wanted::Lock(request)) => request.holder.as_ref() != Some(holder),
            _ => true,
        });
    }
}

/// Whether two tasks are of the same run of the same instance.
fn same_run(a: &ParentLink, b: &ParentLink) -> bool {
    a.instance == b.instance && a.execution == b.execution && a.branch == b.branch
}
