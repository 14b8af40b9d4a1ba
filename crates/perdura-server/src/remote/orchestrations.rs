//! Turns of orchestrations that workers run.

use crate::work_items::{Board, ItemId, OrchestrationWork};
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
        Box::new(RemoteRunner { board: self.board.clone(), returns, turns: FxHashMap::default() })
    }
}

/// The turns of one life of a partition.
struct RemoteRunner {
    board: Arc<Board>,
    returns: TurnReturns,
    /// The last turn of each instance that was sent away.
    turns: FxHashMap<InstanceKey, ItemId>,
}

impl Runner for RemoteRunner {
    fn run(&mut self, turn: &Turn, history: Option<&[Event]>) -> Run {
        // Workers keep nothing: each turn comes with all that was before.
        let past = match history {
            Some(history) => history.to_vec(),
            None if turn.from == 0 => Vec::new(),
            None => return Run::NeedsHistory,
        };
        let work = OrchestrationWork {
            instance: turn.id.clone(),
            execution: turn.execution,
            past,
            new: turn.events.clone(),
            trace: turn.trace.clone(),
            ticket: turn.ticket(),
            returns: self.returns.clone(),
            hand_overs: Mutex::default(),
        };
        if let Some(old) = self.turns.remove(&turn.key) {
            self.board.remove(old);
        }
        let id = self.board.submit_turn(work, &turn.name, &turn.version);
        self.turns.insert(turn.key, id);
        Run::Away
    }

    fn forget(&mut self, key: InstanceKey) {
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
