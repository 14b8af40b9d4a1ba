//! Calls under idempotency keys that nobody waits for any more. The next call under the key is the same step: it waits for
//! the attempt that is under way, or goes on with its counts. One that runs at most once stays in doubt meanwhile.

use super::effect::TaskRef;
use super::instance::{Instance, Task};
use super::keys::reused;
use super::record::{KeyLeft, KeyUse, TaskRecord};
use super::tasks::plus;
use super::wakes::Wake;
use super::{Bug, Partition};
use crate::delivery::{Stage, idempotency_key};
use crate::failure::{Failure, kind};
use crate::history::TaskScheduled;
use crate::id::InstanceKey;
use crate::limits::KEYS_REMEMBERED;
use crate::rewind::{RewindSpec, RewindTo};
use crate::time::Timestamp;
use bytes::Bytes;
use std::sync::Arc;

/// An attempt of a call that nobody waits for any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeftAttempt {
    task: TaskRef,
    /// It was told so: should it fail now, that says nothing of what it has done.
    told: bool,
    /// When it will have taken too long: nobody waits for it from then on.
    limit_at: Option<Timestamp>,
}

impl KeyLeft {
    fn is_of(&self, task: TaskRef) -> bool {
        !task.asks
            && (self.execution.id(), self.generation, self.branch, self.task, self.delivery)
                == (task.execution, task.generation, task.branch, task.task, task.delivery)
    }

    /// Whether this names an attempt of it, the last one or one before.
    fn has_made(&self, task: TaskRef) -> bool {
        task.delivery <= self.delivery && self.is_of(TaskRef { delivery: self.delivery, ..task })
    }

    fn unknown(&self) -> Failure {
        let KeyLeft { key, name, delivery, .. } = self;
        let message = format!(
            "nobody knows whether activity {name:?} ran under idempotency key {key:?}: delivery {delivery} has no known end; \
             it was to run at most once, so this call did not run. Rewind the instance to run it again, or say at the call \
             what is to be done: at most once, with \"suspend\" or a handler"
        );
        Failure::new(kind::UNKNOWN_OUTCOME, message).non_retryable().within_limits()
    }
}

impl Instance {
    pub(super) fn has_left_calls(&self) -> bool {
        self.record.keys.as_ref().is_some_and(|keys| !keys.left.is_empty())
    }

    fn left_key(&self, of: impl Fn(&KeyLeft) -> bool) -> Option<usize> {
        self.record.keys.as_ref()?.left.iter().position(of)
    }

    /// What outside systems know the work of a task by, if that is not said by its run, number and origin: a call that goes
    /// on with an earlier one, perhaps of another branch, or a handler, which is no attempt of the activity that it is asked about.
    pub(super) fn own_step(&self, task: &Task, asks: bool) -> Option<Arc<str>> {
        let has_taken =
            task.record.step.is_some() || task.record.key.as_ref().is_some_and(|usage| usage.took.is_some());
        match asks {
            true => Some(format!("{}-handler", self.step_of(task)).into()),
            false => has_taken.then(|| self.step_of(task).into()),
        }
    }

    pub(super) fn step_of(&self, task: &Task) -> String {
        match task.record.key.as_ref().and_then(|usage| usage.took.as_ref()) {
            Some(took) => took.step.clone(),
            None => {
                let step = self.record.own_step(&task.record);
                idempotency_key(self.execution(), step.task, step.branch)
            }
        }
    }

    /// Nobody waits for a task any more. If it was handed out and has a key, the next call under that goes on with it.
    pub(super) fn leave_call(&mut self, task: &Task, has_failed: bool) {
        let Some(usage) = task.record.key.as_ref().filter(|usage| usage.follows.is_none()) else { return };
        if task.record.delivery == 0 {
            return;
        }
        let took = usage.took.as_ref().filter(|took| took.delivery == task.record.delivery);
        let left = KeyLeft {
            key: usage.key.clone(),
            name: usage.name.clone(),
            input: usage.input.clone(),
            step: self.step_of(task),
            // As whoever runs the last attempt knows it.
            execution: took.map_or(self.record.execution, |took| took.execution),
            generation: took.map_or(self.record.generation, |took| took.generation),
            branch: took.map_or(self.record.branch, |took| took.branch),
            task: took.map_or(task.record.id, |took| took.task),
            delivery: task.record.delivery,
            in_doubt: task.is_at_most_once() && task.stage() != Some(Stage::Queued),
            has_failed,
            called_in: self.record.generation,
            event: task.record.event,
        };
        let is_out = task.running && !task.offered && task.stage() == Some(Stage::Out);
        if is_out && left.in_doubt && !has_failed {
            let limit_at = task.attempt_limit_at;
            self.left_running.push(LeftAttempt {
                task: Partition::task_ref(self, task),
                told: true,
                limit_at,
            });
        }
        let keys = self.record.keys.get_or_insert_default();
        keys.left.retain(|other| other.key != left.key);
        keys.left.push(left);
        keys.left.drain(..keys.left.len().saturating_sub(KEYS_REMEMBERED));
    }

