//! What can be run here: orchestrations and activities by name and version, and the state that activities share.

use crate::activity::{ActivityContext, ActivityFn, ActivityRef, Data};
#[cfg(feature = "sqlite")]
use crate::activity::{TransactionalFn, in_transaction};
use crate::entity::{Bounds, Entity, EntityCode, run_batch};
use crate::error::Result;
use crate::macro_support::{Item, MadeByAttribute};
use crate::orchestration::hub_call;
use crate::orchestration::{Orchestration, OrchestrationFn, OrchestrationRef};
use crate::payload::{FromPayload, ToPayload, read};
use crate::runner::RegistryRunner;
use bytes::Bytes;
use perdura_core::delivery::Delivery;
use perdura_core::entity::OperationBatch;
use perdura_core::failure::kind;
use perdura_core::orchestration::Runner;
use perdura_core::{Failure, Limits, PartitionId, check_name, check_text};
use perdura_engine::{
    ActivityEnd, ActivityHost, ActivityTask, BatchEnd, EntityHost, OrchestrationHost, TurnReturns,
};
use perdura_store::BoxFuture;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub(crate) type LocalFuture = Pin<Box<dyn Future<Output = Result<Option<Bytes>>>>>;
pub(crate) type StartCode = Arc<dyn Fn(Orchestration, Option<Bytes>) -> LocalFuture + Send + Sync>;
type RunActivity =
    Arc<dyn Fn(ActivityContext, Option<Bytes>) -> BoxFuture<'static, ActivityEnd> + Send + Sync>;

/// An item that can be registered: the work of `#[orchestration]` and `#[activity]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be registered",
    note = "put `#[orchestration]` or `#[activity]` on the async function"
)]
pub trait Register {
    /// Adds the item.
    fn register(self, registry: &mut Registry);
}

impl<F, A> Register for F
where
    F: Fn(MadeByAttribute) -> A,
    A: Item,
{
    #[track_caller]
    fn register(self, registry: &mut Registry) {
        A::register(registry);
    }
}

/// Orchestrations and activities by name and version, and application state. Cheap to clone.
///
/// An instance runs the code of exactly the name and version with which it was started; there is no guessing of a newer
/// one. So keep an old version registered until its instances have ended, or move them by
/// [`continue_as_version`](Orchestration::continue_as_version).
///
/// An instance whose orchestration is not registered waits, and says so, until it is. An activity that is not
/// registered fails with [`NOT_REGISTERED`](crate::failure::kind::NOT_REGISTERED), which a retry policy may retry.
#[derive(Clone, Default)]
pub struct Registry {
    orchestrations: Arc<Catalog<StartCode>>,
    activities: Arc<Catalog<RunActivity>>,
    entities: Arc<Catalog<EntityCode>>,
    /// How often activities may run that say so themselves, by name.
    deliveries: BTreeMap<String, Delivery>,
    data: Arc<Data>,
    limits: Limits,
    /// How long an operation of an entity may take.
    operation_time_max: Option<Duration>,
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Adds an orchestration or an activity.
    ///
    /// # Panics
    /// If there is one of the same kind, name and version, or the name breaks the rules.
    #[must_use]
    #[track_caller]
    pub fn register(mut self, item: impl Register) -> Self {
        item.register(&mut self);
        self
    }

    /// Adds an entity.
    ///
    /// # Panics
    /// If there is one of the same name, or the name breaks the rules.
    #[must_use]
    #[track_caller]
    pub fn entity<E: Entity>(mut self) -> Self {
        let code: EntityCode = Arc::new(|batch, bounds| Box::pin(run_batch::<E>(batch, bounds)));
        Arc::make_mut(&mut self.entities).insert("entity", E::NAME, "", code);
        self
    }

