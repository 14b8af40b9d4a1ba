//! Operations that are lost with whoever runs them: a worker that is gone, or the process of the engine. Both are counted,
//! the latter when the next process finds in the row what was handed out. They are handed out again one at a time and later
//! each time; after too many losses in a row the entity is blocked, with the reason, and the others go on.
//!
//! Whatever runs when a process ends is counted with what ended it. So the waits are spread, and those that were lost often
//! run one at a time: an innocent one has its turn without the other, and with that its count ends.

use super::record::Wanted;
use super::state::Entity;
use crate::entity::BatchTicket;
use crate::id::InstanceKey;
use crate::partition::instance::TurnState;
use crate::partition::tasks::plus;
use crate::partition::wakes::Wake;
use crate::partition::{ByKey, Partition};
use crate::time::Timestamp;
use std::collections::BTreeSet;

/// Operations that were lost are handed out again at once; after another loss they wait, twice as long each time up to the
/// maximum.
const LOSS_WAIT_MS: u64 = 100;
const LOSS_WAIT_MS_MAX: u64 = 10_000;
/// From so many losses on, the operations of an entity run while those of no other do that was lost so often.
const ALONE_FROM: u32 = 3;

/// Entities whose operations were lost so often that they run one at a time.
#[derive(Debug, Default)]
pub(in crate::partition) struct Suspects {
    pub(super) waiting: BTreeSet<InstanceKey>,
    pub(super) at_work: Option<InstanceKey>,
    /// Whoever hands them to workers keeps them apart.
    kept_apart: bool,
}

impl Partition {
    /// Whoever ran a batch is gone, and nobody knows what it did: it is handed out again, with the next delivery counts,
    /// one operation at a time, and each time a little later. After too many losses in a row the entity is blocked.
    pub fn operations_lost(&mut self, ticket: BatchTicket, reason: &str, now: Timestamp) {
        self.advance(now);
        let (key, now, limit) = (ticket.key, self.now, self.config.limits.lost_workers_max);
        let Some(entity) = self.running_batch(ticket) else { return };
        if let Some(wait) = entity.lose_batch(limit) {
            let at = plus(now, wait);
            entity.held_until = at;
            self.wakes.add(at, key, Wake::Operations);
            self.go_on(key);
        } else {
            let reason = format!(
                "its operations were lost {limit} times in a row, the last time: {reason}; they are handed out again after the \
                 next start, or when its state is deleted"
            );
            self.block(key, reason, None);
        }
    }

    /// As [`operations_lost`](Self::operations_lost), but something else that the worker had has cost it: the batch is not
    /// counted.
    pub fn operations_lost_beside(&mut self, ticket: BatchTicket, now: Timestamp) {
        self.advance(now);
        if let Some(entity) = self.running_batch(ticket) {
            entity.end_batch(0);
            self.go_on(ticket.key);
        }
    }

    /// The process is about to end, and nobody will know what a batch does from here on. That is no loss: the operations
    /// are for the next life.
    pub fn operations_given_back(&mut self, ticket: BatchTicket) {
        if let Some(entity) = self.running_batch(ticket) {
            entity.end_batch(0);
            self.mark_dirty(ticket.key);
        }
    }

    /// Whoever takes the operations hands them to workers elsewhere, knows which worker has what, and keeps those apart that
    /// were lost often. Here one that no worker takes would hold up the others.
    pub fn operations_are_kept_apart(&mut self) {
        self.suspect_entities.kept_apart = true;
    }

    /// Hands out no operations from here on: the process is about to end, or is none that runs any.
    pub fn hand_out_no_operations(&mut self) {
        self.runs_no_operations = true;
    }

