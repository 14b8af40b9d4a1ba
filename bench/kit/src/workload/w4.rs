//! W4: 1,000 orchestrations wait for an event; all are raised.

use super::{PATIENCE, start_waiting};
use crate::{Meter, Options, Outcome, Peer, Report, Work, check, closed_loop, payload, round};
use serde_json::json;
use std::sync::Arc;

pub(super) async fn run<P: Peer>(options: &Options, peer: Arc<P>, report: &Report) -> Outcome<()> {
    let (count, concurrency) = (options.count.unwrap_or(1000), options.concurrency.unwrap_or(64));
    let started = start_waiting(&peer, count).await;
    let meter = Meter::begin();
    let waiter = peer.clone();
    let waits = tokio::spawn(closed_loop(count, concurrency, PATIENCE, move |i| {
        let peer = waiter.clone();
        async move { check(&peer.wait(Work::Event, &format!("ev-{i}")).await?, i) }
    }));
    let (_, raise_errors) = closed_loop(count, concurrency, PATIENCE, move |i| {
        let peer = peer.clone();
        async move { peer.raise(&format!("ev-{i}"), payload(i)).await }
    })
    .await;
    let raised = meter.seconds();
    let (seconds, wait_errors) = waits.await.map_err(|panic| panic.to_string())?;
    let result = json!({
        "concurrency": concurrency,
        "completed": seconds.len(),
        "errors": raise_errors + wait_errors,
        "raised_s": round(raised),
    });
    report.result("w4", &[started, result, meter.read()]);
    Ok(())
}
