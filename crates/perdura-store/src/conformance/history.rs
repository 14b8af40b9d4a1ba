//! Histories are dense, and branches are apart.

use super::Place;
use super::fixture::{Owner, append, events, insert, key, row, tail, writes};
use perdura_core::partition::{HistoryRow, InstanceWrite, Tail};

/// A row at a place that the instance row says nothing about.
fn stray(first: u64, count: u32) -> InstanceWrite {
    InstanceWrite {
        expected: tail(3),
        row: row(1, "a", 3),
        history: Some(events(first, count)),
        drop_generations_before: None,
    }
}

pub(super) async fn rows_leave_no_hole_and_do_not_overlap(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(writes([insert(1, "a", 3)])).await;
    for (first, count) in [(0, 3), (0, 1), (2, 1), (2, 5), (4, 1)] {
        owner.conflicts(writes([stray(first, count)])).await;
    }
    owner.commits(writes([stray(3, 2)])).await;
    assert_eq!(owner.history(1).await, [events(0, 3), events(3, 2)]);
}

pub(super) async fn a_first_row_begins_at_zero(place: &dyn Place) {
    let owner = Owner::of(place).await;
    let mut late = insert(1, "a", 2);
    late.history = Some(events(1, 1));
    owner.conflicts(writes([late])).await;
}

pub(super) async fn an_empty_row_is_a_conflict(place: &dyn Place) {
    let owner = Owner::of(place).await;
    let mut empty = insert(1, "a", 0);
    empty.history = Some(HistoryRow { count: 0, ..events(0, 1) });
    owner.conflicts(writes([empty])).await;
}

/// One event more on a branch.
fn on_branch(expected: Tail, branch: u32, first: u64) -> InstanceWrite {
    let mut row = row(1, "a", first + 1);
    row.branch = branch;
    let history = HistoryRow { branch, ..events(first, 1) };
    InstanceWrite { expected: Some(expected), row, history: Some(history), drop_generations_before: None }
}

pub(super) async fn a_branch_begins_at_its_cut_and_is_dense_from_there(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(writes([insert(1, "a", 5)])).await;
    let main = Tail { generation: 1, branch: 0, events: 5 };
    owner.commits(writes([on_branch(main, 1, 3)])).await;
    let on_it = Tail { generation: 1, branch: 1, events: 4 };
    for first in [2, 3, 5] {
        owner.conflicts(writes([on_branch(on_it, 1, first)])).await;
    }
    owner.commits(writes([on_branch(on_it, 1, 4)])).await;
    let firsts: Vec<_> = owner.history_of(1, 1, 1).await.iter().map(|row| row.first).collect();
    assert_eq!(firsts, [3, 4]);
}

pub(super) async fn branches_do_not_mix(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(writes([insert(1, "a", 5)])).await;
    let main = Tail { generation: 1, branch: 0, events: 5 };
    owner.commits(writes([on_branch(main, 2, 3)])).await;
    assert_eq!(owner.history_of(1, 1, 0).await, [events(0, 5)]);
    assert_eq!(owner.history_of(1, 1, 1).await, []);
    // Back to the old branch, which goes on where it ended.
    let left = Tail { generation: 1, branch: 2, events: 4 };
    owner.commits(writes([on_branch(left, 0, 5)])).await;
    assert_eq!(owner.history_of(1, 1, 0).await.len(), 2);
}

async fn three_rows(place: &dyn Place) -> Owner {
    let owner = Owner::of(place).await;
    owner.commits(writes([insert(1, "a", 3)])).await;
    owner.commits(writes([append(1, "a", 3)])).await;
    owner.commits(writes([append(1, "a", 4), insert(2, "b", 9)])).await;
    owner
}

async fn firsts(owner: &Owner, from: u64, bytes_max: usize) -> Vec<u64> {
    let rows = owner.store.history(key(1), 1, 0, from, bytes_max).await;
    rows.expect("history").iter().map(|row| row.first).collect()
}

pub(super) async fn reading_starts_with_the_row_that_holds_the_event(place: &dyn Place) {
    let owner = three_rows(place).await;
    let expected: [&[u64]; 6] = [&[0, 3, 4], &[0, 3, 4], &[0, 3, 4], &[3, 4], &[4], &[]];
    for (from, expected) in expected.into_iter().enumerate() {
        assert_eq!(firsts(&owner, from as u64, usize::MAX).await, expected, "from {from}");
    }
    assert_eq!(firsts(&owner, u64::MAX, usize::MAX).await, []);
}

pub(super) async fn reading_stops_at_the_byte_limit_but_gives_one_row(place: &dyn Place) {
    let owner = three_rows(place).await;
    let first = events(0, 3).events.len();
    assert_eq!(firsts(&owner, 0, 0).await, [0]);
    assert_eq!(firsts(&owner, 0, first).await, [0]);
    assert_eq!(firsts(&owner, 0, first + 1).await, [0, 3]);
}

pub(super) async fn reading_nothing_gives_nothing(place: &dyn Place) {
    let owner = Owner::of(place).await;
    assert_eq!(owner.history(1).await, []);
}
