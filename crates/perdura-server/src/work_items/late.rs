//! Results of workers that were taken for lost. A worker whose stream ended may be alive and finish what it runs: SDKs
//! close the stream first when they stop. Its result counts as long as nobody else has brought one.

use super::Token;
use perdura_core::{ExecutionId, InstanceId};
use perdura_engine::{ActivityEnd, HandOver};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// Names a task of a run.
pub(crate) type TaskName = (InstanceId, ExecutionId, u32);

/// The activity that a worker had which was taken for lost.
pub(crate) struct Lost {
    pub(crate) name: TaskName,
    /// With one the hand-overs are committed, and the engine knows what a late result is good for. Without, another worker may
    /// run it now, and the first result counts.
    pub(crate) hand_over: Option<HandOver>,
}

/// Lost hand-overs that are remembered.
const LOST_MAX: usize = 10_000;
/// Results that wait for the engine to hand the activity out again, which it does within milliseconds.
const RESULTS_MAX: usize = 64;

/// See the module.
#[derive(Default)]
pub(crate) struct LateResults {
    lost: FxHashMap<Token, Lost>,
    oldest: VecDeque<Token>,
    results: VecDeque<(TaskName, ActivityEnd)>,
}

impl LateResults {
    /// The worker with this token is gone.
    pub(crate) fn lost(&mut self, token: Token, lost: Lost) {
        if self.oldest.len() == LOST_MAX {
            self.oldest.pop_front().map(|oldest| self.lost.remove(&oldest));
        }
        self.oldest.push_back(token);
        self.lost.insert(token, lost);
    }

    /// Whether the result of a worker with this token may still count.
    pub(crate) fn may_come(&self, token: Token) -> bool {
        self.lost.contains_key(&token)
    }

    /// What the worker with this token had, if it was taken for lost.
    pub(crate) fn find_lost(&self, token: Token) -> Option<&Lost> {
        self.lost.get(&token)
    }

    /// Takes what a worker had that was taken for lost.
    pub(crate) fn take_lost(&mut self, token: Token) -> Option<Lost> {
        self.lost.remove(&token)
    }

    /// Keeps a result until its activity is handed out again.
    pub(crate) fn keep_result(&mut self, name: TaskName, end: ActivityEnd) {
        if self.results.len() == RESULTS_MAX {
            self.results.pop_front();
        }
        self.results.push_back((name, end));
    }

    /// The result of an activity that is about to be handed out again.
    pub(crate) fn take_result(&mut self, name: &TaskName) -> Option<ActivityEnd> {
        let index = self.results.iter().position(|(of, _)| of == name)?;
        self.results.remove(index).map(|(_, end)| end)
    }
}
