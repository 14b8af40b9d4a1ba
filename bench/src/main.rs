//! Benchmarks of Perdura.
//!
//! `cargo run --release -p perdura-bench -- WORKLOAD [--concurrency C] [--count N] [--seconds S] [--store URL] [--json]`
//! runs a workload of `perdura_benchkit`, or one of those that only this engine has:
//!
//! - `w8`: killed with 1,000 in flight; how long until all run again, and until all are done. With `--count N`, the
//!   file holds N completed instances besides.
//! - `hub`: W1 in an empty hub, and in one where 100,000 instances wait (`--count` says how many).
//! - `load`: fills a file with completed instances (`--count` says how many).
//! - `rewind`: how long a plan for 10,000 events takes; 10,000 failed instances (`--count`) started, and rewound.
//! - `d1`: W1 with activities at least once, counted precisely, and at most once.
//! - `e1`: signals to one entity; `e2`: as many entities as signals; `e3`: calls from an orchestration.

mod counted;
mod crash;
mod delivery;
mod embedded;
mod entities;
mod hub;
mod rewind;
mod store;
mod work;

use perdura_benchkit::{Options, Outcome, Peer, Report, workload};
use std::sync::Arc;
use store::StoreFile;

#[tokio::main]
async fn main() {
    let options = Options::from_args();
    if let Err(why) = run(options).await {
        eprintln!("{why}");
        std::process::exit(1);
    }
}

async fn run(options: Options) -> Outcome<()> {
    match options.workload.as_str() {
        "w8" => crash::run(&options).await,
        "w8-load" => crash::load(&options).await,
        "w8-recover" => crash::recover(&options).await,
        "hub" => hub::run(&options).await,
        "load" => hub::load(&options).await,
        "rewind" => rewind::run(&options).await,
        "d1" => delivery::run(&options).await,
        "e1" => entities::e1(&options).await,
        "e2" => entities::e2(&options).await,
        "e3" => entities::e3(&options).await,
        _ => {
            let store = StoreFile::choose(&options)?;
            let engine = embedded::start(&store).await?;
            let report = Report::begin(&options, &engine.versions());
            workload::run(&options, Arc::new(engine), &report).await
        }
    }
}
