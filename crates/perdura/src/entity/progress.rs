//! What a batch of operations has come to, told while it runs: an operation that never ends shall not take what was done
//! before it along, and shall not hold its entity for ever.

use super::EntityContext;
use bytes::Bytes;
use perdura_core::Failure;
use perdura_core::entity::{OperationResult, OperationsDone};
use perdura_core::failure::kind;
use perdura_engine::{BatchEnd, panic_text};
use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

/// No operation runs longer: a limit that means "for ever" is a time that a clock can still add.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// See the [module](self).
pub(super) struct Progress(Mutex<State>);

struct State {
    done: OperationsDone,
    /// The operations that run, in order, and since when: several only read.
    runs: VecDeque<(String, EntityContext, Instant)>,
    /// Nobody waits for the batch any more.
    is_over: bool,
}

impl Progress {
    /// Nothing is done yet.
    pub(super) fn new(state: Option<Bytes>) -> Progress {
        let done = OperationsDone { results: Vec::new(), state };
        Progress(Mutex::new(State { done, runs: VecDeque::new(), is_over: false }))
    }

    /// The state after the last operation that ended well.
    pub(super) fn good(&self) -> Option<Bytes> {
        self.state().done.state.clone()
    }

    /// Whether nothing was run yet.
    pub(super) fn is_none(&self) -> bool {
        self.state().done.results.is_empty()
    }

    pub(super) fn begin(&self, operation: &str, ctx: EntityContext) {
        self.state().runs.push_back((operation.to_owned(), ctx, Instant::now()));
    }

    /// The first operation of those that run has ended; `state` is that after it, if it has changed. Says whether anybody waits for more.
    pub(super) fn end(&self, result: OperationResult, state: Option<Option<Bytes>>) -> bool {
        let mut progress = self.state();
        if !progress.is_over {
            progress.runs.pop_front();
            progress.done.results.push(result);
            if let Some(state) = state {
                progress.done.state = state;
            }
        }
        !progress.is_over
    }

    /// All that was done. The batch is over, also for what still runs: there is nothing left to give up.
    pub(super) fn take(&self) -> OperationsDone {
        let mut progress = self.state();
        progress.is_over = true;
        progress.runs.clear();
        std::mem::take(&mut progress.done)
    }

    /// When the first operation that runs will have run for too long.
    fn due(&self, longest: Duration) -> Instant {
        let since = self.state().runs.front().map(|(.., since)| *since);
        since.unwrap_or_else(Instant::now) + longest.min(FOR_EVER)
    }

    /// If the first operation that runs has run for too long, it has failed, and the batch is over.
    fn give_up(&self, longest: Duration) -> Option<OperationsDone> {
        let mut progress = self.state();
        progress.runs.front().filter(|(.., since)| since.elapsed() >= longest)?;
        let running = std::mem::take(&mut progress.runs);
        running.iter().for_each(|(_, ctx, _)| drop(ctx.take()));
        let (operation, ctx, _) = running.front()?;
        let message = format!(
            "operation {operation:?} of {} took longer than {} ms; nothing of it is kept. Shorten it, or raise \
             operation_time_max of the engine or time_max of the entity",
            ctx.id(),
            longest.as_millis()
        );
        let outcome = Err(Failure::new(kind::TIMEOUT, message));
        progress.done.results.push(OperationResult { outcome, actions: Vec::new() });
        progress.is_over = true;
        Some(std::mem::take(&mut progress.done))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs a batch in a task of its own, since an operation may hold its thread, and gives up one that takes too long. What
/// such an operation does later is dropped.
pub(super) async fn run_within(
    longest: Duration,
    progress: Arc<Progress>,
    batch: impl Future<Output = BatchEnd> + Send + 'static,
) -> BatchEnd {
    let mut running = tokio::spawn(batch);
    // Nobody waits for a batch whose engine is gone.
    let _aborts = AbortOnDrop(running.abort_handle());
    loop {
        match timeout_at(progress.due(longest), &mut running).await {
            Ok(Ok(end)) => return end,
            Ok(Err(error)) => {
                let why = match error.try_into_panic() {
                    Ok(panic) => format!("the code of the entity panicked: {}", panic_text(&*panic)),
                    Err(error) => error.to_string(),
                };
                return BatchEnd::Lost { why };
            }
            Err(_) => {
                if let Some(done) = progress.give_up(longest) {
                    return BatchEnd::Done(done);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use perdura_core::{EntityId, Timestamp};

    #[test]
    fn a_batch_that_was_given_back_is_not_given_up_afterwards() {
        let progress = Progress::new(None);
        let id = EntityId::parse("@Counter@a").unwrap();
        for operation in ["delete", "look"] {
            progress.begin(operation, EntityContext::new(id.clone(), Timestamp(0), None, 1));
        }
        let deleted = OperationResult { outcome: Ok(None), actions: Vec::new() };
        assert!(progress.end(deleted, Some(None)));
        assert_eq!(progress.take().results.len(), 1);
        assert!(progress.give_up(Duration::ZERO).is_none(), "of the one that runs it would tell a time-out");
    }
}
