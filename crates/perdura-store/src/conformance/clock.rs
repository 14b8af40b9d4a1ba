//! One clock decides: the store's.

use super::Place;
use super::fixture::{Owner, insert, writes};
use crate::{CommitOutcome, Rejection};
use perdura_core::Timestamp;
use perdura_core::partition::Batch;

const HOUR: i64 = 3_600_000;

fn at(now: i64, not_before: Option<i64>) -> Batch {
    Batch { now: Timestamp(now), not_before: not_before.map(Timestamp), ..writes([insert(1, "a", 1)]) }
}

pub(super) async fn time_never_runs_back(place: &dyn Place) {
    let owner = Owner::of(place).await;
    let ahead = owner.store.now().0 + HOUR;
    owner.commits(at(ahead, None)).await;
    assert!(owner.store.now().0 >= ahead);
    owner.commits(Batch { now: Timestamp(5), ..Batch::default() }).await;
    assert!(owner.store.now().0 >= ahead);
}

pub(super) async fn time_is_kept_when_the_hub_is_opened_again(place: &dyn Place) {
    let owner = Owner::of(place).await;
    let ahead = owner.store.now().0 + HOUR;
    owner.commits(at(ahead, None)).await;
    drop(owner);
    assert!(place.open().await.now().0 >= ahead);
}

pub(super) async fn a_deadline_in_the_future_is_too_early(place: &dyn Place) {
    let owner = Owner::of(place).await;
    let now = owner.store.now().0;
    let outcome = owner.commit(at(now, Some(now + HOUR))).await;
    let CommitOutcome::Rejected(Rejection::TooEarly { now: said, needed }) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(needed, Timestamp(now + HOUR));
    assert!(said < needed);
    assert_eq!(owner.find(1).await, None);
}

pub(super) async fn a_deadline_is_not_past_because_the_writer_says_so(place: &dyn Place) {
    let owner = Owner::of(place).await;
    let ahead = owner.store.now().0 + HOUR;
    let outcome = owner.commit(at(ahead, Some(ahead))).await;
    assert!(matches!(outcome, CommitOutcome::Rejected(Rejection::TooEarly { .. })), "{outcome:?}");
    assert!(owner.store.now().0 < ahead, "a rejected batch moves no clock");
}

pub(super) async fn a_deadline_in_the_past_commits(place: &dyn Place) {
    let owner = Owner::of(place).await;
    let now = owner.store.now().0;
    owner.commits(at(now, Some(now))).await;
}
