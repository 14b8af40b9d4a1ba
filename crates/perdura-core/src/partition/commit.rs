//! Group commit: what is decided while a batch is being written gathers in the next one.

use super::batch::{Batch, Envelope, EnvelopeId};
use super::effect::Effect;
use super::request::{ReplyToken, RequestError, Response};
use super::{Body, Bug, Parked, Partition};
use crate::history::Damaged;
use crate::id::{InstanceId, InstanceKey, PartitionId};
use crate::partition::Message;
use crate::time::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the next batch will write, and what may happen after it.
#[derive(Debug, Default)]
pub(super) struct Open {
    dirty: Vec<InstanceKey>,
    pub(super) purge: Vec<InstanceKey>,
    pub(super) consumed: Vec<EnvelopeId>,
    outgoing: Vec<Envelope>,
    not_before: Option<Timestamp>,
    effects: Vec<Effect>,
    notify: BTreeSet<PartitionId>,
    /// Attempts that are taken as they are handed out.
    pub(super) taken: usize,
}

/// The batch that is being written.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) effects: Vec<Effect>,
    consumed: Vec<EnvelopeId>,
    keys: Vec<InstanceKey>,
    taken: usize,
}

impl Partition {
    /// The open batch, to be written now; `None` if one is being written, or there is nothing to write. When an answer
    /// depends on nothing that is not durable, it comes at once, as an effect.
    pub fn seal(&mut self) -> Result<(Option<Batch>, Vec<Effect>), Damaged> {
        if self.in_flight.is_some() {
            let early = self.planted(Bug::EffectsBeforeCommit);
            return Ok((None, if early { std::mem::take(&mut self.open.effects) } else { Vec::new() }));
        }
        self.answer_brought();
        self.hand_out_all_operations();
        self.store_parked_messages();
        let mut open = std::mem::take(&mut self.open);
        // An attempt that was called off before its number was durable never begins.
        open.effects.retain(|effect| match effect {
            Effect::StartTask(start) => self.is_running(start.task),
            Effect::TaskTaken(task) => self.is_running(*task),
            _ => true,
        });
        let mut batch = Batch {
            now: self.now,
            not_before: open.not_before,
            purge: open.purge,
            writes: Vec::with_capacity(open.dirty.len()),
            consumed: open.consumed,
            outgoing: open.outgoing,
        };
        self.batches_sealed += 1;
        let mut keys = Vec::with_capacity(open.dirty.len());
        for key in open.dirty {
            let Some(instance) = self.instances.get_mut(&key) else { continue };
            instance.dirty = false;
            instance.last_batch = self.batches_sealed;
            batch.writes.push(instance.write(self.now)?);
            keys.push(key);
        }
        if batch.is_empty() {
            self.batches_sealed -= 1;
            return Ok((None, open.effects));
        }
        let mut effects = open.effects;
        effects.extend(open.notify.into_iter().map(Effect::Notify));
        let early =
            if self.planted(Bug::EffectsBeforeCommit) { std::mem::take(&mut effects) } else { Vec::new() };
        self.in_flight =
            Some(InFlight { effects, consumed: batch.consumed.clone(), keys, taken: open.taken });
        Ok((Some(batch), early))
    }

    /// The batch that was sealed last is durable: what may happen now.
    pub fn committed(&mut self) -> Vec<Effect> {
        let Some(in_flight) = self.in_flight.take() else { return Vec::new() };
        self.batches_committed = self.batches_sealed;
        for envelope in in_flight.consumed {
            self.handling.remove(&envelope);
            self.handled.insert(envelope);
        }
        self.purged_keys.retain(|_, batch| *batch > self.batches_committed);
        self.purged_ids.retain(|_, batch| *batch > self.batches_committed);
        for key in in_flight.keys {
            let ended = self
                .instances
                .get(&key)
                .is_some_and(|i| !i.is_active() && i.entity.is_none() && i.may_leave(self.batches_committed));
            if ended && !self.is_held(key) {
                self.remove(key);
            }
        }
        self.remove_vanished();
        self.ask_for_histories();
        self.evict();
        in_flight.effects
    }

