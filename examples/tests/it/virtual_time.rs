//! The orchestrations of the examples in virtual time: weeks in milliseconds, and each turn checked for determinism.

use crate::chaining::{charge, order, reserve, ship};
use crate::eternal_loop::{Round, clean_up, janitor};
use crate::event_batching::{Settings, aggregator, flush};
use crate::fan_out::{count_book, count_words};
use crate::human_interaction::{Decision, Expense, approval, ask, escalate};
use crate::monitor::{Watch, is_done, monitor};
use crate::saga::{Booking, book, confirm, trip, undo};
use perdura::prelude::*;
use perdura::testing::{TestEnd, TestRun};
use perdura::{OrchestrationRef, Register, Status};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn a_chain_hands_each_result_to_the_next_step() {
    let mut failures = 2;
    let end = TestRun::new(order, ("o".into(), 5))
        .register(reserve)
        .mock(charge, move |cents| match failures {
            0 => Ok(format!("receipt for {cents}")),
            _ => {
                failures -= 1;
                Err(Error::new("Busy", "try later"))
            }
        })
        .register(ship)
        .run()
        .await;
    assert_eq!(end.output().unwrap(), "shipped from shelf 7 for o against receipt for 5");
    assert_eq!(end.calls(ship), [("shelf 7 for o".into(), "receipt for 5".into())]);
    // Two waits of the retry policy: 0.2 s and 0.4 s.
    assert_eq!(end.elapsed(), Duration::from_millis(600));
}

#[tokio::test]
async fn a_chain_ends_at_a_step_that_fails_for_good() {
    let end = TestRun::new(order, ("o".into(), 0)).register(reserve).register(charge).run().await;
    assert_eq!(end.output().unwrap_err().kind(), "NothingToPay");
    assert!(end.calls(ship).is_empty());
}

#[tokio::test]
async fn a_fan_out_runs_no_more_than_its_bound_at_once() {
    let pages: Vec<String> = (0..250).map(|n| "word ".repeat(n % 3)).collect();
    let words = pages.iter().map(|page| page.split_whitespace().count() as u64).sum::<u64>();
    let run = TestRun::new(count_book, pages).register(count_words).takes(count_words, SECOND).run();
    let end = run.await;
    assert_eq!(end.output().unwrap(), words);
    assert_eq!(end.calls(count_words).len(), 250);
    // 100, 100 and 50 at once.
    assert_eq!(end.elapsed(), 3 * SECOND);
    assert_eq!(end.custom_status::<u64>().unwrap(), words);
}

#[tokio::test]
async fn an_eternal_loop_keeps_its_pace_and_a_short_history() {
    let first = Round { number: 1, period: HOUR, due: 0 };
    let run = TestRun::new(janitor, first).mock(clean_up, |_| Ok(())).takes(clean_up, 10 * SECOND);
    let end = run.raise_at(100 * HOUR + HOUR / 2, "stop", &()).run().await;
    assert_eq!(end.output().unwrap(), 101);
    assert_eq!(end.calls(clean_up), (1..=100).collect::<Vec<_>>());
    assert_eq!(end.generation(), 100);
    assert!(end.history().len() < 10);
}

#[tokio::test]
async fn a_round_that_fails_or_takes_too_long_does_not_end_the_loop() {
    let first = Round { number: 1, period: HOUR, due: 0 };
    let run = TestRun::new(janitor, first).takes(clean_up, 90 * Duration::from_secs(60));
    let fails = |round| if round == 1 { Err(Error::permanent(Error::new("E", "e"))) } else { Ok(()) };
    let end = run.mock(clean_up, fails).raise_at(5 * HOUR, "stop", &()).run().await;
    // Round 1 from 1:00 to 2:30, round 2 at once to 4:00, round 3 at once to 5:30; then it stops.
    assert_eq!((end.output().unwrap(), end.calls(clean_up).len()), (4, 3));
}

fn expense() -> Expense {
    Expense { what: "a boat".into(), cents: 1, deadline: 14 * DAY }
}

fn with_mail<O: OrchestrationRef + Register>(run: TestRun<O>) -> TestRun<O> {
    run.mock(ask, |_| Ok(())).mock(escalate, |_| Ok(()))
}

#[tokio::test]
async fn a_decision_in_time_is_the_result() {
    let decision = Decision::Rejected { by: "ada".into() };
    let run = with_mail(TestRun::new(approval, expense())).raise_at(13 * DAY, "decision", &decision);
    let end = run.run().await;
    assert_eq!((end.output().unwrap(), end.elapsed()), (decision, 13 * DAY));
    assert!(end.calls(escalate).is_empty());
}

#[tokio::test]
async fn without_a_decision_it_is_escalated_at_the_deadline() {
    let end = with_mail(TestRun::new(approval, expense())).takes(ask, HOUR).run().await;
    assert_eq!((end.output().unwrap(), end.elapsed()), (Decision::Escalated, 14 * DAY));
    assert_eq!(end.calls(escalate).len(), 1);
}

