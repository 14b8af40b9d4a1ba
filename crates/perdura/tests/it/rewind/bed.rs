//! An engine on a store, activities that fail on demand, and code that can be mended.

use perdura::prelude::*;
use perdura::{ClientError, Rewind, Store, Timestamp};
use perdura_store::sim::SimStore;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// What activities do, and what they did.
#[derive(Default)]
pub struct Workshop {
    /// How many attempts of an activity with this input fail from now on.
    failing: Mutex<BTreeMap<String, u32>>,
    /// Every attempt: activity, input, whether it ended well, delivery count.
    attempts: Mutex<Vec<(String, String, bool, u32)>>,
    /// The code of an instance has been mended.
    mended: Mutex<bool>,
}

static WORKSHOPS: Mutex<BTreeMap<String, Arc<Workshop>>> = Mutex::new(BTreeMap::new());

/// Whether the code that runs is the mended one: a deploy, as the instances of a test see it.
pub fn is_mended(ctx: &Orchestration) -> bool {
    let root = ctx.tags().get("workshop").cloned().unwrap_or_default();
    WORKSHOPS.lock().unwrap().get(&root).is_some_and(|workshop| *workshop.mended.lock().unwrap())
}

pub fn attempt(ctx: &ActivityContext, input: &str) -> Result<String> {
    let workshop: &Arc<Workshop> = ctx.data();
    let mut failing = workshop.failing.lock().unwrap();
    let fails = failing.get_mut(input).is_some_and(|left| {
        let fails = *left > 0;
        *left = left.saturating_sub(1);
        fails
    });
    let entry = (ctx.name().to_owned(), input.to_owned(), !fails, ctx.delivery());
    workshop.attempts.lock().unwrap().push(entry);
    if fails { Err(Error::new("Broken", format!("{input} is broken"))) } else { Ok(format!("{input} done")) }
}

#[activity]
pub async fn step(ctx: ActivityContext, input: String) -> Result<String> {
    attempt(&ctx, &input)
}

#[activity]
pub async fn pay(ctx: ActivityContext, input: String) -> Result<String> {
    attempt(&ctx, &input)
}

#[activity]
pub async fn clean(ctx: ActivityContext, input: String) -> Result<String> {
    attempt(&ctx, &input)
}

/// Which store a test runs on.
#[derive(Clone, Copy)]
pub enum Kind {
    Sim,
    Sqlite,
}

pub struct Bed {
    pub engine: Engine,
    pub workshop: Arc<Workshop>,
    registry: Registry,
    name: String,
    sim: Option<Arc<SimStore>>,
    store: Arc<dyn Store>,
    dir: TempDir,
}

impl Bed {
    /// An engine for a test of this name with these orchestrations.
    pub async fn new(kind: Kind, name: &str, register: impl FnOnce(Registry) -> Registry) -> Bed {
        let name = format!("{name}-{}", matches!(kind, Kind::Sim));
        let workshop = Arc::new(Workshop::default());
        WORKSHOPS.lock().unwrap().insert(name.clone(), workshop.clone());
        let registry = Registry::new().register(step).register(pay).register(clean).data(workshop.clone());
        let registry = register(registry);
        let dir = TempDir::new().unwrap();
        let sim = matches!(kind, Kind::Sim).then(|| Arc::new(SimStore::new(2)));
        if let Some(store) = &sim {
            tokio::spawn(keeps_time(store.clone()));
        }
        let (engine, store) = start(&registry, &sim, &dir).await;
        Bed { engine, workshop, registry, name, sim, store, dir }
    }

    /// The process ends and another one begins.
    pub async fn restart(self) -> Bed {
        let Bed { engine, workshop, registry, name, sim, dir, store } = self;
        drop(store);
        engine.shutdown().await;
        let (engine, store) = start(&registry, &sim, &dir).await;
        Bed { engine, workshop, registry, name, sim, store, dir }
    }

    pub async fn start<O: perdura::OrchestrationRef>(&self, orchestration: O, input: O::Input, id: &str) {
        self.engine.start(orchestration, input).id(id).tag("workshop", &self.name).await.unwrap();
    }

