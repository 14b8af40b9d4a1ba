//! Locks. A request goes through its entities one after another, in the order of their ids, so that no two critical
//! sections ever wait for each other. A release of a section that is not held yet takes the same way, behind it.

use super::record::{LockRecord, LockRequest, Wanted};
use crate::entity::EntityId;
use crate::history::ParentLink;
use crate::id::{InstanceId, InstanceKey};
use crate::partition::message::Body;
use crate::partition::{Bug, LockGranted, Partition};

/// The end of a critical section, to one of its entities.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Unlock {
    /// Who held or wanted it.
    #[prost(message, optional, tag = "1")]
    pub holder: Option<ParentLink>,
    /// The entities that are still to be told after this one: the request may have come that far.
    #[prost(string, repeated, tag = "2")]
    pub then: Vec<String>,
}

impl Partition {
    pub(in crate::partition) fn lock_message(
        &mut self,
        id: &InstanceId,
        request: LockRequest,
        existing: Option<InstanceKey>,
    ) {
        let Some(to) = EntityId::of_instance(id) else { return };
        let key = existing.unwrap_or_else(|| self.create_entity(&to));
        if let Some(entity) = self.entity_mut(key) {
            entity.push(Wanted::Lock(request));
            self.go_on(key);
        }
    }

    /// Gives the lock to whoever is at the head of the queue, if that is a lock request.
    pub(super) fn grant_next_locks(&mut self, key: InstanceKey) {
        let now = self.now;
        let Some(entity) = self.entity_mut(key) else { return };
        // What runs came before the request.
        if entity.running.is_some() {
            return;
        }
        let Some(request) = entity.next_lock() else { return };
        entity.record.lock = Some(LockRecord {
            holder: request.holder.clone(),
            since: now.0,
            set: request.set.clone(),
            request: request.request.clone(),
        });
        entity.circle_wait = 0;
        let next = LockRequest { position: request.position + 1, ..request };
        match (next.entity(), &next.holder) {
            (Some(entity), _) => self.send(&entity, Body::Lock(next)),
            (None, Some(holder)) => {
                let to = InstanceId::recorded(&holder.instance);
                let granted = LockGranted { holder: next.holder.clone(), request: next.request };
                self.send(&to, Body::LockGranted(granted));
            }
            (None, None) => {}
        }
        self.take_held_of_holder(key);
    }

    pub(in crate::partition) fn unlock_message(&mut self, existing: Option<InstanceKey>, unlock: Unlock) {
        if self.planted(Bug::LockLeaks) && self.draw().is_multiple_of(8) {
            return;
        }
        let Some(holder) = unlock.holder else { return };
        if !existing.is_some_and(|key| self.withdraw_request(key, &holder)) {
            // The request went on from here, also if somebody has released this entity before; the release follows it.
            self.send_unlock(holder, unlock.then);
        }
        if let Some(key) = existing {
            self.go_on(key);
        }
    }

    /// Gives up what a critical section has or wants of an entity; says whether its request waited here.
    fn withdraw_request(&mut self, key: InstanceKey, holder: &ParentLink) -> bool {
        let Some(entity) = self.entity_mut(key) else { return false };
        !entity.unlock(holder) && (entity.withdraw(holder) || self.drop_held_lock(key, holder))
    }

    /// Tells some entities that a section is over: those that are held at once, otherwise one after another.
    pub(super) fn send_unlocks(&mut self, holder: ParentLink, entities: Vec<String>, held: bool) {
        if held {
            for entity in entities {
                self.send_unlock(holder.clone(), vec![entity]);
            }
        } else {
            self.send_unlock(holder, entities);
        }
    }

    /// Tells the first of some entities, which tells the next.
    fn send_unlock(&mut self, holder: ParentLink, mut entities: Vec<String>) {
        if !entities.is_empty() {
            let then = entities.split_off(1);
            let first = InstanceId::recorded(&entities[0]);
            self.send(&first, Body::Unlock(Unlock { holder: Some(holder), then }));
        }
    }
}
