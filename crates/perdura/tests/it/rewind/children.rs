//! Children and parents.

use super::bed::*;
use perdura::prelude::*;
use perdura::{ReusePolicy, Status};

on_every_store![
    temporal705_cadence3914_failed_children_are_rewound_to_the_leaves,
    temporal3258_temporal3624_a_child_that_still_runs_is_waited_for_again,
    temporal10639_the_result_of_a_child_that_outlived_its_parent_is_not_lost,
    a_child_that_was_purged_is_created_again,
    a_detached_child_is_left_alone,
    a_child_takes_its_parents_along,
    temporal725_a_parent_does_not_notice_that_its_child_was_rewound,
    a_child_of_the_part_that_was_dropped_is_rewound_when_it_is_asked_for_again,
    a_terminated_family_goes_on_together,
    a_failed_child_that_was_retried_is_rewound_not_started_anew,
    two_waits_for_one_child_that_was_purged_both_get_its_result,
    going_back_to_a_termination_of_all_ends_the_children_again,
    a_purge_of_the_family_takes_the_children_of_branches_that_were_left,
    a_child_that_its_parent_went_on_without_is_rewound_only_by_force,
    a_child_that_failed_turns_before_its_parent_looked_is_rewound,
    no_call_gets_what_its_child_has_done_with_another_input_on_a_branch_that_was_left,
];

#[orchestration]
async fn leaf(ctx: Orchestration, name: String) -> Result<String> {
    ctx.call(step, format!("{name} begins")).await?;
    ctx.call(pay, format!("{name} ends")).await
}

#[orchestration]
async fn branch(ctx: Orchestration, name: String) -> Result<String> {
    let left = ctx.sub_orchestration(leaf, format!("{name} left")).id(format!("{name}-left"));
    let right = ctx.sub_orchestration(leaf, format!("{name} right")).id(format!("{name}-right"));
    let done: Vec<String> = join_all([left, right]).await.into_iter().collect::<Result<_>>()?;
    Ok(done.join(", "))
}

#[orchestration]
async fn root(ctx: Orchestration) -> Result<String> {
    ctx.call(step, "root begins".into()).await?;
    ctx.sub_orchestration(branch, "b".into()).id("b").await
}

async fn family(kind: Kind, name: &str) -> Bed {
    let register = |r: Registry| r.register(leaf).register(branch).register(root).register(patient);
    let bed = Bed::new(kind, name, register).await;
    bed.workshop.breaks("b left ends", 1);
    bed.fails(root, (), "r").await;
    // Its sibling had nothing to do with it.
    bed.output("b-right").await;
    bed
}

fn only_the_leaf_ran_again(bed: &Bed) {
    let ran = |name| bed.workshop.ran(name);
    assert_eq!((ran("root begins"), ran("b left begins"), ran("b right ends")), ((1, 1), (1, 1), (1, 1)));
    assert_eq!(ran("b left ends"), (2, 1));
}

const DONE: &str = "b left ends done, b right ends done";

async fn temporal705_cadence3914_failed_children_are_rewound_to_the_leaves(kind: Kind) {
    let bed = family(kind, "leaves").await;
    let plan = bed.engine.instance("r").plan_rewind(&because()).await.unwrap();
    assert_eq!(plan.children[0].instance, "b");
    bed.rewind("r").await;
    assert_eq!(bed.output("r").await, DONE);
    only_the_leaf_ran_again(&bed);
    for id in ["r", "b", "b-left"] {
        assert_eq!(bed.engine.instance(id).branches().await.unwrap().unwrap().len(), 1, "{id}");
    }
    assert!(bed.engine.instance("b-right").branches().await.unwrap().unwrap().is_empty());
}

#[orchestration]
async fn patient(ctx: Orchestration) -> Result<String> {
    ctx.wait_event("go").await
}

#[orchestration]
async fn hasty(ctx: Orchestration) -> Result<String> {
    let child = ctx.sub_orchestration(patient, ()).id("p").start();
    ctx.call(step, "hasty".into()).await?;
    child.await
}

async fn hasty_fails(kind: Kind, name: &str) -> Bed {
    let bed = Bed::new(kind, name, |r| r.register(patient).register(hasty)).await;
    bed.workshop.breaks("hasty", 1);
    bed.fails(hasty, (), "h").await;
    bed.until("p", |state| state.status() == Status::Running).await;
    bed
}

