//! Human interaction: ask somebody, wait for days, go on without an answer when the deadline has passed.
//!
//! Run it with `cargo run -p perdura-examples --bin human_interaction`.

use perdura::prelude::*;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Something that must be approved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Expense {
    /// For what.
    pub what: String,
    /// How much.
    pub cents: u64,
    /// How long the approver has.
    pub deadline: Duration,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Decision {
    /// Yes.
    Approved {
        /// Who said so.
        by: String,
    },
    /// No.
    Rejected {
        /// Who said so.
        by: String,
    },
    /// Nobody answered in time.
    Escalated,
}

/// Asks the approver.
#[activity]
pub async fn ask(ctx: ActivityContext, expense: Expense) -> Result<()> {
    // A real one would send a mail. The link in it raises the event "decision" for this instance.
    println!("to the approver of {}: {} for {} cents?", ctx.instance_id(), expense.what, expense.cents);
    Ok(())
}

/// Tells somebody else.
#[activity]
pub async fn escalate(expense: Expense) -> Result<()> {
    println!("to the manager: nobody has decided about {}", expense.what);
    Ok(())
}

/// From the question to the decision.
#[orchestration]
pub async fn approval(ctx: Orchestration, expense: Expense) -> Result<Decision> {
    // The deadline counts from here, however long it takes to send the mail.
    let deadline = ctx.timer(expense.deadline).start();
    ctx.call(ask, expense.clone()).retry(Retry::attempts(5)).await?;
    // Whichever arrived first wins, now and in every replay. A decision that came while the mail was being sent has been
    // kept. (`wait_event(..).within(..)` is shorter where the deadline counts from the wait.)
    match select(ctx.wait_event("decision"), deadline).await {
        Either::First(decision, _) => decision,
        Either::Second(passed, _) => {
            passed?;
            ctx.call(escalate, expense).retry(Retry::attempts(5)).await?;
            Ok(Decision::Escalated)
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let engine = Engine::sqlite("human_interaction.db").register(approval).register(ask).register(escalate);
    let engine = engine.start().await?;

    let bicycle = Expense { what: "a bicycle".into(), cents: 80_000, deadline: Duration::from_secs(86_400) };
    let asked = engine.start(approval, bicycle).await?;
    // It does not matter whether the instance waits already: the event is kept for it.
    let decision = Decision::Approved { by: "ada".into() };
    asked.instance().raise("decision", &decision).await?;
    println!("{:?}", asked.wait().await?);

    let boat = Expense { what: "a boat".into(), cents: 8_000_000, deadline: Duration::from_millis(200) };
    println!("{:?}", engine.run(approval, boat).await?);
    engine.shutdown().await;
    Ok(())
}
