//! Operations: into the queue, out to whoever runs them, and what becomes of them.

use super::record::{Operation, Stamp, Wanted};
use super::state::{Entity, due};
use crate::entity::{BatchTicket, EntityAction, EntityId, EntityOperation, OperationBatch, OperationsDone};
use crate::failure::Failure;
use crate::id::{InstanceId, InstanceKey};
use crate::partition::effect::Effect;
use crate::partition::instance::{Instance, TurnState};
use crate::partition::keys::content_of;
use crate::partition::message::{Body, StartChild};
use crate::partition::record::InstanceRecord;
use crate::partition::request::{RequestError, SignalRequest};
use crate::partition::wakes::Wake;
use crate::partition::{Bug, Partition};
use crate::status::Status;
use crate::time::Timestamp;
use bytes::Bytes;

impl Partition {
    /// Takes a client's signal.
    pub(in crate::partition) fn signal_by_client(
        &mut self,
        signal: SignalRequest,
        existing: Option<InstanceKey>,
    ) -> Result<(), RequestError> {
        let (limit, bytes_max) = (self.config.limits.inbox_events_max, self.config.limits.inbox_bytes_max);
        let (id, now) = (signal.to.instance().clone(), self.now);
        let (content, forgets) =
            (content_of(&signal.operation, signal.input.as_ref()), self.planted(Bug::SignalTwice));
        if let Some(key) = existing.filter(|_| signal.at.is_none()) {
            self.take_due_signals(key);
        }
        if let Some(entity) = existing.and_then(|key| self.entity_mut(key)) {
            // Whether there was room was decided when it was taken.
            match entity.has_taken(signal.stamp, &signal.request_id, content) {
                Some(true) if !forgets => return Ok(()),
                Some(false) => {
                    return Err(RequestError::RequestIdReused { id, request_id: signal.request_id });
                }
                _ => {}
            }
            let is_later = signal.at.is_some_and(|at| at > now);
            let (waiting, bytes) = if is_later { entity.backlog_later() } else { entity.backlog() };
            if waiting >= limit {
                return Err(RequestError::InboxFull { id, limit });
            }
            let bytes = bytes + signal.operation.len() + signal.input.as_ref().map_or(0, Bytes::len);
            // An empty queue takes any operation: the limit of payloads is another one.
            if bytes > bytes_max && waiting > 0 {
                return Err(RequestError::InboxTooLarge { id, bytes, limit: bytes_max });
            }
        }
        let key = existing.unwrap_or_else(|| self.create_entity(&signal.to));
        let operation = Operation {
            name: signal.operation,
            input: signal.input,
            caller: None,
            at: signal.at.map_or(0, |at| at.0),
            request: signal.request_id,
        };
        if let Some(entity) = self.entity_mut(key) {
            entity.remember(signal.stamp, &operation.request, content);
            self.take_operation(key, operation);
        }
        Ok(())
    }

    /// Takes an operation that another instance sent.
    pub(in crate::partition) fn operation_message(
        &mut self,
        id: &InstanceId,
        operation: Operation,
        existing: Option<InstanceKey>,
    ) {
        let Some(to) = EntityId::of_instance(id) else { return };
        let key = existing.unwrap_or_else(|| self.create_entity(&to));
        self.take_operation(key, operation);
    }

    pub(in crate::partition) fn take_operation(&mut self, key: InstanceKey, operation: Operation) {
        let now = self.now;
        let Some(entity) = self.entity_mut(key) else { return };
        if operation.at != 0 {
            // One that is due, too: others that are due may come before it.
            let at = Timestamp(operation.at);
            let number = entity.delay(operation);
            if at > now {
                self.wakes.add(at, key, Wake::Signal(number));
            }
            return self.go_on(key);
        }
        entity.push(Wanted::Operation(operation));
        if self.planted(Bug::SignalsReordered)
            && let Some(entity) = self.entity_mut(key)
        {
            // Not one that runs.
            let first = entity.running.map_or(0, |(_, count)| count);
            if let [.., before, last] = &mut entity.record.queue[first..] {
                std::mem::swap(before, last);
            }
        }
        self.go_on(key);
    }

    pub(super) fn create_entity(&mut self, id: &EntityId) -> InstanceKey {
        let (now, key) = (self.now, InstanceKey::new(self.config.id, self.config.next_key));
        self.config.next_key += 1;
        let record = InstanceRecord {
            id: id.as_str().to_owned(),
            name: id.name().to_owned(),
            generation: 1,
            start_generation: 1,
            created_at: now.0,
            ..InstanceRecord::default()
        };
        let mut instance = Instance::new(key, record, Status::Running);
        instance.entity = Some(Box::default());
        self.admit(instance);
        self.mark_dirty(key);
        key
    }