    /// Adds application state that activities reach by [`ActivityContext::data`]: a database pool, a client. One value
    /// of each type; a second one takes the place of the first.
    #[must_use]
    pub fn data<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        Arc::make_mut(&mut self.data).insert(value);
        self
    }

    /// Sets the limits that orchestrations are held to. The engine sets them to its own.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    pub(crate) fn operation_time_max(mut self, longest: Option<Duration>) -> Self {
        self.operation_time_max = longest;
        self
    }

    /// Adds what is built in.
    pub(crate) fn with_built_in(mut self) -> Registry {
        if self.orchestrations.get(hub_call::NAME, "").is_none() {
            self.insert_orchestration(hub_call::NAME, "", hub_call::run);
        }
        self
    }

    /// How often activities may run that say so themselves, by name.
    pub(crate) fn deliveries(&self) -> &BTreeMap<String, Delivery> {
        &self.deliveries
    }

    pub(crate) fn limits_in_use(&self) -> Limits {
        self.limits.clone()
    }

    /// Adds a closure as the activity of a name.
    ///
    /// ```
    /// # use perdura::{ActivityName, Registry};
    /// static SHOUT: ActivityName<String, String> = ActivityName::new("shout");
    /// let registry = Registry::new().register_activity(&SHOUT, |_ctx, text| async move { Ok(text.to_uppercase()) });
    /// # let _ = registry;
    /// ```
    ///
    /// # Panics
    /// Like [`register`](Self::register).
    #[must_use]
    #[track_caller]
    pub fn register_activity<A, F, R>(mut self, name: A, run: F) -> Self
    where
        A: ActivityRef,
        F: Fn(ActivityContext, A::Input) -> R + Send + Sync + 'static,
        R: Future<Output = Result<A::Output>> + Send + 'static,
    {
        self.insert_activity(name.name(), name.version(), run);
        self
    }

    /// Adds a closure as the orchestration of a name.
    ///
    /// # Panics
    /// Like [`register`](Self::register).
    #[must_use]
    #[track_caller]
    pub fn register_orchestration<O, F, R>(mut self, name: O, run: F) -> Self
    where
        O: OrchestrationRef,
        F: Fn(Orchestration, O::Input) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O::Output>> + 'static,
    {
        self.insert_orchestration(name.name(), name.version(), run);
        self
    }

    #[doc(hidden)]
    #[track_caller]
    pub fn add_activity<A: ActivityFn>(&mut self) {
        self.insert_activity(A::NAME, A::VERSION, A::run);
        if !A::DELIVERY.is_empty() {
            let delivery = Delivery::of_recorded(A::DELIVERY);
            match delivery.and_then(|delivery| delivery.check_for(A::NAME).map(|()| delivery)) {
                Ok(delivery) => drop(self.deliveries.insert(A::NAME.to_owned(), delivery)),
                Err(error) => panic!("cannot register activity {:?}: {error}", A::NAME),
            }
        }
    }

    #[cfg(feature = "sqlite")]
    #[doc(hidden)]
    #[track_caller]
    pub fn add_transactional_activity<A: TransactionalFn>(&mut self) {
        let run: RunActivity = Arc::new(|ctx, input| Box::pin(ready(in_transaction::<A>(ctx, input))));
        Arc::make_mut(&mut self.activities).insert("activity", A::NAME, A::VERSION, run);
        // Its outcome is never unknown: what it wrote is there if and only if its result is.
        self.deliveries.insert(A::NAME.to_owned(), Delivery::AtLeastOnce);
    }

    #[doc(hidden)]
    #[track_caller]
    pub fn add_orchestration<O: OrchestrationFn>(&mut self) {
        self.insert_orchestration(O::NAME, O::VERSION, O::run);
    }

    #[track_caller]
    fn insert_activity<I, O, F, R>(&mut self, name: &str, version: &str, run: F)
    where
        I: FromPayload,
        O: ToPayload,
        F: Fn(ActivityContext, I) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O>> + Send + 'static,
    {
        let run: RunActivity = Arc::new(move |ctx, input| {
            let input = read(input, || format!("input of activity {:?}", ctx.name()));
            let running = input.map(|input| run(ctx, input));
            Box::pin(async move {
                let output = async { running?.await?.to_payload() };
                output.await.map_err(Failure::from).into()
            })
        });
        Arc::make_mut(&mut self.activities).insert("activity", name, version, run);
    }

    #[track_caller]
    fn insert_orchestration<I, O, F, R>(&mut self, name: &str, version: &str, run: F)
    where
        I: FromPayload,
        O: ToPayload,
        F: Fn(Orchestration, I) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O>> + 'static,
    {
        let named = name.to_owned();
        let start: StartCode = Arc::new(move |ctx, input| {
            let input = match read(input, || format!("input of orchestration {named:?}")) {
                Ok(input) => input,
                Err(error) => return Box::pin(ready(Err(error))),
            };
            // Polled by hand: an async block around it would keep room for it twice, for as long as it waits.
            let mut running = Box::pin(run(ctx, input));
            Box::pin(poll_fn(move |cx| running.as_mut().poll(cx).map(|output| output?.to_payload())))
        });
        Arc::make_mut(&mut self.orchestrations).insert("orchestration", name, version, start);
    }

    /// The orchestration of exactly this name and version; otherwise a text that says what is missing.
    pub(crate) fn orchestration(&self, name: &str, version: &str) -> Result<&StartCode, String> {
        let missing = || self.orchestrations.missing("orchestration", name, version);
        self.orchestrations.get(name, version).ok_or_else(missing)
    }

    /// A runner of the orchestrations, for whoever drives turns without an engine.
    #[doc(hidden)]
    pub fn runner(&self) -> Box<dyn Runner> {
        Box::new(RegistryRunner::new(self.clone(), self.limits.clone()))
    }

    /// What is registered, for whoever tells others.
    #[doc(hidden)]
    #[must_use]
    pub fn names(&self) -> RegisteredNames {
        RegisteredNames {
            orchestrations: self.orchestrations.versions(),
            activities: self.activities.versions(),
            entities: self.entities.0.keys().cloned().collect(),
        }
    }

    /// One attempt of an activity.
    pub(crate) fn run_activity(&self, task: ActivityTask) -> BoxFuture<'static, ActivityEnd> {
        let version = task.version.as_deref().unwrap_or_default();
        match self.activities.get(&task.name, version) {
            Some(run) => {
                let input = task.input.clone();
                run(ActivityContext::new(task, self.data.clone()), input)
            }
            None => {
                let text = self.activities.missing("activity", &task.name, version);
                Box::pin(ready(ActivityEnd::Failed(Failure::new(kind::NOT_REGISTERED, text))))
            }
        }
    }
}