#[tokio::test]
async fn a_decision_that_comes_while_the_mail_is_sent_is_kept() {
    let decision = Decision::Approved { by: "ada".into() };
    let run = with_mail(TestRun::new(approval, expense())).takes(ask, HOUR);
    let end = run.raise_at(SECOND, "decision", &decision).run().await;
    assert_eq!((end.output().unwrap(), end.elapsed()), (decision, HOUR));
}

fn watch() -> Watch {
    Watch { job: "job".into(), pause: SECOND, pause_max: 8 * SECOND, give_up_after: 60 * SECOND }
}

#[tokio::test]
async fn a_monitor_looks_less_and_less_often_until_it_is_done() {
    let mut looks = 0;
    let run = TestRun::new(monitor, watch()).mock(is_done, move |_| {
        looks += 1;
        Ok(looks == 6)
    });
    let end = run.run().await;
    // 1 + 2 + 4 + 8 + 8 seconds.
    assert_eq!((end.output().unwrap(), end.elapsed()), (6, 23 * SECOND));
}

#[tokio::test]
async fn a_monitor_gives_up_before_its_deadline() {
    let end = TestRun::new(monitor, watch()).mock(is_done, |_| Ok(false)).run().await;
    assert_eq!(end.output().unwrap_err().kind(), "StillRunning");
    assert!(end.elapsed() <= 60 * SECOND, "{:?}", end.elapsed());
}

fn what(bookings: &[Booking]) -> Vec<&str> {
    bookings.iter().map(|booking| booking.what.as_str()).collect()
}

fn saga(wishes: &[&str]) -> TestRun<impl OrchestrationRef<Output = usize> + Register + use<>> {
    let wishes = wishes.iter().map(ToString::to_string).collect();
    TestRun::new(trip, wishes).register(undo).register(confirm)
}

fn assert_undone<O: OrchestrationRef>(end: &TestEnd<O>, expected: &[&str]) {
    let (booked, undone) = (end.calls(book), end.calls(undo));
    assert_eq!(what(&undone), expected);
    // By the same keys, in the opposite order.
    assert_eq!(undone, booked.into_iter().rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_saga_that_succeeds_undoes_nothing() {
    let end = saga(&["flight", "hotel"]).mock(book, |_| Ok(())).raise_at(SECOND, "paid", &()).run().await;
    assert_eq!(end.output().unwrap(), 2);
    assert_undone_nothing(&end);
}

fn assert_undone_nothing<O: OrchestrationRef>(end: &TestEnd<O>) {
    assert!(end.calls(undo).is_empty());
}

#[tokio::test]
async fn a_saga_undoes_what_was_done_and_what_may_have_been_done_in_reverse_order() {
    let books = |booking: Booking| match &booking.what[..] {
        "car" => Err(Error::new("Busy", "no answer")),
        _ => Ok(()),
    };
    let end = saga(&["flight", "hotel", "car"]).mock(book, books).run().await;
    assert_eq!(end.output().unwrap_err().kind(), "Busy");
    assert_undone(&end, &["car", "hotel", "flight"]);
}

#[tokio::test]
async fn a_saga_that_is_cancelled_while_it_waits_undoes_everything() {
    let end = saga(&["flight", "hotel"]).mock(book, |_| Ok(())).cancel_at(DAY, "ill").run().await;
    assert_eq!(end.status(), Status::Canceled);
    assert_undone(&end, &["hotel", "flight"]);
}

#[tokio::test]
async fn a_saga_that_is_cancelled_during_a_booking_undoes_that_booking_too() {
    let run = saga(&["flight", "hotel"]).mock(book, |_| Ok(())).takes(book, 10 * SECOND);
    let end = run.cancel_at(15 * SECOND, "ill").run().await;
    assert_eq!(end.status(), Status::Canceled);
    assert_undone(&end, &["hotel", "flight"]);
}

#[tokio::test]
async fn a_batch_is_flushed_when_it_is_full_or_its_time_is_over() {
    let settings = Settings { count_max: 3, wait_max: HOUR };
    let run = TestRun::new(aggregator, settings).mock(flush, |_| Ok(())).takes(flush, SECOND);
    // Seven at once: two full batches, and one that waits an hour. One much later.
    let run = (1_u64..=7).fold(run, |run, n| run.raise_at(SECOND, "reading", &n));
    let end = run.raise_at(5 * HOUR, "reading", &8).until(10 * HOUR).run().await;
    assert_eq!(end.calls(flush), [vec![1, 2, 3], vec![4, 5, 6], vec![7], vec![8]]);
    assert_eq!(end.status(), Status::Running);
    assert_eq!(end.elapsed(), 6 * HOUR + SECOND);
}

#[tokio::test]
async fn a_reading_that_cannot_be_read_is_left_out() {
    let settings = Settings { count_max: 2, wait_max: HOUR };
    let run = TestRun::new(aggregator, settings).mock(flush, |_| Ok(())).raise_at(SECOND, "reading", &1);
    let end = run.raise_at(SECOND, "reading", "two").raise_at(SECOND, "reading", &3).until(DAY).run().await;
    assert_eq!(end.calls(flush), [[1, 3]]);
}
