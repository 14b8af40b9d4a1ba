//! Connections that break, as those of a server that is killed.

use super::{ANY_PORT, connection, patient, server, worker};
use perdura_remote::Connection;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Stands between a client and a server.
struct Between {
    address: SocketAddr,
    /// Raised to break all connections.
    breaks: watch::Sender<()>,
    /// Bytes that went to the server.
    sent: watch::Receiver<u64>,
}

impl Between {
    async fn start(server: SocketAddr) -> Between {
        let listener = TcpListener::bind(ANY_PORT).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (breaks, mut broken) = watch::channel(());
        let (count, sent) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                let mut connections = JoinSet::new();
                loop {
                    tokio::select! {
                        _ = broken.changed() => break,
                        accepted = listener.accept() => {
                            let (client, _) = accepted.unwrap();
                            connections.spawn(pass_on(client, server, count.clone()));
                        }
                    }
                }
            }
        });
        Between { address, breaks, sent }
    }
}

async fn pass_on(client: TcpStream, server: SocketAddr, count: watch::Sender<u64>) {
    let server = TcpStream::connect(server).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = from_client.read(&mut bytes).await {
            to_server.write_all(&bytes[..n]).await.unwrap();
            count.send_modify(|count| *count += n as u64);
        }
    };
    tokio::select! {
        () = up => {}
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_an_instance_waits_on_when_the_connection_breaks() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path(), ANY_PORT).await;
    let near = connection(&server);
    let worker = worker(&near).await;
    let started = near.client().start(patient, ()).id("waiting").await.unwrap();
    let between = Between::start(server.addresses()[0]).await;
    let far = Connection::new(&format!("http://{}", between.address)).unwrap();
    let waiting = far.client().instance::<String>("waiting");
    waiting.get().await.unwrap();
    let end = tokio::spawn(async move { waiting.wait().await });
    let mut sent = between.sent.clone();
    for _ in 0..3 {
        sent.mark_unchanged();
        sent.changed().await.unwrap();
        between.breaks.send_replace(());
    }
    started.raise("word", "still there").await.unwrap();
    assert_eq!(end.await.unwrap().unwrap(), "still there");
    worker.shutdown().await;
    server.shutdown().await;
}