    /// An entity was recovered. What was handed out when it was stored may have ended the process.
    pub(super) fn look_at_losses(&mut self, key: InstanceKey) {
        let (now, dice, is_new) = (self.now, self.dice(), self.is_new_process());
        let limit = self.config.limits.lost_workers_max;
        let Some(entity) = self.entity_mut(key) else { return };
        let left = std::mem::take(&mut entity.left);
        let is_counted = is_new && left > 0 && !entity.record.dead;
        entity.record.lost += u32::from(is_counted);
        if is_counted && entity.record.lost > ALONE_FROM {
            self.ended_by_operations();
        }
        let Some(entity) = self.entity_mut(key) else { return };
        let lost = entity.record.lost;
        if lost == 0 || entity.record.dead {
            return;
        }
        if lost >= limit {
            entity.record.dead = true;
            let reason = format!(
                "{lost} processes ended one after another while they ran {}; it is handed out again when the entity is \
                 resumed, or when its state is deleted",
                entity.first_operation()
            );
            return self.block(key, reason, None);
        }
        if lost > 1 {
            entity.one_by_one = left.max(1);
        }
        // From half of it to one and a half: those that were lost together come apart.
        let wait = (entity.wait_after_losses() as f64 * (0.5 + dice)) as u64;
        if wait > 0 {
            let at = plus(now, wait);
            entity.held_until = at;
            self.wakes.add(at, key, Wake::Operations);
        }
    }

    /// An operator says that a blocked entity is to go on.
    pub(in crate::partition) fn resume_entity(&mut self, key: InstanceKey) {
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let Some(entity) = instance.entity.as_deref_mut() else { return };
        if instance.record.block.take().is_some() {
            entity.forget_losses();
            instance.turn = TurnState::Idle;
            self.go_on(key);
        }
    }

    /// Whether operations run that were lost often.
    pub(super) fn suspect_at_work(&mut self) -> bool {
        if self.suspect_entities.kept_apart {
            return false;
        }
        let at_work = self.suspect_entities.at_work.and_then(|key| self.entity_mut(key));
        at_work.is_some_and(|entity| entity.running.is_some())
    }

    /// Looks at the next entity that waits for its turn without the others.
    pub(super) fn next_suspect(&mut self) {
        if self.suspect_entities.waiting.is_empty() || self.suspect_at_work() {
            return;
        }
        let Some(key) = self.suspect_entities.waiting.pop_first() else { return };
        let Some(entity) = self.entity_mut(key) else {
            return self.look_up(key, ByKey::Wake(Wake::Operations));
        };
        if !std::mem::replace(&mut entity.operable, true) {
            self.operable.insert(0, key);
        }
    }
}

impl Entity {
    /// The batch that runs was lost. Gives how long its operations wait, in ms, before they are handed out again; `None`:
    /// so many batches were lost in a row that they are not.
    fn lose_batch(&mut self, limit: u32) -> Option<u64> {
        let count = self.running.map_or(0, |(_, count)| count);
        self.end_batch(0);
        self.record.lost += 1;
        if self.record.lost >= limit {
            self.forget_losses();
            return None;
        }
        self.one_by_one = self.one_by_one.max(count);
        Some(self.wait_after_losses())
    }

    fn wait_after_losses(&self) -> u64 {
        match self.record.lost {
            0 | 1 => 0,
            lost => (LOSS_WAIT_MS << (lost - 2).min(16)).min(LOSS_WAIT_MS_MAX),
        }
    }

    /// Whatever it waits for after losses does not matter any more.
    pub(super) fn forget_losses(&mut self) {
        (self.record.lost, self.record.dead) = (0, false);
        (self.one_by_one, self.held_until) = (0, Timestamp(0));
    }

    /// Whether its operations were lost so often that they run while those of no other such entity do.
    pub(super) fn is_suspect(&self) -> bool {
        self.record.lost >= ALONE_FROM
    }

    fn first_operation(&self) -> String {
        match self.record.queue.first().map(|queued| (&queued.wanted, queued.delivery)) {
            Some((Some(Wanted::Operation(operation)), delivery)) => {
                format!("its operation {:?}, delivery {delivery}", operation.name)
            }
            _ => "its operations".into(),
        }
    }
}
