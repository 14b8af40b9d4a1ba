//! What a turn costs the thread of a partition: `cargo run --release -p perdura --example turn_cost`.

use perdura::prelude::*;
use perdura::{Bytes, InstanceId, Timestamp};
use perdura_core::history::{Event, EventKind, ExecutionStarted, TaskCompleted, TurnStarted};
use perdura_core::orchestration::{Decision, Run, Runner, Turn, TurnOutcome};
use perdura_core::{ExecutionId, InstanceKey};
use std::time::{Duration, Instant};

#[activity]
async fn step(n: u64) -> Result<u64> {
    Ok(n)
}

#[orchestration]
async fn chain(ctx: Orchestration, n: u64) -> Result<u64> {
    let mut sum = 0;
    for i in 0..n {
        sum += ctx.call(step, i).await?;
    }
    Ok(sum)
}

#[orchestration]
async fn fan_out(ctx: Orchestration, n: u64) -> Result<u64> {
    join_all((0..n).map(|i| ctx.call(step, i))).await.into_iter().sum()
}

fn turn(name: &str, from: u64, event: impl Into<EventKind>) -> Turn {
    let at = Timestamp(1);
    Turn {
        key: InstanceKey(1),
        id: InstanceId::new("i").expect("a good id"),
        name: name.into(),
        version: String::new(),
        execution: ExecutionId(1),
        generation: 0,
        branch: 0,
        from,
        number: from,
        trace: None,
        lost: 0,
        events: vec![Event::new(at, TurnStarted::default()), Event::new(at, event)],
    }
}

/// Runs an orchestration to its end, each answer in a turn of its own; gives the history and the time inside the runner.
fn run(runner: &mut dyn Runner, name: &str, n: u64) -> (Vec<Event>, u32, Duration) {
    let started = ExecutionStarted {
        name: name.into(),
        input: Some(n.to_string().into()),
        execution: vec![1; 16].into(),
        ..Default::default()
    };
    let mut next = turn(name, 0, started);
    let (mut history, mut turns, mut spent) = (Vec::new(), 0, Duration::ZERO);
    let mut answered = 0;
    loop {
        let begun = Instant::now();
        let run = runner.run(&next, None);
        spent += begun.elapsed();
        turns += 1;
        let Run::Finished(TurnOutcome::Done(result)) = run else { panic!("{run:?}") };
        history.extend(next.events);
        for decision in result.decisions {
            match decision {
                Decision::ScheduleTask(task) => history.push(Event::new(Timestamp(1), task)),
                _ => return (history, turns, spent),
            }
        }
        let output = Some(Bytes::from_static(b"1"));
        let done = TaskCompleted { id: answered, output, attempt: 1, delivery: 1, ..Default::default() };
        next = turn(name, history.len() as u64, done);
        answered += 1;
    }
}

fn main() {
    let mut runner = Registry::new().register(chain).register(fan_out).runner();
    let each = |spent: Duration, n: u32| format!("{:>6} ns each", (spent / n).as_nanos());
    for (name, n) in [("chain", 1_000), ("chain", 20_000), ("fan_out", 1_000), ("fan_out", 20_000)] {
        run(&mut *runner, name, 100);
        let (history, turns, spent) = run(&mut *runner, name, n);
        println!("{name:>8} of {n:>6}: {turns:>6} warm turns, {}", each(spent, turns));
        let cold = turn(name, history.len() as u64, TaskCompleted::default());
        let begun = Instant::now();
        runner.run(&cold, Some(&history));
        println!(
            "{:>26} {:>6} events replayed, {}",
            "",
            history.len(),
            each(begun.elapsed(), history.len() as u32)
        );
    }
}
