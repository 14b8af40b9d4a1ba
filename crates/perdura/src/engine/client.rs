//! What the users of a hub do with it.

use super::access::Access;
use super::{ClientError, Instance, InstanceState, Start};
use crate::entity::{ClientDoor, Entity, EntityHandle, EntityPage, EntityState};
use crate::orchestration::{OrchestrationRef, hub_call};
use crate::payload::ToPayload;
use crate::registry::Registry;
use perdura_core::delivery::HUB_KEY_PREFIX;
use perdura_core::{InstanceId, Tags, Timestamp};
use perdura_engine::{Batch, BatchItem, BatchReport, Bulk};
use perdura_store::{InstanceKind, InstanceQuery};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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

    /// Removes calls under keys of the hub that were made longer ago.
    pub(super) async fn forget_keys(&self, kept: Duration) -> Result<(), ClientError> {
        let client = self.access.open()?;
        let now = client.store().now();
        let kept = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
        let query = InstanceQuery {
            name: Some(hub_call::NAME.to_owned()),
            // There is an index for it, so a large hub is not read as a whole.
            id_prefix: Some(HUB_KEY_PREFIX.to_owned()),
            created_before: Some(Timestamp(now.0.saturating_sub(kept))),
            ..InstanceQuery::default()
        };
        let purge = Bulk::Purge { recurse: false };
        client.ask_all(query, &Tags::new(), &purge, None).await?;
        Ok(())
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

    /// A page of the entities that match, at most `limit`, by rising time of creation. `page` is what the page before gave
    /// as [`EntityPage::next`]; it takes the place of the query's `after`. A page may hold fewer than `limit`, or none, and
    /// another one follow. A page that was made up is an error.
    pub async fn entities(
        &self,
        query: InstanceQuery,
        limit: usize,
        page: Option<&str>,
    ) -> Result<EntityPage, ClientError> {
        let query = InstanceQuery { kind: InstanceKind::Entity, ..query };
        let page = self.access.open()?.page(query, &Tags::new(), limit.max(1), page).await?;
        let found = page.instances.into_iter();
        let entities = found.filter_map(|listed| EntityState::new(listed.record)).collect();
        Ok(EntityPage { entities, next: page.next })
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
