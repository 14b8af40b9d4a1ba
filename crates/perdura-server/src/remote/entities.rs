//! Operations of entities that workers run.

use super::Pinned;
use crate::work_items::Board;
use perdura_core::entity::OperationBatch;
use perdura_engine::{BatchEnd, EntityHost};
use perdura_store::BoxFuture;
use std::sync::Arc;

/// Pins batches of operations to the board.
pub(crate) struct RemoteEntities {
    pub(crate) board: Arc<Board>,
}

impl EntityHost for RemoteEntities {
    fn run(&self, batch: OperationBatch) -> BoxFuture<'static, BatchEnd> {
        let board = self.board.clone();
        Box::pin(async move {
            let (id, end) = board.submit_batch(batch);
            let _pinned = Pinned { board, id };
            end.await.unwrap_or_else(|_| BatchEnd::Lost { why: "the server is shutting down".to_owned() })
        })
    }
}
