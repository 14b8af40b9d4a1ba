//! E1 to E3: entities. Only this engine has them in this form, so no peer runs these.

use crate::counted::{Counted, Written};
use crate::store::StoreFile;
use perdura::prelude::*;
use perdura::{ClientError, InstanceKind, InstanceQuery, Status};
use perdura_benchkit::{Meter, Options, Outcome, Report, closed_loop, percentiles, round};
use perdura_sqlite::{SqliteOptions, SqliteStore};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Operations run in this process. Whether all are done is asked of the hub only when it is likely: lists cost something.
static RUN: AtomicU64 = AtomicU64::new(0);

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    value: u64,
}

#[entity]
impl Counter {
    pub fn add(&mut self, amount: u64) -> Result<u64> {
        self.value += amount;
        RUN.fetch_add(1, Relaxed);
        Ok(self.value)
    }
}

/// Adds nothing, so it knows what all who came before it have added.
#[orchestration]
async fn total(ctx: Orchestration, key: String) -> Result<u64> {
    ctx.entity::<Counter>(&key).add(0).await
}

#[orchestration]
async fn calls(ctx: Orchestration, count: u64) -> Result<u64> {
    let counter = ctx.entity::<Counter>(ctx.instance_id().as_str());
    for _ in 1..count {
        counter.add(1).await?;
    }
    counter.add(1).await
}

struct Bed {
    engine: Arc<Engine>,
    store: Arc<Counted<SqliteStore>>,
    report: Report,
    _file: StoreFile,
}

impl Bed {
    async fn new(options: &Options) -> Outcome<Bed> {
        let file = StoreFile::choose(options)?;
        let store =
            SqliteStore::open(file.path(), SqliteOptions::default()).map_err(|why| why.to_string())?;
        let store = Arc::new(Counted::new(store));
        let builder = Engine::store(store.clone()).entity::<Counter>().register(total).register(calls);
        let engine = Arc::new(builder.start().await.map_err(text)?);
        let report = Report::begin(options, &format!("perdura {}, SQLite", env!("CARGO_PKG_VERSION")));
        Ok(Bed { engine, store, report, _file: file })
    }

    /// What was written since `before`, for each of `count`.
    fn written(&self, before: Written, count: u64) -> Value {
        let (now, each) = (self.store.written(), |n: u64| round(n as f64 / count as f64));
        json!({
            "commits": now.commits - before.commits,
            "commits_each": each(now.commits - before.commits),
            "rows_each": each(now.rows - before.rows),
            "record_bytes_each": each(now.record_bytes - before.record_bytes),
        })
    }
}

/// E1: signals to one entity, from callers that each wait until theirs is durable. The end is when all have run.
pub(crate) async fn e1(options: &Options) -> Outcome<()> {
    let bed = Bed::new(options).await?;
    let (count, concurrency) = (options.count.unwrap_or(100_000), options.concurrency.unwrap_or(1000));
    signal_all(&bed, "e1", count, concurrency, |_| "one".to_owned()).await?;
    Ok(())
}

/// E2: as many entities as signals.
pub(crate) async fn e2(options: &Options) -> Outcome<()> {
    let bed = Bed::new(options).await?;
    let (count, concurrency) = (options.count.unwrap_or(10_000), options.concurrency.unwrap_or(1000));
    signal_all(&bed, "e2", count, concurrency, |i| format!("key-{i}")).await?;
    Ok(())
}

async fn signal_all(
    bed: &Bed,
    workload: &str,
    count: u64,
    concurrency: u64,
    key: fn(u64) -> String,
) -> Outcome<()> {
    let (meter, before, engine) = (Meter::begin(), bed.store.written(), bed.engine.clone());
    let (seconds, errors) = closed_loop(count, concurrency, Duration::MAX / 4, move |i| {
        let signal = engine.signal::<Counter>(&key(i)).add(1);
        async move { signal.await.map_err(text) }
    })
    .await;
    let durable = meter.seconds();
    // What was refused is not run.
    while RUN.load(Relaxed) < count - errors || is_busy(bed).await? {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (run, cost) = (meter.seconds(), meter.read());
    let last = bed.engine.run(total, key(count - 1)).await.map_err(text)?;
    let expected = if key(0) == key(1) { count - errors } else { 1 };
    if last != expected && errors == 0 || last > expected {
        return Err(format!("the last entity counts {last}, not {expected}"));
    }
    let cpu = round(cost["cpu_own_s"].as_f64().unwrap_or(0.0) * 1e6 / count as f64);
    let result = json!({
        "concurrency": concurrency,
        "count": count,
        "errors": errors,
        "durable_per_s": round(count as f64 / durable),
        "run_per_s": round(count as f64 / run),
        "cpu_us_each": cpu,
    });
    bed.report.result(workload, &[result, bed.written(before, count), percentiles(seconds), cost]);
    Ok(())
}

/// Whether some entity has something left to do.
async fn is_busy(bed: &Bed) -> Outcome<bool> {
    let query = InstanceQuery {
        kind: InstanceKind::Entity,
        statuses: vec![Status::Running],
        ..InstanceQuery::default()
    };
    let busy = bed.engine.client().entities(query, 1, None).await.map_err(text)?;
    Ok(!busy.entities.is_empty())
}

/// E3: an orchestration that calls an entity, `--count` times in sequence; `--concurrency` such pairs.
pub(crate) async fn e3(options: &Options) -> Outcome<()> {
    let bed = Bed::new(options).await?;
    let (count, concurrency) = (options.count.unwrap_or(2000), options.concurrency.unwrap_or(1));
    let (meter, before, engine) = (Meter::begin(), bed.store.written(), bed.engine.clone());
    let (seconds, errors) = closed_loop(concurrency, concurrency, Duration::MAX / 4, move |i| {
        let engine = engine.clone();
        async move {
            let started = engine.start(calls, count).id(format!("caller-{i}")).await.map_err(text)?;
            let sum = started.wait().await.map_err(text)?;
            if sum == count { Ok(()) } else { Err(format!("{sum} calls had an effect, not {count}")) }
        }
    })
    .await;
    let (cost, all) = (meter.read(), concurrency * count);
    let wall = cost["wall_s"].as_f64().unwrap_or(0.0).max(1e-9);
    let result = json!({
        "concurrency": concurrency,
        "calls": all,
        "ended": seconds.len(),
        "errors": errors,
        "per_s": round(all as f64 / wall),
        "cpu_us_each": round(cost["cpu_own_s"].as_f64().unwrap_or(0.0) * 1e6 / all as f64),
    });
    bed.report.result("e3", &[result, bed.written(before, all), cost]);
    Ok(())
}

fn text(error: ClientError) -> String {
    error.to_string()
}
