//! The singleton under a race, on a file.

use crate::event_batching::{AGGREGATOR, Settings, Sink, add, aggregator, flush};
use perdura::{Engine, InstanceQuery, StartOutcome, Status};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const SETTINGS: Settings = Settings { count_max: 64, wait_max: Duration::from_millis(100) };

async fn engine(path: &Path, sink: &Arc<Sink>) -> Engine {
    let engine = Engine::sqlite(path).register(aggregator).register(flush).data(sink.clone());
    engine.start().await.unwrap()
}

/// As many callers at once as there are readings; says how many of them were told that they had created it.
async fn race(engine: &Engine, readings: std::ops::Range<u64>) -> usize {
    let callers: Vec<_> = readings
        .map(|reading| {
            let client = engine.client();
            tokio::spawn(async move { add(&client, SETTINGS, reading).await.unwrap() })
        })
        .collect();
    let mut created = 0;
    for caller in callers {
        created += usize::from(caller.await.unwrap() == StartOutcome::Created);
    }
    created
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_callers_at_once_make_one_aggregator_and_lose_no_reading() {
    let dir = TempDir::new().unwrap();
    let sink = Arc::new(Sink::default());
    let engine = engine(&dir.path().join("hub.db"), &sink).await;
    assert_eq!(race(&engine, 0..500).await, 1);
    sink.wait_for(500).await;
    let batches = sink.batches();
    assert!(batches.iter().all(|batch| (1..=SETTINGS.count_max).contains(&batch.len())), "{batches:?}");
    let mut readings = batches.concat();
    readings.sort_unstable();
    assert_eq!(readings, (0..500).collect::<Vec<_>>());
    assert_eq!(engine.list(InstanceQuery::default(), 10).await.unwrap().len(), 1);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_finds_the_aggregator_with_what_it_had() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("hub.db");
    let sink = Arc::new(Sink::default());
    let first = engine(&path, &sink).await;
    assert_eq!(race(&first, 0..100).await, 1);
    first.shutdown().await;
    let second = engine(&path, &sink).await;
    assert_eq!(race(&second, 100..200).await, 0);
    sink.wait_for(200).await;
    // The activity runs at least once: the shutdown lets it finish, so here it is once.
    let mut readings = sink.batches().concat();
    readings.sort_unstable();
    assert_eq!(readings, (0..200).collect::<Vec<_>>());
    let state = second.instance(AGGREGATOR).get().await.unwrap().unwrap();
    assert_eq!(state.status(), Status::Running);
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_aggregator_flushes_what_it_has_and_the_next_caller_starts_another() {
    let dir = TempDir::new().unwrap();
    let sink = Arc::new(Sink::default());
    let engine = engine(&dir.path().join("hub.db"), &sink).await;
    let patient = Settings { count_max: 64, wait_max: Duration::from_secs(3600) };
    assert_eq!(add(&engine.client(), patient, 1).await.unwrap(), StartOutcome::Created);
    let instance = engine.instance(AGGREGATOR);
    instance.cancel("maintenance").await.unwrap();
    instance.wait::<()>().await.unwrap();
    assert_eq!(sink.batches(), [[1]]);
    assert_eq!(add(&engine.client(), patient, 2).await.unwrap(), StartOutcome::Replaced);
    engine.shutdown().await;
}
