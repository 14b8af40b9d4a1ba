//! What users of a hub do with it from afar.

use crate::connection::Grpc;
use crate::wire::{payload, text, time_out};
use crate::{Instance, RemoteError};
use bytes::Bytes;
use perdura::{EntityId, FromPayload, OrchestrationRef, Result as UserResult, Tags, Timestamp, ToPayload};
use perdura_proto::*;
use std::error::Error;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use tonic::Code;

/// A client of a server. Cheap to clone. What it was told is durable there.
#[derive(Clone)]
pub struct Client {
    grpc: Grpc,
}

impl Client {
    pub(crate) fn new(grpc: Grpc) -> Client {
        Client { grpc }
    }

    /// Starts an instance of an orchestration, whoever runs it. Await it, after setting options.
    pub fn start<O: OrchestrationRef>(&self, orchestration: O, input: O::Input) -> Start<O::Output> {
        Start {
            grpc: self.grpc.clone(),
            id: String::new(),
            name: orchestration.name().to_owned(),
            version: orchestration.version().to_owned(),
            input: input.to_payload(),
            tags: Tags::new(),
            start_at: None,
            output: PhantomData,
        }
    }

    /// A handle to the instance with this id, whether there is one or not.
    #[must_use]
    pub fn instance<T: FromPayload>(&self, id: &str) -> Instance<T> {
        Instance::new(self.grpc.clone(), id.to_owned())
    }

    /// Sends a signal to an entity (`@name@key`). It is durable when this returns, and will be run once.
    pub async fn signal(
        &self,
        entity: &EntityId,
        operation: &str,
        input: &(impl ToPayload + ?Sized),
    ) -> Result<(), RemoteError> {
        let input = input.to_payload().map_err(|error| RemoteError::payload(&error))?;
        let request = SignalEntityRequest {
            instance_id: entity.to_string(),
            name: operation.to_owned(),
            input: as_text(input)?,
            ..SignalEntityRequest::default()
        };
        self.grpc.clone().signal_entity(request).await?;
        Ok(())
    }

    /// The state of an entity; `None` if it does not exist.
    pub async fn entity<T: FromPayload>(&self, entity: &EntityId) -> Result<Option<T>, RemoteError> {
        let request = GetEntityRequest { instance_id: entity.to_string(), include_state: true };
        let found = self.grpc.clone().get_entity(request).await?.into_inner();
        let state = found.entity.map(|entity| T::from_payload(payload(entity.serialized_state)));
        state.transpose().map_err(|error| RemoteError::payload(&error))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// A payload for a call.
pub(crate) fn as_text(payload: Option<Bytes>) -> Result<Option<String>, RemoteError> {
    text(payload).map_err(|failure| RemoteError::Payload(failure.message))
}

/// The start of an instance, from [`Client::start`]. Await it for a handle to the instance.
#[must_use = "nothing is started before this is awaited"]
pub struct Start<O> {
    grpc: Grpc,
    id: String,
    name: String,
    version: String,
    input: UserResult<Option<Bytes>>,
    tags: Tags,
    start_at: Option<Timestamp>,
    output: PhantomData<fn() -> O>,
}

impl<O> Start<O> {
    /// The instance id; a random one without it. One that is taken by an instance that has not ended is an
    /// [error](Code::AlreadyExists); one that has ended is replaced.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Another version of the orchestration than the item's own.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// Adds a tag.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }

    /// Not to begin before this time.
    pub fn at(mut self, time: impl Into<Timestamp>) -> Self {
        self.start_at = Some(time.into());
        self
    }

    async fn start(mut self) -> Result<Instance<O>, RemoteError> {
        let input = self.input.map_err(|error| RemoteError::payload(&error))?;
        let request = CreateInstanceRequest {
            instance_id: self.id,
            name: self.name,
            version: (!self.version.is_empty()).then_some(self.version),
            input: as_text(input)?,
            scheduled_start_timestamp: self.start_at.map(time_out),
            tags: self.tags.into_iter().collect(),
            ..CreateInstanceRequest::default()
        };
        let started = self.grpc.start_instance(request).await?.into_inner();
        Ok(Instance::new(self.grpc, started.instance_id))
    }
}

impl<O: 'static> IntoFuture for Start<O> {
    type Output = Result<Instance<O>, RemoteError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

/// Whether a call that does the same the second time may be made again: the server was away, or went away. What has a source
/// does not come from a server: the connection broke.
pub(crate) fn may_ask_again(status: &tonic::Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Cancelled) || status.source().is_some()
}
