//! Workers of this project that say that they leave.

use super::world::*;
use perdura_proto::attendance::Leaving;
use perdura_proto::attendance::attendance_client::AttendanceClient;
use perdura_proto::*;
use tonic::Code;

async fn named(world: &World, name: &str) -> Worker {
    world.worker_with(GetWorkItemsRequest { worker_instance_id: name.into(), ..Default::default() }).await
}

async fn leave(world: &World, name: &str) -> Result<(), tonic::Status> {
    let leaving = Leaving { worker_instance_id: name.into() };
    AttendanceClient::new(world.channel().await).leave(leaving).await.map(drop)
}

#[tokio::test]
async fn a_worker_that_leaves_keeps_what_it_has_and_what_comes_goes_to_others() {
    let world = World::new().await;
    let mut first = named(&world, "first").await;
    world.start("a", "order").await;
    let turn = first.turn().await;
    first.answer(&turn, vec![schedule(1, "pay"), schedule(2, "pay")]).await.unwrap();
    let (one, two) = (first.activity().await, first.activity().await);
    leave(&world, "first").await.unwrap();
    let last = first.next().await.unwrap();
    assert_eq!(last.completion_token, LEFT);
    assert!(matches!(last.request, Some(work_item::Request::HealthPing(_))), "{last:?}");
    first.finish(&one, "1").await.unwrap();
    let mut second = world.worker().await;
    let turn = second.turn().await;
    second.answer(&turn, vec![schedule(3, "pay")]).await.unwrap();
    assert_eq!(second.activity().await.request.task_id, 3);
    first.finish(&two, "2").await.unwrap();
    assert!(kinds(&second.turn().await.request.new_events).contains(&"TaskCompleted".to_owned()));
}

#[tokio::test]
async fn a_worker_that_leaves_is_lost_when_its_stream_ends_and_nobody_else_leaves_by_its_name() {
    let world = World::new().await;
    let mut first = named(&world, "first").await;
    world.start("a", "order").await;
    first.turn().await;
    leave(&world, "first").await.unwrap();
    assert_eq!(code(leave(&world, "first").await), Code::NotFound);
    assert_eq!(code(leave(&world, "").await), Code::NotFound);
    drop(first);
    let mut second = world.worker().await;
    assert_eq!(second.turn().await.request.instance_id, "a");
}