    pub(super) fn entity_mut(&mut self, key: InstanceKey) -> Option<&mut Entity> {
        self.instances.get_mut(&key).and_then(|instance| instance.entity.as_deref_mut())
    }

    /// Does what can be done: gives the lock to whoever is next, hands operations out, or lets the entity vanish.
    pub(in crate::partition) fn go_on(&mut self, key: InstanceKey) {
        self.mark_dirty(key);
        self.grant_next_locks(key);
        let vanishes = self.settle_entity(key);
        if vanishes {
            self.vanishing.push(key);
        }
        self.watch_for_circle(key);
        // Handed out when the batch is sealed: what comes until then is handed out together.
        if let Some(entity) = self.entity_mut(key)
            && !std::mem::replace(&mut entity.operable, true)
        {
            self.operable.push(key);
        }
    }

    /// Hands out what waits in entities, as part of the batch that is being sealed.
    pub(in crate::partition) fn hand_out_all_operations(&mut self) {
        if self.awaits_messages || self.runs_no_operations {
            return;
        }
        self.next_suspect();
        for key in std::mem::take(&mut self.operable) {
            self.take_held(key);
            self.hand_out_operations(key);
        }
        self.settle();
    }

    /// Sets the status by what the entity has; says whether nothing is left of it.
    fn settle_entity(&mut self, key: InstanceKey) -> bool {
        let Some(instance) = self.instances.get_mut(&key) else { return false };
        let Some(entity) = instance.entity.as_deref_mut() else { return false };
        let is_empty = entity.is_empty();
        let was = std::mem::replace(&mut entity.vanishing, is_empty);
        // One that vanishes is looked at by a recovery, which removes it for good.
        let unfinished = entity.is_busy() || entity.vanishing;
        instance.status = if unfinished { Status::Running } else { Status::Completed };
        entity.vanishing && !was
    }

    fn hand_out_operations(&mut self, key: InstanceKey) {
        let reuse = self.planted(Bug::DeliveryCountReused);
        let bytes_max = self.config.limits.operations_bytes_max;
        // Drawn, not counted: what a batch of an earlier life brings back must fit no batch of this one.
        let (now, number) = (self.now, self.draw());
        let others = self.suspect_at_work();
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let Some(entity) = instance.entity.as_deref_mut() else { return };
        entity.operable = false;
        if entity.running.is_some() || instance.record.block.is_some() || entity.held_until > now {
            return;
        }
        let is_suspect = entity.is_suspect();
        if is_suspect && others {
            self.suspect_entities.waiting.insert(key);
            return;
        }
        let batch = entity.begin_batch(number, now, bytes_max);
        if batch.is_empty() {
            return;
        }
        if is_suspect {
            self.suspect_entities.at_work = Some(key);
        }
        let mut operations = Vec::with_capacity(batch.len());
        for queued in batch {
            if !(reuse && queued.delivery > 0) {
                queued.delivery += 1;
            }
            if let Some(Wanted::Operation(operation)) = &queued.wanted {
                operations.push(EntityOperation {
                    name: operation.name.clone(),
                    input: operation.input.clone(),
                    caller: operation.caller.clone(),
                    request: operation.request.clone(),
                    delivery: queued.delivery,
                });
            }
        }
        let (state, lost) = (entity.record.state.clone(), entity.record.lost);
        let Some(id) = EntityId::of_instance(&instance.id) else { return };
        let ticket = BatchTicket { key, number };
        self.mark_dirty(key);
        self.effect(Effect::RunOperations(OperationBatch { ticket, id, state, now, lost, operations }));
    }

    /// Takes what became of a batch of operations. Gives false, and drops it, if it is not awaited any more.
    pub fn operations_done(&mut self, ticket: BatchTicket, done: OperationsDone, now: Timestamp) -> bool {
        self.advance(now);
        let (key, refusal) = (ticket.key, done.check(&self.config.limits, now).err());
        let sends = self.planted(Bug::FailedOperationSends);
        let Some(entity) = self.running_batch(ticket) else { return false };
        let mut answers = Vec::new();
        let mut actions = Vec::new();
        for (queued, result) in entity.end_batch(done.results.len()).zip(done.results) {
            let outcome = refusal.clone().map_or(result.outcome, Err);
            if outcome.is_ok() || sends {
                actions.extend(result.actions);
            }
            if let Some(Wanted::Operation(Operation { caller: Some(caller), request, .. })) = queued.wanted {
                answers.push((caller, request, outcome.map_err(Failure::within_limits)));
            }
        }
        if refusal.is_none() {
            entity.record.state = done.state;
        }
        for (caller, request, result) in answers {
            self.answer_caller(caller, request, result);
        }
        for action in actions {
            self.entity_action(action);
        }
        self.go_on(key);
        self.settle();
        true
    }

