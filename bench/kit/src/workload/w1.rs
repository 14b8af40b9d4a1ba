//! W1: five activities in sequence, a closed loop of C orchestrations in flight.

use crate::{Meter, Options, Outcome, Peer, Report, Work, check, closed_loop, payload, percentiles, round};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const STEPS: u64 = 5;
/// Orchestrations before the measured ones, so that nothing is paid for the first time.
const WARM_UP: u64 = 20;

pub(super) async fn run<P: Peer>(options: &Options, peer: Arc<P>, report: &Report) -> Outcome<()> {
    let concurrency = options.concurrency.unwrap_or(1);
    let count = options.count.unwrap_or(u64::MAX);
    let result = measure(peer, "w1", concurrency, count, options.duration(10.0)).await;
    report.result("w1", &[result]);
    Ok(())
}

/// Runs W1 and gives its result; the ids of its instances begin with `prefix`.
pub async fn measure<P: Peer>(
    peer: Arc<P>,
    prefix: &'static str,
    concurrency: u64,
    count: u64,
    duration: Duration,
) -> Value {
    let warm = peer.clone();
    closed_loop(WARM_UP, 4, duration, move |i| {
        let peer = warm.clone();
        async move { peer.run(Work::Sequence, &format!("{prefix}-warm-{i}"), payload(STEPS)).await.map(drop) }
    })
    .await;
    let meter = Meter::begin();
    let (seconds, errors) = closed_loop(count, concurrency, duration, move |i| {
        let peer = peer.clone();
        async move {
            let output = peer.run(Work::Sequence, &format!("{prefix}-{i}"), payload(STEPS)).await?;
            check(&output, STEPS - 1)
        }
    })
    .await;
    let cost = meter.read();
    let (n, wall) = (seconds.len() as f64, cost["wall_s"].as_f64().unwrap_or(0.0).max(1e-9));
    let mut result = json!({
        "concurrency": concurrency,
        "count": seconds.len(),
        "errors": errors,
        "per_s": round(n / wall),
        "cpu_us_per_orchestration":
            round((cost["cpu_own_s"].as_f64().unwrap_or(0.0) + cost["cpu_server_s"].as_f64().unwrap_or(0.0)) * 1e6 / n),
    });
    for part in [percentiles(seconds), cost] {
        if let (Value::Object(result), Value::Object(part)) = (&mut result, part) {
            result.extend(part);
        }
    }
    result
}
