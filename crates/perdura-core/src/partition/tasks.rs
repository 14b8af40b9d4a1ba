//! Activities: hand out, take results, try again, give up.

use super::effect::{Effect, TaskRef, TaskStart};
use super::instance::{Instance, Task};
use super::record::{FailedTask, TaskRecord};
use super::wakes::Wake;
use super::{Bug, ByKey, Partition};
use crate::delivery::{KEY_TAG, OnceRecord, Question, REMEMBERED_BYTES_MAX, Stage};
use crate::failure::{Failure, kind};
use crate::history::{Event, TaskCompleted, TaskFailed, TaskScheduled, TimeLimits};
use crate::id::InstanceKey;
use crate::retry::RetryPolicy;
use crate::rewind::{Found, Sort};
use crate::time::Timestamp;
use bytes::Bytes;
use std::sync::Arc;

impl Partition {
    pub(super) fn schedule_task(&mut self, key: InstanceKey, mut scheduled: TaskScheduled) {
        let now = self.now;
        let has_barrier = self.settle_delivery(&mut scheduled);
        if scheduled.key.is_none() && !scheduled.tags.is_empty() {
            scheduled.key = scheduled.tags.get(KEY_TAG).cloned();
        }
        let found = self.reused(key, || Sort::of_task(&scheduled));
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let id = scheduled.id;
        if let Some(Found::Result(output)) = found {
            instance.append(Event::new(now, scheduled));
            // No attempt of it was made on this branch.
            instance.inbox.push(Event::new(now, TaskCompleted { id, output, ..TaskCompleted::default() }));
            return;
        }
        let left = match found {
            Some(Found::Attempt(found)) if has_barrier => instance.record.left_step(&found),
            _ => None,
        };
        scheduled.step = left.as_ref().map(|(step, ..)| *step);
        let has_limits = scheduled.limits.is_some();
        let shared = Arc::new(scheduled.clone());
        let event = instance.append(Event::new(now, scheduled));
        let mut once = has_barrier.then(Box::<OnceRecord>::default);
        let before = instance.record.failed.iter().find(|failed| failed.id == id);
        let (attempt, delivery) = before.map_or((1, 0), |failed| (failed.attempt + 1, failed.delivery));
        let last_word = before.and_then(|failed| failed.last_word.clone());
        let mut record =
            TaskRecord { id, event, attempt, delivery, scheduled_at: now.0, ..TaskRecord::default() };
        // It was asked for on a branch that was left, and nobody knows whether it ran: no more is known now.
        if let Some((step, known, given)) = left {
            record.delivery = delivery.max(given);
            record.step = Some(Box::new(step));
            once = Some(Box::new(known));
        }
        record.once = once;
        instance.tasks.insert(id, Task::new(record, Some(shared)));
        if let Some(failure) = last_word {
            return self.task_failed(key, id, failure);
        }
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

    /// Hands a task to a worker: its delivery count rises and is durable before the attempt starts. With a barrier it is
    /// only offered, and the count rises when a worker takes it.
    pub(super) fn hand_out(&mut self, key: InstanceKey, id: u32) {
        let is_others_fault = self.no_activitys_fault();
        let reuse = self.planted(Bug::DeliveryCountReused);
        let Some(instance) = self.instances.get_mut(&key) else { return };
        if instance.is_suspended() {
            return;
        }
        let is_due = |task: &&Task| !task.running && task.ended.is_none();
        let Some(task) = instance.tasks.get(&id).filter(is_due) else { return };
        let Some(scheduled) = &task.scheduled else { return self.want_history(key) };
        if scheduled.key.is_some() && !self.is_to_run(key, id) {
            return;
        }
        let Some(task) = self.instances.get_mut(&key).and_then(|instance| instance.tasks.get_mut(&id)) else {
            return;
        };
        let has_barrier = match task.stage() {
            // What was out when a turn or an operation ended its process is not counted.
            None if is_others_fault => {
                task.record.accounted = task.record.delivery;
                false
            }
            // Perhaps it is what ends its process again and again: from here on it is known when it begins.
            None => task.is_suspect(),
            Some(Stage::Queued) => true,
            Some(Stage::Out | Stage::Asked | Stage::Suspended) => return self.go_on_in_doubt(key, id),
        };
        if has_barrier {
            task.record.once.get_or_insert_default();
            if !self.is_in_turn(key, id) {
                return;
            }
        }
        let begins_at_once = has_barrier && self.has_room_to_begin();
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let Some(task) = instance.tasks.get_mut(&id) else { return };
        task.running = true;
        task.began = None;
        task.offered = has_barrier;
        if begins_at_once {
            return self.take_at_once(key, id);
        }
        if has_barrier {
            // What it waited for is relied on, and nothing is written, when it is taken.
            return self.start_task(key, id, None);
        }
        let not_before = std::mem::take(&mut task.record.not_before);
        if !(reuse && task.record.delivery > 0 && not_before == 0) {
            task.record.delivery += 1;
        }
        if not_before != 0 && !self.planted(Bug::RetryAtOnce) {
            self.rely_on(Timestamp(not_before));
        }
        self.mark_dirty(key);
        self.start_task(key, id, None);
    }

    /// Lets a worker begin with what is handed out: the activity, or the handler with its question.
    pub(super) fn start_task(&mut self, key: InstanceKey, id: u32, asked: Option<(TaskScheduled, Question)>) {
        let Some(instance) = self.instances.get(&key) else { return };
        let Some(task) = instance.tasks.get(&id) else { return };
        let (scheduled, question) = match asked {
            Some((handler, question)) => (Some(Arc::new(handler)), Some(Box::new(question))),
            None => (task.scheduled.clone(), None),
        };
        let Some(scheduled) = scheduled else { return };
        // A handler is no attempt of the activity that it is asked about.
        let asks = question.is_some();
        let start = TaskStart {
            task: Self::task_ref(instance, task),
            instance: instance.id.clone(),
            execution: instance.execution(),
            orchestration_version: instance.record.version.clone(),
            origin: instance.record.origin(task.record.event),
            step: instance.own_step(task, asks),
            scheduled,
            attempt: if asks { 1 } else { task.record.attempt },
            lost: match &task.record.once {
                Some(once) if asks => once.handlers_lost,
                _ => task.record.lost,
            },
            last_heartbeat: task.record.heartbeat.clone().filter(|_| !asks),
            has_barrier: task.offered,
            is_taken: task.stage() == Some(Stage::Out),
            question,
        };
        self.effect(Effect::StartTask(start));
    }

    /// A worker has begun with an attempt: its time runs from now on, not from when it was handed out. Need only be told
    /// of tasks with limits.
    pub fn task_began(&mut self, task: TaskRef, now: Timestamp) {
        self.advance(now);
        let now = self.now;
        let Some(instance) = self.awaiting(task) else { return };
        let Some(state) = instance.tasks.get_mut(&task.task) else { return };
        if state.is_present(task) && !state.offered {
            state.began = Some((now, now));
            self.watch_limits(task.key, task.task);
        }
    }

    /// Looks at a task again when its next limits may have passed: that of the whole, and the sooner ones of a running
    /// attempt. Heartbeats move the latter only when it is looked at again.
    pub(super) fn watch_limits(&mut self, key: InstanceKey, id: u32) {
        let handler_ms_max = self.config.limits.handler_ms_max;
        let instance = self.instances.get_mut(&key);
        let Some(task) = instance.and_then(|instance| instance.tasks.get_mut(&id)) else { return };
        let Some(limits) = task.limits() else { return };
        if let Some(at) = task.total_limit_at() {
            self.wakes.add(at, key, Wake::TaskLimit(id));
        }
        let next = match task.stage() {
            Some(Stage::Asked) => task.limit_of_handler(handler_ms_max),
            _ => attempt_limit(task, limits),
        };
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

    /// How many bytes of results its instance has room for, if somebody waits for this attempt.
    #[must_use]
    pub fn room_for_result(&mut self, task: TaskRef) -> Option<usize> {
        let most = self.config.limits.inbox_bytes_max;
        if !self.is_left_call(task) {
            self.handed_out(task)?;
        }
        Some(self.instances.get(&task.key)?.room(most))
    }

    /// Whether the result of this attempt would count, or be noted of a task that runs at most once.
    #[must_use]
    pub fn wants_result(&mut self, task: TaskRef) -> bool {
        let task = self.on_present_branch(task);
        let state = self.awaiting(task).and_then(|instance| instance.tasks.get(&task.task));
        state.is_some_and(|state| state.is_present(task) || (state.record.once.is_some() && !task.asks))
            || self.is_left_call(task)
    }

    /// Whether the result of this attempt has come, and waits for room in the inbox of its instance. It is not recorded yet.
    #[must_use]
    pub fn holds_result(&self, task: TaskRef) -> bool {
        let task = self.on_present_branch(task);
        let instance =
            self.instances.get(&task.key).filter(|instance| instance.execution() == task.execution);
        let state = instance.and_then(|instance| instance.tasks.get(&task.task));
        state.is_some_and(|state| state.ended.is_some())
    }

    /// Takes the result of an attempt. One of anything but the present delivery does not count; it is noted while the
    /// task is open.
    pub fn task_done(&mut self, task: TaskRef, result: Result<Option<Bytes>, Failure>, now: Timestamp) {
        self.advance(now);
        if self.instances.contains_key(&task.key) {
            self.take_result(task, result);
        } else if self.left_in_doubt.contains(&task.key) {
            self.look_up(task.key, ByKey::Result(task, result));
        }
        self.settle();
    }

    pub(super) fn take_result(&mut self, task: TaskRef, result: Result<Option<Bytes>, Failure>) {
        let room = self.config.limits.inbox_bytes_max;
        let has_room = self.instances.get(&task.key).is_some_and(|instance| instance.has_room(room));
        self.take_result_with(task, result, has_room);
    }

    /// Takes the result of an attempt that has written in the transaction of the batch to come. It is recorded in that
    /// batch, whether there is room or not: it must not be lost when what was written is not.
    pub fn work_done(&mut self, task: TaskRef, output: Option<Bytes>, now: Timestamp) {
        self.advance(now);
        self.take_result_with(task, Ok(output), true);
        self.settle();
    }

    pub(super) fn take_result_with(
        &mut self,
        task: TaskRef,
        result: Result<Option<Bytes>, Failure>,
        has_room: bool,
    ) {
        let late_accepted = self.planted(Bug::LateResultAccepted);
        if self.left_call_ended(task, &result) {
            return;
        }
        let task = self.on_present_branch(self.taken_over_as(task));
        let Some(instance) = self.awaiting(task) else { return };
        let Some(state) = instance.tasks.get_mut(&task.task) else { return };
        // An attempt of an earlier life, not yet given up by this one, was at work all the time.
        state.running |= state.stage() == Some(Stage::Out) && state.record.delivery == task.delivery;
        if !(state.is_present(task) || late_accepted && state.running) || task.asks {
            self.result_late(task, result);
        } else if has_room && (state.scheduled.is_some() || result.is_ok()) {
            self.attempt_ended(task.key, task.task, result);
        } else {
            self.hold_result(task.key, task.task, result);
        }
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
                let kept = over.as_ref().filter(|over| over.record.key.is_some()).map(|_| output.clone());
                let done = TaskCompleted { id: task, output, attempt, delivery, settled_by: String::new() };
                instance.inbox.push(Event::new(self.now, done));
                if let Some(over) = over {
                    self.unwatch(key, &over);
                    if let (Some(usage), Some(output)) = (&over.record.key, kept) {
                        self.key_settled(key, usage, task, Ok(output));
                    }
                }
                self.mark_dirty(key);
                self.enqueue(key);
            }
            Err(failure) => self.attempt_failed(key, task, failure.within_limits()),
        }
    }