    /// Starts an instance that fails; gives the message.
    pub async fn fails<O: perdura::OrchestrationRef>(&self, code: O, input: O::Input, id: &str) -> String {
        self.start(code, input, id).await;
        self.failure(id).await
    }

    /// Waits until an instance has failed, or was ended; gives the message.
    pub async fn failure(&self, id: &str) -> String {
        match self.engine.instance(id).wait::<Option<String>>().await {
            Err(ClientError::NotCompleted { failure, .. }) => failure.message,
            other => panic!("{id}: {other:?}"),
        }
    }

    pub async fn output(&self, id: &str) -> String {
        self.engine.instance(id).wait::<String>().await.unwrap()
    }

    pub async fn rewind(&self, id: &str) {
        self.engine.instance(id).rewind(because()).await.unwrap();
    }

    /// The names of the events of a branch, or of the present one.
    pub async fn events(&self, id: &str, branch: Option<u32>) -> Vec<&'static str> {
        let instance = self.engine.instance(id);
        let history = match branch {
            Some(branch) => instance.branch_history(branch).await,
            None => instance.history().await,
        };
        history.unwrap().unwrap().iter().map(|event| event.kind.name()).collect()
    }

    /// The store below the engine.
    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    pub async fn key(&self, id: &str) -> perdura_core::InstanceKey {
        let query = perdura::InstanceQuery { id_prefix: Some(id.into()), ..Default::default() };
        self.engine.list(query, 1).await.unwrap()[0].key().unwrap()
    }

    /// Waits until an instance waits for something.
    pub async fn until(&self, id: &str, what: impl Fn(&perdura::InstanceState) -> bool) {
        loop {
            if self.engine.instance(id).get().await.unwrap().is_some_and(|state| what(&state)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// The simulated store's clock goes on like the world's.
async fn keeps_time(store: Arc<SimStore>) {
    let began = tokio::time::Instant::now();
    loop {
        store.set_clock(Timestamp(1_750_000_000_000 + began.elapsed().as_millis() as i64));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn start(registry: &Registry, sim: &Option<Arc<SimStore>>, dir: &TempDir) -> (Engine, Arc<dyn Store>) {
    let store: Arc<dyn Store> = match sim {
        Some(store) => store.clone(),
        None => {
            let path = dir.path().join("hub.db");
            Arc::new(perdura_sqlite::SqliteStore::open(path, Default::default()).unwrap())
        }
    };
    let engine = Engine::store(store.clone()).registry(registry.clone()).start().await.unwrap();
    (engine, store)
}

impl Workshop {
    /// The next attempts with this input fail.
    pub fn breaks(&self, input: &str, attempts: u32) {
        self.failing.lock().unwrap().insert(input.to_owned(), attempts);
    }

    /// Deploys mended code.
    pub fn deploys(&self) {
        *self.mended.lock().unwrap() = true;
    }

    /// Deploys what was there before.
    pub fn withdraws(&self) {
        *self.mended.lock().unwrap() = false;
    }

    /// How often the work with this input was tried, and how often it ended well.
    pub fn ran(&self, input: &str) -> (usize, usize) {
        let attempts = self.attempts.lock().unwrap();
        let of_input = || attempts.iter().filter(|(_, of, ..)| of == input);
        (of_input().count(), of_input().filter(|(_, _, well, _)| *well).count())
    }

    pub fn deliveries(&self, input: &str) -> Vec<u32> {
        let attempts = self.attempts.lock().unwrap();
        attempts.iter().filter(|(_, of, ..)| of == input).map(|(.., delivery)| *delivery).collect()
    }
}

pub fn because() -> Rewind {
    Rewind::by("ada", "it is mended")
}

/// Runs each test on every store.
#[macro_export]
macro_rules! on_every_store {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        mod on_sim {
            $($(#[$doc])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::rewind::bed::Kind::Sim).await; })*
        }
        #[cfg(feature = "sqlite")]
        mod on_sqlite {
            $($(#[$doc])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::rewind::bed::Kind::Sqlite).await; })*
        }
    };
}
