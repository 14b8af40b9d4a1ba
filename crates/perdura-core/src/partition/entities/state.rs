//! An entity in memory: its state, its queue, its lock.

use super::record::{DelayedSignal, EntityRecord, LockRequest, Operation, Queued, Stamp, Wanted};
use crate::history::ParentLink;
use crate::limits::{ENTITY_BATCH_MAX, INSTANCE_ID_BYTES_MAX, SIGNAL_REQUESTS_REMEMBERED};
use crate::time::Timestamp;
use prost::Message;

/// Doors remembered: one for each process that took signals lately. Only the latest can ask again.
const DOORS_REMEMBERED: usize = 4;
/// What something in a queue weighs besides its texts and payloads, at most.
const QUEUED_BYTES: usize = 64;
/// What an operation weighs besides in a message that hands it out, at most: the id of its entity, and numbers.
const HANDED_OUT_BYTES: usize = INSTANCE_ID_BYTES_MAX + 192;

/// See the [module](self).
#[derive(Debug, Default)]
pub(in crate::partition) struct Entity {
    /// What is stored of it. Lent to the record of its instance while that is written, so that no queue is ever copied.
    pub(super) record: EntityRecord,
    /// The batch that was handed out: its number, and how many it is of. They are the first of the queue.
    pub(super) running: Option<(u64, usize)>,
    /// It is looked at when the open batch is sealed, to hand out what waits.
    pub(super) operable: bool,
    /// What its queue weighs.
    bytes: usize,
    /// What its signals weigh whose time has not come.
    bytes_later: usize,
    /// When the first of these is due.
    first_due: Option<i64>,
    /// So many operations were handed out when it was stored: what ran them is gone.
    pub(super) left: usize,
    /// So many operations at the head of the queue are handed out one at a time: they were lost together.
    pub(super) one_by_one: usize,
    /// After a loss nothing is handed out before this time.
    pub(super) held_until: Timestamp,
    /// Nothing is left of it: its row goes with the batch after the one that says so.
    pub(super) vanishing: bool,
    /// When it is looked whether those that wait here and who holds it wait for each other.
    pub(super) circle_at: Option<Timestamp>,
    /// How long is waited until then, in ms. It begins anew with whoever comes to wait.
    pub(super) circle_wait: i64,
}

impl Entity {
    pub(in crate::partition) fn load(record: EntityRecord) -> Entity {
        // Whatever ran when it was stored runs no more.
        let left = record.running as usize;
        let mut entity = Entity { record: EntityRecord { running: 0, ..record }, left, ..Entity::default() };
        (entity.bytes, entity.bytes_later) = entity.record.weigh();
        entity.first_due = entity.record.delayed.iter().map(due).min();
        entity
    }

    /// Lends what is stored of it. The caller gives it back.
    pub(in crate::partition) fn lend(&mut self) -> EntityRecord {
        std::mem::take(&mut self.record)
    }

    /// Takes back what was lent.
    pub(in crate::partition) fn give_back(&mut self, record: EntityRecord) {
        self.record = record;
    }

    /// Whether it has anything but state: work, a lock, or signals that wait for their time.
    pub(in crate::partition) fn is_busy(&self) -> bool {
        let record = &self.record;
        !record.queue.is_empty() || record.lock.is_some() || !record.delayed.is_empty()
    }

    /// Whether nothing is left of it.
    pub(super) fn is_empty(&self) -> bool {
        self.record.state.is_none() && !self.is_busy()
    }

    /// Whether it can leave memory: what waits in it waits for a message, and was looked at since it came.
    pub(in crate::partition) fn may_leave(&self) -> bool {
        let waits = !self.record.queue.is_empty() && self.record.lock.is_none();
        self.running.is_none() && !self.operable && !self.vanishing && !waits
    }

    /// How many operations wait or run, lock requests too, and what they weigh.
    pub(super) fn backlog(&self) -> (usize, usize) {
        (self.record.queue.len(), self.bytes)
    }

    /// The same of the signals whose time has not come: they have a room of their own.
    pub(super) fn backlog_later(&self) -> (usize, usize) {
        (self.record.delayed.len(), self.bytes_later)
    }

    /// Whether its queue may take one operation more.
    pub(in crate::partition) fn has_room(&self, bytes_max: usize) -> bool {
        self.room(bytes_max) > 0
    }

