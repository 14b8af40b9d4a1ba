//! W2: one orchestration calls 1,000 activities at once and joins them.

use crate::{Meter, Options, Outcome, Peer, Report, Work, check, payload, round};
use serde_json::json;
use std::sync::Arc;

const REPETITIONS: u64 = 3;

pub(super) async fn run<P: Peer>(options: &Options, peer: Arc<P>, report: &Report) -> Outcome<()> {
    let count = options.count.unwrap_or(1000);
    peer.run(Work::FanOut, "w2-warm", payload(2)).await?;
    for i in 0..REPETITIONS {
        let meter = Meter::begin();
        let output = peer.run(Work::FanOut, &format!("w2-{i}"), payload(count)).await?;
        let cost = meter.read();
        check(&output, count)?;
        let wall = cost["wall_s"].as_f64().unwrap_or(0.0);
        report
            .result("w2", &[json!({ "count": count, "activities_per_s": round(count as f64 / wall) }), cost]);
    }
    Ok(())
}
