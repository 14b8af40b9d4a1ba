//! Code that tries again by itself, with timers between, as the retries of the DurableTask SDKs do: a try that failed does
//! not stand for one that succeeded.

use super::bed::*;
use perdura::Rewind;
use perdura::prelude::*;
use std::sync::Arc;
use std::time::Duration;

on_every_store![
    ext617_what_succeeded_on_another_branch_is_not_tried_again_after_a_try_that_is_kept,
    ext617_a_later_try_that_succeeded_serves_the_first_one,
    ext617_a_try_that_succeeded_on_another_branch_serves_the_first_one,
    ext617_a_success_serves_one_call_and_no_other,
    a_success_that_a_kept_call_has_is_given_to_no_other_call,
    a_success_that_the_branch_which_is_left_had_no_use_for_is_known_on_the_one_that_is_gone_back_to,
    ext617_who_names_the_failure_of_a_try_wants_it_to_run_again,
];

async fn tried(ctx: &Orchestration, name: &str) -> Result<String> {
    let mut tries = 0;
    loop {
        tries += 1;
        match ctx.call(step, name.into()).await {
            Err(_) if tries < 3 => ctx.timer(Duration::from_millis(1)).await?,
            end => return end,
        }
    }
}

#[orchestration]
async fn retried(ctx: Orchestration) -> Result<String> {
    let one = tried(&ctx, "one").await?;
    let two = ctx.call(step, "two".into()).await?;
    Ok(format!("{one}, {two}"))
}

/// The first turn calls, the second is told of the failure, the third is woken by the timer.
async fn ext617_what_succeeded_on_another_branch_is_not_tried_again_after_a_try_that_is_kept(kind: Kind) {
    let bed = Bed::new(kind, "kept-try", |r| r.register(retried)).await;
    bed.workshop.breaks("one", 3);
    bed.fails(retried, (), "x").await;
    let instance = bed.engine.instance("x");
    instance.rewind(because()).await.unwrap();
    bed.output("x").await;
    assert_eq!(bed.workshop.ran("one"), (4, 1));
    for turn in 2..=6 {
        instance.rewind(because().to_branch(0)).await.unwrap();
        bed.failure("x").await;
        let rewind = because().to_turn(turn);
        let plan = instance.plan_rewind(&rewind).await.unwrap();
        assert!(plan.rerun.is_empty() && plan.reused.iter().any(|work| work.name == "step"), "{plan:?}");
        instance.rewind(rewind).await.unwrap();
        assert_eq!(bed.output("x").await, "one done, two done");
        assert_eq!((bed.workshop.ran("one"), bed.workshop.ran("two")), ((4, 1), (1, 1)), "turn {turn}");
    }
}

async fn later_try(bed: &Bed, rewinds: &[fn() -> Rewind]) {
    bed.workshop.breaks("one", 1);
    bed.workshop.breaks("two", 1);
    bed.fails(retried, (), "x").await;
    let instance = bed.engine.instance("x");
    for rewind in rewinds {
        instance.rewind(rewind()).await.unwrap();
        assert_eq!(bed.output("x").await, "one done, two done");
        assert_eq!(bed.workshop.ran("one"), (2, 1));
    }
}

async fn ext617_a_later_try_that_succeeded_serves_the_first_one(kind: Kind) {
    let bed = Bed::new(kind, "later-try", |r| r.register(retried)).await;
    later_try(&bed, &[|| because().to_turn(2), || because().to_branch(0).to_turn(2)]).await;
}

async fn ext617_a_try_that_succeeded_on_another_branch_serves_the_first_one(kind: Kind) {
    let bed = Bed::new(kind, "other-try", |r| r.register(retried)).await;
    bed.workshop.breaks("one", 3);
    bed.fails(retried, (), "x").await;
    let instance = bed.engine.instance("x");
    // The second try of the second branch succeeds.
    instance.rewind(because().to_turn(3)).await.unwrap();
    bed.output("x").await;
    instance.rewind(because().to_branch(0)).await.unwrap();
    bed.failure("x").await;
    instance.rewind(because()).await.unwrap();
    assert_eq!(bed.output("x").await, "one done, two done");
    assert_eq!((bed.workshop.ran("one"), bed.workshop.ran("two")), ((4, 1), (1, 1)));
}

#[orchestration]
async fn twice_if_it_fails(ctx: Orchestration) -> Result<()> {
    if ctx.call(step, "one".into()).await.is_err() {
        ctx.timer(Duration::from_millis(1)).await?;
        ctx.call(step, "one".into()).await?;
        ctx.call(step, "one".into()).await?;
    }
    Ok(())
}

