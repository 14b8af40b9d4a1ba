//! The engine under test: embedded, with its worker in this process and its hub in an SQLite file.

use crate::store::StoreFile;
use crate::work::{event, fan, noop, parent, seq, timer};
use perdura::{ClientError, Engine, EngineBuilder};
use perdura_benchkit::{Outcome, Peer, Work};

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