async fn temporal3258_temporal3624_a_child_that_still_runs_is_waited_for_again(kind: Kind) {
    let bed = hasty_fails(kind, "pending").await;
    bed.rewind("h").await;
    bed.until("h", |_| bed.workshop.ran("hasty").1 == 1).await;
    bed.engine.instance("p").raise("go", "gone").await.unwrap();
    assert_eq!(bed.output("h").await, "gone");
    assert!(bed.engine.instance("p").branches().await.unwrap().unwrap().is_empty());
}

async fn temporal10639_the_result_of_a_child_that_outlived_its_parent_is_not_lost(kind: Kind) {
    let bed = hasty_fails(kind, "outlived").await;
    bed.engine.instance("p").raise("go", "gone").await.unwrap();
    assert_eq!(bed.output("p").await, "gone");
    bed.rewind("h").await;
    assert_eq!(bed.output("h").await, "gone");
}

async fn a_child_that_was_purged_is_created_again(kind: Kind) {
    let bed = family(kind, "purged-child").await;
    bed.engine.instance("b-left").purge().await.unwrap();
    bed.rewind("r").await;
    assert_eq!(bed.output("r").await, DONE);
    assert_eq!(bed.workshop.ran("b left begins"), (2, 2));
    assert_eq!(bed.workshop.ran("b right ends"), (1, 1));
}

#[orchestration]
async fn lets_go(ctx: Orchestration) -> Result<String> {
    ctx.sub_orchestration(leaf, "free".into()).id("free").detached().start()?;
    ctx.call(step, "alone".into()).await
}

async fn a_detached_child_is_left_alone(kind: Kind) {
    let bed = Bed::new(kind, "detached", |r| r.register(leaf).register(lets_go)).await;
    bed.workshop.breaks("alone", 1);
    bed.workshop.breaks("free ends", 1);
    bed.fails(lets_go, (), "l").await;
    bed.failure("free").await;
    bed.engine.instance("l").rewind(because().to_beginning()).await.unwrap();
    bed.output("l").await;
    assert_eq!(bed.failure("free").await, "free ends is broken");
    assert_eq!(bed.workshop.ran("free begins"), (1, 1));
}

async fn a_child_takes_its_parents_along(kind: Kind) {
    let bed = family(kind, "parents").await;
    let leaf = bed.engine.instance("b-left");
    let refusal = leaf.rewind(because()).await.unwrap_err().to_string();
    assert!(refusal.contains("its parent \"b\" is Failed") && refusal.contains("with parents"), "{refusal}");
    leaf.rewind(because().with_parents()).await.unwrap();
    bed.until("r", |state| state.status() == Status::Completed).await;
    assert_eq!(bed.output("r").await, DONE);
    only_the_leaf_ran_again(&bed);
}

async fn temporal725_a_parent_does_not_notice_that_its_child_was_rewound(kind: Kind) {
    let bed = Bed::new(kind, "unnoticed", |r| r.register(patient).register(waits_for_it)).await;
    bed.start(waits_for_it, (), "w").await;
    bed.until("p", |state| state.status() == Status::Running).await;
    bed.engine.instance("p").rewind(because().to_beginning().force()).await.unwrap();
    bed.engine.instance("p").raise("go", "gone").await.unwrap();
    assert_eq!(bed.output("w").await, "gone");
    assert!(bed.engine.instance("w").branches().await.unwrap().unwrap().is_empty());
}

#[orchestration]
async fn waits_for_it(ctx: Orchestration) -> Result<String> {
    ctx.sub_orchestration(patient, ()).id("p").await
}

async fn a_child_of_the_part_that_was_dropped_is_rewound_when_it_is_asked_for_again(kind: Kind) {
    let bed = family(kind, "dropped-child").await;
    let plan = bed.engine.instance("r").plan_rewind(&because().to_beginning()).await.unwrap();
    let asked_again: Vec<_> = plan.children_asked_again.iter().map(|child| child.instance.as_str()).collect();
    assert_eq!((plan.children.as_slice(), asked_again), (&[][..], vec!["b"]));
    bed.engine.instance("r").rewind(because().to_beginning()).await.unwrap();
    assert_eq!(bed.output("r").await, DONE);
    only_the_leaf_ran_again(&bed);
}

