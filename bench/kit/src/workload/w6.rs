//! W6: 5,000 orchestrations, started as fast as they can be, sleep for one second each.

use super::PATIENCE;
use crate::{Meter, Options, Outcome, Peer, Report, Work, closed_loop, payload, round};
use serde_json::json;
use std::sync::Arc;

const SLEEP_MS: u64 = 1000;
const STARTERS: u64 = 128;
const WAITERS: u64 = 64;

pub(super) async fn run<P: Peer>(options: &Options, peer: Arc<P>, report: &Report) -> Outcome<()> {
    let count = options.count.unwrap_or(5000);
    let meter = Meter::begin();
    let starter = peer.clone();
    let (_, start_errors) = closed_loop(count, STARTERS, PATIENCE, move |i| {
        let peer = starter.clone();
        async move { peer.start(Work::Timer, &format!("tm-{i}"), payload(SLEEP_MS)).await }
    })
    .await;
    let started = meter.seconds();
    let (seconds, wait_errors) = closed_loop(count, WAITERS, PATIENCE, move |i| {
        let peer = peer.clone();
        async move { peer.wait(Work::Timer, &format!("tm-{i}")).await.map(drop) }
    })
    .await;
    let cost = meter.read();
    let result = json!({
        "count": count,
        "completed": seconds.len(),
        "errors": start_errors + wait_errors,
        "started_s": round(started),
        "over_1s": round(cost["wall_s"].as_f64().unwrap_or(0.0) - SLEEP_MS as f64 / 1000.0),
    });
    report.result("w6", &[result, cost]);
    Ok(())
}
