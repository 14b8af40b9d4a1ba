//! Results of workers that were taken for lost. A worker whose stream ended may be alive and finish what it runs: SDKs
//! close the stream first when they stop. Its result counts as long as nobody else has brought one for the same attempt.

use super::Token;
use perdura_core::{ExecutionId, InstanceId};
use perdura_engine::{ActivityEnd, ActivityTask, HandOver};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// Names an attempt of a task, however often it is handed over. The next attempt of its retry policy is another one, and so
/// is the same attempt after a rewind: nothing that came of one is good for the other.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct TaskName {
    pub(crate) instance: InstanceId,
    execution: ExecutionId,
    branch: u32,
    pub(crate) task: u32,
    attempt: u32,
}

impl TaskName {
    pub(crate) fn of(task: &ActivityTask) -> TaskName {
        TaskName {
            instance: task.instance.clone(),
            execution: task.execution,
            branch: task.branch,
            task: task.task,
            attempt: task.attempt,
        }
    }

    /// As SDKs name it that bring no token.
    pub(crate) fn in_instance(&self) -> (InstanceId, u32) {
        (self.instance.clone(), self.task)
    }
}

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
    /// The lost workers of each attempt whose hand-overs are not committed.
    tokens: FxHashMap<TaskName, Vec<Token>>,
    results: VecDeque<(TaskName, ActivityEnd)>,
}

impl LateResults {
    /// The worker with this token is gone.
    pub(crate) fn lost(&mut self, token: Token, lost: Lost) {
        if self.oldest.len() == LOST_MAX {
            self.oldest.pop_front().and_then(|oldest| self.take_lost(oldest));
        }
        self.oldest.push_back(token);
        if lost.hand_over.is_none() {
            self.tokens.entry(lost.name.clone()).or_default().push(token);
        }
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
        let lost = self.lost.remove(&token)?;
        if let Some(tokens) = self.tokens.get_mut(&lost.name) {
            tokens.retain(|of| *of != token);
            if tokens.is_empty() {
                self.tokens.remove(&lost.name);
            }
        }
        Some(lost)
    }

    /// The attempt is over: nobody wants another result of it.
    pub(crate) fn over(&mut self, name: &TaskName) {
        for token in self.tokens.remove(name).into_iter().flatten() {
            self.lost.remove(&token);
        }
        self.results.retain(|(of, _)| of != name);
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
