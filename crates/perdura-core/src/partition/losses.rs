//! Attempts that did not end: their worker was lost, or none ever had them. They are handed out again.

use super::Partition;
use super::effect::TaskRef;
use super::tasks::plus;
use super::wakes::Wake;
use crate::failure::{Failure, kind};
use crate::id::InstanceKey;
use crate::time::Timestamp;

/// Before an attempt that no worker had is handed out again.
const NOT_STARTED_WAIT_MS: u64 = 1000;

impl Partition {
    /// The worker that had an attempt is gone, and nobody knows what came of it: the same attempt is handed out again
    /// with the next delivery count, until too many workers in a row were lost to it.
    pub fn task_lost(&mut self, task: TaskRef, reason: &str, now: Timestamp) {
        self.worker_lost(task, (reason, true), now);
    }

    /// As [`task_lost`](Self::task_lost), but something else that the worker had has cost it: this attempt is not counted.
    pub fn task_lost_beside(&mut self, task: TaskRef, reason: &str, now: Timestamp) {
        self.worker_lost(task, (reason, false), now);
    }

    fn worker_lost(&mut self, task: TaskRef, (reason, counts): (&str, bool), now: Timestamp) {
        self.advance(now);
        if task.asks {
            self.handler_lost(task, (reason, counts));
            return self.settle();
        }
        if self.left_attempt_gone(task) {
            return self.settle();
        }
        let Some(state) = self.handed_out(task) else { return };
        if state.offered {
            // It was lost on the way to a worker.
            (state.running, state.offered) = (false, false);
            return self.hand_out(task.key, task.task);
        }
        if state.is_at_most_once() {
            self.in_doubt(task.key, task.task, reason);
            return self.settle();
        }
        if counts {
            self.attempt_lost(task.key, task.task, task.delivery, reason);
        } else {
            self.run_again(task.key, task.task, reason);
        }
        self.settle();
    }

    /// The present attempt is lost: another follows, until too many in a row were.
    pub(super) fn attempt_lost(&mut self, key: InstanceKey, id: u32, delivery: u32, reason: &str) {
        let limit = self.config.limits.lost_workers_max;
        let Some(state) = self.instances.get_mut(&key).and_then(|instance| instance.tasks.get_mut(&id))
        else {
            return;
        };
        state.record.lost += 1;
        if state.record.lost >= limit {
            state.note_end(reason);
            let message = format!(
                "{} workers were lost one after another while they ran delivery {delivery} and before, the last one: {reason}",
                state.record.lost
            );
            let failure = Failure::new(kind::WORKER_LOST, message).non_retryable().within_limits();
            self.attempt_failed(key, id, failure);
        } else {
            self.run_again(key, id, reason);
        }
    }

    /// The present attempt has ended without its doing, and is handed out again.
    pub(super) fn run_again(&mut self, key: InstanceKey, id: u32, reason: &str) {
        let task = self.instances.get_mut(&key).and_then(|instance| instance.tasks.get_mut(&id));
        let Some(task) = task else { return };
        task.note_end(reason);
        task.running = false;
        self.watch_limits(key, id);
        self.mark_dirty(key);
        self.hand_out(key, id);
    }

    /// No worker ever had this attempt: it is handed out again a little later, with the next delivery count.
    pub fn task_not_started(&mut self, task: TaskRef, now: Timestamp) {
        self.advance(now);
        let at = plus(self.now, NOT_STARTED_WAIT_MS);
        if self.left_attempt_gone(task) {
            return self.settle();
        }
        let Some(state) = self.handed_out(task) else { return };
        (state.running, state.offered) = (false, false);
        if !task.asks {
            state.note_end("it did not begin");
        }
        state.record.not_before = at.0;
        self.watch_limits(task.key, task.task);
        self.wakes.add(at, task.key, Wake::Retry(task.task));
        self.mark_dirty(task.key);
    }
}
