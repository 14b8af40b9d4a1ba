//! What was recorded stays: branches, who opened them, and the way back.

use super::bed::*;
use perdura::Status;
use perdura::prelude::*;
use perdura::rewind::{Because, Head, difference};
use perdura_core::partition::HistoryRow;
use perdura_store::Lookup;

on_every_store![
    dapr80_dbos498_the_history_that_was_left_stays_and_says_who_left_it,
    dbos498_an_undone_rewind_is_what_the_instance_was,
    a_branch_that_had_not_ended_goes_on_where_it_was_left,
    a_rewind_writes_the_new_branch_and_no_copy_of_the_old_one,
    a_purge_removes_every_branch,
    a_repeated_rewind_gets_the_answer_of_the_first,
    of_equal_rewinds_at_once_one_is_done,
    a_plan_is_not_applied_to_a_history_that_has_moved,
    a_crash_after_the_rewind_loses_none_of_the_results_to_be_used_again,
    an_operators_input_outlives_a_crash,
    a_plan_is_not_applied_to_another_run_of_the_same_id,
    no_branch_gives_a_delivery_number_that_another_one_gave,
];

#[orchestration]
async fn three(ctx: Orchestration) -> Result<String> {
    let one = ctx.call(step, "one".into()).await?;
    let two = ctx.call(step, "two".into()).await?;
    let three = ctx.call(step, "three".into()).await?;
    Ok(format!("{one}, {two}, {three}"))
}

async fn failed(kind: Kind, name: &str) -> Bed {
    let bed = Bed::new(kind, name, |r| r.register(three).register(waits)).await;
    bed.workshop.breaks("three", 1);
    bed.fails(three, (), "x").await;
    bed
}

async fn dapr80_dbos498_the_history_that_was_left_stays_and_says_who_left_it(kind: Kind) {
    let bed = failed(kind, "lineage").await;
    let instance = bed.engine.instance("x");
    let before = instance.history().await.unwrap().unwrap();
    bed.rewind("x").await;
    bed.output("x").await;
    assert_eq!(instance.branch_history(0).await.unwrap().unwrap(), before);
    let after = instance.history().await.unwrap().unwrap();
    let apart = difference(&before, &after);
    let branch = &instance.branches().await.unwrap().unwrap()[0];
    assert_eq!((branch.branch, branch.parent, branch.cut), (1, 0, apart.common));
    assert_eq!((branch.by.as_str(), branch.reason.as_str()), ("ada", "it is mended"));
    assert_eq!(branch.status, Status::Failed as u32);
    assert_eq!(after[apart.common as usize].kind.name(), "ExecutionRewound");
    assert!(apart.left > 0 && apart.right > 0);
}

async fn dbos498_an_undone_rewind_is_what_the_instance_was(kind: Kind) {
    let bed = failed(kind, "undone").await;
    bed.rewind("x").await;
    bed.output("x").await;
    let instance = bed.engine.instance("x");
    let undone = instance.rewind(because().to_branch(0)).await.unwrap();
    assert_eq!(undone.branch, 0);
    assert_eq!(bed.failure("x").await, "three is broken");
    // From there another way: a second branch of the first history.
    bed.rewind("x").await;
    assert_eq!(bed.output("x").await, "one done, two done, three done");
    let branches = instance.branches().await.unwrap().unwrap();
    assert_eq!(branches.iter().map(|b| (b.branch, b.parent)).collect::<Vec<_>>(), [(1, 0), (2, 0)]);
    assert_eq!(bed.events("x", Some(1)).await.last(), Some(&"ExecutionCompleted"));
}

#[orchestration]
async fn waits(ctx: Orchestration) -> Result<String> {
    let one: String = ctx.wait_event("go").await?;
    ctx.call(step, "between".into()).await?;
    let two: String = ctx.wait_event("go").await?;
    Ok(format!("{one}, {two}"))
}

