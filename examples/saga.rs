//! Saga: several steps in several services. If one fails, or somebody cancels, what was done is undone in reverse order.
//!
//! Run it with `cargo run -p perdura-examples --bin saga`.

use perdura::prelude::*;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One thing to book. The key is made before the first attempt: the service knows a booking by it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Booking {
    /// A new one for each booking, the same for all attempts.
    pub key: String,
    /// A flight, a hotel.
    pub what: String,
}

/// Books one thing.
#[activity]
pub async fn book(booking: Booking) -> Result<()> {
    if booking.what == "a room on the moon" {
        return Err(Error::permanent(Error::new("SoldOut", "no room on the moon")));
    }
    println!("booked {}", booking.what);
    Ok(())
}

/// Undoes a booking. It must do no harm if there is none: nobody knows whether an attempt that was cut off got through.
/// And it must hold against an attempt of `book` with the same key that arrives late.
#[activity]
pub async fn undo(booking: Booking) -> Result<()> {
    println!("undid {}", booking.what);
    Ok(())
}

/// Makes the bookings final.
#[activity]
pub async fn confirm(bookings: Vec<Booking>) -> Result<usize> {
    Ok(bookings.len())
}

/// Everything that was wished, or nothing.
#[orchestration]
pub async fn trip(ctx: Orchestration, wishes: Vec<String>) -> Result<usize> {
    let mut bookings = Vec::new();
    let booked = book_all(&ctx, wishes, &mut bookings).await;
    if booked.is_err() {
        // Also when the instance was cancelled: what it waited for has failed, but what it begins from now on works as
        // ever.
        for booking in bookings.into_iter().rev() {
            // An undo that gives up leaves a mess that only a person can clean up, so it is patient.
            let patience = Retry::attempts(100).backoff(Duration::from_secs(1));
            ctx.call(undo, booking).retry(patience).await?;
        }
    }
    // The error that began it all is returned; if it was the request to cancel, the instance ends as Canceled.
    booked
}

async fn book_all(ctx: &Orchestration, wishes: Vec<String>, bookings: &mut Vec<Booking>) -> Result<usize> {
    for what in wishes {
        let booking = Booking { key: ctx.new_uuid(), what };
        // Noted before the call, not after it: a call that failed, or was cut off, may have had its effect.
        bookings.push(booking.clone());
        ctx.call(book, booking).retry(Retry::attempts(3)).await?;
    }
    // While it waits for the traveller, somebody may cancel.
    ctx.wait_event::<()>("paid").await?;
    ctx.call(confirm, bookings.clone()).await
}

#[tokio::main]
async fn main() -> Result<()> {
    let engine = Engine::sqlite("saga.db").register(trip).register(book).register(undo).register(confirm);
    let engine = engine.start().await?;
    let wishes = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();

    let good = engine.start(trip, wishes(&["a flight", "a hotel"])).await?;
    good.instance().raise("paid", &()).await?;
    println!("confirmed {} bookings", good.wait().await?);

    let bad = engine.run(trip, wishes(&["a flight", "a hotel", "a room on the moon"])).await;
    println!("{}", bad.expect_err("nobody sells that"));

    let regretted = engine.start(trip, wishes(&["a flight", "a hotel"])).await?;
    // Give it time to book; it does no harm if it had none.
    tokio::time::sleep(Duration::from_millis(200)).await;
    regretted.instance().cancel("the traveller is ill").await?;
    println!("{}", regretted.wait().await.expect_err("it was cancelled"));
    engine.shutdown().await;
    Ok(())
}
