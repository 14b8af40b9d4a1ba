//! The ways on which operations reach an entity.

use super::call::EntityCall;
use super::client::Signal;
use super::context::EntityContext;
use crate::engine::Access;
use crate::error::{Error, Result};
use crate::orchestration::shared::Shared;
use crate::payload::FromPayload;
use bytes::Bytes;
use perdura_core::entity::EntityAction;
use perdura_core::{EntityId, InvalidText, Timestamp};
use std::rc::Rc;

/// A way on which an operation reaches an entity: as a call with a result, or as a signal.
pub trait Door {
    /// What the caller gets for an operation that returns `T`.
    type Out<T: FromPayload>;

    #[doc(hidden)]
    fn send<T: FromPayload>(&self, operation: &'static str, input: Result<Option<Bytes>>) -> Self::Out<T>;
}

/// From an orchestration that wants the result.
pub struct CallDoor {
    pub(crate) shared: Rc<Shared>,
    pub(crate) to: Result<EntityId, InvalidText>,
}

impl Door for CallDoor {
    type Out<T: FromPayload> = EntityCall<T>;

    fn send<T: FromPayload>(&self, operation: &'static str, input: Result<Option<Bytes>>) -> EntityCall<T> {
        EntityCall::new(&self.shared, self.to.clone(), operation, input)
    }
}

/// From an orchestration that wants nothing back.
pub struct OrchestrationSignalDoor {
    pub(crate) shared: Rc<Shared>,
    pub(crate) to: Result<EntityId, InvalidText>,
    pub(crate) at: Option<Timestamp>,
}

impl Door for OrchestrationSignalDoor {
    type Out<T: FromPayload> = Result<()>;

    fn send<T: FromPayload>(&self, operation: &'static str, input: Result<Option<Bytes>>) -> Result<()> {
        let (to, input) = (self.to.as_ref().map_err(Error::invalid)?, input?);
        let outcome = self.shared.with(|execution| {
            let ticket = execution.signal_entity(to, operation, input, self.at);
            execution.take(ticket)
        });
        match outcome {
            Some(Err(refusal)) => Err(Error::from_failure(refusal)),
            _ => Ok(()),
        }
    }
}

/// From an operation of an entity.
pub struct EntitySignalDoor {
    pub(crate) from: EntityContext,
    pub(crate) to: Result<EntityId, InvalidText>,
    pub(crate) at: Option<Timestamp>,
}

impl Door for EntitySignalDoor {
    type Out<T: FromPayload> = Result<()>;

    fn send<T: FromPayload>(&self, operation: &'static str, input: Result<Option<Bytes>>) -> Result<()> {
        let to = self.to.clone().map_err(Error::invalid)?;
        let (operation, at, request) = (operation.to_owned(), self.at, String::new());
        self.from.act(EntityAction::Signal { to, operation, input: input?, at, request })
    }
}

/// From a client.
pub struct ClientDoor {
    pub(crate) access: Access,
    pub(crate) to: Result<EntityId, InvalidText>,
}

impl Door for ClientDoor {
    type Out<T: FromPayload> = Signal;

    fn send<T: FromPayload>(&self, operation: &'static str, input: Result<Option<Bytes>>) -> Signal {
        Signal::new(self.access.clone(), self.to.clone(), operation, input)
    }
}
