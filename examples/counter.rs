//! Counter: state under a key, changed by one operation after the other, whoever sends them.
//!
//! Run it with `cargo run -p perdura-examples --bin counter`.

use perdura::prelude::*;
use serde::{Deserialize, Serialize};

/// How often a page was looked at. There is one for each page: the key is its path.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Visits {
    /// So often.
    pub count: u64,
}

#[entity]
impl Visits {
    /// Counts, and says how many there are now.
    pub fn add(&mut self, visits: u64) -> Result<u64> {
        self.count = self.count.checked_add(visits).ok_or(Error::new("Overflow", "that is too many"))?;
        Ok(self.count)
    }

    /// Reads: `&self` leaves the state as it is.
    pub fn get(&self) -> Result<u64> {
        Ok(self.count)
    }
}

/// An orchestration waits for results. The call is a step of its history, like that of an activity.
#[orchestration]
pub async fn report(ctx: Orchestration, pages: Vec<String>) -> Result<u64> {
    let counts = join_all(pages.iter().map(|page| ctx.entity::<Visits>(page).get())).await;
    counts.into_iter().sum()
}

#[tokio::main]
async fn main() -> Result<()> {
    let engine = Engine::sqlite("counter.db").entity::<Visits>().register(report).start().await?;
    for page in ["/", "/", "/about", "/"] {
        // Durable when this returns, and counted exactly once, even if the program is killed the moment after.
        engine.signal::<Visits>(page).add(1).await?;
    }
    // It comes after the signals that were sent before it, so it sees them.
    let all = engine.run(report, vec!["/".into(), "/about".into()]).await?;
    let front = engine.entity::<Visits>("/").read().await?.unwrap_or_default();
    println!("{all} visits, {} of them to the front page", front.count);
    // An entity without state, work and lock does not exist.
    engine.entity::<Visits>("/").delete().await?;
    engine.entity::<Visits>("/about").delete().await?;
    println!("{:?}", engine.entity::<Visits>("/").read().await?);
    engine.shutdown().await;
    Ok(())
}
