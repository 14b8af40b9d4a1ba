//! What an operation can ask and send.

use super::Entity;
use super::door::EntitySignalDoor;
use crate::error::{Error, Result};
use crate::orchestration::OrchestrationRef;
use crate::payload::ToPayload;

use perdura_core::delivery::check_no_hub_key;
use perdura_core::entity::EntityAction;
use perdura_core::failure::kind;
use perdura_core::{EntityId, Failure, InstanceId, ReusePolicy, Timestamp};
use std::sync::{Arc, Mutex, PoisonError};

/// The parameter of an operation that wants to know about its entity or its attempt, or to send something. Cheap to
/// clone.
///
/// What is sent leaves with the new state, and only if the operation ends well. A clone that outlives the operation sends
/// nothing any more: that is an error.
#[derive(Clone)]
pub struct EntityContext(Arc<Inner>);

struct Inner {
    id: EntityId,
    now: Timestamp,
    caller: Option<InstanceId>,
    delivery: u32,
    sent: Mutex<Sent>,
}

#[derive(Default)]
struct Sent {
    actions: Vec<EntityAction>,
    deleted: bool,
    /// The operation has ended: what is sent now would go nowhere.
    has_ended: bool,
}

impl EntityContext {
    pub(super) fn new(
        id: EntityId,
        now: Timestamp,
        caller: Option<InstanceId>,
        delivery: u32,
    ) -> EntityContext {
        EntityContext(Arc::new(Inner { id, now, caller, delivery, sent: Mutex::default() }))
    }

    /// A context outside of any engine, for unit tests of operations. It is 1970.
    #[must_use]
    pub fn for_test(id: EntityId) -> EntityContext {
        EntityContext::new(id, Timestamp(0), None, 1)
    }

    /// The entity's name and key.
    #[must_use]
    pub fn id(&self) -> &EntityId {
        &self.0.id
    }

    /// The entity's key.
    #[must_use]
    pub fn key(&self) -> &str {
        self.0.id.key()
    }

    /// When the operation was handed out, by the hub's clock; virtual in tests. The same for operations that were handed
    /// out together.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.now
    }

    /// The orchestration that waits for the result; `None`: a signal.
    #[must_use]
    pub fn caller(&self) -> Option<&InstanceId> {
        self.0.caller.as_ref()
    }

    /// How many times the operation was handed out, this time included. No two attempts share a number; 1 means that none
    /// ran before.
    #[must_use]
    pub fn delivery(&self) -> u32 {
        self.0.delivery
    }

    /// Signals an entity: `ctx.signal::<Counter>("a").add(3)?`.
    #[must_use]
    pub fn signal<E: Entity>(&self, key: &str) -> E::Operations<EntitySignalDoor> {
        E::operations(EntitySignalDoor { from: self.clone(), to: E::at(key), at: None })
    }

    /// Signals an entity, to be run not before a time: a reminder, perhaps to itself.
    #[must_use]
    pub fn signal_at<E: Entity>(&self, key: &str, at: Timestamp) -> E::Operations<EntitySignalDoor> {
        E::operations(EntitySignalDoor { from: self.clone(), to: E::at(key), at: Some(at) })
    }

    /// Starts an orchestration that nobody waits for. If its id is taken, nothing is started.
    pub fn start<O: OrchestrationRef>(&self, orchestration: O, id: &str, input: O::Input) -> Result<()> {
        check_no_hub_key(id).map_err(Error::invalid)?;
        self.act(EntityAction::Start {
            id: InstanceId::new(id).map_err(Error::invalid)?,
            name: orchestration.name().to_owned(),
            version: orchestration.version().to_owned(),
            input: input.to_payload()?,
            at: None,
            reuse: ReusePolicy::FAIL,
        })
    }

    /// Takes the entity's state away when the operation has ended well. An entity without state, work and lock does not
    /// exist.
    ///
    /// # Panics
    /// If the operation has ended, and a clone of its context has outlived it.
    #[track_caller]
    pub fn delete_state(&self) {
        let has_ended = {
            let mut sent = self.sent();
            sent.deleted = true;
            sent.has_ended
        };
        assert!(!has_ended, "{}", self.too_late());
    }

    pub(super) fn act(&self, action: EntityAction) -> Result<()> {
        let mut sent = self.sent();
        if sent.has_ended {
            drop(sent);
            return Err(Error::from_failure(Failure::new(kind::INVALID, self.too_late()).non_retryable()));
        }
        sent.actions.push(action);
        Ok(())
    }

    /// The operation has ended: what was sent, and whether the state shall go.
    pub(super) fn take(&self) -> (Vec<EntityAction>, bool) {
        let sent = std::mem::replace(&mut *self.sent(), Sent { has_ended: true, ..Sent::default() });
        (sent.actions, sent.deleted)
    }

    fn too_late(&self) -> String {
        format!(
            "the operation of {} has ended, and what is sent with its context goes nowhere; await what an operation begins \
             before it returns",
            self.id()
        )
    }

    fn sent(&self) -> std::sync::MutexGuard<'_, Sent> {
        self.0.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for EntityContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EntityContext").field("id", self.id()).finish_non_exhaustive()
    }
}
