//! The engine inside a program, and what its users do with a hub.

mod access;
mod builder;
mod client;
mod error;
mod instance;
mod replay;
mod rewind;
mod start;
mod state;

pub(crate) use access::Access;
pub use builder::EngineBuilder;
pub use client::Client;
pub use error::ClientError;
pub use instance::Instance;
pub use replay::ReplayCheck;
pub use rewind::Rewind;
pub use start::{Start, Started};
pub use state::InstanceState;

use crate::entity::{ClientDoor, Entity, EntityHandle};
use crate::orchestration::OrchestrationRef;
use perdura_store::{InstanceQuery, Store};
use std::sync::Arc;

/// A durable execution engine inside this program.
///
/// ```no_run
/// use perdura::prelude::*;
///
/// #[activity]
/// async fn greet(name: String) -> Result<String> {
///     Ok(format!("Hello, {name}!"))
/// }
///
/// #[orchestration]
/// async fn hello(ctx: Orchestration, name: String) -> Result<String> {
///     ctx.call(greet, name).await
/// }
///
/// #[tokio::main]
/// async fn main() -> Result<()> {
///     let engine = Engine::sqlite("hello.db").register(hello).register(greet).start().await?;
///     println!("{}", engine.run(hello, "world".into()).await?);
///     engine.shutdown().await;
///     Ok(())
/// }
/// ```
///
/// Dropping it without [`shutdown`](Self::shutdown) is safe too: what was acknowledged is durable, and activities that
/// ran run again at the next start. But only a shutdown waits until the hub is free: after a drop it is in use for a
/// moment longer.
pub struct Engine {
    client: Client,
    engine: perdura_engine::Engine,
    open: CloseOnDrop,
    /// Removes keys of the hub; while it looks for them it has the store open.
    keys: tokio::task::JoinHandle<()>,
}

/// Handles that outlive the engine must not keep its store open.
struct CloseOnDrop(Client);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Engine {
    /// An engine on a hub in an SQLite file, which is made if it does not exist. One process at a time can have it.
    #[cfg(feature = "sqlite")]
    pub fn sqlite(path: impl AsRef<std::path::Path>) -> EngineBuilder {
        let path = path.as_ref().to_owned();
        EngineBuilder::new(Box::new(move || {
            let store = perdura_sqlite::SqliteStore::open(path, perdura_sqlite::SqliteOptions::default())?;
            Ok(Arc::new(store))
        }))
    }

    /// An engine on a hub in any kind of store.
    pub fn store(store: Arc<dyn Store>) -> EngineBuilder {
        EngineBuilder::new(Box::new(move || Ok(store)))
    }

    /// A client of this engine: cheap to clone, and free to be moved around.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// See [`Client::run`].
    pub async fn run<O: OrchestrationRef>(
        &self,
        orchestration: O,
        input: O::Input,
    ) -> Result<O::Output, ClientError> {
        self.client.run(orchestration, input).await
    }

    /// See [`Client::start`].
    pub fn start<O: OrchestrationRef>(&self, orchestration: O, input: O::Input) -> Start<O::Output> {
        self.client.start(orchestration, input)
    }

    /// See [`Client::instance`].
    #[must_use]
    pub fn instance(&self, id: &str) -> Instance {
        self.client.instance(id)
    }

    /// See [`Client::signal`].
    pub fn signal<E: Entity>(&self, key: &str) -> E::Operations<ClientDoor> {
        self.client.signal::<E>(key)
    }

    /// See [`Client::entity`].
    #[must_use]
    pub fn entity<E: Entity>(&self, key: &str) -> EntityHandle<E> {
        self.client.entity(key)
    }

    /// See [`Client::list`].
    pub async fn list(&self, query: InstanceQuery, limit: usize) -> Result<Vec<InstanceState>, ClientError> {
        self.client.list(query, limit).await
    }

    /// Runs the code that is registered here over stored histories, without any effect, and says which instances would
    /// be blocked by it: after a deploy that is not made yet, or before a rewind. Takes instances like
    /// [`list`](Self::list).
    pub async fn check_replay(
        &self,
        query: InstanceQuery,
        limit: usize,
    ) -> Result<Vec<ReplayCheck>, ClientError> {
        replay::check(&self.client, query, limit).await
    }

    /// See [`Client::backup`].
    pub async fn backup(&self, to: impl AsRef<std::path::Path>) -> Result<(), ClientError> {
        self.client.backup(to).await
    }

    /// Ends the engine: no new work is begun, running activities may finish up to the drain time, and what they did is
    /// committed. Clients and handles that are still held are told that the engine is shutting down.
    pub async fn shutdown(self) {
        drop(self.open);
        self.keys.abort();
        // An error is what an aborted task ends with.
        let _ = self.keys.await;
        self.engine.shutdown().await;
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}