    /// A rewind permits calls to run again: those that it names, and those whose failure for want of knowledge it drops.
    pub(super) fn permit_left_calls(
        &mut self,
        cut: u64,
        again: &[(TaskRecord, TaskScheduled)],
        spec: &RewindSpec,
    ) {
        let generation = self.record.generation;
        let Some(keys) = self.record.keys.as_deref_mut() else { return };
        for left in keys.left.iter_mut().filter(|left| left.in_doubt) {
            let is_named =
                spec.order.rerun.contains(&left.name) || spec.to == RewindTo::Call(left.name.clone());
            let is_here = left.called_in == generation;
            // Of one that is open on the new branch, that says what is known.
            let is_open = is_here && again.iter().any(|(record, _)| record.event == left.event);
            let is_dropped = is_here && left.has_failed && left.event >= cut;
            left.in_doubt = !(is_named || is_open || is_dropped);
        }
    }
}

impl Partition {
    /// The instance continues as new: calls under keys that are under way go on, for the next one under the key.
    pub(super) fn let_calls_go_on(&mut self, key: InstanceKey) {
        if self.planted(Bug::KeyRunsAgain) {
            return;
        }
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let goes_on = |task: &Task| {
            let leads = task.record.key.as_ref().is_some_and(|usage| usage.follows.is_none());
            leads && task.running && !task.offered && matches!(task.stage(), None | Some(Stage::Out))
        };
        let ids: Vec<u32> =
            instance.tasks.values().filter(|task| goes_on(task)).map(|task| task.record.id).collect();
        for id in ids {
            let Some(instance) = self.instances.get_mut(&key) else { return };
            let Some(mut task) = instance.tasks.remove(&id) else { continue };
            let limit_at = task.attempt_limit_at;
            let attempt = LeftAttempt { task: Self::task_ref(instance, &task), told: false, limit_at };
            self.unwatch(key, &task);
            task.running = false;
            if let Some(instance) = self.instances.get_mut(&key) {
                instance.leave_call(&task, false);
                instance.left_running.push(attempt);
            }
        }
    }

    /// A call under a key goes on with one that nobody waits for any more, if there is one. Says whether it is to run now:
    /// not while an attempt is under way.
    pub(super) fn goes_on_with_left(&mut self, key: InstanceKey, id: u32, usage: &mut KeyUse) -> bool {
        let now = self.now;
        let Some(instance) = self.instances.get_mut(&key) else { return false };
        let Some(at) = instance.left_key(|left| left.key == usage.key) else { return true };
        // That of the call before is not known after a lease was lost.
        let limits = instance.tasks.get(&id).and_then(Task::limits).unwrap_or_default();
        let limit = [limits.attempt_ms, limits.heartbeat_ms].into_iter().filter(|ms| *ms > 0).min();
        let (running, Some(keys)) = (&mut instance.left_running, instance.record.keys.as_deref_mut()) else {
            return true;
        };
        let left = &keys.left[at];
        if !usage.is_same_call(&left.name, &left.input) {
            self.given(key, id, Err(reused(&usage.key)), "");
            return false;
        }
        let is_at_work = |attempt: &&mut LeftAttempt| {
            left.is_of(attempt.task) && attempt.limit_at.is_none_or(|limit_at| limit_at > now)
        };
        if let Some(attempt) = running.iter_mut().find(is_at_work) {
            attempt.limit_at = attempt.limit_at.or(limit.map(|ms| plus(now, ms)));
            if let Some(limit_at) = attempt.limit_at {
                self.wakes.add(limit_at, key, Wake::AttemptLimit(id));
            }
            return false;
        }
        let Some(task) = instance.tasks.get_mut(&id) else { return false };
        if left.in_doubt && !task.is_at_most_once() {
            let failure = left.unknown();
            self.given(key, id, Err(failure), "");
            return false;
        }
        let left = keys.left.remove(at);
        task.record.delivery = task.record.delivery.max(left.delivery);
        if let Some(once) =
            task.record.once.as_mut().filter(|once| left.in_doubt && once.stage() == Stage::Queued)
        {
            once.begin(left.delivery, now.0, "");
        }
        usage.took = Some(Box::new(left));
        true
    }

    /// The time of some attempts is up: calls that wait for such go on.
    pub(super) fn left_calls_late(&mut self, key: InstanceKey) {
        if self.instances.get(&key).is_some_and(|instance| !instance.left_running.is_empty()) {
            self.hand_out_tasks(key);
        }
    }