async fn a_terminated_family_goes_on_together(kind: Kind) {
    let bed = Bed::new(kind, "terminated-family", |r| r.register(patient).register(waits_for_it)).await;
    bed.start(waits_for_it, (), "w").await;
    bed.until("p", |state| state.status() == Status::Running).await;
    bed.engine.instance("w").terminate("by mistake", true).await.unwrap();
    bed.until("p", |state| state.status() == Status::Terminated).await;
    bed.rewind("w").await;
    bed.until("p", |state| state.status() == Status::Running).await;
    bed.engine.instance("p").raise("go", "gone").await.unwrap();
    assert_eq!(bed.output("w").await, "gone");
}

#[orchestration]
async fn insists(ctx: Orchestration) -> Result<String> {
    let again = Retry::attempts(2).backoff(std::time::Duration::from_millis(1));
    let reuse = ReusePolicy::FAIL;
    ctx.sub_orchestration(leaf, "i".into()).id("i").retry(again).reuse(reuse).await
}

async fn a_failed_child_that_was_retried_is_rewound_not_started_anew(kind: Kind) {
    let bed = Bed::new(kind, "insists", |r| r.register(leaf).register(insists)).await;
    bed.workshop.breaks("i ends", 2);
    bed.fails(insists, (), "x").await;
    bed.rewind("x").await;
    assert_eq!(bed.output("x").await, "i ends done");
    assert_eq!((bed.workshop.ran("i begins"), bed.workshop.ran("i ends")), ((2, 2), (3, 1)));
}

#[orchestration]
async fn waits_twice(ctx: Orchestration) -> Result<String> {
    let wait = || ctx.sub_orchestration(leaf, "l".into()).id("l").reuse(ReusePolicy::USE_EXISTING).start();
    let done: Vec<String> = join_all([wait(), wait()]).await.into_iter().collect::<Result<_>>()?;
    Ok(done.join(", "))
}

async fn two_waits_for_one_child_that_was_purged_both_get_its_result(kind: Kind) {
    let bed = Bed::new(kind, "twice", |r| r.register(leaf).register(waits_twice)).await;
    bed.workshop.breaks("l ends", 1);
    bed.fails(waits_twice, (), "t").await;
    bed.engine.instance("l").purge().await.unwrap();
    bed.engine.instance("t").rewind(because().to_turn(2)).await.unwrap();
    assert_eq!(bed.output("t").await, "l ends done, l ends done");
}

#[orchestration]
async fn has_patience(ctx: Orchestration) -> Result<String> {
    ctx.sub_orchestration(patient, ()).id("p").await
}

async fn going_back_to_a_termination_of_all_ends_the_children_again(kind: Kind) {
    let bed = Bed::new(kind, "again", |r| r.register(patient).register(has_patience)).await;
    bed.start(has_patience, (), "h").await;
    bed.until("p", |state| state.status() == Status::Running).await;
    let instance = bed.engine.instance("h");
    instance.terminate("all of it", true).await.unwrap();
    assert_eq!(bed.failure("p").await, "all of it");
    bed.rewind("h").await;
    bed.until("p", |state| state.status() == Status::Running).await;
    instance.rewind(because().to_branch(0).force()).await.unwrap();
    assert_eq!(bed.failure("p").await, "all of it");
}

#[orchestration]
async fn asks_for_other_children(ctx: Orchestration) -> Result<String> {
    if !is_mended(&ctx) {
        ctx.sub_orchestration(leaf, "old".into()).id("old-kid").await?;
    }
    let done = ctx.sub_orchestration(leaf, "kept".into()).id("kept-kid").await?;
    ctx.call(step, "after".into()).await?;
    Ok(done)
}

async fn a_purge_of_the_family_takes_the_children_of_branches_that_were_left(kind: Kind) {
    let bed = Bed::new(kind, "left-kid", |r| r.register(asks_for_other_children).register(leaf)).await;
    bed.workshop.breaks("after", 2);
    bed.fails(asks_for_other_children, (), "x").await;
    bed.workshop.deploys();
    bed.engine.instance("x").rewind(because().to_beginning()).await.unwrap();
    bed.failure("x").await;
    // A branch that begins with the second one.
    bed.rewind("x").await;
    bed.output("x").await;
    assert_eq!(bed.engine.instance("x").purge_family().await.unwrap(), 3);
    assert!(bed.engine.list(Default::default(), 10).await.unwrap().is_empty());
}

