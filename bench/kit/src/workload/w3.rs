//! W3: one orchestration calls 2,000 activities in sequence; the last steps must not cost more than the first.

use crate::payload::{MARK_EVERY, marks, reset_marks};
use crate::{Meter, Options, Outcome, Peer, Report, Work, check, payload, round};
use serde_json::json;
use std::sync::Arc;

pub(super) async fn run<P: Peer>(options: &Options, peer: Arc<P>, report: &Report) -> Outcome<()> {
    let count = options.count.unwrap_or(2000);
    peer.run(Work::Sequence, "w3-warm", payload(2)).await?;
    reset_marks();
    let meter = Meter::begin();
    let output = peer.run(Work::Sequence, "w3", payload(count)).await?;
    let cost = meter.read();
    check(&output, count - 1)?;
    let mut before = meter.began();
    let mut stretches = Vec::new();
    for mark in marks() {
        stretches.push(round((mark - before).as_secs_f64()));
        before = mark;
    }
    let last_to_first = match (stretches.first(), stretches.last()) {
        (Some(first), Some(last)) => json!(round(last / first)),
        _ => json!(null),
    };
    let result = json!({
        "count": count,
        (format!("seconds_per_{MARK_EVERY}")): stretches,
        "last_to_first": last_to_first,
    });
    report.result("w3", &[result, cost]);
    Ok(())
}
