//! W8: killed with 1,000 in flight and started again, each life a process of its own.

use crate::embedded::{self, Embedded};
use crate::store::StoreFile;
use perdura::prelude::*;
use perdura_benchkit::{Options, Outcome, Peer, Report, activity as run_activity, round, workload};
use serde_json::json;
use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::process::Command;

/// Killed after so many: by then every phase of an instance is there at once.
const COMPLETED_BEFORE_KILL: &str = "10000";

/// When each instance first did something in this life.
static FIRST_STEPS: Mutex<Option<HashMap<String, Instant>>> = Mutex::new(None);

#[activity(name = "noop")]
async fn noop_noted(ctx: ActivityContext, input: String) -> Result<String> {
    let mut steps = FIRST_STEPS.lock().unwrap_or_else(PoisonError::into_inner);
    steps.get_or_insert_default().entry(ctx.instance_id().to_string()).or_insert_with(Instant::now);
    drop(steps);
    Ok(run_activity(&input))
}

/// Runs the life that is killed, then the one that recovers, over one file.
pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let store = StoreFile::choose(options)?;
    let url = format!("sqlite:{}", store.path().display());
    let acks = store.dir().join("acks.txt");
    if let Some(count) = options.count {
        child(&["load", "--count", &count.to_string(), "--store", &url], &acks, options).await?;
    }
    let in_flight = options.concurrency.unwrap_or(1000).to_string();
    let load = ["w8-load", "--concurrency", &in_flight, "--count", COMPLETED_BEFORE_KILL, "--store", &url];
    // This one is killed.
    let _ = child(&load, &acks, options).await;
    child(&["w8-recover", "--store", &url], &acks, options).await
}

async fn child(args: &[&str], acks: &std::path::Path, options: &Options) -> Outcome<()> {
    let program = std::env::current_exe().map_err(|why| why.to_string())?;
    let mut command = Command::new(program);
    command.args(args).env("ACKS", acks).kill_on_drop(true);
    if options.json {
        command.arg("--json");
    }
    if args[0] == "w8-load" {
        command.stdout(Stdio::null());
    }
    let status = command.status().await.map_err(|why| why.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", args[0])) }
}

pub(crate) async fn load(options: &Options) -> Outcome<()> {
    let engine = embedded::start(&StoreFile::choose(options)?).await?;
    workload::w8::load(options, Arc::new(engine)).await
}

/// Recovers, and says besides when the engine was up and when the last instance had done something again.
pub(crate) async fn recover(options: &Options) -> Outcome<()> {
    let store = StoreFile::choose(options)?;
    let engine: Embedded = embedded::start_with(&store, |builder| builder.register(noop_noted)).await?;
    let up = options.began.elapsed();
    let engine = Arc::new(engine);
    let result = workload::w8::wait_for_all(options, engine.clone()).await?;
    let steps = FIRST_STEPS.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
    let last = steps.values().max().map_or(up, |last| *last - options.began);
    let lives = json!({
        "engine_up_s": round(up.as_secs_f64()),
        "all_running_s": round(last.as_secs_f64()),
        "running_again": steps.len(),
    });
    Report::begin(options, &engine.versions()).result("w8", &[result, lives]);
    Ok(())
}
