//! Activities: hand out, take results, try again, give up.

use super::effect::{Effect, TaskRef, TaskStart};
use super::instance::{Instance, Task};
use super::record::TaskRecord;
use super::wakes::Wake;
use super::{Bug, Partition};
use crate::failure::{Failure, kind};
use crate::history::{Event, TaskCompleted, TaskFailed, TaskScheduled, TimeLimits};
use crate::id::InstanceKey;
use crate::retry::RetryPolicy;
use crate::time::Timestamp;
use bytes::Bytes;
use std::sync::Arc;

/// Before an attempt that no worker had is handed out again.
const NOT_STARTED_WAIT_MS: u64 = 1000;

impl Partition {
    pub(super) fn schedule_task(&mut self, key: InstanceKey, scheduled: TaskScheduled) {
        let now = self.now;
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let id = scheduled.id;
        let has_limits = scheduled.limits.is_some();
        let shared = Arc::new(scheduled.clone());
        let event = instance.append(Event::new(now, scheduled));
        let record = TaskRecord { id, event, attempt: 1, scheduled_at: now.0, ..TaskRecord::default() };
        instance.tasks.insert(id, Task::new(record, Some(shared)));
        if has_limits {
            self.watch_limits(key, id);
        }
        self.hand_out(key, id);
    }

    /// Hands out every task that waits for nothing.
    pub(super) fn hand_out_tasks(&mut self, key: InstanceKey) {
        let now = self.now;
        let Some(instance) = self.instances.get(&key) else { return };
        let due = |task: &&Task| !task.running && task.record.not_before <= now.0;
        let ids: Vec<u32> = instance.tasks.values().filter(due).map(|task| task.record.id).collect();
        for id in ids {
            self.hand_out(key, id);
        }
    }

    /// Hands a task to a worker: its delivery count rises and is durable before the attempt starts.
    fn hand_out(&mut self, key: InstanceKey, id: u32) {
        let reuse = self.planted(Bug::DeliveryCountReused);
        let Some(instance) = self.instances.get_mut(&key) else { return };
        if instance.is_suspended() {
            return;
        }
        let (execution, name) = (instance.execution(), instance.id.clone());
        let orchestration_version = instance.record.version.clone();
        let (generation, branch) = (instance.record.generation, instance.record.branch);
        let Some(task) = instance.tasks.get_mut(&id).filter(|task| !task.running) else { return };
        let Some(scheduled) = task.scheduled.clone() else { return self.want_history(key) };
        let not_before = std::mem::take(&mut task.record.not_before);
        if !(reuse && task.record.delivery > 0 && not_before == 0) {
            task.record.delivery += 1;
        }
        task.running = true;
        task.began = None;
        let start = TaskStart {
            task: TaskRef { key, execution, generation, branch, task: id, delivery: task.record.delivery },
            instance: name,
            execution,
            orchestration_version,
            scheduled,
            attempt: task.record.attempt,
            last_heartbeat: task.record.heartbeat.clone(),
        };
        if not_before != 0 && !self.planted(Bug::RetryAtOnce) {
            self.rely_on(Timestamp(not_before));
        }
        self.mark_dirty(key);
        self.effect(Effect::StartTask(start));
    }

    /// A worker has begun with an attempt: its time runs from now on, not from when it was handed out. Need only be told
    /// of tasks with limits.
    pub fn task_began(&mut self, task: TaskRef, now: Timestamp) {
        self.advance(now);
        let now = self.now;
        let Some(instance) = self.awaiting(task) else { return };
        let Some(state) = instance.tasks.get_mut(&task.task) else { return };
        if state.running && state.record.delivery == task.delivery {
            state.began = Some((now, now));
            self.watch_limits(task.key, task.task);
        }
    }

