//! Hubs that hold much: many waiting instances, many completed ones.

use crate::embedded;
use crate::store::StoreFile;
use perdura_benchkit::workload::{idle, measure_w1, start_waiting};
use perdura_benchkit::{Meter, Options, Outcome, Peer, Report, Work, closed_loop, payload, round};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// In flight while a file is filled.
const LOADERS: u64 = 1024;

/// W1 in an empty hub, then in one where 100,000 instances wait: it must not be slower.
pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let store = StoreFile::choose(options)?;
    let engine = Arc::new(embedded::start(&store).await?);
    let report = Report::begin(options, &engine.versions());
    let (concurrency, duration) = (options.concurrency.unwrap_or(128), options.duration(5.0));
    let empty = measure_w1(engine.clone(), "empty", concurrency, u64::MAX, duration).await;
    report.result("hub-empty", std::slice::from_ref(&empty));
    let waiting = start_waiting(&engine, options.count.unwrap_or(100_000)).await;
    let full = measure_w1(engine.clone(), "full", concurrency, u64::MAX, duration).await;
    let ratio = full["per_s"].as_f64().unwrap_or(0.0) / empty["per_s"].as_f64().unwrap_or(1.0);
    let cost = idle(Duration::from_secs(10)).await;
    report.result("hub-full", &[full, json!({ "waiting": waiting, "rate_to_empty": round(ratio) }), cost]);
    Ok(())
}

/// Fills a file with completed instances, of no activity each.
pub(crate) async fn load(options: &Options) -> Outcome<()> {
    let store = StoreFile::choose(options)?;
    let engine = Arc::new(embedded::start(&store).await?);
    let report = Report::begin(options, &engine.versions());
    let (count, loader) = (options.count.unwrap_or(1_000_000), engine.clone());
    let meter = Meter::begin();
    let (seconds, errors) = closed_loop(count, LOADERS, Duration::MAX / 4, move |i| {
        let engine = loader.clone();
        async move { engine.run(Work::Sequence, &format!("done-{i}"), payload(0)).await.map(drop) }
    })
    .await;
    let rate = round(seconds.len() as f64 / meter.seconds());
    report
        .result("load", &[json!({ "count": seconds.len(), "errors": errors, "per_s": rate }), meter.read()]);
    if let Ok(engine) = Arc::try_unwrap(engine) {
        engine.shutdown().await;
    }
    Ok(())
}
