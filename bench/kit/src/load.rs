//! Load.

use crate::Outcome;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Errors that are printed; the others are only counted.
const ERRORS_SHOWN: u64 = 4;

/// Calls `call(i)` for i in 0..count, at most `concurrency` at a time, and none that begins after `duration`. Gives the
/// seconds that each successful call took, and the number of errors.
pub async fn closed_loop<F, Fut>(count: u64, concurrency: u64, duration: Duration, call: F) -> (Vec<f64>, u64)
where
    F: Fn(u64) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Outcome<()>> + Send,
{
    let (next, call, end) = (Arc::new(AtomicU64::new(0)), Arc::new(call), Instant::now() + duration);
    let shown = Arc::new(AtomicU64::new(0));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..concurrency.min(count) {
        let (next, call, shown) = (next.clone(), call.clone(), shown.clone());
        callers.spawn(async move {
            let (mut seconds, mut errors) = (Vec::new(), 0);
            loop {
                let i = next.fetch_add(1, Relaxed);
                let began = Instant::now();
                if i >= count || began > end {
                    return (seconds, errors);
                }
                match call(i).await {
                    Ok(()) => seconds.push(began.elapsed().as_secs_f64()),
                    Err(why) => {
                        errors += 1;
                        if shown.fetch_add(1, Relaxed) < ERRORS_SHOWN {
                            eprintln!("error: {why}");
                        }
                    }
                }
            }
        });
    }
    let (mut all, mut errors) = (Vec::new(), 0);
    while let Some(caller) = callers.join_next().await {
        match caller {
            Ok((seconds, wrong)) => {
                all.extend(seconds);
                errors += wrong;
            }
            Err(panic) => {
                eprintln!("error: {panic}");
                errors += 1;
            }
        }
    }
    if errors > ERRORS_SHOWN {
        eprintln!("errors: {errors}; the first {ERRORS_SHOWN} are above");
    }
    (all, errors)
}
