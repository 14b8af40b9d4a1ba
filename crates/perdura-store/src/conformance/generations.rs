//! Continue-as-new and replacement: one instance, one history after the other.

use super::Place;
use super::fixture::{Owner, events, insert, row, tail, writes};
use perdura_core::partition::InstanceWrite;

fn next_generation(number: u64, id: &str, drop_generations_before: Option<u32>) -> InstanceWrite {
    let mut row = row(number, id, 2);
    row.generation = 2;
    let mut history = events(0, 2);
    history.generation = 2;
    InstanceWrite { expected: tail(3), row, history: Some(history), drop_generations_before }
}

pub(super) async fn a_new_generation_begins_at_zero(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(writes([insert(1, "a", 3)])).await;
    let mut late = next_generation(1, "a", None);
    if let Some(history) = &mut late.history {
        history.first = 3;
    }
    owner.conflicts(writes([late])).await;
    owner.commits(writes([next_generation(1, "a", None)])).await;
    assert_eq!(owner.history_of(1, 1, 0).await.len(), 1);
    assert_eq!(owner.history_of(1, 2, 0).await.len(), 1);
}

pub(super) async fn dropping_generations_deletes_older_histories_of_that_instance_only(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(writes([insert(1, "a", 3), insert(2, "b", 3), insert(3, "c", 3)])).await;
    owner.commits(writes([next_generation(2, "b", Some(2))])).await;
    assert_eq!(owner.history_of(1, 1, 0).await.len(), 1);
    assert_eq!(owner.history_of(2, 1, 0).await, []);
    assert_eq!(owner.history_of(2, 2, 0).await.len(), 1);
    assert_eq!(owner.history_of(3, 1, 0).await.len(), 1);
}
