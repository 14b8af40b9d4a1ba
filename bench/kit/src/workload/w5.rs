//! W5: a parent with 100 children in parallel, one activity each.

use crate::{Meter, Options, Outcome, Peer, Report, Work, check, payload};
use serde_json::json;
use std::sync::Arc;

const REPETITIONS: u64 = 5;

pub(super) async fn run<P: Peer>(options: &Options, peer: Arc<P>, report: &Report) -> Outcome<()> {
    let count = options.count.unwrap_or(100);
    peer.run(Work::Parent, "w5-warm", payload(2)).await?;
    for i in 0..REPETITIONS {
        let meter = Meter::begin();
        let output = peer.run(Work::Parent, &format!("w5-{i}"), payload(count)).await?;
        check(&output, count)?;
        report.result("w5", &[json!({ "count": count }), meter.read()]);
    }
    Ok(())
}
