//! Entities (I30 to I32): operations of one entity are serial and each is processed once, in the order of its sender; one
//! that fails leaves nothing; a delivery count is durable before it is used and used once; critical sections hold all of
//! their entities and are released however their holder ends; every answer is that of the operation that was processed.

mod callers;
mod operations;

use super::{Checker, Group, Seen};
use crate::entities::account::Order;
use crate::payload::EventSalt;
use bytes::Bytes;
use perdura_core::Failure;
use perdura_core::failure::kind;
use perdura_core::history::ParentLink;
use perdura_core::partition::{
    EntityRecord, LockRecord, Operation, Request, RequestError, Response, SignalRequest, Wanted,
};
use std::collections::{BTreeMap, BTreeSet};

type Outcome = Result<Option<Bytes>, Failure>;

/// What is known of operations.
#[derive(Debug, Default)]
pub(super) struct Entities {
    /// Everything that somebody has asked for.
    sent: BTreeSet<EventSalt>,
    /// What must have been processed when all is at rest.
    owed: BTreeSet<EventSalt>,
    processed: BTreeMap<EventSalt, Outcome>,
    deliveries: BTreeSet<(EventSalt, u32)>,
    /// Calls that were refused: who held the entity waited for the caller.
    refused: BTreeSet<EventSalt>,
    /// The last signal, and the last call of each branch, of a sender that an entity has processed.
    last: BTreeMap<(u32, Option<u32>, String), (u64, EventSalt)>,
    /// Orders in the order in which histories recorded them.
    recorded: BTreeMap<EventSalt, u64>,
    /// Calls whose callers have heard that they ended well, without their branch: on which branch.
    succeeded: BTreeMap<EventSalt, u32>,
    deletions: BTreeSet<String>,
    /// Orders that clients may repeat by a request id, and for which entity.
    repeatable: BTreeMap<EventSalt, String>,
    /// Some of them that were processed by an entity that is gone: nobody knows them any more.
    forgotten: BTreeSet<EventSalt>,
    /// Orders that are, or may be, for a later time.
    delayed: BTreeSet<EventSalt>,
    /// Seen in the present batch, to be judged when all of it is known.
    arrived: Vec<(String, EventSalt)>,
    /// With the branch on which the answer came.
    answered: Vec<(String, EventSalt, u32, Outcome)>,
}

impl Seen {
    /// Whether it is an entity.
    #[must_use]
    pub fn is_entity(&self) -> bool {
        self.record.entity.is_some()
    }

    fn entity(&self) -> EntityRecord {
        self.record.entity.as_deref().cloned().unwrap_or_default()
    }
}

impl Entities {
    /// Whether an answer says that a call was refused, and it was never processed.
    fn is_refused(&self, salt: EventSalt, branch: u32, outcome: &Outcome) -> bool {
        let is_refusal = outcome.as_ref().is_err_and(|failure| failure.kind == kind::INVALID);
        is_refusal && !self.processed.contains_key(&salt.on_branch(branch))
    }
}

/// An operation that waits, with its delivery count.
struct Waiting {
    order: Order,
    operation: Operation,
    delivery: u32,
}

fn queue(entity: &EntityRecord) -> Result<Vec<Waiting>, String> {
    let operations = entity.queue.iter().filter_map(|queued| match &queued.wanted {
        Some(Wanted::Operation(operation)) => Some((operation, queued.delivery)),
        _ => None,
    });
    operations.map(|(operation, delivery)| waiting(operation, delivery)).collect()
}

fn delayed(entity: &EntityRecord) -> Result<Vec<Waiting>, String> {
    entity.delayed.iter().flat_map(|delayed| &delayed.operation).map(|o| waiting(o, 0)).collect()
}

fn waiting(operation: &Operation, delivery: u32) -> Result<Waiting, String> {
    let order = Order::decode(&operation.input, operation.caller.as_ref())
        .ok_or_else(|| format!("nobody's operation {operation:?}"))?;
    Ok(Waiting { order, operation: operation.clone(), delivery })
}

fn holder(lock: &Option<LockRecord>) -> Option<&ParentLink> {
    lock.as_ref()?.holder.as_ref()
}

impl Checker {
    /// A client asks something of an entity.
    pub(super) fn entity_asked(&mut self, request: &Request) {
        match request {
            Request::Signal(signal) => {
                let Some(order) = Order::decode(&signal.input, None) else { return };
                self.entities.sent.insert(order.salt);
                if !signal.request_id.is_empty() {
                    self.entities.repeatable.insert(order.salt, signal.to.as_str().to_owned());
                }
                if signal.at.is_some() {
                    self.entities.delayed.insert(order.salt);
                }
            }
            Request::DeleteEntity { entity } => {
                self.entities.deletions.insert(entity.as_str().to_owned());
            }
            _ => {}
        }
    }

    /// An answer to a signal leaves: one that was taken is durable, one that was refused was not taken.
    pub(super) fn signal_answered(
        &mut self,
        signal: &SignalRequest,
        answer: &Result<Response, RequestError>,
    ) -> Result<(), String> {
        let Some(Order { salt, .. }) = Order::decode(&signal.input, None) else { return Ok(()) };
        let seen = self.mirror.by_id(signal.to.instance());
        let waits = seen.is_some_and(|seen| {
            let entity = seen.entity();
            let both = [queue(&entity), delayed(&entity)].into_iter().flatten().flatten();
            both.into_iter().any(|waiting| waiting.order.salt == salt)
        });
        let is_there = waits || self.entities.processed.contains_key(&salt);
        // It was processed, and its entity is gone since: whoever asks again may hear either.
        if !is_there && self.entities.forgotten.contains(&salt) {
            return Ok(());
        }
        match answer {
            Ok(_) if !is_there => Err(format!("signal {salt:x?} was acknowledged, but it is not durable")),
            Ok(_) => {
                self.entities.owed.insert(salt);
                Ok(())
            }
            // Of several attempts with one request id, one may have been refused before another was taken.
            Err(RequestError::InboxFull { .. }) if is_there && signal.request_id.is_empty() => {
                Err(format!("signal {salt:x?} was refused, but it was taken"))
            }
            Err(_) => Ok(()),
        }
    }

    /// Everything is at rest: nothing is locked, nothing waits, nothing is lost, and no empty rows are left.
    pub(super) fn entities_at_rest(&mut self) {
        let known = &self.entities;
        let lost = known.owed.iter().find(|salt| !known.processed.contains_key(salt));
        let result = match lost.filter(|_| self.judges_everything()) {
            Some(salt) => Err(format!("{salt:x?} was acknowledged or sent, and never processed")),
            None => self.mirror.instances().filter(|seen| seen.is_entity()).try_for_each(|seen| {
                let entity = seen.entity();
                let at_rest = entity.state.is_some()
                    && entity.queue.is_empty()
                    && entity.lock.is_none()
                    && entity.delayed.is_empty();
                at_rest.then_some(()).ok_or_else(|| format!("{seen:?} is at rest with {entity:?}"))
            }),
        };
        self.check(Group::Entities, result);
    }
}
