//! What becomes of operations: durable before they begin, one after another on the state, once, in order.

use super::{EntityRecord, Waiting, delayed, holder, queue};
use crate::entities::account::{self, Order, apply, is_of_entity, is_of_execution, sent_by};
use crate::invariants::{Checker, Group, Seen};
use crate::payload::EventSalt;
use bytes::Bytes;
use perdura_core::entity::OperationBatch;
use perdura_core::history::ParentLink;
use perdura_core::{InstanceId, Status, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

impl Checker {
    /// A worker has been given operations.
    pub fn operations_started(&mut self, batch: &OperationBatch, is_owner: bool) {
        if self.judges_everything() {
            let result = self.operations_begin(batch, is_owner);
            self.check(Group::Entities, result);
        }
    }

    fn operations_begin(&mut self, batch: &OperationBatch, is_owner: bool) -> Result<(), String> {
        let durable = self.mirror.instances.get(&batch.ticket.key).map(Seen::entity);
        if self.damaged.contains(&batch.ticket.key) {
            return Err(format!("{} runs operations, but it is damaged", batch.id));
        }
        let queue = durable.as_ref().map(queue).transpose()?.unwrap_or_default();
        for operation in &batch.operations {
            let Some(Order { salt, .. }) = Order::decode(&operation.input, operation.caller.as_ref()) else {
                return Err(format!("{}: nobody's operation {operation:?}", batch.id));
            };
            if let Some(caller) = &operation.caller
                && self.had_succeeded(&operation.input, caller)
            {
                return Err(format!("{}: {salt:x?} had succeeded, and runs again", batch.id));
            }
            if !self.entities.deliveries.insert((salt, operation.delivery)) {
                return Err(format!(
                    "{}: {salt:x?} delivery {} was given twice",
                    batch.id, operation.delivery
                ));
            }
            match queue.iter().find(|waiting| waiting.order.salt == salt) {
                Some(waiting) if waiting.delivery < operation.delivery => {
                    return Err(format!(
                        "{}: {salt:x?} began as delivery {}, durable is {}",
                        batch.id, operation.delivery, waiting.delivery
                    ));
                }
                Some(waiting) if waiting.delivery == operation.delivery => {
                    let state = durable.as_ref().and_then(|durable| durable.state.as_ref());
                    if state != batch.state.as_ref() {
                        return Err(format!(
                            "{}: given state {:?}, durable is {state:?}",
                            batch.id, batch.state
                        ));
                    }
                }
                Some(_) => {}
                None if self.entities.processed.contains_key(&salt) => {}
                // An owner that slept through the loss of its partition begins late what was durable once.
                None if !is_owner && self.entities.forgotten.contains(&salt) => {}
                None => return Err(format!("{}: {salt:x?} began, but it is not durable", batch.id)),
            }
        }
        Ok(())
    }

    pub(in crate::invariants) fn entity_wrote(
        &mut self,
        before: Option<&Seen>,
        after: &Seen,
        now: Timestamp,
    ) {
        let was = before.map(Seen::entity).unwrap_or_default();
        let result = self.entity_changed(&was, after, now).map_err(|why| format!("{after:?}: {why}"));
        self.check(Group::Entities, result);
    }

    fn entity_changed(&mut self, was: &EntityRecord, after: &Seen, now: Timestamp) -> Result<(), String> {
        let is = after.entity();
        let is_busy = !is.queue.is_empty() || is.lock.is_some() || !is.delayed.is_empty();
        let status = if is_busy || is.state.is_none() { Status::Running } else { Status::Completed };
        if after.row.status != status || !after.history.is_empty() || after.record.block.is_some() {
            return Err(format!(
                "status {status} expected, busy is {is_busy}, block {:?}",
                after.record.block
            ));
        }
        let (queued_before, delayed_before) = (queue(was)?, delayed(was)?);
        let (queued, delayed) = (queue(&is)?, delayed(&is)?);
        let salts: BTreeSet<EventSalt> = queued.iter().map(|waiting| waiting.order.salt).collect();
        let later: BTreeSet<EventSalt> = delayed.iter().map(|waiting| waiting.order.salt).collect();
        if salts.len() + later.len() != queued.len() + delayed.len() || !salts.is_disjoint(&later) {
            return Err("an operation waits twice".into());
        }
        for waiting in delayed_before.iter().filter(|waiting| !later.contains(&waiting.order.salt)) {
            let (salt, at) = (waiting.order.salt, waiting.operation.at);
            if !salts.contains(&salt) {
                return Err(format!("delayed signal {salt:x?} is lost"));
            }
            if at > now.0 {
                return Err(format!("signal {salt:x?} for {at} was due at {}", now.0));
            }
        }
        let known: BTreeMap<EventSalt, u32> =
            queued_before.iter().chain(&delayed_before).map(|w| (w.order.salt, w.delivery)).collect();
        for waiting in queued.iter().chain(&delayed) {
            let salt = waiting.order.salt;
            if waiting.operation.at != 0 {
                self.entities.delayed.insert(salt);
            }
            match known.get(&salt) {
                None => self.entities.arrived.push((after.row.id.to_string(), salt)),
                Some(delivery) if *delivery > waiting.delivery => {
                    return Err(format!("{salt:x?} went back to delivery {}", waiting.delivery));
                }
                Some(_) => {}
            }
        }
        let mut state = was.state.clone();
        for waiting in queued_before.into_iter().filter(|waiting| !salts.contains(&waiting.order.salt)) {
            if is_refused(&waiting, [was, &is]) {
                self.entities.owed.remove(&waiting.order.salt);
                self.entities.refused.insert(waiting.order.salt);
                continue;
            }
            state = self.processed(after, was, state, waiting, now)?;
        }
        let was_free = was.lock.is_none() || was.lock != is.lock;
        let may_be_deleted = was_free && self.entities.deletions.contains(after.row.id.as_str());
        if is.state != state && !(is.state.is_none() && may_be_deleted) {
            return Err(format!("state {:?}, expected {state:?}", is.state));
        }
        Ok(())
    }

    /// An operation has left the queue: it was processed. Gives the state after it.
    fn processed(
        &mut self,
        entity: &Seen,
        was: &EntityRecord,
        state: Option<Bytes>,
        waiting: Waiting,
        now: Timestamp,
    ) -> Result<Option<Bytes>, String> {
        let (salt, caller) = (waiting.order.salt, waiting.operation.caller.as_ref());
        if waiting.delivery == 0 {
            return Err(format!("{salt:x?} was processed, but it was not handed out"));
        }
        if let Some(holder) = holder(&was.lock)
            && !caller.is_some_and(|caller| is_same_run(caller, holder))
        {
            return Err(format!("{salt:x?} was processed while {holder:?} held it"));
        }
        let name = waiting.operation.name.as_str();
        let applied = apply(&self.programs, &state, name, waiting.order, waiting.delivery, now);
        if applied.outcome.is_ok() && matches!(name, account::SPREAD) {
            self.entities.sent.extend(sent_by(salt));
            self.entities.owed.extend(sent_by(salt));
        }
        let twice = self.entities.processed.insert(salt, applied.outcome).is_some();
        if self.entities.refused.contains(&salt) {
            return Err(format!("{salt:x?} was refused, and is processed"));
        }
        if !self.judges_everything() {
            return Ok(applied.state);
        }
        if twice {
            return Err(format!("{salt:x?} was processed twice"));
        }
        // Those of entities have no number.
        if !self.entities.delayed.contains(&salt) && !is_of_entity(salt) {
            let Some(place) = self.place_of(salt) else { return Ok(applied.state) };
            let branch = caller.map(|caller| caller.branch);
            let sender = (salt.sender(), branch, entity.row.id.to_string());
            let last = self.entities.last.insert(sender, (place, salt));
            if let Some((_, earlier)) = last.filter(|(earlier, _)| *earlier > place) {
                return Err(format!("{earlier:x?} was processed before {salt:x?}"));
            }
        }
        Ok(applied.state)
    }

    /// Whether a call ended well, and its caller heard of it, on a branch from which the present one comes.
    fn had_succeeded(&self, input: &Option<Bytes>, caller: &ParentLink) -> bool {
        let branch = Order::decode(input, None).and_then(|order| self.entities.succeeded.get(&order.salt));
        let seen = InstanceId::new(&caller.instance).ok().and_then(|id| self.mirror.by_id(&id));
        let seen = seen.filter(|seen| seen.record.execution == caller.execution);
        // Somebody wanted it to run again.
        let seen = seen.filter(|_| !self.by_hand.contains(&caller.execution));
        branch.zip(seen).is_some_and(|(branch, seen)| self.comes_from(seen.key, caller.branch, *branch))
    }

    /// Where an order stands among those of its sender.
    fn place_of(&self, salt: EventSalt) -> Option<u64> {
        match self.programs.names_orders_by_place && is_of_execution(salt) {
            // Not known of the last decisions of an execution that began anew.
            true => self.entities.recorded.get(&salt).copied(),
            false => Some(salt.0),
        }
    }

    /// The row of an entity is gone.
    pub(in crate::invariants) fn entity_vanished(&mut self, seen: &Seen) {
        let entity = seen.entity();
        let is_empty = entity.state.is_none()
            && entity.queue.is_empty()
            && entity.lock.is_none()
            && entity.delayed.is_empty();
        let left = || format!("{seen:?}: removed, but there is {entity:?}");
        self.check(Group::Entities, is_empty.then_some(()).ok_or_else(left));
        let known = &mut self.entities;
        for (salt, _) in known.repeatable.iter().filter(|(_, to)| to.as_str() == seen.row.id.as_str()) {
            if known.processed.remove(salt).is_some() {
                known.forgotten.insert(*salt);
                known.delayed.insert(*salt);
                known.owed.remove(salt);
                known.deliveries.retain(|(delivered, _)| delivered != salt);
            }
        }
    }
}

/// Whether an operation that has left the queue was refused: it is a call that was never handed out, while somebody else
/// had the entity.
fn is_refused(waiting: &Waiting, entity: [&EntityRecord; 2]) -> bool {
    let of_others = |caller: &ParentLink| {
        let mut holders = entity.into_iter().filter_map(|entity| holder(&entity.lock));
        holders.any(|holder| !is_same_run(caller, holder))
    };
    waiting.delivery == 0 && waiting.operation.caller.as_ref().is_some_and(of_others)
}

fn is_same_run(a: &ParentLink, b: &ParentLink) -> bool {
    (&a.instance, &a.execution) == (&b.instance, &b.execution)
}
