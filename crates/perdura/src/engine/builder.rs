//! What is said before an engine starts.

use super::{Client, ClientError, Engine};
use crate::entity::Entity;
use crate::registry::{Register, Registry};
use perdura_core::delivery::Delivery;
use perdura_core::{Limits, check_name};
use perdura_engine::{EngineError, EngineOptions, Hosts, Retention};
use perdura_store::{Store, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

type Open = Box<dyn FnOnce() -> Result<Arc<dyn Store>, StoreError> + Send>;

/// Builds an [`Engine`]: from [`Engine::store`], or from one of the stores by name.
#[must_use = "nothing runs before `start`"]
pub struct EngineBuilder {
    open: Open,
    registry: Registry,
    options: EngineOptions,
    deliveries: BTreeMap<String, Delivery>,
    hub_keys_kept: Duration,
    /// Statements that make tables of the user.
    tables: Option<String>,
}

/// How long keys of the hub are kept unless told otherwise: a week.
const HUB_KEYS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often keys of the hub are looked through, at most and at least.
const LOOKED_THROUGH_EVERY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3600));

/// Removes keys of the hub whose time is over, as long as the engine runs.
async fn forget_hub_keys(client: Client, kept: Duration) {
    let (soonest, latest) = LOOKED_THROUGH_EVERY;
    let mut looks = tokio::time::interval((kept / 8).clamp(soonest, latest));
    loop {
        looks.tick().await;
        // When the store is away for a while, the next look finds them.
        if let Err(ClientError::Engine(EngineError::ShuttingDown)) = client.forget_keys(kept).await {
            return;
        }
    }
}

fn with_tables(store: Arc<dyn Store>, tables: Option<&str>) -> Result<Arc<dyn Store>, StoreError> {
    if let Some(statements) = tables {
        let none = || StoreError::Unavailable {
            store: "this store".into(),
            why: "it has no tables of users; leave `tables` out, or use an SQLite hub".into(),
        };
        store.transactions().ok_or_else(none)?.define(statements)?;
    }
    Ok(store)
}

impl EngineBuilder {
    pub(super) fn new(open: Open) -> EngineBuilder {
        EngineBuilder {
            open,
            registry: Registry::new(),
            options: EngineOptions::default(),
            deliveries: BTreeMap::new(),
            hub_keys_kept: HUB_KEYS_KEPT,
            tables: None,
        }
    }

    /// Adds an orchestration or an activity; see [`Registry::register`].
    ///
    /// # Panics
    /// If there is one of the same kind, name and version.
    #[track_caller]
    pub fn register(mut self, item: impl Register) -> Self {
        self.registry = self.registry.register(item);
        self
    }

    /// Adds an entity.
    ///
    /// # Panics
    /// If there is one of the same name.
    #[track_caller]
    pub fn entity<E: Entity>(mut self) -> Self {
        self.registry = self.registry.entity::<E>();
        self
    }

    /// Adds application state that activities reach by [`ActivityContext::data`](crate::ActivityContext::data).
    pub fn data<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.registry = self.registry.data(value);
        self
    }

    /// Takes a registry that was built elsewhere, in place of what was registered so far.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Makes tables of your own in the database of the hub, for [transactional activities](crate::activity): statements that
    /// can be run at each start, like `CREATE TABLE IF NOT EXISTS`. All of them are run, or none and the start fails. Names
    /// that the hub itself uses are refused: see [`Transaction`](crate::sqlite::Transaction).
    #[cfg(feature = "sqlite")]
    pub fn tables(mut self, statements: &str) -> Self {
        let all = self.tables.get_or_insert_default();
        all.push_str(statements);
        // Those of the next call are statements of their own, also after a comment or without a semicolon.
        all.push_str("\n;\n");
        self
    }

    /// How often activities of this name may run, if neither the call nor the activity itself says so. Counts for what is
    /// scheduled from now on.
    ///
    /// # Panics
    /// If the name, or that of a handler, breaks the rules, or it is its own handler.
    #[track_caller]
    pub fn delivery(mut self, activity: &str, delivery: Delivery) -> Self {
        if let Err(error) = check_name("activity name", activity) {
            panic!("delivery of activity {activity:?}: {error}");
        }
        if let Err(error) = delivery.check_for(activity) {
            panic!("delivery of activity {activity:?}: {error}");
        }
        self.deliveries.insert(activity.to_owned(), delivery);
        self
    }

    /// How long the results of calls under [keys of the hub](crate::Call::idempotency_key_in_hub) are kept, from the first
    /// call on; a week unless told otherwise.
    pub fn hub_keys_kept(mut self, time: Duration) -> Self {
        self.hub_keys_kept = time;
        self
    }

    /// Most activities that run at once in this process; the others wait their turn.
    pub fn running_activities_max(mut self, most: usize) -> Self {
        self.options.running_activities_max = Some(most);
        self
    }

    /// How long a shutdown waits for running activities.
    pub fn drain_time_max(mut self, longest: Duration) -> Self {
        self.options.drain_time_max = longest;
        self
    }

    /// How long an operation of an entity may take; `None`: as long as it likes. The default is ten minutes. One that takes
    /// longer has failed ([`TIMEOUT`](crate::failure::kind::TIMEOUT)) and leaves no trace, and the entity goes on; what it does
    /// after that is dropped. An `async` operation ends at its next `.await`; one that holds its thread cannot be stopped, and
    /// keeps the thread.
    pub fn operation_time_max(mut self, longest: Option<Duration>) -> Self {
        self.options.operation_time_max = longest;
        self
    }

    /// Limits of instances, payloads and memory.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.limits = limits;
        self
    }

    /// How long instances that have ended stay, by status. Without this they stay until somebody removes them.
    ///
    /// ```
    /// # use perdura::prelude::*;
    /// # use perdura::{Retention, Status};
    /// # use std::time::Duration;
    /// const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    /// let builder = Engine::sqlite("hub.db")
    ///     .retention(Retention::default().of(Status::Completed, 7 * DAY).of(Status::Failed, 90 * DAY));
    /// ```
    pub fn retention(mut self, retention: Retention) -> Self {
        self.options.retention = retention;
        self
    }

    /// Opens the store, recovers what was under way, and starts. Activities run on the caller's tokio runtime.
    pub async fn start(self) -> Result<Engine, ClientError> {
        let (open, tables) = (self.open, self.tables);
        let store = tokio::task::spawn_blocking(move || with_tables(open()?, tables.as_deref()))
            .await
            .map_err(|error| EngineError::System(format!("the store could not be opened: {error}")))?
            .map_err(EngineError::from)?;
        let registry = self.registry.limits(self.options.limits.clone()).with_built_in();
        let registry = Arc::new(registry.operation_time_max(self.options.operation_time_max));
        let hosts = Hosts {
            orchestrations: registry.clone(),
            activities: registry.clone(),
            entities: registry.clone(),
        };
        let mut deliveries = self.deliveries;
        deliveries.extend(registry.deliveries().clone());
        let options = EngineOptions { deliveries: Arc::new(deliveries), ..self.options };
        let engine = perdura_engine::Engine::start(store, hosts, options).await?;
        let client = Client::new(engine.client(), registry);
        let keys = tokio::spawn(forget_hub_keys(client.clone(), self.hub_keys_kept));
        Ok(Engine { open: super::CloseOnDrop(client.clone()), client, engine, keys })
    }
}
