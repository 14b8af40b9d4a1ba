//! Operations of entities that workers run.

use super::Pinned;
use crate::work_items::{Board, EntityWork};
use perdura_core::Failure;
use perdura_core::entity::{OperationBatch, OperationResult, OperationsDone};
use perdura_core::failure::kind;
use perdura_engine::{BatchEnd, EntityHost};
use perdura_store::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep_until;

/// Pins batches of operations to the board.
pub(crate) struct RemoteEntities {
    pub(crate) board: Arc<Board>,
    /// How long a worker may have a batch.
    pub(crate) time_max: Option<Duration>,
}

impl EntityHost for RemoteEntities {
    fn run(&self, batch: OperationBatch) -> BoxFuture<'static, BatchEnd> {
        let (board, time_max) = (self.board.clone(), self.time_max);
        Box::pin(async move {
            let (id, work, end) = match board.submit_batch(batch) {
                Ok(submitted) => submitted,
                Err(end) => return end,
            };
            let _pinned = Pinned { board, id };
            tokio::select! {
                biased;
                end = end => {
                    end.unwrap_or_else(|_| BatchEnd::Lost { why: "the server is shutting down".to_owned() })
                }
                longest = overdue(&work, time_max) => given_up(&work.batch, longest),
            }
        })
    }

    /// A worker's stream takes it off the board.
    fn hands_over(&self) -> bool {
        true
    }
}

/// Ends when a worker has had the batch for too long; gives how long it may have it.
async fn overdue(work: &EntityWork, time_max: Option<Duration>) -> Duration {
    let Some(longest) = time_max else { return std::future::pending().await };
    let mut given = work.given();
    loop {
        let since = *given.borrow_and_update();
        tokio::select! {
            // The sender is part of the work.
            _ = given.changed() => {}
            () = async {
                match since {
                    Some(since) => sleep_until(since + longest).await,
                    None => std::future::pending().await,
                }
            } => return longest,
        }
    }
}

/// What becomes of a batch that a worker has had for too long. Of several operations nobody knows which one it was: they are
/// handed out again one at a time.
fn given_up(batch: &OperationBatch, longest: Duration) -> BatchEnd {
    let took = format!("took longer than {} ms", longest.as_millis());
    let [operation] = &batch.operations[..] else {
        return BatchEnd::Lost { why: format!("{} operations {took}", batch.operations.len()) };
    };
    let message = format!("operation {:?} of {} {took}; nothing of it is kept", operation.name, batch.id);
    let outcome = Err(Failure::new(kind::TIMEOUT, message));
    let result = OperationResult { outcome, actions: Vec::new() };
    BatchEnd::Done(OperationsDone { results: vec![result], state: batch.state.clone() })
}
