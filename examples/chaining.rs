//! Chaining: one step after the other, each with the result of the one before.
//!
//! Run it with `cargo run -p perdura-examples --bin chaining`. Kill it at any moment and run it again: steps that were
//! recorded do not run again.

use perdura::prelude::*;
use std::time::Duration;

/// Sets the goods aside.
#[activity]
pub async fn reserve(order: String) -> Result<String> {
    Ok(format!("shelf 7 for {order}"))
}

/// Takes the money.
///
/// An activity runs at least once: after a crash nobody knows whether the last attempt got through. So it gives the
/// service a key that is the same for every attempt, by which the service can recognise a repetition.
#[activity]
pub async fn charge(ctx: ActivityContext, cents: u64) -> Result<String> {
    let key = format!("{}-{}", ctx.execution_id(), ctx.task_id());
    if cents == 0 {
        // Trying again would not help.
        return Err(Error::permanent(Error::new("NothingToPay", "an order must cost something")));
    }
    // Here a real one would call the payment service with the key.
    assert!(!key.is_empty());
    Ok(format!("receipt for {cents} cents"))
}

/// Sends the parcel.
#[activity]
pub async fn ship((place, receipt): (String, String)) -> Result<String> {
    Ok(format!("shipped from {place} against {receipt}"))
}

/// An order, from shelf to door.
#[orchestration]
pub async fn order(ctx: Orchestration, (id, cents): (String, u64)) -> Result<String> {
    let place = ctx.call(reserve, id).await?;
    // The engine keeps the count of attempts and the time limits; a restart does not begin them again.
    let retry = Retry::attempts(5).backoff(Duration::from_millis(200));
    let receipt = ctx.call(charge, cents).retry(retry).timeout(Duration::from_secs(10)).await?;
    ctx.call(ship, (place, receipt)).await
}

#[tokio::main]
async fn main() -> Result<()> {
    let engine = Engine::sqlite("chaining.db").register(order).register(reserve).register(charge);
    let engine = engine.register(ship).start().await?;
    println!("{}", engine.run(order, ("order 42".into(), 1999)).await?);
    engine.shutdown().await;
    Ok(())
}