    /// Looks at a task again when its next limits may have passed: that of the whole, and the sooner ones of a running
    /// attempt. Heartbeats move the latter only when it is looked at again.
    pub(super) fn watch_limits(&mut self, key: InstanceKey, id: u32) {
        let instance = self.instances.get_mut(&key);
        let Some(task) = instance.and_then(|instance| instance.tasks.get_mut(&id)) else { return };
        let Some(limits) = task.limits() else { return };
        if let Some(at) = task.total_limit_at() {
            self.wakes.add(at, key, Wake::TaskLimit(id));
        }
        let next = attempt_limit(task, limits);
        if let Some(old) = std::mem::replace(&mut task.attempt_limit_at, next) {
            self.wakes.remove(old, key, Wake::AttemptLimit(id));
        }
        if let Some(at) = next {
            self.wakes.add(at, key, Wake::AttemptLimit(id));
        }
    }

    /// A task is over: nothing is due for it any more.
    pub(super) fn unwatch(&mut self, key: InstanceKey, task: &Task) {
        let id = task.record.id;
        if let Some(at) = task.total_limit_at() {
            self.wakes.remove(at, key, Wake::TaskLimit(id));
        }
        if let Some(at) = task.attempt_limit_at {
            self.wakes.remove(at, key, Wake::AttemptLimit(id));
        }
        if task.record.not_before != 0 {
            self.wakes.remove(Timestamp(task.record.not_before), key, Wake::Retry(id));
        }
    }

    /// Takes the result of an attempt. A result of anything but the present delivery is dropped.
    pub fn task_done(&mut self, task: TaskRef, result: Result<Option<Bytes>, Failure>, now: Timestamp) {
        self.advance(now);
        let room = self.config.limits.inbox_bytes_max;
        let late_accepted = self.planted(Bug::LateResultAccepted);
        let Some(instance) = self.awaiting(task) else { return };
        let has_room = instance.has_room(room);
        let Some(state) = instance.tasks.get_mut(&task.task) else { return };
        if !state.running || (state.record.delivery != task.delivery && !late_accepted) {
            return;
        }
        if has_room {
            self.attempt_ended(task.key, task.task, result);
        } else {
            self.hold_result(task.key, task.task, result);
        }
        self.settle();
    }

    /// The present attempt has ended.
    pub(super) fn attempt_ended(
        &mut self,
        key: InstanceKey,
        task: u32,
        result: Result<Option<Bytes>, Failure>,
    ) {
        let limit = self.config.limits.payload_bytes_max;
        let late_accepted = self.planted(Bug::LateResultAccepted);
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let Some(state) = instance.tasks.get(&task) else { return };
        match result {
            Ok(Some(output)) if output.len() > limit => {
                let (id, bytes) = (&instance.id, output.len());
                let message = format!("result of task {task} of {id:?}: {bytes} bytes, limit {limit}");
                self.attempt_failed(key, task, Failure::new(kind::LIMIT, message).non_retryable());
            }
            Ok(output) => {
                let (attempt, delivery) = (state.record.attempt, state.record.delivery);
                let over = if late_accepted { None } else { instance.tasks.remove(&task) };
                let done = TaskCompleted { id: task, output, attempt, delivery };
                instance.inbox.push(Event::new(self.now, done));
                if let Some(over) = over {
                    self.unwatch(key, &over);
                }
                self.mark_dirty(key);
                self.enqueue(key);
            }
            Err(failure) => self.attempt_failed(key, task, failure.within_limits()),
        }
    }

    /// The worker that had an attempt is gone, and nobody knows what came of it: the same attempt is handed out again
    /// with the next delivery count, until too many workers in a row were lost to it.
    pub fn task_lost(&mut self, task: TaskRef, reason: &str, now: Timestamp) {
        self.advance(now);
        let limit = self.config.limits.lost_workers_max;
        let Some(state) = self.handed_out(task) else { return };
        state.record.lost += 1;
        if state.record.lost >= limit {
            let message = format!(
                "{} workers were lost one after another while they ran delivery {} and before, the last one: {reason}",
                state.record.lost, task.delivery
            );
            let failure = Failure::new(kind::WORKER_LOST, message).non_retryable().within_limits();
            self.attempt_failed(task.key, task.task, failure);
        } else {
            state.running = false;
            self.watch_limits(task.key, task.task);
            self.mark_dirty(task.key);
            self.hand_out(task.key, task.task);
        }
        self.settle();
    }