    /// What its queue may take: an empty one takes any operation.
    pub(in crate::partition) fn room(&self, bytes_max: usize) -> usize {
        let least = usize::from(self.record.queue.is_empty());
        bytes_max.saturating_sub(self.bytes).max(least)
    }

    /// Whether it may take one signal more whose time has not come.
    pub(in crate::partition) fn has_room_later(&self, bytes_max: usize) -> bool {
        self.bytes_later < bytes_max || self.record.delayed.is_empty()
    }

    /// Whether an operation comes from who holds the entity: it must not wait for those that wait for the holder.
    pub(in crate::partition) fn is_of_holder(&self, operation: &Operation) -> bool {
        let holder = self.record.lock.as_ref().and_then(|lock| lock.holder.as_ref());
        holder.zip(operation.caller.as_ref()).is_some_and(|(holder, caller)| same_run(caller, holder))
    }

    /// Puts something at the end of the queue.
    pub(super) fn push(&mut self, wanted: Wanted) {
        if self.may_close_circle(&wanted) {
            self.comes_to_wait();
        }
        let queued = Queued { wanted: Some(wanted), delivery: 0 };
        self.bytes += weight(&queued);
        self.record.queue.push(queued);
    }

    /// Whether a client's signal was taken before; `Some(false)`: one with the same request id and another content.
    pub(super) fn has_taken(&self, stamp: Option<Stamp>, request: &str, content: u32) -> Option<bool> {
        let EntityRecord { doors, requests, contents, .. } = &self.record;
        let is_known =
            |stamp: Stamp| doors.iter().any(|door| door.door == stamp.door && door.number >= stamp.number);
        if stamp.is_some_and(is_known) {
            return Some(true);
        }
        let at = requests.iter().position(|taken| !request.is_empty() && taken == request)?;
        // Rows of older versions say nothing of it.
        Some(contents.get(at).is_none_or(|taken| *taken == 0 || *taken == content))
    }

    /// Remembers that a client's signal was taken.
    pub(super) fn remember(&mut self, stamp: Option<Stamp>, request: &str, content: u32) {
        let EntityRecord { doors, requests, contents, .. } = &mut self.record;
        if let Some(stamp) = stamp {
            doors.retain(|door| door.door != stamp.door);
            if doors.len() == DOORS_REMEMBERED {
                doors.remove(0);
            }
            doors.push(stamp);
        }
        if !request.is_empty() {
            contents.resize(requests.len(), 0);
            if requests.len() == SIGNAL_REQUESTS_REMEMBERED {
                requests.remove(0);
                contents.remove(0);
            }
            requests.push(request.to_owned());
            contents.push(content);
        }
    }

    /// Puts a signal aside until its time; gives its number.
    pub(super) fn delay(&mut self, operation: Operation) -> u64 {
        let number = self.record.next_delayed;
        self.record.next_delayed += 1;
        self.bytes_later += operation_weight(&operation);
        let delayed = DelayedSignal { number, operation: Some(operation) };
        let at = due(&delayed);
        self.first_due = Some(self.first_due.map_or(at, |first| first.min(at)));
        self.record.delayed.push(delayed);
        number
    }

    /// Whether the time of a delayed signal has come.
    pub(in crate::partition) fn has_due(&self, now: Timestamp) -> bool {
        self.first_due.is_some_and(|at| at <= now.0)
    }

    /// Takes the delayed signals whose time has come, in the order of their times, as many as the queue has room for.
    pub(in crate::partition) fn take_due(
        &mut self,
        now: Timestamp,
        bytes_max: usize,
        count_max: usize,
    ) -> Vec<Operation> {
        if !self.has_due(now) {
            return Vec::new();
        }
        let delayed = &mut self.record.delayed;
        // Most are sorted already.
        delayed.sort_by_key(|delayed| (due(delayed), delayed.number));
        let (mut bytes, mut count) = (self.bytes, self.record.queue.len());
        let fits = |delayed: &&DelayedSignal| {
            let may_enter = count == 0 || bytes < bytes_max && count < count_max;
            bytes += delayed.operation.as_ref().map_or(0, operation_weight);
            count += 1;
            due(delayed) <= now.0 && may_enter
        };
        let taken = delayed.iter().take_while(fits).count();
        let taken: Vec<Operation> = delayed.drain(..taken).filter_map(|delayed| delayed.operation).collect();
        self.bytes_later -= taken.iter().map(operation_weight).sum::<usize>();
        self.first_due = delayed.first().map(due);
        taken
    }