impl OrchestrationHost for Registry {
    fn runner(&self, _: PartitionId, _: TurnReturns) -> Box<dyn Runner> {
        Registry::runner(self)
    }
}

impl ActivityHost for Registry {
    fn run(&self, task: ActivityTask) -> BoxFuture<'static, ActivityEnd> {
        self.run_activity(task)
    }
}

impl EntityHost for Registry {
    fn run(&self, batch: OperationBatch) -> BoxFuture<'static, BatchEnd> {
        match self.entities.get(batch.id.name(), "") {
            Some(run) => {
                run(batch, Bounds { limits: self.limits.clone(), time_max: self.operation_time_max })
            }
            None => {
                let missing = self.entities.missing("entity", batch.id.name(), "");
                let why = format!("{missing}; register it, and the operations of {} run", batch.id);
                Box::pin(std::future::ready(BatchEnd::CannotRun { why }))
            }
        }
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("orchestrations", &self.orchestrations.names())
            .field("activities", &self.activities.names())
            .field("entities", &self.entities.names())
            .finish_non_exhaustive()
    }
}

/// The names of what is registered, and their versions; the empty one is that of an item without a version.
#[doc(hidden)]
pub struct RegisteredNames {
    pub orchestrations: Vec<(String, Vec<String>)>,
    pub activities: Vec<(String, Vec<String>)>,
    pub entities: Vec<String>,
}

/// Items by name and version.
#[derive(Clone)]
struct Catalog<T>(BTreeMap<String, BTreeMap<String, T>>);

impl<T> Default for Catalog<T> {
    fn default() -> Self {
        Catalog(BTreeMap::new())
    }
}

impl<T> Catalog<T> {
    #[track_caller]
    fn insert(&mut self, what: &'static str, name: &str, version: &str, item: T) {
        if let Err(error) = check_name("name", name).and_then(|()| check_text("version", version)) {
            panic!("cannot register {what} {name:?}: {error}");
        }
        let versions = self.0.entry(name.to_owned()).or_default();
        if versions.insert(version.to_owned(), item).is_some() {
            panic!("{what} {} is registered twice", describe(name, version));
        }
    }

    fn get(&self, name: &str, version: &str) -> Option<&T> {
        self.0.get(name)?.get(version)
    }

    fn missing(&self, what: &'static str, name: &str, version: &str) -> String {
        let wanted = describe(name, version);
        match self.0.get(name) {
            None => format!("{what} {wanted} is not registered here"),
            Some(versions) => {
                let there: Vec<String> = versions.keys().map(|version| describe(name, version)).collect();
                format!("{what} {wanted} is not registered here, only {}", there.join(", "))
            }
        }
    }

    fn versions(&self) -> Vec<(String, Vec<String>)> {
        self.0.iter().map(|(name, versions)| (name.clone(), versions.keys().cloned().collect())).collect()
    }

    fn names(&self) -> Vec<String> {
        let describe_all = |(name, versions): (&String, &BTreeMap<String, T>)| {
            versions.keys().map(|version| describe(name, version)).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(describe_all).collect()
    }
}

fn describe(name: &str, version: &str) -> String {
    match version {
        "" => format!("{name:?}"),
        version => format!("{name:?} version {version:?}"),
    }
}