    /// No worker ever had this attempt: it is handed out again a little later, with the next delivery count.
    pub fn task_not_started(&mut self, task: TaskRef, now: Timestamp) {
        self.advance(now);
        let at = plus(self.now, NOT_STARTED_WAIT_MS);
        let Some(state) = self.handed_out(task) else { return };
        state.running = false;
        state.record.not_before = at.0;
        self.watch_limits(task.key, task.task);
        self.wakes.add(at, task.key, Wake::Retry(task.task));
        self.mark_dirty(task.key);
    }

    /// The task, if this is its present delivery.
    fn handed_out(&mut self, task: TaskRef) -> Option<&mut Task> {
        let state = self.awaiting(task)?.tasks.get_mut(&task.task)?;
        let is_present = state.running && state.ended.is_none() && state.record.delivery == task.delivery;
        is_present.then_some(state)
    }

    /// Takes a sign of life from an attempt, with what it says of its progress.
    pub fn heartbeat(&mut self, task: TaskRef, details: Option<Bytes>, now: Timestamp) {
        self.advance(now);
        let now = self.now;
        let limit = self.config.limits.payload_bytes_max;
        let Some(instance) = self.awaiting(task) else { return };
        let Some(state) = instance.tasks.get_mut(&task.task) else { return };
        if state.running && state.record.delivery == task.delivery {
            state.began = state.began.map(|(began, _)| (began, now));
            if details.as_ref().is_some_and(|details| details.len() <= limit)
                && state.record.heartbeat != details
            {
                state.record.heartbeat = details;
                self.mark_dirty(task.key);
            }
        }
    }

    /// The instance, if it still waits for this task.
    fn awaiting(&mut self, task: TaskRef) -> Option<&mut Instance> {
        let any_generation = self.planted(Bug::OldGenerationAccepted);
        let instance = self.instances.get_mut(&task.key)?;
        let same_run = instance.record.generation == task.generation
            && instance.execution() == task.execution
            || any_generation;
        let waits = same_run && instance.record.branch == task.branch && instance.is_active();
        waits.then_some(&mut **instance)
    }

    /// Whether this is the present attempt of its task.
    pub(super) fn is_running(&self, task: TaskRef) -> bool {
        self.instances.get(&task.key).is_some_and(|instance| {
            let state = instance.tasks.get(&task.task);
            instance.execution() == task.execution
                && state.is_some_and(|state| state.running && state.record.delivery == task.delivery)
        })
    }

    /// The present attempt has failed: another follows, or the task has failed.
    fn attempt_failed(&mut self, key: InstanceKey, id: u32, failure: Failure) {
        let (now, dice, at_once) = (self.now, self.dice(), self.planted(Bug::RetryAtOnce));
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let Some(task) = instance.tasks.get_mut(&id) else { return };
        task.running = false;
        let scheduled = task.scheduled.clone();
        let total = scheduled.as_ref().and_then(|s| s.limits).map_or(0, |limits| limits.total_ms);
        let scheduled_at = Timestamp(task.record.scheduled_at);
        let give_up_at = if total == 0 { Timestamp::MAX } else { plus(scheduled_at, total) };
        let policy = scheduled.as_ref().and_then(|s| s.retry.clone()).unwrap_or_default();
        match next_attempt(&policy, task.record.attempt, &failure, now, give_up_at, dice) {
            Some(at) => {
                let at = if at_once { now } else { at };
                task.record.attempt += 1;
                task.record.lost = 0;
                task.record.not_before = at.0;
                task.record.last_failure = Some(failure);
                self.wakes.add(at, key, Wake::Retry(id));
                self.mark_dirty(key);
            }
            None => self.task_failed(key, id, failure),
        }
    }

