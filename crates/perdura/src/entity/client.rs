//! Entities as clients see them.

use super::Entity;
use crate::engine::{Access, ClientError};
use crate::error::Result;
use bytes::Bytes;
use perdura_core::partition::{InstanceRecord, SignalRequest};
use perdura_core::why::Wait;
use perdura_core::{EntityId, InstanceId, InvalidText, Timestamp};
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;

/// A signal on its way, from [`client.signal::<E>(key)`](crate::Client::signal). Await it: then it is durable, and will
/// run once.
#[must_use = "nothing is sent before this is awaited"]
pub struct Signal {
    access: Access,
    to: Result<EntityId, InvalidText>,
    operation: &'static str,
    input: Result<Option<Bytes>>,
    at: Option<Timestamp>,
    request_id: String,
}

impl Signal {
    pub(super) fn new(
        access: Access,
        to: Result<EntityId, InvalidText>,
        operation: &'static str,
        input: Result<Option<Bytes>>,
    ) -> Signal {
        Signal { access, to, operation, input, at: None, request_id: String::new() }
    }

    /// Not to be run before this time.
    pub fn at(mut self, time: Timestamp) -> Signal {
        self.at = Some(time);
        self
    }

    /// Makes a repeated signal harmless: of those to one entity with the same request id, one is run. The last 128
    /// request ids are remembered, for as long as the entity exists: after that it is run again. The same request id with
    /// another operation or input is an error.
    pub fn request_id(mut self, request_id: impl Into<String>) -> Signal {
        self.request_id = request_id.into();
        self
    }

    async fn send(self) -> Result<(), ClientError> {
        let signal = SignalRequest {
            to: self.to?,
            operation: self.operation.to_owned(),
            input: self.input.map_err(|error| ClientError::payload(&error))?,
            at: self.at,
            request_id: self.request_id,
            stamp: None,
        };
        Ok(self.access.open()?.signal(signal).await?)
    }
}

impl IntoFuture for Signal {
    type Output = Result<(), ClientError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// A handle to the entity of some key, from [`client.entity::<E>(key)`](crate::Client::entity). A key that breaks the
/// rules is an error at the first use.
pub struct EntityHandle<E> {
    access: Access,
    id: Result<EntityId, InvalidText>,
    entity: PhantomData<fn() -> E>,
}

impl<E: Entity> EntityHandle<E> {
    pub(crate) fn new(access: Access, key: &str) -> EntityHandle<E> {
        EntityHandle { access, id: E::at(key), entity: PhantomData }
    }

    /// The state as it was last committed; `None` if there is none. Waits for nobody.
    pub async fn read(&self) -> Result<Option<E>, ClientError> {
        let Some(state) = self.get().await?.and_then(|entity| entity.state) else { return Ok(None) };
        let read = serde_json::from_slice(&state).map_err(|error| {
            let id = self.id.as_ref().map_or("", EntityId::as_str);
            ClientError::payload(&crate::Error::payload(format!("state of {id}: {error}")))
        });
        read.map(Some)
    }

    /// What is known of it; `None` if it does not exist.
    pub async fn get(&self) -> Result<Option<EntityState>, ClientError> {
        let record = self.access.open()?.entity(&self.id.clone()?).await?;
        Ok(record.and_then(EntityState::new))
    }

    /// What holds its queue up: what runs and since when, who holds it, what has to be mended; `None` if it does not
    /// exist.
    pub async fn why(&self) -> Result<Option<Vec<Wait>>, ClientError> {
        Ok(self.access.open()?.why(self.id.clone()?.instance()).await?)
    }

    /// Takes the state away at once. An error while somebody holds the entity, or operations run; a signal of the
    /// operation `delete` waits for its turn instead. Only the state goes: operations that wait, and signals whose time has
    /// not come, run afterwards. An entity that is blocked goes on.
    pub async fn delete(&self) -> Result<(), ClientError> {
        Ok(self.access.open()?.delete_entity(self.id.clone()?).await?)
    }

    /// Lets an entity that is blocked go on, once what its block names is mended: its operations are handed out again, and
    /// their losses counted anew. No effect on one that is not blocked; an error if it does not exist.
    pub async fn resume(&self, reason: &str) -> Result<(), ClientError> {
        let id = self.id.clone()?.instance().clone();
        Ok(self.access.open()?.resume(id, reason.to_owned()).await?)
    }
}

impl<E> std::fmt::Debug for EntityHandle<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("EntityHandle").field(&self.id).finish()
    }
}

/// A page of a list of entities, from [`client.entities(..)`](crate::Client::entities).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EntityPage {
    /// The entities, by rising time of creation. One whose row is damaged is left out.
    pub entities: Vec<EntityState>,
    /// Give it to the next call to go on; `None` at the end.
    pub next: Option<String>,
}

/// What is known of an entity.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EntityState {
    /// Its name and key.
    pub id: EntityId,
    /// Its state, as it is stored; `None` if it has none.
    pub state: Option<Bytes>,
    /// Since when it exists.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Operations and lock requests that wait or run, and signals whose time has not come.
    pub backlog: usize,
    /// The operation that runs, and since when; of several that were handed out together, the first.
    pub running: Option<(String, Timestamp)>,
    /// The orchestration that holds it, and since when.
    pub locked_by: Option<(InstanceId, Timestamp)>,
    /// Why its operations wait, although nobody holds it.
    pub blocked: Option<String>,
}

impl EntityState {
    /// `None` if nothing is left of it.
    pub(crate) fn new(record: InstanceRecord) -> Option<EntityState> {
        let id = EntityId::of_instance(&record.instance_id())?;
        let entity = *record.entity?;
        let holder = |lock: perdura_core::partition::LockRecord| {
            let holder = lock.holder?;
            Some((InstanceId::new(&holder.instance).ok()?, Timestamp(lock.since)))
        };
        let running = entity.running_operation();
        let running = running.map(|(first, _)| (first.name.clone(), Timestamp(entity.running_since)));
        let state = EntityState {
            id,
            running,
            state: entity.state,
            created_at: Timestamp(record.created_at),
            updated_at: Timestamp(record.updated_at),
            backlog: entity.queue.len() + entity.delayed.len(),
            locked_by: entity.lock.and_then(holder),
            blocked: record.block.map(|block| block.reason),
        };
        let exists = state.state.is_some() || state.backlog > 0 || state.locked_by.is_some();
        exists.then_some(state)
    }
}
