//! The start of an instance.

use super::access::Access;
use super::instance::output;
use super::{ClientError, Instance};
use crate::error::Result;
use crate::orchestration::OrchestrationRef;
use crate::payload::FromPayload;
use bytes::Bytes;
use perdura_core::partition::{StartOutcome, StartRequest};
use perdura_core::{ExecutionId, InstanceId, ReusePolicy, Tags, Timestamp, check_text};
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;

/// The start of an instance, from [`Client::start`](super::Client::start). Await it to learn what it did.
#[must_use = "nothing is started before this is awaited"]
pub struct Start<O> {
    access: Access,
    is_item: bool,
    id: Option<String>,
    name: String,
    version: String,
    input: Result<Option<Bytes>>,
    tags: Tags,
    start_at: Option<Timestamp>,
    reuse: ReusePolicy,
    request_id: String,
    output: PhantomData<fn() -> O>,
}

impl<O> Start<O> {
    pub(super) fn new(access: Access, of: &impl OrchestrationRef, input: Result<Option<Bytes>>) -> Self {
        Start {
            access,
            is_item: of.is_item(),
            id: None,
            name: of.name().to_owned(),
            version: of.version().to_owned(),
            input,
            tags: Tags::new(),
            start_at: None,
            reuse: ReusePolicy::FAIL,
            request_id: String::new(),
            output: PhantomData,
        }
    }

    /// The instance id; a random one without it.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Makes a repeated start harmless: a start with the same id, request id and content gets the first one's answer.
    pub fn request_id(mut self, request_id: impl Into<String>) -> Self {
        self.request_id = request_id.into();
        self
    }

    /// What to do when the id is taken, by status of the instance that has it. Otherwise that is an error.
    pub fn reuse(mut self, policy: ReusePolicy) -> Self {
        self.reuse = policy;
        self
    }

    /// Not to begin before this time, a [`Timestamp`] or a [`SystemTime`](std::time::SystemTime).
    pub fn at(mut self, time: impl Into<Timestamp>) -> Self {
        self.start_at = Some(time.into());
        self
    }

    /// Adds a tag.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }

    /// Starts another version of the orchestration than the item's own.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    async fn start(self) -> Result<Started<O>, ClientError> {
        check_text("version", &self.version)?;
        if self.is_item {
            let registry = self.access.registry()?;
            registry.orchestration(&self.name, &self.version).map_err(ClientError::NotRegistered)?;
        }
        let fresh = self.id.is_none();
        let id = match self.id {
            Some(id) => InstanceId::new(&id)?,
            None => perdura_engine::Client::random_id()?,
        };
        let request = StartRequest {
            id,
            fresh,
            name: self.name,
            version: self.version,
            input: self.input.map_err(|error| ClientError::payload(&error))?,
            tags: self.tags,
            start_at: self.start_at,
            reuse: self.reuse,
            request_id: self.request_id,
            execution: None,
            trace: None,
        };
        let started = self.access.open()?.start(request).await?;
        Ok(Started { access: self.access, started, output: PhantomData })
    }
}

impl<O: 'static> IntoFuture for Start<O> {
    type Output = Result<Started<O>, ClientError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

/// What a start did, and a handle to the run that now has the id.
pub struct Started<O> {
    access: Access,
    started: perdura_core::partition::Started,
    output: PhantomData<fn() -> O>,
}

impl<O> Started<O> {
    /// Whether it created the instance, found it, or replaced it.
    #[must_use]
    pub fn outcome(&self) -> StartOutcome {
        self.started.outcome
    }

    /// The instance's id.
    #[must_use]
    pub fn id(&self) -> &InstanceId {
        &self.started.id
    }

    /// The run that now has the id. It keeps this name when it continues as new.
    #[must_use]
    pub fn execution_id(&self) -> ExecutionId {
        self.started.execution
    }

    /// A handle to the instance.
    #[must_use]
    pub fn instance(&self) -> Instance {
        Instance::new(self.access.clone(), Ok(self.started.id.clone()))
    }

    /// Waits until this run has ended and gives its output. That somebody replaced it, or purged it, is an error.
    pub async fn wait(&self) -> Result<O, ClientError>
    where
        O: FromPayload,
    {
        let id = self.started.id.clone();
        output(self.access.open()?.wait(id, Some(self.started.execution)).await?)
    }
}

impl<O> std::fmt::Debug for Started<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.started.fmt(f)
    }
}
