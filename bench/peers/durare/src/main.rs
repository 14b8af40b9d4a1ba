//! durare on SQLite. `DB` names the file: `sqlite:///path/file.db`.
//!
//! It opens the file with synchronous=NORMAL: its commits are not synced.

use durare::{DurableContext, DurableEngine, Result, WorkflowHandle, WorkflowOptions};
use perdura_benchkit::{Options, Outcome, Peer, Work, activity, note_waiting, number, payload};
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

/// An event is never late for these workloads.
const PATIENCE: Duration = Duration::from_secs(86_400);

#[durare::step]
async fn noop(ctx: &DurableContext, input: String) -> Result<String> {
    Ok(activity(&input))
}

#[durare::workflow]
async fn seq(ctx: DurableContext, input: String) -> Result<String> {
    let mut output = String::new();
    for i in 0..number(&input) {
        output = noop(&ctx, payload(i)).await?;
    }
    Ok(output)
}

#[durare::workflow]
async fn fan(ctx: DurableContext, input: String) -> Result<String> {
    // Made in order, which fixes their places, and awaited together.
    let all: Vec<_> = (0..number(&input))
        .map(|i| ctx.step("noop", move |_: durare::StepCtx| async move { Ok(activity(&payload(i))) }))
        .collect();
    let mut count = 0;
    for output in futures::future::join_all(all).await {
        let _: String = output?;
        count += 1;
    }
    Ok(payload(count))
}

#[durare::workflow]
async fn event(ctx: DurableContext, _input: String) -> Result<String> {
    let wait = ctx.recv::<String>("go", PATIENCE);
    note_waiting();
    Ok(wait.await?.unwrap_or_default())
}

#[durare::workflow]
async fn parent(ctx: DurableContext, input: String) -> Result<String> {
    let mut children = Vec::new();
    for _ in 0..number(&input) {
        children.push(ctx.start_workflow::<_, String>("seq", payload(1), WorkflowOptions::default()).await?);
    }
    let mut count = 0;
    for child in children {
        child.result().await?;
        count += 1;
    }
    Ok(payload(count))
}

#[durare::workflow]
async fn timer(ctx: DurableContext, input: String) -> Result<String> {
    ctx.sleep(Duration::from_millis(number(&input))).await?;
    Ok(input)
}

struct Durare {
    engine: DurableEngine,
    live: Mutex<HashMap<String, WorkflowHandle<String>>>,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Peer for Durare {
    fn versions(&self) -> String {
        "durare 0.5.0, SQLite".into()
    }

    async fn start(&self, work: Work, id: &str, input: String) -> Outcome<()> {
        let handle = self.engine.start::<_, String>(work.name(), input, WorkflowOptions::with_id(id)).await;
        let handle = handle.map_err(text)?;
        self.live.lock().expect("no panic").insert(id.into(), handle);
        Ok(())
    }

    async fn wait(&self, _: Work, id: &str) -> Outcome<String> {
        let live = self.live.lock().expect("no panic").remove(id);
        let handle = match live {
            Some(handle) => handle,
            None => self.engine.retrieve_workflow::<String>(id).await.map_err(text)?,
        };
        handle.result().await.map_err(text)
    }

    async fn raise(&self, id: &str, data: String) -> Outcome<()> {
        self.engine.send(id, data, "go").await.map_err(text)
    }
}

#[tokio::main]
async fn main() {
    let options = Options::from_args();
    let db = std::env::var("DB").expect("DB names the database");
    let engine = DurableEngine::connect(&db).await.expect("the store").build().await.expect("the engine");
    engine.launch().await.expect("launch");
    engine.recover().await.expect("recovery");
    perdura_benchkit::main(options, Durare { engine, live: Mutex::default() }).await;
}
