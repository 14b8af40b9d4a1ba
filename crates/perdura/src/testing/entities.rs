//! Entities in a test: their states, who holds them, and what waits for them to be free.

use super::world::{Due, World};
use bytes::Bytes;
use perdura_core::entity::{BatchTicket, EntityAction, EntityOperation, OperationBatch};
use perdura_core::history::{
    EntityLockGranted, EntityOperationCompleted, EntityOperationFailed, ExecutionStarted, ParentLink,
};
use perdura_core::{EntityId, InstanceId, InstanceKey, Timestamp};
use perdura_engine::{BatchEnd, EntityHost};
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Entities {
    states: BTreeMap<EntityId, Bytes>,
    holders: BTreeMap<EntityId, ParentLink>,
    /// Operations for entities that somebody else holds.
    held_back: Vec<Operation>,
    /// Critical sections that are waited for, in order.
    wanted: Vec<(ParentLink, Vec<EntityId>)>,
}

pub(super) struct Operation {
    pub to: EntityId,
    pub name: String,
    pub input: Option<Bytes>,
    pub caller: Option<ParentLink>,
}

impl World {
    pub(super) fn take_entity_states(&mut self) -> BTreeMap<EntityId, Bytes> {
        std::mem::take(&mut self.entities.states)
    }

    pub(super) fn operation_later(&mut self, at: Timestamp, operation: Operation) {
        self.queue(at, Due::Operation(Box::new(operation)));
    }

    /// Runs an operation, unless somebody else holds the entity.
    pub(super) async fn operate(&mut self, operation: Operation) {
        let holder = self.entities.holders.get(&operation.to);
        let same = |holder: &ParentLink| {
            operation.caller.as_ref().is_some_and(|caller| caller.instance == holder.instance)
        };
        if holder.is_some_and(|holder| !same(holder)) {
            return self.entities.held_back.push(operation);
        }
        let Operation { to, name, input, caller } = operation;
        let batch = OperationBatch {
            ticket: BatchTicket { key: InstanceKey(0), number: 0 },
            id: to.clone(),
            state: self.entities.states.get(&to).cloned(),
            now: self.now(),
            lost: 0,
            operations: vec![EntityOperation {
                name,
                input,
                caller: caller.clone(),
                request: String::new(),
                delivery: 1,
            }],
        };
        let done = match self.registry.run(batch).await {
            BatchEnd::Done(done) | BatchEnd::Brought(done, _) => done,
            BatchEnd::Lost { why } | BatchEnd::CannotRun { why } => panic!("{why}"),
            BatchEnd::LostBeside => panic!("nothing else runs here"),
        };
        match done.state {
            Some(state) => drop(self.entities.states.insert(to, state)),
            None => drop(self.entities.states.remove(&to)),
        }
        for result in done.results {
            if let Some(caller) = &caller {
                let (id, request) = (caller.task, String::new());
                let event = match result.outcome {
                    Ok(output) => EntityOperationCompleted { id, output, request }.into(),
                    Err(failure) => EntityOperationFailed { id, failure: Some(failure), request }.into(),
                };
                self.tell(caller, event);
            }
            result.actions.into_iter().for_each(|action| self.act(action));
        }
    }

    fn act(&mut self, action: EntityAction) {
        match action {
            EntityAction::Signal { to, operation, input, at, .. } => {
                let at = at.map_or(self.now(), |at| at.max(self.now()));
                self.operation_later(at, Operation { to, name: operation, input, caller: None });
            }
            EntityAction::Start { id, name, version, input, .. } => {
                if !self.has(&id) {
                    let started = ExecutionStarted { name, version, input, ..ExecutionStarted::default() };
                    self.start(id.as_str(), started);
                }
            }
        }
    }

    pub(super) fn lock(&mut self, holder: ParentLink, set: Vec<EntityId>) {
        self.entities.wanted.push((holder, set));
        self.grant();
    }

    /// A critical section is over, or not wanted any more.
    pub(super) fn unlock(&mut self, instance: &InstanceId) {
        self.entities.wanted.retain(|(holder, _)| holder.instance != instance.as_str());
        self.entities.holders.retain(|_, holder| holder.instance != instance.as_str());
        self.grant();
        for operation in std::mem::take(&mut self.entities.held_back) {
            self.operation_later(self.now(), operation);
        }
    }

    /// Gives free entities to those who want them, first come first served.
    fn grant(&mut self) {
        for (holder, set) in std::mem::take(&mut self.entities.wanted) {
            if set.iter().any(|entity| self.entities.holders.contains_key(entity)) {
                self.entities.wanted.push((holder, set));
                continue;
            }
            for entity in set {
                self.entities.holders.insert(entity, holder.clone());
            }
            self.tell(&holder, EntityLockGranted { id: holder.task, request: String::new() }.into());
        }
    }
}
