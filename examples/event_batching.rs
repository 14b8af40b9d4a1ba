//! Event batching by a singleton: many callers at once, exactly one aggregator.
//!
//! The case of <https://github.com/Azure/azure-functions-durable-extension/issues/612>: each HTTP request starts the
//! aggregator if it does not run, and gives it one event. With «look whether it runs, then start it» two requests can both
//! see that it does not, and start it twice. Here one call looks and starts, and says what it did.
//!
//! Run it with `cargo run -p perdura-examples --bin event_batching`.

use perdura::prelude::*;
use perdura::{Client, ClientError, OnExisting, ReusePolicy, StartOutcome};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The instance id that all callers know.
pub const AGGREGATOR: &str = "aggregator";

/// When a batch is full.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// So many readings.
    pub count_max: usize,
    /// Or so long after its first reading.
    pub wait_max: Duration,
}

/// Where batches go; a real one would be a database or a data lake.
#[derive(Default)]
pub struct Sink {
    /// All batches so far.
    pub batches: std::sync::Mutex<Vec<Vec<u64>>>,
    /// Rings with each batch.
    pub changed: Notify,
}

impl Sink {
    /// The batches so far.
    pub fn batches(&self) -> Vec<Vec<u64>> {
        self.batches.lock().expect("no thread panics with it").clone()
    }

    /// Waits until so many readings have come.
    pub async fn wait_for(&self, readings: usize) {
        while self.batches().iter().map(Vec::len).sum::<usize>() < readings {
            self.changed.notified().await;
        }
    }
}

/// Writes a batch.
///
/// Like every activity this may run twice with the same batch, after a crash at the wrong moment. A real sink would
/// leave out a batch whose key (execution and task) it has.
#[activity]
pub async fn flush(ctx: ActivityContext, batch: Vec<u64>) -> Result<()> {
    let sink = ctx.data::<Arc<Sink>>();
    sink.batches.lock().expect("no thread panics with it").push(batch);
    sink.changed.notify_one();
    Ok(())
}

/// Gathers one batch, flushes it and begins again. Readings that it has not taken are carried over to the next round.
///
/// It never completes: a reading that had been accepted by an instance just before its end would be lost with it. While
/// there is nothing to do it waits for an event, which costs nothing.
#[orchestration]
pub async fn aggregator(ctx: Orchestration, settings: Settings) -> Result<()> {
    let mut batch = Vec::new();
    let mut deadline = None;
    while batch.len() < settings.count_max {
        let reading = match deadline.take() {
            None => ctx.wait_event::<u64>("reading").await,
            Some(timer) => match select(ctx.wait_event("reading"), timer).await {
                Either::First(reading, timer) => {
                    deadline = Some(timer);
                    reading
                }
                // A reading that arrived together with the deadline goes back to be taken by the next round.
                Either::Second(..) => break,
            },
        };
        match reading {
            Ok(reading) => batch.push(reading),
            Err(_) if ctx.is_canceled() => break,
            // A caller who sends nonsense must not end the aggregator for all others.
            Err(_) => continue,
        }
        deadline.get_or_insert_with(|| ctx.timer(settings.wait_max));
    }
    if !batch.is_empty() {
        // Patient, for the same reason: readings that nobody took end with the aggregator.
        ctx.call(flush, batch).retry(Retry::attempts(u32::MAX).max_backoff(Duration::from_secs(60))).await?;
    }
    if ctx.is_canceled() {
        return Ok(());
    }
    ctx.continue_as_new(settings)
}

/// What each caller does. However many do it at once, one of them hears `Created`.
pub async fn add(client: &Client, settings: Settings, reading: u64) -> Result<StartOutcome, ClientError> {
    // One that has ended (somebody cancelled it) is replaced.
    let reuse = ReusePolicy::USE_EXISTING.when_terminal(OnExisting::Replace);
    let started = client.start(aggregator, settings).id(AGGREGATOR).reuse(reuse).await?;
    // The reading is durable when this returns.
    started.instance().raise("reading", &reading).await?;
    Ok(started.outcome())
}

#[tokio::main]
async fn main() -> Result<()> {
    let sink = Arc::new(Sink::default());
    let engine = Engine::sqlite("event_batching.db").register(aggregator).register(flush);
    let engine = engine.data(sink.clone()).start().await?;
    let settings = Settings { count_max: 64, wait_max: Duration::from_millis(200) };
    let callers: Vec<_> = (0..200)
        .map(|reading| {
            let client = engine.client();
            tokio::spawn(async move { add(&client, settings, reading).await })
        })
        .collect();
    let mut created = 0;
    for caller in callers {
        created += usize::from(caller.await?? == StartOutcome::Created);
    }
    sink.wait_for(200).await;
    println!("200 callers created {created} aggregator");
    let sizes: Vec<usize> = sink.batches().iter().map(Vec::len).collect();
    println!("batches of {sizes:?}");
    engine.shutdown().await;
    Ok(())
}