    /// The task, if this is its present delivery.
    pub(super) fn handed_out(&mut self, task: TaskRef) -> Option<&mut Task> {
        let state = self.awaiting(task)?.tasks.get_mut(&task.task)?;
        let is_present = state.is_present(task) && state.ended.is_none();
        is_present.then_some(state)
    }

    /// Takes a sign of life from an attempt, with what it says of its progress.
    pub fn heartbeat(&mut self, task: TaskRef, details: Option<Bytes>, now: Timestamp) {
        self.advance(now);
        let now = self.now;
        let limit = self.config.limits.payload_bytes_max;
        let Some(instance) = self.awaiting(task) else { return };
        let Some(state) = instance.tasks.get_mut(&task.task) else { return };
        if state.is_present(task) && !state.offered && !task.asks {
            state.began = state.began.map(|(began, _)| (began, now));
            if details.as_ref().is_some_and(|details| details.len() <= limit)
                && state.record.heartbeat != details
            {
                if let Some(attempt) = state.record.once.as_mut().and_then(|once| once.attempt(task.delivery))
                {
                    attempt.heard_at = now.0;
                    let kept = details.clone().filter(|details| details.len() <= REMEMBERED_BYTES_MAX);
                    attempt.heartbeat = kept;
                }
                state.record.heartbeat = details;
                self.mark_dirty(task.key);
            }
        }
    }

