//! Answers of orchestrations that come in parts.

use super::world::*;
use perdura_proto::*;
use tonic::Code;

/// A part of an answer: it schedules the activity with the number of the part.
fn part(turn: &Turn, index: i32, is_partial: bool) -> OrchestratorResponse {
    OrchestratorResponse {
        is_partial,
        chunk_index: Some(index),
        num_events_processed: (index > 0).then_some(0),
        ..response(turn, vec![schedule(index, "pay")])
    }
}

async fn bring(client: &mut Client, part: OrchestratorResponse) -> Result<(), tonic::Status> {
    client.complete_orchestrator_task(part).await.map(drop)
}

/// The numbers of the next activities.
async fn scheduled(worker: &mut Worker, count: usize) -> Vec<i32> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(worker.activity().await.request.task_id);
    }
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn the_last_part_alone_is_no_answer_when_the_first_went_with_the_stream() {
    let world = World::new().await;
    let mut first = world.worker().await;
    world.start("a", "order").await;
    let turn = first.turn().await;
    bring(&mut first.client, part(&turn, 0, true)).await.unwrap();
    let Worker { mut client, items } = first;
    drop(items);
    let mut second = world.worker().await;
    let again = second.turn().await;
    assert_eq!(code(bring(&mut client, part(&turn, 1, false)).await), Code::InvalidArgument);
    // Nor does it take the turn from the one that has it now.
    bring(&mut second.client, part(&again, 0, true)).await.unwrap();
    assert_eq!(code(bring(&mut client, part(&turn, 1, false)).await), Code::InvalidArgument);
    bring(&mut second.client, part(&again, 1, false)).await.unwrap();
    assert_eq!(scheduled(&mut second, 2).await, [0, 1]);
}

#[tokio::test]
async fn a_part_that_comes_twice_counts_once() {
    let world = World::new().await;
    let mut worker = world.worker().await;
    world.start("a", "order").await;
    let turn = worker.turn().await;
    for index in [0, 0, 1, 0, 1] {
        bring(&mut worker.client, part(&turn, index, true)).await.unwrap();
    }
    bring(&mut worker.client, part(&turn, 2, false)).await.unwrap();
    assert_eq!(scheduled(&mut worker, 3).await, [0, 1, 2]);
}

#[tokio::test]
async fn an_answer_with_a_part_missing_is_refused_and_may_be_brought_anew() {
    let world = World::new().await;
    let mut worker = world.worker().await;
    world.start("a", "order").await;
    let turn = worker.turn().await;
    bring(&mut worker.client, part(&turn, 0, true)).await.unwrap();
    let refused = bring(&mut worker.client, part(&turn, 2, false)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("part 2") && refused.message().contains("part 1"), "{refused}");
    assert_eq!(code(bring(&mut worker.client, part(&turn, 1, false)).await), Code::InvalidArgument);
    let again = worker.turn().await;
    for index in 0..2 {
        bring(&mut worker.client, part(&again, index, index == 0)).await.unwrap();
    }
    assert_eq!(scheduled(&mut worker, 2).await, [0, 1]);
}

#[tokio::test]
async fn a_bad_late_answer_leaves_the_parts_of_the_worker_that_has_the_turn_now() {
    let world = World::new().await;
    let mut first = world.worker().await;
    world.start("a", "order").await;
    let turn = first.turn().await;
    let Worker { mut client, items } = first;
    drop(items);
    let mut second = world.worker().await;
    let again = second.turn().await;
    bring(&mut second.client, part(&again, 0, true)).await.unwrap();
    let bad = response(&turn, vec![OrchestratorAction::default()]);
    assert_eq!(code(bring(&mut client, bad).await), Code::InvalidArgument);
    bring(&mut second.client, part(&again, 1, false)).await.unwrap();
    assert_eq!(scheduled(&mut second, 2).await, [0, 1]);
}
