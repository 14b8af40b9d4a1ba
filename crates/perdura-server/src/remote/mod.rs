//! The engine's side of remote workers: turns, activities and operations go to the board of the hub, and come back from there.

mod activities;
mod entities;
mod orchestrations;

pub(crate) use activities::RemoteActivities;
pub(crate) use entities::RemoteEntities;
pub(crate) use orchestrations::RemoteOrchestrations;

use crate::work_items::{Board, ItemId};
use std::sync::Arc;

/// An item that leaves the board with whoever waits for it.
struct Pinned {
    board: Arc<Board>,
    id: ItemId,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.board.remove(self.id);
    }
}
