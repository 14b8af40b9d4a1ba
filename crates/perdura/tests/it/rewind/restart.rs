//! From the beginning, with the results that are recorded: what users of #731 built for themselves.

use super::bed::*;
use perdura::prelude::*;

on_every_store![
    dt731_a_restart_takes_recorded_results_although_the_code_has_moved_them,
    dt731_an_idempotency_key_stands_for_the_input,
    dt731_equal_calls_take_their_results_in_order,
    aws_redrive_a_restart_with_another_input_runs_what_that_changes,
    restate_b10_a_restart_without_reuse_runs_everything_under_the_same_id,
];

#[orchestration]
async fn deployed(ctx: Orchestration) -> Result<String> {
    if is_mended(&ctx) {
        // The new version checks first, and asks for the old steps in another order.
        ctx.call(step, "check".into()).await?;
        let paid = ctx.call(pay, "pay".into()).await?;
        let booked = ctx.call(step, "book".into()).await?;
        return Ok(format!("{booked}, {paid}"));
    }
    ctx.call(step, "book".into()).await?;
    ctx.call(pay, "pay".into()).await?;
    ctx.call(step, "old".into()).await
}

async fn dt731_a_restart_takes_recorded_results_although_the_code_has_moved_them(kind: Kind) {
    let bed = Bed::new(kind, "deployed", |r| r.register(deployed)).await;
    bed.workshop.breaks("old", 1);
    bed.fails(deployed, (), "x").await;
    bed.workshop.deploys();
    bed.engine.instance("x").rewind(because().to_beginning()).await.unwrap();
    assert_eq!(bed.output("x").await, "book done, pay done");
    let ran = ["check", "pay", "book", "old"].map(|name| bed.workshop.ran(name).0);
    assert_eq!(ran, [1, 1, 1, 1]);
}

#[orchestration]
async fn keyed(ctx: Orchestration) -> Result<String> {
    let amount = if is_mended(&ctx) { "10 EUR" } else { "ten euros" };
    let paid = ctx.call(pay, amount.into()).tag("idempotency-key", "order-7").await?;
    ctx.call(step, "after".into()).await?;
    Ok(paid)
}

async fn dt731_an_idempotency_key_stands_for_the_input(kind: Kind) {
    let bed = Bed::new(kind, "keyed", |r| r.register(keyed)).await;
    bed.workshop.breaks("after", 1);
    bed.fails(keyed, (), "x").await;
    bed.workshop.deploys();
    bed.engine.instance("x").rewind(because().to_beginning()).await.unwrap();
    assert_eq!(bed.output("x").await, "ten euros done");
    assert_eq!(bed.workshop.ran("10 EUR"), (0, 0));
}

#[activity]
async fn counts(ctx: ActivityContext) -> Result<u32> {
    Ok(ctx.task_id())
}

#[orchestration]
async fn polls(ctx: Orchestration) -> Result<String> {
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(ctx.call(counts, ()).await?.to_string());
    }
    ctx.call(step, "after".into()).await?;
    Ok(seen.join(","))
}

async fn dt731_equal_calls_take_their_results_in_order(kind: Kind) {
    let bed = Bed::new(kind, "polls", |r| r.register(polls).register(counts)).await;
    bed.workshop.breaks("after", 1);
    bed.fails(polls, (), "x").await;
    bed.engine.instance("x").rewind(because().to_beginning()).await.unwrap();
    assert_eq!(bed.output("x").await, "0,1,2");
}

#[orchestration]
async fn greets(ctx: Orchestration, name: String) -> Result<String> {
    ctx.call(step, "open".into()).await?;
    ctx.call(step, name).await
}

async fn aws_redrive_a_restart_with_another_input_runs_what_that_changes(kind: Kind) {
    let bed = Bed::new(kind, "greets", |r| r.register(greets)).await;
    bed.workshop.breaks("bob", 1);
    bed.fails(greets, "bob".into(), "x").await;
    bed.engine.instance("x").rewind(because().to_beginning().input("ada")).await.unwrap();
    assert_eq!(bed.output("x").await, "ada done");
    assert_eq!((bed.workshop.ran("open"), bed.workshop.ran("bob")), ((1, 1), (1, 0)));
}

async fn restate_b10_a_restart_without_reuse_runs_everything_under_the_same_id(kind: Kind) {
    let bed = Bed::new(kind, "anew-all", |r| r.register(greets)).await;
    bed.start(greets, "ada".into(), "x").await;
    bed.output("x").await;
    bed.engine.instance("x").rewind(because().to_beginning().without_reuse()).await.unwrap();
    bed.output("x").await;
    assert_eq!((bed.workshop.ran("open"), bed.workshop.ran("ada")), ((2, 2), (2, 2)));
}