    /// Nobody here runs this entity. Its operations wait for the next life of the processor; the reason says what to do.
    pub fn operations_cannot_run(&mut self, ticket: BatchTicket, reason: String, now: Timestamp) {
        self.advance(now);
        let Some(entity) = self.running_batch(ticket) else { return };
        let count = entity.running.map_or(0, |(_, count)| count);
        for queued in &mut entity.record.queue[..count] {
            queued.delivery -= 1;
        }
        entity.end_batch(0);
        self.block(ticket.key, reason, None);
    }

    pub(super) fn running_batch(&mut self, ticket: BatchTicket) -> Option<&mut Entity> {
        let running =
            |entity: &&mut Entity| entity.running.as_ref().is_some_and(|(n, _)| *n == ticket.number);
        self.entity_mut(ticket.key).filter(running)
    }

    fn entity_action(&mut self, action: EntityAction) {
        match action {
            EntityAction::Signal { to, operation, input, at, request } => {
                let at = at.map_or(0, |at| at.0);
                let operation = Operation { name: operation, input, caller: None, at, request };
                self.send(to.instance(), Body::Operation(operation));
            }
            EntityAction::Start { id, name, version, input, at, reuse } => {
                let start_at = at.map(|at| at.0);
                let reuse = reuse.to_bits();
                let detached = true;
                let start =
                    StartChild { name, version, input, detached, start_at, reuse, ..StartChild::default() };
                self.send(&id, Body::StartChild(start));
            }
        }
    }

    /// Goes on with an entity after a recovery: what was handed out in the life before is handed out again.
    pub(in crate::partition) fn take_up_entity(&mut self, key: InstanceKey) {
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let Some(entity) = instance.entity.as_deref() else { return };
        if !entity.record.dead {
            instance.record.block = None;
        }
        let delayed: Vec<_> = entity.record.delayed.iter().map(|d| (due(d), d.number)).collect();
        for (at, number) in delayed {
            self.wakes.add(Timestamp(at), key, Wake::Signal(number));
        }
        self.look_at_losses(key);
        let Some(entity) = self.entity_mut(key) else { return };
        if entity.is_empty() || !entity.record.queue.is_empty() {
            self.go_on(key);
        }
    }

    /// Removes the state of an entity that nobody holds. One that is blocked goes on without it.
    pub(in crate::partition) fn delete_entity(&mut self, key: InstanceKey) -> Result<(), RequestError> {
        let Some(instance) = self.instances.get_mut(&key) else { return Ok(()) };
        let id = instance.id.clone();
        let Some(entity) = instance.entity.as_deref_mut() else { return Ok(()) };
        if let Some(lock) = &entity.record.lock {
            let holder = lock.holder.as_ref().map(|holder| holder.instance.clone()).unwrap_or_default();
            // It is free soon if that one is gone.
            self.look_at_holder(key);
            return Err(RequestError::EntityLocked { id, holder });
        }
        // What a running batch brings back would bring the state back.
        if entity.running.is_some() {
            return Err(RequestError::EntityBusy { id });
        }
        entity.record.state = None;
        // Perhaps it was the state that stood in the way.
        entity.forget_losses();
        instance.record.block = None;
        instance.turn = TurnState::Idle;
        self.go_on(key);
        Ok(())
    }

    /// Rows of entities of which nothing is left go, now that it is durable that nothing is left.
    pub(in crate::partition) fn remove_vanished(&mut self) {
        let committed = self.batches_committed;
        for key in std::mem::take(&mut self.vanishing) {
            let Some(instance) = self.instances.get(&key) else { continue };
            if !instance.entity.as_ref().is_some_and(|entity| entity.vanishing) {
                continue;
            }
            if instance.dirty || instance.last_batch > committed {
                self.vanishing.push(key);
                continue;
            }
            let id = instance.id.clone();
            self.purge_row(id, key);
            self.remove(key);
        }
    }
}

/// A stamp for tests and drivers.
impl Stamp {
    /// The `number`th signal through `door`.
    #[must_use]
    pub fn new(door: u64, number: u64) -> Stamp {
        Stamp { door, number }
    }
}
