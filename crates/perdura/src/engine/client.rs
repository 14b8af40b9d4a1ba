//! What the users of a hub do with it.

use super::access::Access;
use super::{ClientError, Instance, InstanceState, Start};
use crate::entity::{ClientDoor, Entity, EntityHandle, EntityState};
use crate::orchestration::OrchestrationRef;
use crate::payload::ToPayload;
use crate::registry::Registry;
use perdura_core::{InstanceId, InstanceKey};
use perdura_engine::{Batch, BatchItem, BatchReport};
use perdura_store::{InstanceKind, InstanceQuery};
use std::path::Path;
use std::sync::Arc;

/// A client of an engine. Cheap to clone. What it was told is durable.
#[derive(Clone)]
pub struct Client {
    access: Access,
}

impl Client {
    pub(super) fn new(client: perdura_engine::Client, registry: Arc<Registry>) -> Client {
        Client { access: Access::new(client, registry) }
    }

    pub(super) fn close(&self) {
        self.access.close();
    }

    /// Starts an instance with a random id, waits for its end and gives its output. If the caller goes away, the
    /// instance runs on.
    pub async fn run<O: OrchestrationRef>(
        &self,
        orchestration: O,
        input: O::Input,
    ) -> Result<O::Output, ClientError> {
        self.start(orchestration, input).await?.wait().await
    }

    /// Starts an instance. An item that is not registered with the engine is an
    /// [error](ClientError::NotRegistered); an [`OrchestrationName`](crate::OrchestrationName) that is not makes an instance
    /// that waits until somebody runs it. Await it, after setting options:
    ///
    /// ```no_run
    /// # use perdura::prelude::*;
    /// # #[orchestration]
    /// # async fn order(ctx: Orchestration, number: u64) -> Result<()> {
    /// #     Ok(())
    /// # }
    /// # async fn example(engine: Engine) -> Result<()> {
    /// let started = engine.start(order, 42).id("order-42").request_id("click-7").await?;
    /// println!("{} was {}", started.id(), started.outcome());
    /// # Ok(())
    /// # }
    /// ```
    pub fn start<O: OrchestrationRef>(&self, orchestration: O, input: O::Input) -> Start<O::Output> {
        Start::new(self.access.clone(), &orchestration, input.to_payload())
    }

    /// A handle to the instance with this id, whether there is one or not.
    #[must_use]
    pub fn instance(&self, id: &str) -> Instance {
        Instance::new(self.access.clone(), InstanceId::new(id))
    }

    /// The operations of an entity, to be signaled: `client.signal::<Counter>("a").add(3).await?`. When that returns, the
    /// signal is durable, and will be run once. Signals of one caller, each sent when the one before was durable, are run
    /// in their order.
    pub fn signal<E: Entity>(&self, key: &str) -> E::Operations<ClientDoor> {
        E::operations(ClientDoor { access: self.access.clone(), to: E::at(key) })
    }

    /// A handle to the entity of a key, whether it exists or not.
    #[must_use]
    pub fn entity<E: Entity>(&self, key: &str) -> EntityHandle<E> {
        EntityHandle::new(self.access.clone(), key)
    }

    /// Entities of a name that match, at most `limit`; of all names without one. For the next page, set the query's
    /// `after` to the key that comes with the last one.
    pub async fn entities(
        &self,
        query: InstanceQuery,
        limit: usize,
    ) -> Result<Vec<(InstanceKey, EntityState)>, ClientError> {
        let query = InstanceQuery { kind: InstanceKind::Entity, ..query };
        let found = self.access.open()?.list(query, limit).await?;
        Ok(found
            .into_iter()
            .filter_map(|listed| Some((listed.key, EntityState::new(listed.record)?)))
            .collect())
    }

    /// Instances that match, at most `limit`. One that is damaged is listed too, see [`InstanceState::damaged`]. For the
    /// next page, set the query's `after` to the last one's [`key`](InstanceState::key).
    pub async fn list(&self, query: InstanceQuery, limit: usize) -> Result<Vec<InstanceState>, ClientError> {
        let found = self.access.open()?.list(query, limit).await?;
        Ok(found.into_iter().map(InstanceState::listed).collect())
    }

    /// Rewinds every instance that matches, or does something else to it. `progress` is told of each as it is done.
    pub async fn batch(
        &self,
        batch: &Batch,
        progress: impl FnMut(&InstanceId, &BatchItem) + Send,
    ) -> Result<BatchReport, ClientError> {
        Ok(self.access.open()?.batch(batch, progress).await?)
    }

    pub(super) fn engine(&self) -> Result<(perdura_engine::Client, Arc<Registry>), ClientError> {
        Ok((self.access.open()?, self.access.registry()?))
    }

    /// Writes a consistent copy of the hub to a new file while the engine runs. A file that exists is an error. The copy
    /// is a hub like any other: `Engine::sqlite` opens it.
    pub async fn backup(&self, to: impl AsRef<Path>) -> Result<(), ClientError> {
        Ok(self.access.open()?.backup(to.as_ref()).await?)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