async fn a_branch_that_had_not_ended_goes_on_where_it_was_left(kind: Kind) {
    let bed = Bed::new(kind, "forced", |r| r.register(waits)).await;
    bed.start(waits, (), "x").await;
    let instance = bed.engine.instance("x");
    instance.raise("go", "a").await.unwrap();
    bed.until("x", |_| bed.workshop.ran("between").1 == 1).await;
    let stopped = instance.rewind(because().to_beginning().drop_events().force()).await.unwrap();
    assert_eq!(stopped.branch, 1);
    instance.raise("go", "b").await.unwrap();
    // Back, and what came meanwhile comes along.
    instance.rewind(because().to_branch(0).force()).await.unwrap();
    assert_eq!(bed.output("x").await, "a, b");
}

#[orchestration]
async fn long(ctx: Orchestration) -> Result<String> {
    for number in 0..300 {
        ctx.call(step, format!("step {number}")).await?;
    }
    ctx.call(step, "three".into()).await
}

async fn a_rewind_writes_the_new_branch_and_no_copy_of_the_old_one(kind: Kind) {
    let bed = Bed::new(kind, "small", |r| r.register(long)).await;
    bed.workshop.breaks("three", 1);
    bed.fails(long, (), "x").await;
    let (store, key) = (bed.store(), bed.key("x").await);
    let rows = async |branch| store.history(key, 1, branch, 0, usize::MAX).await.unwrap();
    let record = async || store.find(vec![Lookup::Key(key)]).await.unwrap().remove(0).unwrap().record.len();
    let bytes = |rows: &[HistoryRow]| rows.iter().map(|row| row.events.len()).sum::<usize>();
    let (old, record_before) = (rows(0).await, record().await);
    let rewound = bed.engine.instance("x").rewind(because()).await.unwrap();
    assert_eq!(bed.output("x").await, "three done");
    assert_eq!(rows(0).await, old, "nothing of the old branch is changed");
    let new = rows(rewound.branch).await;
    assert_eq!(new[0].first, rewound.cut);
    let events: u32 = new.iter().map(|row| row.count).sum();
    assert_eq!(u64::from(events), bed.events("x", None).await.len() as u64 - rewound.cut);
    // Some 900 events are kept; the new branch has the rewind, a turn and the end.
    assert!(old.len() > 300 && new.len() <= 2 && events <= 5, "{} rows, {events} events", new.len());
    assert!(bytes(&new) < 500 && bytes(&old) > 20_000, "{} and {} bytes", bytes(&new), bytes(&old));
    let grown = record().await.saturating_sub(record_before);
    assert!(grown < 500, "the record has grown by {grown} bytes");
}

async fn a_purge_removes_every_branch(kind: Kind) {
    let bed = failed(kind, "purged").await;
    let instance = bed.engine.instance("x");
    let key = bed.key("x").await;
    bed.rewind("x").await;
    bed.output("x").await;
    instance.purge().await.unwrap();
    let store = bed.store();
    for branch in 0..2 {
        assert!(store.history(key, 1, branch, 0, usize::MAX).await.unwrap().is_empty());
    }
}

async fn a_repeated_rewind_gets_the_answer_of_the_first(kind: Kind) {
    let bed = failed(kind, "repeated").await;
    let instance = bed.engine.instance("x");
    let first = instance.rewind(because().request_id("click-1")).await.unwrap();
    bed.output("x").await;
    let again = instance.rewind(because().request_id("click-1")).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(instance.branches().await.unwrap().unwrap().len(), 1);
}

/// While the first waits for the history, the others have nothing to see of it.
async fn of_equal_rewinds_at_once_one_is_done(kind: Kind) {
    let bed = failed(kind, "at once").await;
    let instance = bed.engine.instance("x");
    let rewinds = (0..16).map(|_| instance.rewind(because().force().request_id("click-1")));
    let done = futures_util::future::join_all(rewinds).await;
    let first = done[0].clone().unwrap();
    assert!(done.iter().all(|done| done.as_ref().unwrap() == &first), "{done:?}");
    bed.output("x").await;
    assert_eq!(instance.branches().await.unwrap().unwrap().len(), 1);
}

