//! Entities as orchestration code sees them: calls, signals, and the critical section.

use super::decision::Decision;
use super::execution::{Execution, Ticket};
use crate::entity::EntityId;
use crate::failure::{Failure, kind};
use crate::history::{EntityLockRequested, EntityOperationCalled, EntityOperationSignaled, EntityUnlockSent};
use crate::limits::{DELAY_MS_MAX, LOCKS_MAX};
use crate::time::Timestamp;
use bytes::Bytes;

/// The critical section of an execution.
#[derive(Debug)]
pub(super) struct Section {
    ticket: Ticket,
    /// Sorted.
    set: Vec<String>,
    granted: bool,
}

impl Execution {
    /// Calls an operation of an entity. Inside a critical section only entities of the section can be called.
    pub fn call_entity(&mut self, to: &EntityId, operation: &str, input: Option<Bytes>) -> Ticket {
        if let Some(over) = self.wait_is_over() {
            return over;
        }
        let checked = self.check_operation(operation, &input).and_then(|bytes| match &self.section {
            Some(section) if !section.holds(to) => Err(invalid(format!(
                "call of {:?} inside a critical section that does not hold it; lock it with the others, or call it before \
                 or after",
                to.as_str()
            ))),
            _ => Ok(bytes),
        });
        let (entity, operation) = (to.as_str().to_owned(), operation.to_owned());
        self.decide(checked, |id| {
            let request = String::new();
            Decision::CallEntity(EntityOperationCalled { id, entity, operation, input, request })
        })
    }

    /// Sends a signal to an entity, to be run at a time or at once. There is nothing to wait for, but the ticket tells of a
    /// refusal. An entity that the critical section holds cannot be signaled: its holder calls it.
    pub fn signal_entity(
        &mut self,
        to: &EntityId,
        operation: &str,
        input: Option<Bytes>,
        at: Option<Timestamp>,
    ) -> Ticket {
        let too_far = at.is_some_and(|at| at.0.saturating_sub(self.now().0) > DELAY_MS_MAX);
        let checked = self.check_operation(operation, &input).and_then(|bytes| match &self.section {
            _ if too_far => Err(Failure::new(kind::LIMIT, "signal: more than ten years ahead").non_retryable()),
            Some(section) if section.holds(to) => Err(invalid(format!(
                "signal to {:?}, which the critical section holds: it would wait for the section to end; call it",
                to.as_str()
            ))),
            _ => Ok(bytes),
        });
        let (entity, operation, at) = (to.as_str().to_owned(), operation.to_owned(), at.map_or(0, |at| at.0));
        let ticket = self.decide(checked, |id| {
            let request = String::new();
            Decision::SignalEntity(EntityOperationSignaled { id, entity, operation, input, at, request })
        });
        self.nothing_to_wait_for(ticket);
        ticket
    }

    /// Asks for entities, to be held together until [`unlock`](Self::unlock). The order in which they are named does not
    /// matter: they are taken in one order everywhere, so that no two sections wait for each other.
    pub fn lock_entities(&mut self, entities: &[EntityId]) -> Ticket {
        if let Some(over) = self.wait_is_over() {
            return over;
        }
        let mut set: Vec<String> = entities.iter().map(|entity| entity.as_str().to_owned()).collect();
        set.sort_unstable();
        let twice = set.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone());
        let checked = if self.section.is_some() {
            Err(invalid("a critical section inside a critical section; lock all entities at once".into()))
        } else if set.is_empty() {
            Err(invalid("a lock of no entity".into()))
        } else if let Some(entity) = twice {
            Err(invalid(format!("entity {entity:?} is locked twice")))
        } else if set.len() > LOCKS_MAX {
            let message = format!("entities in one critical section: {}, limit {LOCKS_MAX}", set.len());
            Err(Failure::new(kind::LIMIT, message).non_retryable())
        } else {
            Ok(set.iter().map(String::len).sum())
        };
        let refused = checked.is_err();
        let names = set.clone();
        let ticket = self.decide(checked, |id| {
            Decision::RequestLock(EntityLockRequested { id, set, request: String::new() })
        });
        if !refused && self.is_pending(ticket) {
            self.section = Some(Box::new(Section { ticket, set: names, granted: false }));
        }
        ticket
    }

    /// Gives up the critical section that `lock` asked for, whether it was granted or not. One that is over is ignored.
    pub fn unlock(&mut self, lock: Ticket) {
        if self.section.as_ref().is_none_or(|section| section.ticket != lock) {
            return;
        }
        self.section = None;
        self.abandon(lock);
        // The end of an execution releases what it holds.
        if !self.has_ended() {
            let ticket = self.decide_always(|id| {
                Decision::Unlock(EntityUnlockSent { id, entities: Vec::new(), request: String::new() })
            });
            self.nothing_to_wait_for(ticket);
        }
    }

    /// The lock was granted; says whether anybody waits for it.
    pub(super) fn lock_granted(&mut self, ticket: Ticket) {
        if let Some(section) = self.section.as_mut().filter(|section| section.ticket == ticket) {
            section.granted = true;
        }
    }

    /// A request to cancel ends the wait for a lock; one that is held stays.
    pub(super) fn withdraw_lock_request(&mut self) {
        self.section.take_if(|section| !section.granted);
    }

    /// The entities of the present critical section, sorted; empty outside of one.
    #[must_use]
    pub fn locked_entities(&self) -> &[String] {
        self.section.as_ref().filter(|section| section.granted).map_or(&[], |section| &section.set)
    }

    fn check_operation(&mut self, operation: &str, input: &Option<Bytes>) -> Result<usize, Failure> {
        crate::check_name("operation name", operation).map_err(|error| invalid(error.to_string()))?;
        self.check_payload("input", input)?;
        Ok(operation.len() + input.as_ref().map_or(0, Bytes::len))
    }
}

impl Section {
    fn holds(&self, entity: &EntityId) -> bool {
        self.set.binary_search_by(|held| held.as_str().cmp(entity.as_str())).is_ok()
    }
}

fn invalid(message: String) -> Failure {
    Failure::new(kind::INVALID, message).non_retryable()
}
