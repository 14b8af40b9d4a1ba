//! Monitor: look again and again, less and less often, until something has happened or it takes too long.
//!
//! Run it with `cargo run -p perdura-examples --bin monitor`.

use perdura::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What to look at, and how often.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Watch {
    /// Whose end is awaited.
    pub job: String,
    /// The first pause; each further one is twice as long.
    pub pause: Duration,
    /// The longest pause.
    pub pause_max: Duration,
    /// When to give up, counted from the start.
    pub give_up_after: Duration,
}

/// What the activities look at; a real one would be the client of a service.
#[derive(Default)]
pub struct Service {
    /// How many looks it has answered.
    pub looks: AtomicU32,
}

/// One look.
#[activity]
pub async fn is_done(ctx: ActivityContext, job: String) -> Result<bool> {
    let look = ctx.data::<Arc<Service>>().looks.fetch_add(1, Ordering::SeqCst) + 1;
    println!("look {look} at {job}");
    Ok(look >= 4)
}

/// Looks until the job is done. Says how many times it had to.
#[orchestration]
pub async fn monitor(ctx: Orchestration, watch: Watch) -> Result<u32> {
    let deadline = ctx.now().after(watch.give_up_after);
    let mut pause = watch.pause;
    // A dozen looks make a short history. To look thousands of times, continue as new now and then: `eternal_loop`.
    for look in 1.. {
        // A look that fails three times counts as «not yet»: a monitor must bear a service that is down.
        if ctx.call(is_done, watch.job.clone()).retry(Retry::attempts(3)).await.unwrap_or(false) {
            return Ok(look);
        }
        if ctx.now().after(pause) > deadline {
            break;
        }
        ctx.timer(pause).await?;
        pause = (pause * 2).min(watch.pause_max);
    }
    Err(Error::new("StillRunning", format!("{} was not done in {:?}", watch.job, watch.give_up_after)))
}

#[tokio::main]
async fn main() -> Result<()> {
    let engine = Engine::sqlite("monitor.db").register(monitor).register(is_done);
    let engine = engine.data(Arc::new(Service::default())).start().await?;
    let watch = Watch {
        job: "job 7".into(),
        pause: Duration::from_millis(50),
        pause_max: Duration::from_secs(1),
        give_up_after: Duration::from_secs(10),
    };
    println!("done after {} looks", engine.run(monitor, watch).await?);
    engine.shutdown().await;
    Ok(())
}
