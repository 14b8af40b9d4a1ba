//! A Rust worker and a client over the network, against the real server in this process.
#![expect(clippy::unwrap_used, reason = "a test that meets an error shall stop")]

mod attendance;
mod broken;
mod leaving;

use perdura::prelude::*;
use perdura::{ActivityContext, ActivityName, EntityId, OrchestrationName, Registry, Retry, Status};
use perdura_remote::{Connection, RemoteError, Worker};
use perdura_server::{Credentials, Server, ServerOptions};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tonic::Code;

async fn server(directory: &Path, listen: SocketAddr) -> Server {
    let mut options = ServerOptions::new(directory.join("hubs"));
    options.listen = vec![listen];
    Server::start(options).await.unwrap()
}

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn connection(server: &Server) -> Connection {
    Connection::new(&format!("http://{}", server.addresses()[0])).unwrap()
}

#[activity]
async fn add_one(n: u64) -> Result<u64> {
    Ok(n + 1)
}

#[activity]
async fn third_time(ctx: ActivityContext, _: ()) -> Result<u32> {
    match ctx.attempt() {
        attempt if attempt < 3 => Err(Error::new("Busy", "not yet")),
        attempt => Ok(attempt),
    }
}

#[activity]
async fn panics(_: ()) -> Result<()> {
    panic!("on purpose")
}

#[orchestration]
async fn chain(ctx: Orchestration, count: u64) -> Result<u64> {
    let mut n = 0;
    for _ in 0..count {
        n = ctx.call(add_one, n).await?;
    }
    Ok(n)
}

#[orchestration]
async fn family(ctx: Orchestration, depth: u64) -> Result<u64> {
    ctx.set_status(&depth)?;
    match depth {
        0 => ctx.call(add_one, 0).await,
        depth => Ok(1 + ctx.sub_orchestration(family, depth - 1).await?),
    }
}

#[orchestration]
async fn patient(ctx: Orchestration, _: ()) -> Result<String> {
    let word: String = ctx.wait_event("word").await?;
    ctx.timer(Duration::from_millis(20)).await?;
    Ok(word)
}

#[orchestration]
async fn retried(ctx: Orchestration, _: ()) -> Result<u32> {
    let retry = Retry::attempts(3).backoff(Duration::from_millis(10));
    ctx.call(third_time, ()).retry(retry).await
}

#[orchestration]
async fn panicking(ctx: Orchestration, _: ()) -> Result<()> {
    ctx.call(panics, ()).await
}

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    value: i64,
}

#[entity]
impl Counter {
    pub fn add(&mut self, amount: i64) -> Result<i64> {
        self.value += amount;
        Ok(self.value)
    }
}

#[orchestration]
async fn counting(ctx: Orchestration, times: i64) -> Result<i64> {
    let mut last = 0;
    for _ in 0..times {
        last = ctx.entity::<Counter>("a").add(1).await?;
    }
    Ok(last)
}

fn registry() -> Registry {
    Registry::new()
        .register(add_one)
        .register(third_time)
        .register(panics)
        .register(chain)
        .register(family)
        .register(patient)
        .register(retried)
        .register(panicking)
        .register(counting)
        .entity::<Counter>()
}

