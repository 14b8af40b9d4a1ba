//! Workloads W1 to W8 against any durable execution engine, measured the same way.
//!
//! A harness implements [`Peer`], its orchestrations and activities use [`payload`] and [`activity`], and [`main`] does
//! the rest: it runs the workload that the command line names, measures the disk's own commit rate in the same run, and
//! prints a table or one JSON line for each result.
//!
//! What the harness cannot know comes from the environment: `PEER` (its label), `DATA` (directories whose size counts,
//! separated by colons), `SERVER_PIDS` (processes of a server whose CPU and memory count), `ACKS` (the file of
//! acknowledged starts, for W8), `KILL_SERVER=1` (W8 kills the server too).

mod disk;
mod load;
mod meter;
mod options;
mod payload;
mod peer;
mod report;
pub mod sys;
pub mod workload;

pub use disk::{Floor, measure_floor};
pub use load::closed_loop;
pub use meter::{Meter, percentiles, round};
pub use options::Options;
pub use payload::{activities_run, activity, check, note_waiting, number, payload};
pub use peer::{Outcome, Peer, Work};
pub use report::Report;

use std::sync::Arc;

/// Runs the workload that the options name, and ends the process: a peer's own threads may never end.
pub async fn main<P: Peer>(options: Options, peer: P) -> ! {
    let report = Report::begin(&options, &peer.versions());
    match workload::run(&options, Arc::new(peer), &report).await {
        Ok(()) => std::process::exit(0),
        Err(why) => {
            eprintln!("{}: {why}", options.workload);
            std::process::exit(1)
        }
    }
}
