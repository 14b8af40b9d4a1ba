//! What other branches have: children that shift, histories of children, results that another branch has, attempts whose
//! end nobody knows.

use super::bed::*;
use perdura::prelude::*;
use perdura::{Rewind, Status};
use std::sync::Arc;
use tokio::sync::Semaphore;

on_every_store![
    dt731_a_child_before_the_failed_one_does_not_take_its_place,
    temporal10639_children_that_run_again_keep_what_they_did_before,
    the_child_of_an_event_that_is_named_runs_again,
    dt731_what_succeeded_on_any_branch_is_not_run_again_on_an_older_one,
    dt731_what_succeeded_under_another_number_is_not_run_again_on_an_older_branch,
    dt731_what_a_third_branch_has_done_is_not_run_again,
    ext1555_an_attempt_of_unknown_outcome_stays_in_doubt_when_it_is_asked_for_again,
];

#[orchestration]
async fn leaf(ctx: Orchestration, name: String) -> Result<String> {
    ctx.call(step, format!("{name} begins")).await?;
    ctx.call(pay, format!("{name} ends")).await
}

#[orchestration]
async fn ships(ctx: Orchestration) -> Result<String> {
    let mut back = String::new();
    if ctx.call(step, "stock".into()).await.is_err() {
        back = ctx.sub_orchestration(leaf, "back".into()).await?;
    }
    let ship = ctx.sub_orchestration(leaf, "ship".into()).await?;
    Ok(format!("{back}, {ship}"))
}

async fn dt731_a_child_before_the_failed_one_does_not_take_its_place(kind: Kind) {
    let bed = Bed::new(kind, "shifted", |r| r.register(leaf).register(ships)).await;
    bed.workshop.breaks("ship ends", 1);
    bed.fails(ships, (), "x").await;
    bed.workshop.breaks("stock", 1);
    let instance = bed.engine.instance("x");
    instance.rewind(because().before_call("step")).await.unwrap();
    assert_eq!(bed.output("x").await, "back ends done, ship ends done");
    let ran = ["ship begins", "ship ends", "back ends"].map(|name| bed.workshop.ran(name));
    assert_eq!(ran, [(1, 1), (2, 1), (1, 1)]);
}

#[orchestration]
async fn named(ctx: Orchestration) -> Result<String> {
    ctx.sub_orchestration(leaf, "kid".into()).id("kid").await
}

async fn temporal10639_children_that_run_again_keep_what_they_did_before(kind: Kind) {
    let rewinds: [fn() -> Rewind; 3] = [
        || because().to_beginning().without_reuse(),
        || because().before_call("leaf"),
        || because().to_beginning().rerun("leaf"),
    ];
    for (number, rewind) in rewinds.iter().enumerate() {
        let bed = Bed::new(kind, &format!("kept-{number}"), |r| r.register(leaf).register(named)).await;
        bed.start(named, (), "x").await;
        bed.output("x").await;
        let child = bed.engine.instance("kid");
        let before = child.history().await.unwrap();
        bed.engine.instance("x").rewind(rewind()).await.unwrap();
        assert_eq!(bed.output("x").await, "kid ends done");
        assert_eq!(
            (bed.workshop.ran("kid begins"), bed.workshop.ran("kid ends")),
            ((2, 2), (2, 2)),
            "{number}"
        );
        assert_eq!(child.branch_history(0).await.unwrap(), before, "{number}");
        assert_eq!(child.get().await.unwrap().unwrap().status(), Status::Completed);
    }
}

async fn the_child_of_an_event_that_is_named_runs_again(kind: Kind) {
    for event in ["SubOrchestrationScheduled", "SubOrchestrationCompleted"] {
        let bed = Bed::new(kind, &format!("event-{event}"), |r| r.register(leaf).register(named)).await;
        bed.start(named, (), "x").await;
        bed.output("x").await;
        let number = bed.events("x", None).await.iter().position(|name| *name == event).unwrap();
        bed.engine.instance("x").rewind(because().to_event(number as u64)).await.unwrap();
        assert_eq!(bed.output("x").await, "kid ends done");
        assert_eq!(
            (bed.workshop.ran("kid begins"), bed.workshop.ran("kid ends")),
            ((2, 2), (2, 2)),
            "{event}"
        );
        assert_eq!(bed.engine.instance("kid").branches().await.unwrap().unwrap().len(), 1);
    }
}

