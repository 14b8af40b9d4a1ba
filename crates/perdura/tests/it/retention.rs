//! Instances that have ended go by themselves when they are old enough, and only if that was asked for.

use perdura::prelude::*;
use perdura::{InstanceQuery, Retention, Status, Timestamp};
use perdura_store::Store;
use perdura_store::sim::SimStore;
use std::sync::Arc;
use std::time::Duration;

const NOON: i64 = 1_750_000_000_000;

#[orchestration]
async fn fine(_ctx: Orchestration) -> Result<()> {
    Ok(())
}

#[orchestration]
async fn fails(_ctx: Orchestration) -> Result<()> {
    Err(Error::new("Broken", "broken"))
}

#[orchestration]
async fn family(ctx: Orchestration) -> Result<()> {
    ctx.sub_orchestration(fine, ()).id("child").await?;
    ctx.wait_event("go").await
}

async fn engine(store: &Arc<SimStore>, retention: Retention) -> Engine {
    let store: Arc<dyn Store> = store.clone();
    let engine = Engine::store(store).register(fine).register(fails).register(family);
    engine.retention(retention).start().await.unwrap()
}

async fn left(engine: &Engine) -> Vec<String> {
    let listed = engine.list(InstanceQuery::default(), 100).await.unwrap();
    let mut ids: Vec<_> = listed.iter().map(|state| state.id().to_string()).collect();
    ids.sort();
    ids
}

/// Waits until so much is left.
async fn until(engine: &Engine, ids: &[&str]) {
    while left(engine).await != ids {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn each_status_has_an_age_and_what_has_none_stays() {
    let store = Arc::new(SimStore::new(2));
    store.set_clock(Timestamp(NOON));
    let retention = Retention::default().of(Status::Completed, Duration::from_secs(1));
    let engine = engine(&store, retention).await;
    for id in ["a", "b"] {
        engine.start(fine, ()).id(id).await.unwrap().wait().await.unwrap();
    }
    engine.start(fails, ()).id("f").await.unwrap().wait().await.unwrap_err();
    store.set_clock(Timestamp(NOON + 900));
    engine.start(fine, ()).id("young").await.unwrap().wait().await.unwrap();
    store.set_clock(Timestamp(NOON + 1500));
    until(&engine, &["f", "young"]).await;
    store.set_clock(Timestamp(NOON + 1_000_000_000));
    until(&engine, &["f"]).await;
    engine.shutdown().await;
}

#[tokio::test]
async fn a_child_stays_as_long_as_its_parent_and_goes_with_it() {
    let store = Arc::new(SimStore::new(2));
    store.set_clock(Timestamp(NOON));
    let engine = engine(&store, Retention::of_all(Duration::from_secs(1))).await;
    let parent = engine.start(family, ()).id("p").await.unwrap();
    engine.instance("child").wait::<()>().await.ok();
    while engine.instance("child").get().await.unwrap().is_none_or(|state| !state.status().is_terminal()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    engine.start(fine, ()).id("other").await.unwrap().wait().await.unwrap();
    store.set_clock(Timestamp(NOON + 10_000));
    // When the other one has gone, the child has been looked at too.
    until(&engine, &["child", "p"]).await;
    engine.instance("p").raise("go", &()).await.unwrap();
    parent.wait().await.unwrap();
    store.set_clock(Timestamp(NOON + 20_000));
    until(&engine, &[]).await;
    engine.shutdown().await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn an_instance_that_is_damaged_keeps_no_other_from_being_removed() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("hub.db");
    let open = || Engine::sqlite(&path).register(family).register(fine);
    let engine = open().start().await.unwrap();
    let parent = engine.start(family, ()).id("p").await.unwrap();
    engine.instance("p").raise("go", &()).await.unwrap();
    parent.wait().await.unwrap();
    engine.start(fine, ()).id("z").await.unwrap().wait().await.unwrap();
    engine.shutdown().await;
    let file = perdura::sqlite::Connection::open(&path).unwrap();
    file.execute("UPDATE instance SET record = x'00' WHERE id = 'p'", ()).unwrap();
    let engine = open().retention(Retention::of_all(Duration::from_millis(1))).start().await.unwrap();
    while engine.instance("z").get().await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(engine.instance("child").get().await.unwrap().is_some(), "its parent may still want it");
    engine.shutdown().await;
}

#[tokio::test]
async fn without_a_setting_nothing_goes() {
    let store = Arc::new(SimStore::new(1));
    store.set_clock(Timestamp(NOON));
    assert!(Retention::default().is_off());
    let first = engine(&store, Retention::default()).await;
    first.start(fine, ()).id("a").await.unwrap().wait().await.unwrap();
    first.shutdown().await;
    store.set_clock(Timestamp(NOON * 2));
    // The next engine has an age for something else.
    let second = engine(&store, Retention::default().of(Status::Failed, Duration::from_secs(1))).await;
    second.start(fails, ()).id("f").await.unwrap().wait().await.unwrap_err();
    store.set_clock(Timestamp(NOON * 3));
    until(&second, &["a"]).await;
    second.shutdown().await;
}