async fn worker(connection: &Connection) -> Worker {
    connection.worker(registry()).start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_rust_code_does_works_over_the_network() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path(), ANY_PORT).await;
    let connection = connection(&server);
    let worker = worker(&connection).await;
    let client = connection.client();

    assert_eq!(client.start(chain, 100).await.unwrap().wait().await.unwrap(), 100);
    let grown = client.start(family, 4).tag("kind", "test").await.unwrap();
    assert_eq!(grown.wait().await.unwrap(), 5);
    assert_eq!(grown.get().await.unwrap().unwrap().custom_status::<u64>().unwrap(), 4);
    assert_eq!(client.start(retried, ()).await.unwrap().wait().await.unwrap(), 3);

    let waiting = client.start(patient, ()).id("waiting").await.unwrap();
    waiting.raise("word", "hello").await.unwrap();
    assert_eq!(waiting.wait().await.unwrap(), "hello");
    assert!(waiting.purge().await.unwrap());
    assert!(waiting.get().await.unwrap().is_none());
    assert!(matches!(waiting.wait().await, Err(RemoteError::NotFound { .. })));

    let ended = client.start(patient, ()).await.unwrap();
    ended.terminate("enough", false).await.unwrap();
    assert_eq!(ended.ended().await.unwrap().status(), Status::Terminated);
    let why = ended.wait().await.unwrap_err();
    let RemoteError::NotCompleted { failure, .. } = &why else { panic!("{why}") };
    assert_eq!((failure.kind.as_str(), failure.message.as_str()), ("perdura.Terminated", "enough"));
    let late = ended.raise("word", "too late").await.unwrap_err();
    assert!(matches!(late, RemoteError::Server { code: Code::FailedPrecondition, .. }), "{late}");

    assert_eq!(client.start(counting, 5).await.unwrap().wait().await.unwrap(), 5);
    let entity = EntityId::new("Counter", "a").unwrap();
    assert_eq!(client.entity::<Counter>(&entity).await.unwrap().unwrap().value, 5);
    // As an SDK of another language writes the name.
    let other = EntityId::new("counter", "b").unwrap();
    client.signal(&other, "add", &7).await.unwrap();
    while client.entity::<Counter>(&other).await.unwrap().is_none_or(|counter| counter.value != 7) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let failed = client.start(panicking, ()).await.unwrap().wait().await.unwrap_err();
    let RemoteError::NotCompleted { status, failure, .. } = failed else { panic!("{failed}") };
    assert_eq!(status, Status::Failed);
    assert!(failure.message.contains("on purpose"), "{failure}");
    worker.shutdown().await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_and_waiting_client_survive_a_restart_of_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let first = server(directory.path(), ANY_PORT).await;
    let address = first.addresses()[0];
    let connection = connection(&first);
    let worker = worker(&connection).await;
    let waiting = connection.client().start(patient, ()).id("waiting").await.unwrap();
    let end = tokio::spawn({
        let waiting = waiting.clone();
        async move { waiting.wait().await }
    });
    first.shutdown().await;
    let second = server(directory.path(), address).await;
    waiting.raise("word", "again").await.unwrap();
    assert_eq!(end.await.unwrap().unwrap(), "again");
    worker.shutdown().await;
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_no_worker_keeps_any_more_goes_on_with_its_history() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path(), ANY_PORT).await;
    let connection = connection(&server);
    let client = connection.client();
    let first = worker(&connection).await;
    let waiting = client.start(patient, ()).await.unwrap();
    while waiting.get().await.unwrap().unwrap().status() != Status::Running {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.shutdown().await;
    let second = worker(&connection).await;
    waiting.raise("word", "still there").await.unwrap();
    assert_eq!(waiting.wait().await.unwrap(), "still there");
    second.shutdown().await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_has_not_registered_is_left_to_others() {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    static SHOUT: ActivityName<String, String> = ActivityName::new("shout");
    static LOUD: OrchestrationName<String, String> = OrchestrationName::new("loud");
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path(), ANY_PORT).await;
    let connection = connection(&server);
    let loud = Registry::new().register_orchestration(&LOUD, |ctx: Orchestration, text| async move {
        ctx.call(&SHOUT, text).await
    });
    let shout = Registry::new().register_activity(&SHOUT, |_, text: String| async move {
        CALLS.fetch_add(1, Ordering::Relaxed);
        Ok(text.to_uppercase())
    });
    let only_orchestrations = connection.worker(loud).start().await.unwrap();
    let only_activities = connection.worker(shout).start().await.unwrap();
    let started = connection.client().start(&LOUD, "hello".into()).await.unwrap();
    assert_eq!(started.wait().await.unwrap(), "HELLO");
    assert_eq!(CALLS.load(Ordering::Relaxed), 1);
    only_orchestrations.shutdown().await;
    only_activities.shutdown().await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_hubs_are_sent_along() {
    const TOKEN: &str = "0123456789abcdef";
    let directory = tempfile::tempdir().unwrap();
    let mut options = ServerOptions::new(directory.path().join("hubs"));
    options.listen = vec![ANY_PORT];
    options.credentials = Credentials::tokens([TOKEN]).unwrap();
    let server = Server::start(options).await.unwrap();
    let stranger = connection(&server);
    let refused = stranger.client().start(chain, 1).await.unwrap_err();
    assert!(matches!(refused, RemoteError::Server { code: Code::Unauthenticated, .. }), "{refused}");
    assert!(stranger.worker(registry()).start().await.is_err());
    let known = stranger.token(TOKEN).unwrap();
    let orders = known.clone().hub("orders").unwrap();
    let worker = worker(&orders).await;
    assert_eq!(orders.client().start(chain, 2).id("a").await.unwrap().wait().await.unwrap(), 2);
    assert!(known.client().instance::<u64>("a").get().await.unwrap().is_none(), "hubs are apart");
    worker.shutdown().await;
    server.shutdown().await;
}