    /// Begins the batch `number` of the operations that can be handed out together. While the entity is held, only its
    /// holder's; otherwise those before the next lock request; and no more than `bytes_max` with its state, unless it is one.
    /// Gives them, with their delivery counts raised.
    pub(super) fn begin_batch(&mut self, number: u64, now: Timestamp, bytes_max: usize) -> &mut [Queued] {
        let most = if self.one_by_one > 0 { 1 } else { ENTITY_BATCH_MAX };
        let count = match &self.record.lock {
            None => {
                let is_operation = |queued: &&Queued| matches!(queued.wanted, Some(Wanted::Operation(_)));
                self.record.queue.iter().take(most).take_while(is_operation).count()
            }
            Some(lock) => {
                let holder = lock.holder.clone().unwrap_or_default();
                self.move_to_front(&holder, most)
            }
        };
        let count = self.fitting(count, bytes_max);
        self.running = (count > 0).then_some((number, count));
        (self.record.running, self.record.running_since) = (count as u32, now.0);
        &mut self.record.queue[..count]
    }

    /// How many of the first `count` operations may be handed out together.
    fn fitting(&self, count: usize, bytes_max: usize) -> usize {
        if bytes_max == usize::MAX {
            return count;
        }
        let mut bytes = self.record.state.as_ref().map_or(0, bytes::Bytes::len);
        let fits = |queued: &&Queued| {
            bytes += weight(queued) + HANDED_OUT_BYTES;
            bytes <= bytes_max
        };
        self.record.queue[..count].iter().take_while(fits).count().max(count.min(1))
    }

    /// Moves the operations of a holder to the front of the queue, `most` at most; says how many.
    fn move_to_front(&mut self, holder: &ParentLink, most: usize) -> usize {
        let mut count = 0;
        for at in 0..self.record.queue.len() {
            let of_holder = match &self.record.queue[at].wanted {
                Some(Wanted::Operation(operation)) => {
                    operation.caller.as_ref().is_some_and(|caller| same_run(caller, holder))
                }
                _ => false,
            };
            if of_holder && count < most {
                self.record.queue[count..=at].rotate_right(1);
                count += 1;
            }
        }
        count
    }

