//! Task hubs that are opened while clients come and go.

use super::world::*;
use perdura_proto::operator::InstanceRequest;
use perdura_proto::operator::operator_client::OperatorClient;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

fn on<T>(hub: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("taskhub", hub.parse().unwrap());
    request
}

async fn hello(channel: Channel, hub: &str) -> Result<(), Status> {
    Client::new(channel).hello(on(hub, ())).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_goes_away_while_its_hub_is_opened_leaves_it_to_others() {
    let world = World::new().await;
    let channel = world.channel().await;
    for ms in 0..30 {
        let hub = format!("hub{ms}");
        // However far it has come by then.
        let _ = tokio::time::timeout(Duration::from_millis(ms), hello(channel.clone(), &hub)).await;
        within(hello(channel.clone(), &hub)).await.unwrap();
    }
}

#[tokio::test]
async fn an_operator_who_mistypes_a_hub_makes_none() {
    let world = World::new().await;
    let mut operator = OperatorClient::new(world.channel().await);
    let why = || InstanceRequest { instance: "a".into() };
    let typo = operator.why(on("typo", why())).await.unwrap_err();
    assert_eq!(typo.code(), Code::NotFound);
    assert!(typo.message().contains("no task hub \"typo\""), "{typo}");
    assert!(!world.directory.path().join("hubs/typo.db").exists());
    hello(world.channel().await, "orders").await.unwrap();
    let nobody = operator.why(on("orders", why())).await.unwrap_err();
    assert!(nobody.message().contains("\"a\""), "{nobody}");
}
