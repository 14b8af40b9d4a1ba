//! The engine under test: embedded, with its worker in this process and its hub in an SQLite file.

use crate::store::StoreFile;
use perdura::prelude::*;
use perdura::{ClientError, Engine, EngineBuilder, OrchestrationName, Registry};
use perdura_benchkit::{Outcome, Peer, Work, activity as run_activity, note_waiting, number, payload};
use std::time::Duration;

#[activity]
pub(crate) async fn noop(input: String) -> Result<String> {
    Ok(run_activity(&input))
}

#[orchestration]
async fn seq(ctx: Orchestration, input: String) -> Result<String> {
    let mut output = String::new();
    for i in 0..number(&input) {
        output = ctx.call(noop, payload(i)).await?;
    }
    Ok(output)
}

#[orchestration]
async fn fan(ctx: Orchestration, input: String) -> Result<String> {
    let all = join_all((0..number(&input)).map(|i| ctx.call(noop, payload(i)))).await;
    let all = all.into_iter().collect::<Result<Vec<String>>>()?;
    Ok(payload(all.len() as u64))
}

#[orchestration]
async fn event(ctx: Orchestration, _input: String) -> Result<String> {
    let wait = ctx.wait_event("go").start();
    note_waiting();
    wait.await
}

#[orchestration]
async fn parent(ctx: Orchestration, input: String) -> Result<String> {
    let all = join_all((0..number(&input)).map(|_| ctx.sub_orchestration(seq, payload(1)))).await;
    let all = all.into_iter().collect::<Result<Vec<String>>>()?;
    Ok(payload(all.len() as u64))
}

#[orchestration]
async fn timer(ctx: Orchestration, input: String) -> Result<String> {
    ctx.timer(Duration::from_millis(number(&input))).await?;
    Ok(input)
}

/// All of them, for a worker elsewhere.
pub(crate) fn registry() -> Registry {
    Registry::new()
        .register(noop)
        .register(seq)
        .register(fan)
        .register(event)
        .register(parent)
        .register(timer)
}

/// The name of an orchestration, for a client elsewhere.
pub(crate) fn named(work: Work) -> OrchestrationName<String, String> {
    OrchestrationName::new(work.name())
}

/// The engine, as the workloads see it.
pub(crate) struct Embedded {
    engine: Engine,
}

/// Opens the hub and starts the engine, with nothing but defaults. The report measures the hub's directory.
pub(crate) async fn start(store: &StoreFile) -> Outcome<Embedded> {
    start_with(store, |builder| builder.register(noop)).await
}

/// The same with an activity `noop` of the caller's own.
pub(crate) async fn start_with(
    store: &StoreFile,
    register_noop: impl FnOnce(EngineBuilder) -> EngineBuilder,
) -> Outcome<Embedded> {
    start_on(Engine::sqlite(store.path()), register_noop).await
}

/// The same on a hub of the caller's own.
pub(crate) async fn start_on(
    builder: EngineBuilder,
    register_noop: impl FnOnce(EngineBuilder) -> EngineBuilder,
) -> Outcome<Embedded> {
    let builder = builder.register(seq).register(fan).register(event).register(parent).register(timer);
    let engine = register_noop(builder).start().await.map_err(text)?;
    Ok(Embedded { engine })
}

impl Embedded {
    /// Ends the engine in good order.
    pub(crate) async fn shutdown(self) {
        self.engine.shutdown().await;
    }
}

impl Peer for Embedded {
    fn versions(&self) -> String {
        format!("perdura {}, SQLite", env!("CARGO_PKG_VERSION"))
    }

    async fn start(&self, work: Work, id: &str, input: String) -> Outcome<()> {
        let start = match work {
            Work::Sequence => self.engine.start(seq, input),
            Work::FanOut => self.engine.start(fan, input),
            Work::Event => self.engine.start(event, input),
            Work::Parent => self.engine.start(parent, input),
            Work::Timer => self.engine.start(timer, input),
        };
        start.id(id).await.map(drop).map_err(text)
    }

    async fn wait(&self, _: Work, id: &str) -> Outcome<String> {
        self.engine.instance(id).wait().await.map_err(text)
    }

    async fn raise(&self, id: &str, data: String) -> Outcome<()> {
        self.engine.instance(id).raise("go", &data).await.map_err(text)
    }
}

fn text(error: ClientError) -> String {
    error.to_string()
}