    /// Ends the batch that runs: the first `ran` of it leave the queue, the others wait again.
    pub(super) fn end_batch(&mut self, ran: usize) -> std::vec::Drain<'_, Queued> {
        let count = self.running.take().map_or(0, |(_, count)| count);
        self.record.running = 0;
        if ran > 0 {
            self.record.lost = 0;
            self.one_by_one = self.one_by_one.saturating_sub(ran);
        }
        let ran = ran.min(count);
        self.bytes -= self.record.queue[..ran].iter().map(weight).sum::<usize>();
        self.record.queue.drain(..ran)
    }

    /// Takes the lock request at the head of the queue, if the entity is free for it.
    pub(super) fn next_lock(&mut self) -> Option<LockRequest> {
        let queue = &mut self.record.queue;
        if self.record.lock.is_some() || !matches!(queue.first()?.wanted, Some(Wanted::Lock(_))) {
            return None;
        }
        let next = queue.remove(0);
        self.bytes -= weight(&next);
        match next.wanted {
            Some(Wanted::Lock(request)) => Some(request),
            _ => None,
        }
    }

    /// Gives up the lock of a critical section; says whether it was held. What its holder has called and not awaited comes
    /// before everybody else's.
    pub(super) fn unlock(&mut self, holder: &ParentLink) -> bool {
        let held = self.record.lock.as_ref().and_then(|lock| lock.holder.as_ref()) == Some(holder);
        if held {
            self.move_to_front(holder, usize::MAX);
            self.record.lock = None;
        }
        held
    }

    /// Takes a lock request that waits out of the queue; says whether there was one.
    pub(super) fn withdraw(&mut self, holder: &ParentLink) -> bool {
        let before = self.record.queue.len();
        self.record.queue.retain(|queued| match &queued.wanted {
            Some(Wanted::Lock(request)) => request.holder.as_ref() != Some(holder),
            _ => true,
        });
        self.bytes = self.record.weigh().0;
        self.record.queue.len() < before
    }

    /// Somebody comes to wait for it: soon it is looked whether that closes a circle.
    pub(in crate::partition) fn comes_to_wait(&mut self) {
        self.circle_wait = 0;
    }

    /// Whether who asks for this waits for it, and may be waited for by who holds the entity.
    fn may_close_circle(&self, wanted: &Wanted) -> bool {
        match wanted {
            Wanted::Operation(operation) => operation.caller.is_some() && !self.is_of_holder(operation),
            Wanted::Lock(_) => true,
        }
    }

    /// Whether it is held, and something of somebody else waits for that to end.
    pub(super) fn keeps_waiting(&self) -> bool {
        let waits = |queued: &Queued| match &queued.wanted {
            Some(Wanted::Operation(operation)) => !self.is_of_holder(operation),
            wanted => wanted.is_some(),
        };
        self.record.lock.is_some() && self.record.queue.iter().any(waits)
    }

    /// Whether somebody holds it, and none of its operations runs.
    pub(in crate::partition) fn is_held(&self) -> bool {
        self.record.lock.is_some() && self.running.is_none()
    }

    /// Whether this call or lock request waits for whoever holds the entity.
    pub(super) fn holds_up(&self, waiting: &ParentLink) -> bool {
        let waits = |queued: &Queued| match &queued.wanted {
            Some(Wanted::Operation(operation)) => {
                operation.caller.as_ref() == Some(waiting) && !self.is_of_holder(operation)
            }
            Some(Wanted::Lock(request)) => request.holder.as_ref() == Some(waiting),
            None => false,
        };
        self.is_held() && self.record.queue.iter().any(waits)
    }

    /// Takes the calls of some instances out of the queue; lock requests stay. Gives what waited of these instances.
    pub(super) fn take_waiting(&mut self, instances: &[String]) -> Vec<Wanted> {
        let mut taken = Vec::new();
        let holder = self.record.lock.as_ref().and_then(|lock| lock.holder.clone());
        self.record.queue.retain(|queued| {
            let of = |link: &Option<ParentLink>| {
                link.as_ref().is_some_and(|link| {
                    instances.contains(&link.instance)
                        && holder.as_ref().is_none_or(|holder| !same_run(link, holder))
                })
            };
            match &queued.wanted {
                Some(Wanted::Operation(operation)) if of(&operation.caller) => {
                    taken.extend(queued.wanted.clone());
                    false
                }
                Some(Wanted::Lock(request)) if of(&request.holder) => {
                    taken.extend(queued.wanted.clone());
                    true
                }
                _ => true,
            }
        });
        self.bytes = self.record.weigh().0;
        taken
    }
}

impl EntityRecord {
    /// What its queue weighs, and its delayed signals, in bytes: by this they are limited.
    pub(crate) fn weigh(&self) -> (usize, usize) {
        let delayed = self.delayed.iter().filter_map(|delayed| delayed.operation.as_ref());
        (self.queue.iter().map(weight).sum(), delayed.map(operation_weight).sum())
    }
}

/// When a delayed signal is due.
pub(super) fn due(delayed: &DelayedSignal) -> i64 {
    delayed.operation.as_ref().map_or(0, |operation| operation.at)
}

/// What something in a queue weighs, at least as much as its stored form.
fn weight(queued: &Queued) -> usize {
    match &queued.wanted {
        Some(Wanted::Operation(operation)) => operation_weight(operation),
        Some(Wanted::Lock(request)) => QUEUED_BYTES + request.encoded_len(),
        None => QUEUED_BYTES,
    }
}

/// The same of an operation.
pub(in crate::partition) fn operation_weight(operation: &Operation) -> usize {
    let caller = operation.caller.as_ref().map_or(0, ParentLink::encoded_len);
    let input = operation.input.as_ref().map_or(0, bytes::Bytes::len);
    QUEUED_BYTES + operation.name.len() + input + operation.request.len() + caller
}

/// Whether two tasks are of the same run of the same instance. A call of a branch that was left is one of the run still: the
/// branch after it may wait for it.
fn same_run(a: &ParentLink, b: &ParentLink) -> bool {
    a.instance == b.instance && a.execution == b.execution
}
