//! Rate limiter: many orchestrations share what a service allows.
//!
//! Run it with `cargo run -p perdura-examples --bin rate_limiter`.

use perdura::Timestamp;
use perdura::prelude::*;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a service allows: so many calls at once, and then one after each pause.
const BURST: i64 = 5;
const PAUSE_MS: i64 = 100;

/// Hands out moments. There is one for each service.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct RateLimiter {
    /// When all moments that were handed out are used up, in ms since 1970.
    used_up_at: i64,
}

#[entity]
impl RateLimiter {
    /// Hands out the next free moment, in ms since 1970. Operations run one after another, so nobody else gets it.
    pub fn reserve(&mut self, ctx: EntityContext) -> Result<i64> {
        let now = ctx.now().0;
        self.used_up_at = self.used_up_at.max(now) + PAUSE_MS;
        Ok((self.used_up_at - BURST * PAUSE_MS).max(now))
    }
}

/// Asks the service.
#[activity]
pub async fn fetch(page: u64) -> Result<u64> {
    Ok(page * page)
}

/// Asks the service when its turn has come. The wait is a durable timer: it costs nothing, and a restart does not begin it
/// again.
#[orchestration]
pub async fn polite_fetch(ctx: Orchestration, page: u64) -> Result<u64> {
    let at = ctx.entity::<RateLimiter>("service").reserve().await?;
    ctx.timer_at(Timestamp(at)).await?;
    ctx.call(fetch, page).retry(Retry::attempts(3)).timeout(Duration::from_secs(10)).await
}

/// Many at once.
#[orchestration]
pub async fn crawl(ctx: Orchestration, pages: u64) -> Result<u64> {
    let pages = join_all((0..pages).map(|page| ctx.sub_orchestration(polite_fetch, page)));
    pages.await.into_iter().sum()
}

#[tokio::main]
async fn main() -> Result<()> {
    let engine = Engine::sqlite("rate_limiter.db").entity::<RateLimiter>();
    let engine = engine.register(fetch).register(polite_fetch).register(crawl).start().await?;
    let began = std::time::Instant::now();
    let sum = engine.run(crawl, 15).await?;
    // Five at once, and ten one after another.
    let polite = began.elapsed() >= Duration::from_millis(1000);
    println!("{sum}, {}", if polite { "politely" } else { "too fast" });
    engine.shutdown().await;
    Ok(())
}
