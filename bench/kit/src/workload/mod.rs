//! The workloads, one file each.

mod w1;
mod w2;
mod w3;
mod w4;
mod w5;
mod w6;
mod w7;
pub mod w8;

pub use w1::measure as measure_w1;
pub use w7::{idle, start_waiting};

use crate::{Options, Outcome, Peer, Report};
use std::sync::Arc;
use std::time::Duration;

/// Longest that a workload with a fixed count may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(420);
/// Start-up work settles before anything is measured.
const SETTLE: Duration = Duration::from_secs(1);

/// Runs the workload that the options name.
pub async fn run<P: Peer>(options: &Options, peer: Arc<P>, report: &Report) -> Outcome<()> {
    if options.workload != "w8-recover" {
        tokio::time::sleep(SETTLE).await;
    }
    match options.workload.as_str() {
        "w1" => w1::run(options, peer, report).await,
        "w2" => w2::run(options, peer, report).await,
        "w3" => w3::run(options, peer, report).await,
        "w4" => w4::run(options, peer, report).await,
        "w5" => w5::run(options, peer, report).await,
        "w6" => w6::run(options, peer, report).await,
        "w7" => w7::run(options, peer, report).await,
        "w8-load" => w8::load(options, peer).await,
        "w8-recover" => w8::recover(options, peer, report).await,
        other => Err(format!("there is no workload {other}")),
    }
}