    /// The instance, if it still waits for this task.
    pub(super) fn awaiting(&mut self, task: TaskRef) -> Option<&mut Instance> {
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
            instance.execution() == task.execution && state.is_some_and(|state| state.is_present(task))
        })
    }

    /// The present attempt has failed: another follows, or the task has failed.
    pub(super) fn attempt_failed(&mut self, key: InstanceKey, id: u32, failure: Failure) {
        let (now, dice, at_once) = (self.now, self.dice(), self.planted(Bug::RetryAtOnce));
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let Some(task) = instance.tasks.get_mut(&id) else { return };
        task.running = false;
        task.note_end(&failure.kind);
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

    pub(super) fn task_failed(&mut self, key: InstanceKey, id: u32, failure: Failure) {
        self.task_failed_by(key, id, failure, "");
    }

    /// The task has failed for good, and this is who says so; empty if its worker does.
    pub(super) fn task_failed_by(&mut self, key: InstanceKey, id: u32, failure: Failure, by: &str) {
        let now = self.now;
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let Some(task) = instance.tasks.remove(&id) else { return };
        if task.is_at_most_once() && task.stage() != Some(Stage::Queued) {
            instance.leave_call(&task, true);
        }
        let (attempt, delivery) = (task.record.attempt, task.record.delivery);
        let is_last = !by.is_empty() || instance.has_last_word(id, &failure);
        let last_word = is_last.then(|| failure.clone());
        instance.remember_failed(FailedTask { id, attempt, delivery, last_word });
        let shared = task.record.key.as_ref().map(|_| failure.clone());
        let (failure, settled_by) = (Some(failure), by.to_owned());
        instance.inbox.push(Event::new(now, TaskFailed { id, failure, attempt, delivery, settled_by }));
        self.unwatch(key, &task);
        if let (Some(usage), Some(failure)) = (&task.record.key, shared) {
            self.key_settled(key, usage, id, Err(failure));
        }
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
        self.handler_late(key, id);
        self.left_calls_late(key);
        let now = self.now;
        let Some(instance) = self.instances.get(&key) else { return };
        // One that has ended in time cannot be late; and one that suspends its instance waits for whoever can tell.
        let awaited = |task: &&Task| task.ended.is_none() && task.stage() != Some(Stage::Suspended);
        let Some(task) = instance.tasks.get(&id).filter(awaited) else { return };
        let Some(limits) = task.limits() else { return };
        let passed = |from: Timestamp, ms: u64| ms > 0 && plus(from, ms) <= now;
        let timeout = |what: &str, ms: u64| Failure::new(kind::TIMEOUT, format!("{what}: limit {ms} ms"));
        let running = task.running.then(|| Self::task_ref(instance, task));
        let attempt = running.filter(|running| !running.asks);
        if passed(Timestamp(task.record.scheduled_at), limits.total_ms) {
            self.cancel_attempt(running);
            self.task_failed(key, id, timeout("all attempts took too long", limits.total_ms));
        } else if attempt.is_some() && task.began.is_some_and(|(began, _)| passed(began, limits.attempt_ms)) {
            self.cancel_attempt(attempt);
            self.attempt_timed_out(key, id, timeout("the attempt took too long", limits.attempt_ms));
        } else if attempt.is_some() && task.began.is_some_and(|(_, heard)| passed(heard, limits.heartbeat_ms))
        {
            self.cancel_attempt(attempt);
            self.attempt_timed_out(key, id, timeout("no heartbeat", limits.heartbeat_ms));
        } else {
            self.watch_limits(key, id);
        }
    }

    /// Nobody waits for an attempt any more that may still be at work: of one that runs at most once, nobody knows what
    /// comes of it.
    fn attempt_timed_out(&mut self, key: InstanceKey, id: u32, failure: Failure) {
        let task = self.instances.get(&key).and_then(|instance| instance.tasks.get(&id));
        if task.is_some_and(|task| task.is_at_most_once()) {
            self.in_doubt(key, id, &failure.message);
        } else {
            self.attempt_failed(key, id, failure);
        }
    }

    pub(super) fn cancel_attempt(&mut self, running: Option<TaskRef>) {
        if let Some(task) = running {
            self.effect(Effect::CancelTask(task));
        }
    }

    /// Names what is handed out of a task.
    pub(super) fn task_ref(instance: &Instance, task: &Task) -> TaskRef {
        let asked = task.record.once.as_ref().filter(|once| once.stage() == Stage::Asked);
        TaskRef {
            key: instance.key,
            execution: instance.execution(),
            generation: instance.record.generation,
            branch: instance.record.branch,
            task: task.record.id,
            delivery: asked.map_or(task.delivery(), |once| once.asked),
            asks: asked.is_some(),
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
