//! Rewind: how long a plan takes, and how fast many failed instances are rewound, beside how fast they are started.

use crate::store::StoreFile;
use perdura::prelude::*;
use perdura::{Batch, ClientError, Engine, InstanceQuery, Rewind, Selection};
use perdura_benchkit::{Meter, Options, Outcome, Report, closed_loop, payload, percentiles, round};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Callers that start instances at once; a batch rewinds as many at once.
const STARTERS: u64 = 128;
/// Activities in sequence before the failure: three events each, 10,000 together.
const LONG: u64 = 3_333;
/// Plans that are made of it.
const PLANS: usize = 50;

/// Whether the bank is up.
#[derive(Clone, Default)]
struct Bank(Arc<AtomicBool>);

#[activity]
async fn prepare(input: String) -> Result<String> {
    Ok(input)
}

#[activity]
async fn charge(ctx: ActivityContext, input: String) -> Result<String> {
    match ctx.data::<Bank>().0.load(Ordering::Relaxed) {
        true => Ok(input),
        false => Err(Error::new("bank.Down", "no route to host")),
    }
}

#[orchestration]
async fn order(ctx: Orchestration, steps: u64) -> Result<String> {
    for step in 0..steps {
        ctx.call(prepare, payload(step)).await?;
    }
    ctx.call(charge, payload(steps)).await
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let store = StoreFile::choose(options)?;
    let bank = Bank::default();
    let builder = Engine::sqlite(store.path()).data(bank.clone());
    let builder = builder.register(order).register(prepare).register(charge);
    let engine = Arc::new(builder.start().await.map_err(text)?);
    let report = Report::begin(options, &format!("perdura {}, SQLite", env!("CARGO_PKG_VERSION")));
    plans(&engine, &report).await?;
    batch(&engine, &bank, options.count.unwrap_or(10_000), &report).await
}

async fn plans(engine: &Engine, report: &Report) -> Outcome<()> {
    let long = engine.start(order, LONG).id("long").await.map_err(text)?;
    long.wait().await.err().ok_or("it did not fail")?;
    let events = engine.instance("long").history().await.map_err(text)?.map_or(0, |events| events.len());
    let rewind = Rewind::by("bench", "a plan");
    let mut seconds = Vec::new();
    for rewind in [rewind.clone(), rewind.to_beginning()].iter().cycle().take(PLANS) {
        let began = Instant::now();
        engine.instance("long").plan_rewind(rewind).await.map_err(text)?;
        seconds.push(began.elapsed().as_secs_f64());
    }
    report.result("rewind-plan", &[json!({ "events": events, "plans": PLANS }), percentiles(seconds)]);
    Ok(())
}

async fn batch(engine: &Arc<Engine>, bank: &Bank, count: u64, report: &Report) -> Outcome<()> {
    let (meter, starter) = (Meter::begin(), engine.clone());
    let (seconds, errors) = closed_loop(count, STARTERS, Duration::MAX / 4, move |i| {
        let engine = starter.clone();
        async move { engine.start(order, 1).id(format!("order-{i}")).await.map(drop).map_err(text) }
    })
    .await;
    let starts = seconds.len() as f64 / meter.seconds();
    report.result("rewind-starts", &[json!({ "errors": errors, "per_s": round(starts) }), meter.read()]);
    for i in 0..count {
        // It has failed, or does so now.
        let _ = engine.instance(&format!("order-{i}")).wait::<String>().await;
    }
    bank.0.store(true, Ordering::Relaxed);
    let orders = InstanceQuery { id_prefix: Some("order-".into()), ..InstanceQuery::default() };
    let select = Selection { failure: Some("bank.Down".into()), ..orders.into() };
    let batch: Batch = Rewind::by("bench", "the bank is up").batch(select).map_err(text)?;
    let meter = Meter::begin();
    let done = engine.client().batch(&batch, |_, _| ()).await.map_err(text)?;
    let rewinds = done.rewound() as f64 / meter.seconds();
    let cost = meter.read();
    for i in 0..count {
        engine.instance(&format!("order-{i}")).wait::<String>().await.map_err(text)?;
    }
    let all = json!({
        "rewound": done.rewound(),
        "per_s": round(rewinds),
        "to_starts": round(rewinds / starts),
        "completed_per_s": round(count as f64 / meter.seconds()),
    });
    report.result("rewind-batch", &[all, cost]);
    Ok(())
}

fn text(error: ClientError) -> String {
    error.to_string()
}