async fn a_plan_is_not_applied_to_a_history_that_has_moved(kind: Kind) {
    let bed = failed(kind, "moved").await;
    let instance = bed.engine.instance("x");
    let plan = instance.plan_rewind(&because()).await.unwrap();
    assert!(matches!(plan.because, Because::Failure { .. }));
    let older = Head { events: plan.head.events - 1, ..plan.head };
    let refusal = instance.rewind(because().expect_head(older)).await.unwrap_err().to_string();
    assert!(refusal.contains("its history moved on") && refusal.contains("make a new plan"), "{refusal}");
    assert_eq!(instance.branches().await.unwrap().unwrap(), []);
    instance.rewind(because().expect_head(plan.head)).await.unwrap();
    bed.output("x").await;
}

#[orchestration]
async fn stops_between(ctx: Orchestration) -> Result<String> {
    let one = ctx.call(step, "one".into()).await?;
    if is_mended(&ctx) {
        let _: String = ctx.wait_event("go").await?;
    }
    let two = ctx.call(step, "two".into()).await?;
    let three = ctx.call(step, "three".into()).await?;
    Ok(format!("{one}, {two}, {three}"))
}

async fn a_crash_after_the_rewind_loses_none_of_the_results_to_be_used_again(kind: Kind) {
    let bed = Bed::new(kind, "crash", |r| r.register(stops_between)).await;
    bed.workshop.breaks("three", 1);
    bed.fails(stops_between, (), "x").await;
    bed.workshop.deploys();
    bed.engine.instance("x").rewind(because().to_beginning()).await.unwrap();
    bed.until("x", |state| state.status() == Status::Running).await;
    let bed = bed.restart().await;
    bed.engine.instance("x").raise("go", "on").await.unwrap();
    assert_eq!(bed.output("x").await, "one done, two done, three done");
    assert_eq!(["one", "two", "three"].map(|name| bed.workshop.ran(name)), [(1, 1), (1, 1), (2, 1)]);
}

async fn an_operators_input_outlives_a_crash(kind: Kind) {
    let bed = failed(kind, "outlives").await;
    bed.workshop.breaks("tree", 1);
    let failed = bed.events("x", None).await.iter().position(|name| *name == "TaskFailed").unwrap();
    let instance = bed.engine.instance("x");
    instance.rewind(because().replace_input(failed as u64, "tree")).await.unwrap();
    bed.failure("x").await;
    // The second rewind keeps the input that the first one gave.
    let bed = bed.restart().await;
    bed.rewind("x").await;
    assert_eq!(bed.output("x").await, "one done, two done, tree done");
}

async fn a_plan_is_not_applied_to_another_run_of_the_same_id(kind: Kind) {
    let bed = failed(kind, "namesake").await;
    let instance = bed.engine.instance("x");
    let plan = instance.plan_rewind(&because()).await.unwrap();
    instance.purge().await.unwrap();
    bed.workshop.breaks("three", 1);
    bed.fails(three, (), "x").await;
    let refusal = instance.rewind(because().expect_head(plan.head)).await.unwrap_err().to_string();
    assert!(refusal.contains("its history moved on"), "{refusal}");
    assert_eq!(instance.branches().await.unwrap().unwrap(), []);
}

async fn no_branch_gives_a_delivery_number_that_another_one_gave(kind: Kind) {
    let bed = failed(kind, "numbers").await;
    let instance = bed.engine.instance("x");
    bed.rewind("x").await;
    bed.output("x").await;
    // A third branch knows nothing of the attempts of the two others; it schedules activities of its own.
    instance.rewind(because().to_beginning().without_reuse()).await.unwrap();
    bed.output("x").await;
    assert_eq!(bed.workshop.deliveries("three"), [1, 2, 1]);
    instance.rewind(because().to_branch(0)).await.unwrap();
    bed.failure("x").await;
    instance.rewind(because().without_reuse()).await.unwrap();
    bed.output("x").await;
    assert_eq!(bed.workshop.deliveries("three"), [1, 2, 1, 3]);
}
