//! An eternal loop: something that is done again and again, for years.
//!
//! Run it with `cargo run -p perdura-examples --bin eternal_loop`.

use perdura::prelude::*;
use perdura::{OnExisting, ReusePolicy, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What one round hands to the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Round {
    /// Counts from 1.
    pub number: u64,
    /// From one round to the next.
    pub period: Duration,
    /// When it is due, in milliseconds since 1970; 0 for a period from now.
    pub due: i64,
}

/// The work of a round.
#[activity]
pub async fn clean_up(round: u64) -> Result<()> {
    println!("round {round}");
    Ok(())
}

/// One round, then the next generation. Ends when it is told to stop, with the number of the round that it left out.
#[orchestration]
pub async fn janitor(ctx: Orchestration, round: Round) -> Result<u64> {
    let due = if round.due == 0 { ctx.now().after(round.period) } else { Timestamp(round.due) };
    if let Either::Second(stop, _) = select(ctx.timer_at(due), ctx.wait_event::<()>("stop")).await {
        stop?;
        return Ok(round.number);
    }
    // A round that fails must not end the loop for ever: the next one tries again.
    if let Err(error) = ctx.call(clean_up, round.number).retry(Retry::attempts(3)).await {
        ctx.set_status(&error.to_string())?;
    }
    // Counted from when this round was due, not from now: so the rounds do not drift. If the program was down for a
    // while, the rounds that were missed are left out.
    let next = due.after(round.period).max(ctx.now());
    // A `loop` would make the history longer with each round. This ends it and begins an empty one.
    ctx.continue_as_new(Round { number: round.number + 1, period: round.period, due: next.0 })
}

#[tokio::main]
async fn main() -> Result<()> {
    let engine = Engine::sqlite("eternal_loop.db").register(janitor).register(clean_up).start().await?;
    // The fixed id makes it the only one. Whichever start comes first creates it; later ones find it.
    let first = Round { number: 1, period: Duration::from_millis(100), due: 0 };
    let reuse = ReusePolicy::USE_EXISTING.when_terminal(OnExisting::Replace);
    let started = engine.start(janitor, first).id("janitor").reuse(reuse).await?;
    println!("the janitor is {}", started.outcome());
    tokio::time::sleep(Duration::from_millis(450)).await;
    started.instance().raise("stop", &()).await?;
    println!("stopped before round {}", started.wait().await?);
    engine.shutdown().await;
    Ok(())
}
