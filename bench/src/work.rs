//! What the workloads run.

use perdura::prelude::*;
use perdura_benchkit::{activity as run_activity, note_waiting, number, payload};
use std::time::Duration;

#[activity]
pub(crate) async fn noop(input: String) -> Result<String> {
    Ok(run_activity(&input))
}

#[orchestration]
pub(crate) async fn seq(ctx: Orchestration, input: String) -> Result<String> {
    let mut output = String::new();
    for i in 0..number(&input) {
        output = ctx.call(noop, payload(i)).await?;
    }
    Ok(output)
}

#[orchestration]
pub(crate) async fn fan(ctx: Orchestration, input: String) -> Result<String> {
    let all = join_all((0..number(&input)).map(|i| ctx.call(noop, payload(i)))).await;
    let all = all.into_iter().collect::<Result<Vec<String>>>()?;
    Ok(payload(all.len() as u64))
}

#[orchestration]
pub(crate) async fn event(ctx: Orchestration, _input: String) -> Result<String> {
    let wait = ctx.wait_event("go").start();
    note_waiting();
    wait.await
}

#[orchestration]
pub(crate) async fn parent(ctx: Orchestration, input: String) -> Result<String> {
    let all = join_all((0..number(&input)).map(|_| ctx.sub_orchestration(seq, payload(1)))).await;
    let all = all.into_iter().collect::<Result<Vec<String>>>()?;
    Ok(payload(all.len() as u64))
}

#[orchestration]
pub(crate) async fn timer(ctx: Orchestration, input: String) -> Result<String> {
    ctx.timer(Duration::from_millis(number(&input))).await?;
    Ok(input)
}