    fn task_failed(&mut self, key: InstanceKey, id: u32, failure: Failure) {
        let now = self.now;
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let Some(task) = instance.tasks.remove(&id) else { return };
        let (attempt, delivery) = (task.record.attempt, task.record.delivery);
        instance.inbox.push(Event::new(now, TaskFailed { id, failure: Some(failure), attempt, delivery }));
        self.unwatch(key, &task);
        self.mark_dirty(key);
        self.enqueue(key);
    }

    pub(super) fn retry_due(&mut self, key: InstanceKey, id: u32) {
        let now = self.now;
        let waits =
            |task: &Task| !task.running && task.record.not_before != 0 && task.record.not_before <= now.0;
        if self.instances.get(&key).and_then(|i| i.tasks.get(&id)).is_some_and(waits) {
            self.hand_out(key, id);
        }
    }

    /// Looks which of a task's time limits has passed, if any.
    pub(super) fn task_limit_due(&mut self, key: InstanceKey, id: u32) {
        let now = self.now;
        let Some(instance) = self.instances.get(&key) else { return };
        // One that has ended in time cannot be late.
        let Some(task) = instance.tasks.get(&id).filter(|task| task.ended.is_none()) else { return };
        let Some(limits) = task.limits() else { return };
        let passed = |from: Timestamp, ms: u64| ms > 0 && plus(from, ms) <= now;
        let timeout = |what: &str, ms: u64| Failure::new(kind::TIMEOUT, format!("{what}: limit {ms} ms"));
        let running = task.running.then(|| Self::task_ref(instance, task));
        if passed(Timestamp(task.record.scheduled_at), limits.total_ms) {
            self.cancel_attempt(running);
            self.task_failed(key, id, timeout("all attempts took too long", limits.total_ms));
        } else if running.is_some() && task.began.is_some_and(|(began, _)| passed(began, limits.attempt_ms)) {
            self.cancel_attempt(running);
            self.attempt_failed(key, id, timeout("the attempt took too long", limits.attempt_ms));
        } else if running.is_some() && task.began.is_some_and(|(_, heard)| passed(heard, limits.heartbeat_ms))
        {
            self.cancel_attempt(running);
            self.attempt_failed(key, id, timeout("no heartbeat", limits.heartbeat_ms));
        } else {
            self.watch_limits(key, id);
        }
    }

    fn cancel_attempt(&mut self, running: Option<TaskRef>) {
        if let Some(task) = running {
            self.effect(Effect::CancelTask(task));
        }
    }

    pub(super) fn task_ref(instance: &Instance, task: &Task) -> TaskRef {
        TaskRef {
            key: instance.key,
            execution: instance.execution(),
            generation: instance.record.generation,
            branch: instance.record.branch,
            task: task.record.id,
            delivery: task.record.delivery,
        }
    }
}

/// A policy that was never checked must not keep a task for ever.
fn next_attempt(
    policy: &RetryPolicy,
    attempt: u32,
    failure: &Failure,
    now: Timestamp,
    give_up_at: Timestamp,
    dice: f64,
) -> Option<Timestamp> {
    policy.check().is_ok().then(|| policy.next_attempt(attempt, failure, now, give_up_at, dice)).flatten()
}

/// The soonest limit of a running attempt.
fn attempt_limit(task: &Task, limits: TimeLimits) -> Option<Timestamp> {
    let (began, heard) = task.began.filter(|_| task.running)?;
    let at = |from: Timestamp, ms: u64| (ms > 0).then(|| plus(from, ms));
    at(began, limits.attempt_ms).into_iter().chain(at(heard, limits.heartbeat_ms)).min()
}

pub(super) fn plus(from: Timestamp, ms: u64) -> Timestamp {
    Timestamp(from.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
}