    /// Whether an attempt is one that nobody waits for, but whose result counts for the next call under its key.
    pub(super) fn is_left_call(&self, task: TaskRef) -> bool {
        let instance = self.instances.get(&task.key);
        instance.is_some_and(|instance| instance.left_key(|left| left.is_of(task)).is_some())
    }

    /// After a recovery: an attempt that nobody waits for is still at work here. Says whether it is one.
    pub(super) fn left_call_still_runs(&mut self, task: TaskRef) -> bool {
        let is_left = self.is_left_call(task);
        if let Some(instance) = self.instances.get_mut(&task.key).filter(|_| is_left) {
            // Whether it was told is not known: then its failure says nothing.
            instance.left_running.push(LeftAttempt { task, told: true, limit_at: None });
        }
        is_left
    }

    /// An attempt as the call knows it that has gone on with it.
    pub(super) fn taken_over_as(&self, task: TaskRef) -> TaskRef {
        let Some(instance) = self.instances.get(&task.key).filter(|_| !task.asks) else { return task };
        let has_taken = |known: &&Task| {
            let took = known.record.key.as_ref().and_then(|usage| usage.took.as_ref());
            took.is_some_and(|took| took.has_made(task))
        };
        match instance.tasks.values().find(has_taken) {
            Some(known) => {
                TaskRef { delivery: task.delivery, asks: false, ..Self::task_ref(instance, known) }
            }
            None => task,
        }
    }

    /// An attempt has ended. Says whether it was one that nobody waits for; then its result is that of its key.
    pub(super) fn left_call_ended(&mut self, task: TaskRef, result: &Result<Option<Bytes>, Failure>) -> bool {
        let limit = self.config.limits.payload_bytes_max;
        let Some(told) = self.left_attempt_over(task) else { return false };
        let key = task.key;
        let Some(instance) = self.instances.get_mut(&key) else { return false };
        let Some(at) = instance.left_key(|left| left.is_of(task)) else { return false };
        let Some(keys) = instance.record.keys.as_deref_mut() else { return false };
        let left = keys.left[at].clone();
        let usage = KeyUse { key: left.key, name: left.name, input: left.input, ..KeyUse::default() };
        match result {
            Ok(output) if output.as_ref().is_none_or(|output| output.len() <= limit) => {
                self.key_settled(key, &usage, task.task, Ok(output.clone()));
            }
            // It was told to stop, or has run out of its time: perhaps it has done something all the same.
            Err(_) if told => {}
            result => {
                let failure = match result {
                    Err(failure) => failure.clone().within_limits(),
                    Ok(_) => {
                        let message = format!("result under key {:?}: limit {limit} bytes", usage.key);
                        Failure::new(kind::LIMIT, message).non_retryable()
                    }
                };
                // How it ended is known.
                keys.left[at].in_doubt = false;
                self.left_call_failed(key, &usage, failure);
            }
        }
        self.mark_dirty(key);
        self.hand_out_tasks(key);
        true
    }

    /// The failure is one of the first call that waits for it, which may try again; the others wait for that.
    fn left_call_failed(&mut self, key: InstanceKey, usage: &KeyUse, failure: Failure) {
        let mut leader = None;
        for id in self.waiting_for(key, usage) {
            if self.is_to_run(key, id) {
                leader = Some(id);
            }
        }
        let keys = self.instances.get_mut(&key).and_then(|instance| instance.record.keys.as_deref_mut());
        match (leader, keys) {
            (Some(leader), _) => self.attempt_failed(key, leader, failure),
            (None, Some(keys)) => keys.left.retain(|left| left.key != usage.key),
            (None, None) => {}
        }
    }

    /// An attempt that nobody waits for has no end that is known. Says whether it was one.
    pub(super) fn left_attempt_gone(&mut self, task: TaskRef) -> bool {
        let is_left = self.left_attempt_over(task).is_some() && self.is_left_call(task);
        if is_left {
            self.hand_out_tasks(task.key);
        }
        is_left
    }

    /// Takes it from those that run. Says whether it had been told, as one that is not known to run may have been.
    fn left_attempt_over(&mut self, task: TaskRef) -> Option<bool> {
        let running = &mut self.instances.get_mut(&task.key)?.left_running;
        let at = running.iter().position(|attempt| attempt.task == task);
        Some(at.is_none_or(|at| running.swap_remove(at).told))
    }

    /// Calls that wait for one that nobody else waits for.
    fn waiting_for(&self, key: InstanceKey, usage: &KeyUse) -> Vec<u32> {
        let Some(instance) = self.instances.get(&key) else { return Vec::new() };
        let waits = |task: &&Task| {
            let called = task.scheduled.as_ref().and_then(|scheduled| scheduled.key.as_ref());
            task.record.key.is_none() && !task.running && called == Some(&usage.key)
        };
        instance.tasks.values().filter(waits).map(|task| task.record.id).collect()
    }
}
