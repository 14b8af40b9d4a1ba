//! Entities whose operations are at work when their engine ends.

use perdura::prelude::*;
use perdura::{ClientError, EngineError, EntityHandle, Limits, StoreError};
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Semaphore;

const LIMIT: u32 = 3;

/// The operation of an entity of some key: it hangs until it is mended.
struct Hangs {
    begun: Semaphore,
    mended: AtomicBool,
}

static LOST: LazyLock<Hangs> = LazyLock::new(Hangs::new);
static GIVEN_BACK: LazyLock<Hangs> = LazyLock::new(Hangs::new);

impl Hangs {
    fn new() -> Hangs {
        Hangs { begun: Semaphore::new(0), mended: AtomicBool::new(false) }
    }

    async fn until_begun(&self) {
        self.begun.acquire().await.unwrap().forget();
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Hanging {
    ended: u32,
}

#[entity]
impl Hanging {
    pub async fn work(&mut self, ctx: EntityContext) -> Result<()> {
        let hangs: &Hangs = if ctx.key() == "lost" { &LOST } else { &GIVEN_BACK };
        hangs.begun.add_permits(1);
        if !hangs.mended.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.ended += 1;
        Ok(())
    }
}

/// Waits until an engine that was dropped has let go of the file.
async fn open(dir: &TempDir) -> Engine {
    loop {
        let engine = Engine::sqlite(dir.path().join("hub.db")).entity::<Hanging>();
        let limits = Limits { lost_workers_max: LIMIT, ..Limits::default() };
        match engine.limits(limits).drain_time_max(Duration::from_millis(1)).start().await {
            Err(ClientError::Engine(EngineError::Store(StoreError::InUse { .. }))) => {
                tokio::task::yield_now().await;
            }
            engine => return engine.unwrap(),
        }
    }
}

async fn until_ended(entity: &EntityHandle<Hanging>) {
    while entity.read().await.unwrap().is_none_or(|state| state.ended == 0) {
        tokio::task::yield_now().await;
    }
}

/// An engine that is dropped writes nothing any more, as one whose process ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entity_whose_operation_was_lost_with_many_engines_is_blocked_until_it_is_resumed() {
    let dir = TempDir::new().unwrap();
    let engine = open(&dir).await;
    engine.signal::<Hanging>("lost").work().await.unwrap();
    LOST.until_begun().await;
    drop(engine);
    for _ in 1..LIMIT {
        let engine = open(&dir).await;
        LOST.until_begun().await;
        drop(engine);
    }
    LOST.mended.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let engine = open(&dir).await;
        let entity = engine.entity::<Hanging>("lost");
        let reason = loop {
            if let Some(reason) = entity.get().await.unwrap().unwrap().blocked {
                break reason;
            }
            tokio::task::yield_now().await;
        };
        assert!(reason.contains("while they ran its operation \"work\", delivery 3"), "{reason}");
        engine.shutdown().await;
    }
    let engine = open(&dir).await;
    let entity = engine.entity::<Hanging>("lost");
    entity.resume("the code is mended").await.unwrap();
    until_ended(&entity).await;
    assert_eq!(entity.get().await.unwrap().unwrap().blocked, None);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_that_outlasts_many_shutdowns_is_not_lost() {
    let dir = TempDir::new().unwrap();
    let mut engine = open(&dir).await;
    engine.signal::<Hanging>("given back").work().await.unwrap();
    engine.signal::<Hanging>("given back").work().await.unwrap();
    for _ in 0..3 * LIMIT {
        GIVEN_BACK.until_begun().await;
        engine.shutdown().await;
        engine = open(&dir).await;
    }
    GIVEN_BACK.mended.store(true, Ordering::SeqCst);
    engine.shutdown().await;
    let engine = open(&dir).await;
    until_ended(&engine.entity::<Hanging>("given back")).await;
    engine.shutdown().await;
}
