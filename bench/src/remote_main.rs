//! The workloads of `perdura_benchkit` through the server, with worker and client over the network of this machine:
//! `cargo run --release -p perdura-bench --bin perdura-bench-remote -- WORKLOAD`, with the options of `perdura-bench`. A program
//! of its own, so that the server's code is not part of what the others measure.

mod remote;
mod store;
mod work;

use perdura_benchkit::{Options, Outcome, Peer, Report, workload};
use std::sync::Arc;
use store::StoreFile;

#[tokio::main]
async fn main() {
    if let Err(why) = run(Options::from_args()).await {
        eprintln!("{why}");
        std::process::exit(1);
    }
}

async fn run(options: Options) -> Outcome<()> {
    let store = StoreFile::choose(&options)?;
    let server = remote::start(&store).await?;
    let report = Report::begin(&options, &server.versions());
    workload::run(&options, Arc::new(server), &report).await
}