    /// How many attempts could begin at once where the driver runs them, were they handed out now. An attempt whose count
    /// is committed at the hand-over needs no second commit then: it is taken by being handed out. 0 unless it is told.
    pub fn set_room(&mut self, attempts: usize) {
        self.room = attempts;
    }

    /// Who runs the attempts that [begin at once](Self::set_room).
    pub fn set_worker(&mut self, name: Arc<str>) {
        self.worker = name;
    }

    /// Whether an attempt that is handed out now begins at once.
    pub(super) fn has_room_to_begin(&self) -> bool {
        let on_their_way = self.open.taken + self.in_flight.as_ref().map_or(0, |in_flight| in_flight.taken);
        on_their_way < self.room
    }

    /// Whether a batch is being written.
    #[must_use]
    pub fn is_committing(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether [`seal`](Self::seal) would give something.
    #[must_use]
    pub fn has_something_to_seal(&self) -> bool {
        let open = &self.open;
        self.in_flight.is_none()
            && !(open.dirty.is_empty()
                && open.purge.is_empty()
                && open.consumed.is_empty()
                && open.outgoing.is_empty()
                && open.effects.is_empty())
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.open.effects.push(effect);
    }

    pub(super) fn reply(&mut self, token: ReplyToken, answer: Result<Response, RequestError>) {
        self.effect(Effect::Reply(token, answer));
    }

    pub(super) fn mark_dirty(&mut self, key: InstanceKey) {
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.touched = true;
            if !std::mem::replace(&mut instance.dirty, true) {
                self.open.dirty.push(key);
            }
        }
    }

    /// The open batch treats `deadline` as past.
    pub(super) fn rely_on(&mut self, deadline: Timestamp) {
        self.open.not_before = self.open.not_before.max(Some(deadline));
    }

    /// Which batch the present decisions will be part of.
    pub(super) fn open_batch(&self) -> u64 {
        self.batches_sealed + 1
    }

    /// Sends a message to an instance, wherever it is.
    pub(super) fn send(&mut self, to: &InstanceId, body: Body) {
        let message = Message::new(to, body);
        let partition = to.partition(self.config.partitions);
        if partition == self.config.id {
            self.local.push_back(message);
        } else {
            self.put_in_envelope(partition, &message);
            self.open.notify.insert(partition);
        }
    }

    pub(super) fn put_in_envelope(&mut self, to: PartitionId, message: &Message) -> EnvelopeId {
        let number = self.config.next_envelope;
        self.config.next_envelope += 1;
        self.open.outgoing.push(Envelope { from: self.config.id, to, number, message: message.seal() });
        EnvelopeId { from: self.config.id, number }
    }

    /// A message to an instance that cannot be read stays in the store until somebody restores or purges the instance.
    /// Questions that are asked again and again do not: nobody can tell what it waits for.
    pub(super) fn keep_for_damaged(&mut self, message: Message, envelope: Option<EnvelopeId>) {
        if let Some(Body::FindCircle(_)) = &message.body {
            return self.open.consumed.extend(envelope);
        }
        let id = envelope.unwrap_or_else(|| self.put_in_envelope(self.config.id, &message));
        self.handling.insert(id);
        self.kept.entry(message.receiver()).or_default().push(id);
    }

    /// An instance that could not be read is purged: what was kept for it is read again, and may begin another.
    pub(super) fn release_kept(&mut self, id: &InstanceId) {
        for envelope in self.kept.remove(id).unwrap_or_default() {
            self.handling.remove(&envelope);
            self.open.notify.insert(self.config.id);
        }
    }

    /// Messages of this partition to itself that still wait for a row are part of what is committed: a crash must not
    /// lose them.
    fn store_parked_messages(&mut self) {
        let mut lookups = std::mem::take(&mut self.id_lookups);
        let mut rewinds = std::mem::take(&mut self.rewinds);
        let parked = lookups.values_mut().flat_map(|lookup| &mut lookup.waiting);
        for parked in parked.chain(rewinds.values_mut().flatten().map(|awaited| &mut awaited.asked)) {
            if let Parked::Message(message, envelope @ None) = parked {
                let id = self.put_in_envelope(self.config.id, message);
                self.handling.insert(id);
                *envelope = Some(id);
            }
        }
        self.id_lookups = lookups;
        self.rewinds = rewinds;
        self.store_held_messages();
    }
}
