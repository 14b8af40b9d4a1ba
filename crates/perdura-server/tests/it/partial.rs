//! Workers that take only some of the events of a turn.

use super::world::*;
use perdura_proto::*;

fn raised(events: &[HistoryEvent]) -> Vec<String> {
    let name = |event: &HistoryEvent| match &event.event_type {
        Some(history_event::EventType::EventRaised(raised)) => Some(raised.name.clone()),
        _ => None,
    };
    events.iter().filter_map(name).collect()
}

async fn with_events(world: &World, names: &[&str]) {
    world.start("a", "order").await;
    for name in names {
        let raise = RaiseEventRequest { instance_id: "a".into(), name: (*name).into(), ..Default::default() };
        world.client().await.raise_event(raise).await.unwrap();
    }
}

fn processed(turn: &Turn, count: i32) -> OrchestratorResponse {
    OrchestratorResponse { num_events_processed: Some(count), ..response(turn, Vec::new()) }
}

#[tokio::test]
async fn a_worker_that_takes_one_event_at_a_time_counts_without_the_beginning_of_the_turn() {
    let world = World::new().await;
    with_events(&world, &["x", "y", "z"]).await;
    let mut worker = world.worker().await;
    // The first turn is the start of the instance alone: it was on offer before the events came.
    for (past, new) in [("", ""), ("", "xyz"), ("x", "yz")] {
        let turn = worker.turn().await;
        assert_eq!(raised(&turn.request.past_events).concat(), past);
        assert_eq!(raised(&turn.request.new_events).concat(), new);
        worker.client.complete_orchestrator_task(processed(&turn, 1)).await.unwrap();
    }
    let turn = worker.turn().await;
    assert_eq!(raised(&turn.request.past_events), ["x", "y"]);
    assert_eq!(raised(&turn.request.new_events), ["z"]);
    worker.answer(&turn, vec![complete("1")]).await.unwrap();
    assert_eq!(world.end_of("a").await.output.as_deref(), Some("1"));
}

#[tokio::test]
async fn what_a_worker_takes_nothing_of_goes_to_another_one() {
    let world = World::new().await;
    with_events(&world, &["x"]).await;
    let mut first = world.worker().await;
    let turn = first.turn().await;
    first.answer(&turn, Vec::new()).await.unwrap();
    let turn = first.turn().await;
    let mut second = world.worker().await;
    first.client.complete_orchestrator_task(processed(&turn, 0)).await.unwrap();
    let turn = second.turn().await;
    assert_eq!(raised(&turn.request.new_events), ["x"]);
}
