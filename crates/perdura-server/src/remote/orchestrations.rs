//! Turns of orchestrations that workers run.

use crate::work_items::{Board, ItemId, OrchestrationWork, Warm};
use perdura_core::history::Event;
use perdura_core::orchestration::{Run, Runner, Turn};
use perdura_core::{InstanceKey, PartitionId};
use perdura_engine::{OrchestrationHost, TurnReturns};
use rustc_hash::FxHashMap;
use std::sync::{Arc, Mutex};

/// Pins the turns of all partitions to the board.
pub(crate) struct RemoteOrchestrations {
    pub(crate) board: Arc<Board>,
}

impl OrchestrationHost for RemoteOrchestrations {
    fn runner(&self, _: PartitionId, returns: TurnReturns) -> Box<dyn Runner> {
        Box::new(RemoteRunner {
            board: self.board.clone(),
            returns,
            turns: FxHashMap::default(),
            warm: Arc::default(),
        })
    }
}

/// The turns of one life of a partition.
struct RemoteRunner {
    board: Arc<Board>,
    returns: TurnReturns,
    /// The last turn of each instance that was sent away.
    turns: FxHashMap<InstanceKey, ItemId>,
    warm: Arc<Warm>,
}

impl Runner for RemoteRunner {
    fn run(&mut self, turn: &Turn, history: Option<&[Event]>) -> Run {
        // Workers with an SDK keep nothing: each turn comes with all that was before.
        let (past, only) = match (history, self.warm.keeper(turn.key)) {
            (Some(history), _) => (Some(history.to_vec()), None),
            (None, _) if turn.from == 0 => (Some(Vec::new()), None),
            (None, Some(keeper)) => (None, Some(keeper)),
            (None, None) => return Run::NeedsHistory,
        };
        self.warm.forget(turn.key);
        let work = OrchestrationWork {
            turn: turn.clone(),
            past,
            returns: self.returns.clone(),
            hand_overs: Mutex::default(),
            warm: self.warm.clone(),
        };
        if let Some(old) = self.turns.remove(&turn.key) {
            self.board.remove(old);
        }
        let Some(id) = self.board.submit_turn(work, only) else { return Run::NeedsHistory };
        self.turns.insert(turn.key, id);
        Run::Away
    }

    fn forget(&mut self, key: InstanceKey) {
        self.warm.forget(key);
        if let Some(id) = self.turns.remove(&key) {
            self.board.remove(id);
        }
    }
}

impl Drop for RemoteRunner {
    fn drop(&mut self) {
        self.turns.values().for_each(|id| drop(self.board.remove(*id)));
    }
}
