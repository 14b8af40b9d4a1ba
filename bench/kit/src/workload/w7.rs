//! W7: what an idle engine costs, and what one costs that holds 10,000 orchestrations that wait for an event.

use super::PATIENCE;
use crate::payload::waiting;
use crate::{Meter, Options, Outcome, Peer, Report, Work, closed_loop, payload, round, sys};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const STARTERS: u64 = 64;

pub(super) async fn run<P: Peer>(options: &Options, peer: Arc<P>, report: &Report) -> Outcome<()> {
    let duration = options.duration(20.0);
    tokio::time::sleep(Duration::from_secs(5)).await;
    report.result("w7-idle", &[idle(duration).await]);
    let count = options.count.unwrap_or(10_000);
    let meter = Meter::begin();
    let started = start_waiting(&peer, count).await;
    let cost = meter.read();
    tokio::time::sleep(Duration::from_secs(5)).await;
    report.result("w7-waiting", &[cost, started, idle(duration).await]);
    Ok(())
}

/// What the process and the server cost while they do nothing.
pub async fn idle(duration: Duration) -> Value {
    let meter = Meter::begin();
    tokio::time::sleep(duration).await;
    let cost = meter.read();
    let wall = cost["wall_s"].as_f64().unwrap_or(0.0).max(1e-9);
    let percent = |key: &str| round(100.0 * cost[key].as_f64().unwrap_or(0.0) / wall);
    json!({
        "idle_cpu_own_pct": percent("cpu_own_s"),
        "idle_cpu_server_pct": percent("cpu_server_s"),
        "rss_own_mib": round(sys::rss_mib()),
        "pss_server_mib": round(sys::server_pss_mib()),
    })
}

/// Starts orchestrations that wait for an event; returns when they all wait.
pub async fn start_waiting<P: Peer>(peer: &Arc<P>, count: u64) -> Value {
    let meter = Meter::begin();
    let starter = peer.clone();
    let (_, errors) = closed_loop(count, STARTERS, PATIENCE, move |i| {
        let peer = starter.clone();
        async move { peer.start(Work::Event, &format!("ev-{i}"), payload(i)).await }
    })
    .await;
    let acknowledged = meter.seconds();
    while waiting() < count - errors {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let all = meter.seconds();
    // The turn that registered the last wait commits.
    tokio::time::sleep(Duration::from_secs(2)).await;
    json!({
        "count": count,
        "start_errors": errors,
        "start_acknowledged_s": round(acknowledged),
        "all_waiting_s": round(all),
    })
}
