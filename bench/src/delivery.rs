//! D1: W1 with activities that run at least once, that are counted precisely, that run at most once, and that write in the
//! transaction of their completion, in turns within one run.

use crate::counted::Counted;
use crate::embedded;
use crate::store::StoreFile;
use crate::work::noop;
use perdura::delivery::{Delivery, OnUnknown};
use perdura::prelude::*;
use perdura::sqlite::Transaction;
use perdura_benchkit::workload::measure_w1;
use perdura_benchkit::{Options, Outcome, Peer, Report, round};
use perdura_sqlite::{SqliteOptions, SqliteStore};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const ROUNDS: usize = 3;
/// Activities of an orchestration of W1.
const STEPS: f64 = 5.0;

/// The four ways in turns, each time in a fresh file; the middle one of the rates counts.
pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let ways = [
        ("at least once", Way::Declared(Delivery::AtLeastOnce)),
        ("precise", Way::Declared(Delivery::Precise)),
        ("at most once", Way::Declared(Delivery::AtMostOnce(OnUnknown::Fail))),
        ("transactional", Way::Transactional),
    ];
    let concurrency = options.concurrency.unwrap_or(128);
    let mut rates = [const { Vec::new() }; 4];
    let mut alone: Vec<Value> = Vec::new();
    for round_number in 0..ROUNDS {
        for (number, (name, way)) in ways.iter().enumerate() {
            let rate = measure(options, way.clone(), concurrency).await?;
            rates[number].push(rate["per_s"].as_f64().unwrap_or(0.0));
            if round_number == 0 {
                let one = measure(options, way.clone(), 1).await?;
                alone.push(json!({ "delivery": name, "commits_per_activity": one["commits_per_activity"] }));
            }
        }
    }
    let report = Report::begin(options, &format!("perdura {}, SQLite", env!("CARGO_PKG_VERSION")));
    let middle = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let base = middle(&mut rates[0].clone());
    for (rates, alone) in rates.iter_mut().zip(alone) {
        let rate = middle(rates);
        let ratio = json!({ "concurrency": concurrency, "per_s": round(rate), "to_at_least_once": round(rate / base) });
        report.result("d1", &[alone, ratio]);
    }
    Ok(())
}

/// How the activities of a measurement run.
#[derive(Clone)]
enum Way {
    Declared(Delivery),
    Transactional,
}

/// Counts itself in a table, and returns its input.
#[activity(name = "noop", transactional)]
fn counted(tx: &Transaction<'_>, input: String) -> Result<String> {
    tx.execute("UPDATE total SET n = n + 1", ())?;
    Ok(perdura_benchkit::activity(&input))
}

const TABLES: &str = "CREATE TABLE total (n INTEGER); INSERT INTO total VALUES (0);";

async fn measure(options: &Options, way: Way, concurrency: u64) -> Outcome<Value> {
    let file = StoreFile::choose(&Options { store: None, ..options.clone() })?;
    let store = SqliteStore::open(file.path(), SqliteOptions::default()).map_err(|why| why.to_string())?;
    let store = Arc::new(Counted::new(store));
    let builder = Engine::store(store.clone());
    let engine = match way {
        Way::Declared(delivery) => {
            embedded::start_on(builder.delivery("noop", delivery), |builder| builder.register(noop)).await?
        }
        Way::Transactional => {
            embedded::start_on(builder.tables(TABLES), |builder| builder.register(counted)).await?
        }
    };
    let engine = Arc::new(engine);
    engine.run(perdura_benchkit::Work::Sequence, "first", perdura_benchkit::payload(1)).await?;
    let before = store.written();
    let result = measure_w1(engine.clone(), "d1", concurrency, u64::MAX, options.duration(3.0)).await;
    let commits = store.written().commits - before.commits;
    // Those that warmed up are not counted by the loop.
    let orchestrations = result["count"].as_f64().unwrap_or(1.0) + 20.0;
    if let Ok(engine) = Arc::try_unwrap(engine) {
        engine.shutdown().await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(
        json!({ "per_s": result["per_s"], "commits_per_activity": round(commits as f64 / orchestrations / STEPS) }),
    )
}
