//! The server under test: in this process, and with it over the network (of this machine) a worker and a client in Rust.

use crate::store::StoreFile;
use crate::work::{event, fan, noop, parent, seq, timer};
use perdura::{OrchestrationName, Registry};
use perdura_benchkit::{Outcome, Peer, Work};
use perdura_remote::{Client, Connection, RemoteError, Worker};
use perdura_server::{Server, ServerOptions};

/// The server, as the workloads see it.
pub(crate) struct Remote {
    client: Client,
    _worker: Worker,
    _server: Server,
}

/// Starts all three, with nothing but defaults.
pub(crate) async fn start(store: &StoreFile) -> Outcome<Remote> {
    let mut options = ServerOptions::new(store.path().with_extension("hubs"));
    options.listen = vec![([127, 0, 0, 1], 0).into()];
    let server = Server::start(options).await.map_err(|error| error.to_string())?;
    let connection = Connection::new(&format!("http://{}", server.addresses()[0]));
    let connection = connection.map_err(|error| error.to_string())?;
    let worker = connection.worker(registry()).start().await.map_err(text)?;
    Ok(Remote { client: connection.client(), _worker: worker, _server: server })
}

impl Peer for Remote {
    fn versions(&self) -> String {
        format!("perdura-server {}, SQLite, perdura-remote", env!("CARGO_PKG_VERSION"))
    }

    async fn start(&self, work: Work, id: &str, input: String) -> Outcome<()> {
        self.client.start(&named(work), input).id(id).await.map(drop).map_err(text)
    }

    async fn wait(&self, _: Work, id: &str) -> Outcome<String> {
        self.client.instance(id).wait().await.map_err(text)
    }

    async fn raise(&self, id: &str, data: String) -> Outcome<()> {
        self.client.instance::<String>(id).raise("go", &data).await.map_err(text)
    }
}

fn text(error: RemoteError) -> String {
    error.to_string()
}

fn registry() -> Registry {
    Registry::new()
        .register(noop)
        .register(seq)
        .register(fan)
        .register(event)
        .register(parent)
        .register(timer)
}

fn named(work: Work) -> OrchestrationName<String, String> {
    OrchestrationName::new(work.name())
}