async fn ext617_a_success_serves_one_call_and_no_other(kind: Kind) {
    let bed = Bed::new(kind, "one-call", |r| r.register(twice_if_it_fails)).await;
    bed.workshop.breaks("one", 2);
    bed.fails(twice_if_it_fails, (), "x").await;
    let instance = bed.engine.instance("x");
    let wait = async || instance.wait::<()>().await.unwrap();
    instance.rewind(because().to_turn(2)).await.unwrap();
    wait().await;
    assert_eq!(bed.workshop.ran("one"), (3, 1));
    instance.rewind(because().to_branch(0).to_turn(3)).await.unwrap();
    wait().await;
    assert_eq!(bed.workshop.ran("one"), (4, 2), "the third call is another one");
    for rewind in [because().to_turn(3), because().to_branch(1), because().to_branch(2).to_turn(3)] {
        instance.rewind(rewind).await.unwrap();
        wait().await;
        assert_eq!(bed.workshop.ran("one"), (4, 2), "both have succeeded");
    }
}

/// Fails if it is the first or the third attempt; gives its number.
#[activity]
async fn numbered(ctx: ActivityContext, input: String) -> Result<String> {
    attempt(&ctx, &input)?;
    let workshop: &Arc<Workshop> = ctx.data();
    let number = workshop.ran(&input).0;
    if number == 2 {
        workshop.breaks(&input, 1);
    }
    Ok(number.to_string())
}

#[orchestration]
async fn two_numbers(ctx: Orchestration) -> Result<String> {
    let mut first = ctx.call(numbered, "one".into()).await;
    if first.is_err() {
        first = ctx.call(numbered, "one".into()).await;
    }
    let second = ctx.call(numbered, "one".into()).await?;
    Ok(format!("{}, {second}", first?))
}

async fn a_success_that_a_kept_call_has_is_given_to_no_other_call(kind: Kind) {
    let bed = Bed::new(kind, "kept-success", |r| r.register(two_numbers).register(numbered)).await;
    bed.workshop.breaks("one", 1);
    bed.fails(two_numbers, (), "x").await;
    let instance = bed.engine.instance("x");
    // The first call has what the second try had.
    instance.rewind(because().to_beginning()).await.unwrap();
    assert_eq!(bed.output("x").await, "2, 4");
    instance.rewind(because().to_branch(0)).await.unwrap();
    bed.failure("x").await;
    instance.rewind(because()).await.unwrap();
    assert_eq!(bed.output("x").await, "2, 4");
    assert_eq!(bed.workshop.ran("one"), (4, 2));
}

#[orchestration]
async fn compensated(ctx: Orchestration) -> Result<String> {
    if let Err(error) = ctx.call(pay, "pay".into()).await {
        ctx.call(step, "refund".into()).await?;
        return Err(error);
    }
    ctx.call(step, "end".into()).await
}

async fn a_success_that_the_branch_which_is_left_had_no_use_for_is_known_on_the_one_that_is_gone_back_to(
    kind: Kind,
) {
    let bed = Bed::new(kind, "no-use", |r| r.register(compensated)).await;
    bed.workshop.breaks("pay", 2);
    bed.workshop.breaks("refund", 1);
    assert_eq!(bed.fails(compensated, (), "x").await, "refund is broken");
    let instance = bed.engine.instance("x");
    instance.rewind(because().to_beginning()).await.unwrap();
    assert_eq!(bed.failure("x").await, "pay is broken");
    assert_eq!(bed.workshop.ran("refund"), (2, 1));
    instance.rewind(because()).await.unwrap();
    assert_eq!(bed.output("x").await, "end done");
    instance.rewind(because().to_branch(0)).await.unwrap();
    bed.failure("x").await;
    let plan = instance.plan_rewind(&because()).await.unwrap();
    assert!(plan.rerun.is_empty() && plan.reused.iter().any(|work| work.name == "step"), "{plan:?}");
    instance.rewind(because()).await.unwrap();
    assert_eq!(bed.failure("x").await, "pay is broken");
    assert_eq!(bed.workshop.ran("refund"), (2, 1));
}

async fn ext617_who_names_the_failure_of_a_try_wants_it_to_run_again(kind: Kind) {
    let bed = Bed::new(kind, "named-try", |r| r.register(retried)).await;
    bed.workshop.breaks("one", 1);
    bed.workshop.breaks("two", 1);
    bed.fails(retried, (), "x").await;
    let failed = bed.events("x", None).await.iter().position(|name| *name == "TaskFailed").unwrap();
    bed.engine.instance("x").rewind(because().to_event(failed as u64)).await.unwrap();
    assert_eq!(bed.output("x").await, "one done, two done");
    assert_eq!(bed.workshop.ran("one"), (3, 2));
}