#[orchestration]
async fn three(ctx: Orchestration) -> Result<String> {
    let one = ctx.call(step, "one".into()).await?;
    let two = ctx.call(pay, "two".into()).await?;
    let three = ctx.call(step, "three".into()).await?;
    Ok(format!("{one}, {two}, {three}"))
}

async fn back_to_the_failure(bed: &Bed, first: Rewind) {
    bed.workshop.breaks("two", 1);
    bed.fails(three, (), "x").await;
    let instance = bed.engine.instance("x");
    let steps = [first, because().to_beginning()];
    for rewind in steps {
        instance.rewind(rewind).await.unwrap();
        assert_eq!(bed.output("x").await, "one done, two done, three done");
    }
    instance.rewind(because().to_branch(0)).await.unwrap();
    assert_eq!(bed.failure("x").await, "two is broken");
    let plan = instance.plan_rewind(&because()).await.unwrap();
    assert!(plan.rerun.is_empty() && plan.reused.iter().any(|work| work.name == "pay"), "{plan:?}");
    instance.rewind(because()).await.unwrap();
    assert_eq!(bed.output("x").await, "one done, two done, three done");
    let ran = ["one", "two", "three"].map(|name| bed.workshop.ran(name));
    assert_eq!(ran, [(1, 1), (2, 1), (1, 1)]);
}

async fn dt731_what_succeeded_on_any_branch_is_not_run_again_on_an_older_one(kind: Kind) {
    let bed = Bed::new(kind, "older", |r| r.register(three)).await;
    back_to_the_failure(&bed, because()).await;
}

async fn dt731_what_succeeded_under_another_number_is_not_run_again_on_an_older_branch(kind: Kind) {
    let bed = Bed::new(kind, "older-anew", |r| r.register(three)).await;
    back_to_the_failure(&bed, because().to_beginning()).await;
}

async fn dt731_what_a_third_branch_has_done_is_not_run_again(kind: Kind) {
    let bed = Bed::new(kind, "third", |r| r.register(three)).await;
    bed.workshop.breaks("two", 2);
    bed.fails(three, (), "x").await;
    let instance = bed.engine.instance("x");
    instance.rewind(because().to_beginning()).await.unwrap();
    bed.failure("x").await;
    instance.rewind(because().to_beginning()).await.unwrap();
    bed.output("x").await;
    // Neither of these two has done it.
    for branch in [1, 0] {
        instance.rewind(because().to_branch(branch)).await.unwrap();
        bed.failure("x").await;
    }
    bed.rewind("x").await;
    assert_eq!(bed.output("x").await, "one done, two done, three done");
    assert_eq!(["one", "two", "three"].map(|name| bed.workshop.ran(name)), [(1, 1), (3, 1), (1, 1)]);
}

#[derive(Clone)]
struct Door(Arc<Semaphore>);

/// Counts its beginnings, and does not end.
#[activity(at_most_once = "suspend")]
async fn charges(ctx: ActivityContext) -> Result<()> {
    ctx.data::<Door>().0.add_permits(1);
    std::future::pending().await
}

#[orchestration]
async fn once(ctx: Orchestration) -> Result<()> {
    ctx.call(charges, ()).await
}

async fn ext1555_an_attempt_of_unknown_outcome_stays_in_doubt_when_it_is_asked_for_again(kind: Kind) {
    let door = Door(Arc::new(Semaphore::new(0)));
    let bed = Bed::new(kind, "doubt", |r| r.register(once).register(charges).data(door.clone())).await;
    bed.start(once, (), "x").await;
    door.0.acquire().await.unwrap().forget();
    let instance = bed.engine.instance("x");
    for rewind in [because().force(), because().to_beginning().force()] {
        instance.rewind(rewind).await.unwrap();
        bed.until("x", |state| state.status() == Status::Suspended).await;
        let why = instance.why().await.unwrap().unwrap();
        assert!(why.iter().any(|wait| wait.who.contains("was rewound it was under way")), "{why:?}");
    }
    assert_eq!(door.0.available_permits(), 0, "it ran again");
    // Whoever wants it to run again says so.
    instance.rewind(because().to_beginning().rerun("charges").force()).await.unwrap();
    door.0.acquire().await.unwrap().forget();
    instance.terminate("enough", true).await.unwrap();
}
