//! Activities that workers run.

use super::Pinned;
use crate::work_items::Board;
use perdura_engine::{ActivityEnd, ActivityHost, ActivityTask};
use perdura_store::BoxFuture;
use std::sync::Arc;

/// Pins activities to the board.
pub(crate) struct RemoteActivities {
    pub(crate) board: Arc<Board>,
}

impl ActivityHost for RemoteActivities {
    fn run(&self, task: ActivityTask) -> BoxFuture<'static, ActivityEnd> {
        let board = self.board.clone();
        Box::pin(async move {
            let canceled = task.canceled.clone();
            let (id, end) = match board.submit_activity(task) {
                Ok(submitted) => submitted,
                Err(end) => return end,
            };
            let _pinned = Pinned { board, id };
            tokio::select! {
                biased;
                end = end => end.unwrap_or(ActivityEnd::NotStarted),
                () = canceled.cancelled() => {
                    ActivityEnd::Lost { reason: "nobody waits for it any more".to_owned() }
                }
            }
        })
    }

    /// A worker's stream takes it off the board.
    fn hands_over(&self) -> bool {
        true
    }
}
