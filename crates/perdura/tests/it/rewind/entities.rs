//! Entities: what was done to them is not done twice, and locks are taken again, never leaked.

use super::bed::*;
use perdura::Status;
use perdura::prelude::*;
use serde::{Deserialize, Serialize};

on_every_store![
    a_failure_within_a_critical_section_takes_the_lock_again_and_repeats_no_operation,
    a_signal_to_an_entity_is_not_sent_twice,
    a_rewind_by_force_leaks_no_lock,
    an_operation_that_an_operator_names_by_its_result_is_called_again,
];

#[derive(Default, Serialize, Deserialize)]
struct Till {
    cents: i64,
}

#[entity]
impl Till {
    pub fn put(&mut self, cents: i64) -> Result<i64> {
        self.cents += cents;
        Ok(self.cents)
    }
}

#[orchestration]
async fn books(ctx: Orchestration) -> Result<String> {
    ctx.call(step, "before".into()).await?;
    let held = ctx.lock([Till::at("t")]).await?;
    let cents = ctx.entity::<Till>("t").put(10).await?;
    let done = ctx.call(step, "within".into()).await?;
    held.unlock();
    Ok(format!("{done}, {cents}"))
}

/// Adds nothing, and says what is in the till. It needs the lock.
#[orchestration]
async fn looks(ctx: Orchestration) -> Result<i64> {
    let _held = ctx.lock([Till::at("t")]).await?;
    ctx.entity::<Till>("t").put(0).await
}

async fn in_the_till(bed: &Bed) -> i64 {
    bed.engine.run(looks, ()).await.unwrap()
}

async fn a_failure_within_a_critical_section_takes_the_lock_again_and_repeats_no_operation(kind: Kind) {
    let bed = Bed::new(kind, "books", |r| r.register(books).register(looks).entity::<Till>()).await;
    bed.workshop.breaks("within", 1);
    bed.fails(books, (), "x").await;
    assert_eq!(in_the_till(&bed).await, 10);
    bed.rewind("x").await;
    assert_eq!(bed.output("x").await, "within done, 10");
    assert_eq!((in_the_till(&bed).await, bed.workshop.ran("before")), (10, (1, 1)));
}

#[orchestration]
async fn tells(ctx: Orchestration) -> Result<String> {
    ctx.signal::<Till>("t").put(5)?;
    ctx.call(step, "after".into()).await
}

async fn a_signal_to_an_entity_is_not_sent_twice(kind: Kind) {
    let bed = Bed::new(kind, "tells", |r| r.register(tells).register(looks).entity::<Till>()).await;
    bed.workshop.breaks("after", 1);
    bed.fails(tells, (), "x").await;
    bed.engine.instance("x").rewind(because().to_beginning()).await.unwrap();
    bed.output("x").await;
    assert_eq!(in_the_till(&bed).await, 5);
}

#[orchestration]
async fn lingers(ctx: Orchestration) -> Result<String> {
    let held = ctx.lock([Till::at("t")]).await?;
    ctx.set_status("holds it")?;
    let go: String = ctx.wait_event("go").await?;
    held.unlock();
    Ok(go)
}

async fn a_rewind_by_force_leaks_no_lock(kind: Kind) {
    let bed = Bed::new(kind, "lingers", |r| r.register(lingers).register(looks).entity::<Till>()).await;
    bed.start(lingers, (), "x").await;
    bed.until("x", |state| state.custom_status::<Option<String>>().unwrap().is_some()).await;
    let instance = bed.engine.instance("x");
    instance.rewind(because().force()).await.unwrap();
    instance.raise("go", "gone").await.unwrap();
    assert_eq!(bed.output("x").await, "gone");
    assert_eq!(in_the_till(&bed).await, 0);
    assert_eq!(instance.get().await.unwrap().unwrap().status(), Status::Completed);
}

#[orchestration]
async fn puts(ctx: Orchestration) -> Result<String> {
    let cents = ctx.entity::<Till>("t").put(10).await?;
    Ok(format!("{}, {cents}", ctx.call(step, "after".into()).await?))
}

async fn an_operation_that_an_operator_names_by_its_result_is_called_again(kind: Kind) {
    let bed = Bed::new(kind, "named", |r| r.register(puts).register(looks).entity::<Till>()).await;
    bed.start(puts, (), "x").await;
    bed.output("x").await;
    let result = bed.events("x", None).await.iter().position(|event| *event == "EntityOperationCompleted");
    let instance = bed.engine.instance("x");
    instance.rewind(because().to_event(result.unwrap() as u64)).await.unwrap();
    assert_eq!(bed.output("x").await, "after done, 20");
    // By its name, with a cut between the call and its result.
    instance.rewind(because().to_turn(2).rerun("put")).await.unwrap();
    assert_eq!(bed.output("x").await, "after done, 30");
    assert_eq!((in_the_till(&bed).await, bed.workshop.ran("after")), (30, (1, 1)));
}
