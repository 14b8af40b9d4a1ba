//! Task hubs that are opened while clients come and go.

use super::world::*;
use perdura_proto::operator::InstanceRequest;
use perdura_proto::operator::operator_client::OperatorClient;
use perdura_proto::*;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hub_that_is_deleted_is_free_at_once_and_those_who_wait_are_told_what_has_happened() {
    let world = World::new().await;
    let mut client = world.client().await;
    for _ in 0..20 {
        let mut worker = world.worker().await;
        world.start("a", "order").await;
        worker.turn().await;
        let request = GetInstanceRequest { instance_id: "a".into(), get_inputs_and_outputs: true };
        let (mut waits, began) = (tokio::task::JoinSet::new(), world.channel().await);
        for _ in 0..10 {
            let (mut client, request) = (Client::new(began.clone()), request.clone());
            waits.spawn(async move { client.wait_for_instance_completion(request).await });
        }
        // On the same connection, so that those above have come.
        hello(began, "default").await.unwrap();
        within(client.delete_task_hub(DeleteTaskHubRequest {})).await.unwrap();
        let create = CreateTaskHubRequest { recreate_if_exists: false };
        within(client.create_task_hub(create)).await.unwrap();
        let ended = worker.next().await.unwrap_err();
        assert_eq!(
            (ended.code(), ended.message().contains("was deleted")),
            (Code::Unavailable, true),
            "{ended}"
        );
        while let Some(waited) = within(waits.join_next()).await {
            // One may come late, and find the instance missing in the new hub.
            let Err(status) = waited.unwrap() else { continue };
            assert!(!status.message().contains("shutting down"), "{status}");
        }
    }
}

#[tokio::test]
async fn the_workers_of_a_hub_go_on_with_the_one_that_takes_its_place_and_end_with_one_that_is_deleted() {
    let world = World::new().await;
    let (mut client, mut worker) = (world.client().await, world.worker().await);
    for (id, hub) in [("a", "first"), ("b", "second"), ("c", "third")] {
        world.start(id, "order").await;
        let turn = worker.turn().await;
        assert_eq!(turn.request.instance_id, id, "{hub}");
        let recreate = CreateTaskHubRequest { recreate_if_exists: true };
        within(client.create_task_hub(recreate)).await.unwrap();
        let late = worker.answer(&turn, vec![complete("1")]).await;
        assert_eq!(code(late), Code::NotFound, "{hub}");
        assert_eq!(world.state(id).await, None, "{hub}");
    }
    // As one that has just come: with credit for everything.
    for id in ["a", "b"] {
        world.start(id, "order").await;
        let turn = worker.turn().await;
        worker.answer(&turn, vec![complete("2")]).await.unwrap();
        assert_eq!(world.end_of(id).await.output.as_deref(), Some("2"));
    }
    let deleting = tokio::spawn(async move { client.delete_task_hub(DeleteTaskHubRequest {}).await });
    assert_eq!(code(worker.next().await), Code::Unavailable);
    within(deleting).await.unwrap().unwrap();
}