#[orchestration]
async fn goes_on_without(ctx: Orchestration, waits: bool) -> Result<String> {
    let id = if waits { "early" } else { "late" };
    let child = ctx.sub_orchestration(leaf, id.into()).id(id).await;
    ctx.set_status("caught")?;
    if waits {
        ctx.wait_event::<String>("go").await?;
    }
    Ok(child.unwrap_or_else(|_| "without".into()))
}

async fn a_child_that_its_parent_went_on_without_is_rewound_only_by_force(kind: Kind) {
    let bed = Bed::new(kind, "went-on", |r| r.register(goes_on_without).register(leaf)).await;
    for (id, waits, status) in [("early", true, "Running"), ("late", false, "Completed")] {
        bed.workshop.breaks(&format!("{id} ends"), 1);
        let parent = format!("parent of {id}");
        bed.start(goes_on_without, waits, &parent).await;
        bed.until(&parent, |state| state.custom_status::<Option<String>>().unwrap().is_some()).await;
        let child = bed.engine.instance(id);
        bed.until(&parent, |state| waits || state.status().is_terminal()).await;
        for rewind in [because(), because().with_parents()] {
            let refusal = child.rewind(rewind.clone()).await.unwrap_err().to_string();
            let expected = format!("its parent \"{parent}\" is {status} and has gone on without it");
            assert!(refusal.contains(&expected) && refusal.contains("by force"), "{refusal}");
            assert_eq!(child.plan_rewind(&rewind).await.unwrap_err().to_string(), refusal);
        }
        child.rewind(because().force()).await.unwrap();
        assert_eq!(bed.output(id).await, format!("{id} ends done"));
        assert!(bed.engine.instance(&parent).branches().await.unwrap().unwrap().is_empty());
    }
}

#[orchestration]
async fn looks_late(ctx: Orchestration) -> Result<String> {
    let kid = ctx.sub_orchestration(leaf, "late".into()).id("late").start();
    ctx.wait_event::<()>("look").await?;
    ctx.call(step, "looks".into()).await?;
    kid.await
}

async fn a_child_that_failed_turns_before_its_parent_looked_is_rewound(kind: Kind) {
    let bed = Bed::new(kind, "late", |r| r.register(leaf).register(looks_late)).await;
    bed.workshop.breaks("late ends", 1);
    bed.start(looks_late, (), "x").await;
    while !bed.events("x", None).await.contains(&"SubOrchestrationFailed") {
        tokio::task::yield_now().await;
    }
    bed.engine.instance("x").raise("look", &()).await.unwrap();
    bed.failure("x").await;
    bed.rewind("x").await;
    assert_eq!(bed.output("x").await, "late ends done");
    assert_eq!((bed.workshop.ran("late begins"), bed.workshop.ran("late ends")), ((1, 1), (2, 1)));
}

#[orchestration]
async fn asks_for_another(ctx: Orchestration) -> Result<String> {
    let input = if is_mended(&ctx) { "new" } else { "old" };
    ctx.sub_orchestration(leaf, input.into()).id("kid").await
}

async fn no_call_gets_what_its_child_has_done_with_another_input_on_a_branch_that_was_left(kind: Kind) {
    for (name, failures) in [("other-done", 0), ("other-failed", 1)] {
        let bed = Bed::new(kind, name, |r| r.register(leaf).register(asks_for_another)).await;
        bed.workshop.breaks("old ends", 1);
        bed.workshop.breaks("new ends", failures);
        bed.fails(asks_for_another, (), "x").await;
        let (x, kid) = (bed.engine.instance("x"), bed.engine.instance("kid"));
        bed.workshop.deploys();
        x.rewind(because().to_beginning()).await.unwrap();
        bed.until("x", |state| state.status().is_terminal()).await;
        bed.workshop.withdraws();
        x.rewind(because().to_branch(0)).await.unwrap();
        bed.failure("x").await;
        bed.rewind("x").await;
        assert_eq!(bed.output("x").await, "old ends done");
        // It keeps its history, and what it was made for.
        assert_eq!(kid.branches().await.unwrap().unwrap().len(), 2);
        assert_eq!(bed.workshop.ran("new ends"), (1, 1 - failures as usize));
        bed.engine.shutdown().await;
    }
}
