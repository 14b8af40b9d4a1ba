//! Activities whose hand-overs are committed one by one, and what follows when nobody knows how an attempt ended.

use super::effect::{Effect, TaskRef};
use super::instance::{Instance, Task};
use super::record::TaskRecord;
use super::request::{Brought, ReplyToken, RequestError, Response};
use super::{Bug, Partition};
use crate::delivery::{Answer, Delivery, OnUnknown, Question, REMEMBERED_BYTES_MAX, Stage};
use crate::failure::{Failure, kind};
use crate::history::{
    Event, ExecutionResumed, Step, TaskCompleted, TaskResultLate, TaskScheduled, TimeLimits,
};
use crate::id::InstanceKey;
use crate::status::Status;
use crate::time::Timestamp;
use bytes::Bytes;

/// What is known of an attempt that a recovery finds handed over.
const LOST: &str = "the process or the lease under which it ran is gone";

/// What is known of an attempt that an instance, when it ended or was rewound, did not wait for any more.
const LEFT: &str = "when the instance ended or was rewound it was under way, and its end was not waited for";

impl Partition {
    /// Writes into what is scheduled how often it may run: as the call says, or its tags, or the configuration for its
    /// name. Says whether its hand-overs are committed.
    pub(super) fn settle_delivery(&self, scheduled: &mut TaskScheduled) -> bool {
        if scheduled.delivery.is_empty() {
            if scheduled.tags.is_empty() && self.config.deliveries.is_empty() {
                return false;
            }
            let tagged = Delivery::of_tags(&scheduled.tags).ok().flatten();
            let Some(delivery) = tagged.as_ref().or_else(|| self.config.deliveries.get(&scheduled.name))
            else {
                return false;
            };
            scheduled.delivery = delivery.recorded();
        }
        Delivery::of_recorded(&scheduled.delivery).is_ok_and(|delivery| delivery.has_barrier())
    }

    /// A worker takes an attempt that was offered. Its count rises, and it may begin when that is committed:
    /// [`Effect::TaskTaken`](super::Effect::TaskTaken). Gives false if nobody waits for it any more; then it must not begin.
    pub fn task_taken(&mut self, task: TaskRef, worker: &str, now: Timestamp) -> bool {
        self.task_taken_by(task, worker, Bytes::new(), now)
    }

    /// The same for a worker that may outlive this process: by the token it can [bring](super::Request::Bring) its result
    /// to another one. The token must be one that nobody else can guess.
    pub fn task_taken_by(&mut self, task: TaskRef, worker: &str, token: Bytes, now: Timestamp) -> bool {
        self.advance(now);
        let now = self.now;
        let early = self.planted(Bug::BarrierLeavesEarly);
        let Some(state) = self.awaiting(task).and_then(|instance| instance.tasks.get_mut(&task.task)) else {
            return false;
        };
        if !state.offered || !state.is_present(task) {
            return false;
        }
        if !self.may_begin(task.key, task.task) {
            self.take_offer_back(task);
            return false;
        }
        let Some(state) = self.handed_out(task) else { return false };
        let Some(once) = &mut state.record.once else { return false };
        state.offered = false;
        state.began = Some((now, now));
        let not_before = std::mem::take(&mut state.record.not_before);
        once.begin(task.delivery, now.0, worker);
        if let Some(attempt) = once.attempt(task.delivery) {
            attempt.token = token;
        }
        state.record.delivery = task.delivery;
        if not_before != 0 && !self.planted(Bug::RetryAtOnce) {
            self.rely_on(Timestamp(not_before));
        }
        self.begin_trial(task.key, task.task);
        self.watch_limits(task.key, task.task);
        self.mark_dirty(task.key);
        match self.in_flight.as_mut().filter(|_| early) {
            Some(in_flight) => in_flight.effects.push(Effect::TaskTaken(task)),
            None => self.effect(Effect::TaskTaken(task)),
        }
        true
    }

    /// An attempt begins as soon as it is handed out: what hands it out is its hand-over, and no other commit is needed.
    pub(super) fn take_at_once(&mut self, key: InstanceKey, id: u32) {
        let (now, worker) = (self.now, self.worker.clone());
        let Some(task) = self.instances.get_mut(&key).and_then(|instance| instance.tasks.get_mut(&id)) else {
            return;
        };
        let delivery = task.delivery();
        let Some(once) = &mut task.record.once else { return };
        once.begin(delivery, now.0, &worker);
        task.offered = false;
        task.record.delivery = delivery;
        let not_before = std::mem::take(&mut task.record.not_before);
        if not_before != 0 && !self.planted(Bug::RetryAtOnce) {
            self.rely_on(Timestamp(not_before));
        }
        self.open.taken += 1;
        self.begin_trial(key, id);
        self.mark_dirty(key);
        self.start_task(key, id, None);
    }

    /// After a recovery: an attempt of an earlier life, whose hand-over is committed, is still at work here. Gives false
    /// if it does not count any more. To be told before anything else of the instance.
    pub fn task_still_runs(&mut self, task: TaskRef, now: Timestamp) -> bool {
        self.advance(now);
        if self.left_call_still_runs(task) {
            return true;
        }
        let task = self.on_present_branch(task);
        let now = self.now;
        let Some(state) = self.awaiting(task).and_then(|instance| instance.tasks.get_mut(&task.task)) else {
            return false;
        };
        let is_out = state.stage() == Some(Stage::Out) && !state.running && !task.asks;
        if is_out && state.record.delivery == task.delivery {
            state.running = true;
            state.began = Some((now, now));
            return true;
        }
        false
    }

    /// Goes on with a task of which a hand-over is committed, and no attempt is under way here.
    pub(super) fn go_on_in_doubt(&mut self, key: InstanceKey, id: u32) {
        let reruns = self.planted(Bug::UnknownRunsAgain);
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let Some(task) = instance.tasks.get_mut(&id) else { return };
        let delivery = task.record.delivery;
        let attempt = task.record.once.as_mut().and_then(|once| once.attempt(delivery));
        let is_left = attempt.is_some_and(|attempt| attempt.left);
        match task.stage() {
            Some(Stage::Out) if reruns || !task.is_at_most_once() => {
                // Its process has ended with it.
                if self.is_acquitted(key, id) {
                    self.run_again(key, id, LOST);
                } else {
                    self.attempt_lost(key, id, delivery, LOST);
                }
            }
            Some(Stage::Out) => self.in_doubt(key, id, if is_left { LEFT } else { LOST }),
            Some(Stage::Asked) => self.ask_again(key, id),
            Some(Stage::Queued | Stage::Suspended) | None => {}
        }
    }

    /// Nobody knows how the present attempt of an activity ended that runs at most once.
    pub(super) fn in_doubt(&mut self, key: InstanceKey, id: u32, why: &str) {
        let now = self.now;
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let Some(task) = instance.tasks.get_mut(&id) else { return };
        task.running = false;
        let Some(scheduled) = task.scheduled.clone() else { return self.want_history(key) };
        let delivery = task.record.delivery;
        if let Some(once) = &mut task.record.once {
            if let Some(attempt) = once.attempt(delivery) {
                attempt.end = format!("unknown: {why}");
            }
            once.since = now.0;
            once.why = why.to_owned();
            once.handlers_lost = 0;
        }
        self.watch_limits(key, id);
        self.mark_dirty(key);
        match Delivery::of_recorded(&scheduled.delivery) {
            Ok(Delivery::AtMostOnce(OnUnknown::Fail)) => {
                let (name, delivery) = (&scheduled.name, delivery);
                let message = format!(
                    "nobody knows whether activity {name:?} (task {id}) ran: delivery {delivery} has no known end ({why}); \
                     it runs at most once, so it was not tried again"
                );
                let failure = Failure::new(kind::UNKNOWN_OUTCOME, message).non_retryable().within_limits();
                self.task_failed(key, id, failure);
            }
            Ok(Delivery::AtMostOnce(OnUnknown::Handler(_))) => {
                self.enter(key, id, Stage::Asked);
                self.hand_out(key, id);
            }
            Ok(_) => self.suspend_in_doubt(key, id, why),
            Err(error) => self.suspend_in_doubt(key, id, &format!("{why}; {error}")),
        }
    }

    fn enter(&mut self, key: InstanceKey, id: u32, stage: Stage) {
        let task = self.instances.get_mut(&key).and_then(|instance| instance.tasks.get_mut(&id));
        if let Some(once) = task.and_then(|task| task.record.once.as_mut()) {
            once.enter(stage);
        }
    }

    /// Asks the handler, unless it has ended too many processes.
    fn ask_again(&mut self, key: InstanceKey, id: u32) {
        let limit = self.config.limits.lost_workers_max;
        let is_others_fault = self.no_activitys_fault();
        let task = self.instances.get_mut(&key).and_then(|instance| instance.tasks.get_mut(&id));
        let Some(task) = task else { return };
        let counts = std::mem::take(&mut task.handler_suspect) && !is_others_fault;
        let Some(once) = &mut task.record.once else { return };
        once.handlers_lost += u32::from(counts);
        let lost = once.handlers_lost;
        if counts && lost >= limit {
            self.suspend_in_doubt(
                key,
                id,
                &format!("{lost} processes or workers ended while they ran its handler"),
            );
        } else {
            self.ask_handler(key, id);
        }
    }

    fn ask_handler(&mut self, key: InstanceKey, id: u32) {
        let handler_ms_max = self.config.limits.handler_ms_max;
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let (name, execution) = (instance.id.clone(), instance.execution());
        let Some(step) = instance.tasks.get(&id).map(|task| instance.step_of(task)) else { return };
        let Some(task) = instance.tasks.get_mut(&id) else { return };
        let (Some(once), Some(scheduled)) = (&mut task.record.once, &task.scheduled) else { return };
        let Ok(Delivery::AtMostOnce(OnUnknown::Handler(handler))) =
            Delivery::of_recorded(&scheduled.delivery)
        else {
            return;
        };
        once.asked += 1;
        once.given_back = false;
        let question = Question {
            instance: name,
            execution,
            task: id,
            activity: scheduled.name.clone(),
            input: scheduled.input.clone(),
            idempotency_key: step,
            attempt: task.record.attempt,
            attempts: once.attempts.clone(),
            why: once.why.clone(),
            since: Timestamp(once.since),
        };
        task.running = true;
        task.began = None;
        let trace = scheduled.trace.clone();
        // So that it is told when a worker begins.
        let limits =
            (handler_ms_max > 0).then(|| TimeLimits { attempt_ms: handler_ms_max, ..TimeLimits::default() });
        let handler = TaskScheduled { id, name: handler, trace, limits, ..TaskScheduled::default() };
        self.mark_dirty(key);
        self.start_task(key, id, Some((handler, question)));
    }

    /// What the handler of an unknown outcome says, or why it says nothing of use.
    pub fn task_answered(&mut self, task: TaskRef, answer: Result<Answer, String>, now: Timestamp) {
        self.advance(now);
        let (limit, often) = (self.config.limits.payload_bytes_max, self.config.limits.lost_workers_max);
        let Some(instance) = self.awaiting(task) else { return };
        let Some(state) = instance.tasks.get_mut(&task.task) else { return };
        if !task.asks || !state.is_present(task) {
            return;
        }
        state.running = false;
        let once_more = state.record.once.as_mut().filter(|_| matches!(answer, Ok(Answer::RunOnceMore)));
        let times = once_more.map_or(0, |once| {
            once.once_more += 1;
            once.once_more
        });
        let handler = state.scheduled.as_ref().map_or("", |scheduled| &scheduled.delivery);
        let by = handler.replacen("handler:", "handler ", 1);
        let too_large = |output: &Option<Bytes>| output.as_ref().is_some_and(|output| output.len() > limit);
        match answer {
            Ok(Answer::Complete(output)) if too_large(&output) => {
                let why = format!("{by} answered with more than {limit} bytes");
                self.suspend_in_doubt(task.key, task.task, &why);
            }
            Ok(Answer::Suspend(why)) => {
                self.suspend_in_doubt(task.key, task.task, &format!("{by} said: {why}"));
            }
            Ok(_) if times >= often => {
                let why = format!(
                    "{by} has let it run once more {times} times, and nobody knows how the last one ended"
                );
                self.suspend_in_doubt(task.key, task.task, &why);
            }
            Ok(answer) => self.settle_doubt(task.key, task.task, answer, &by),
            Err(why) => {
                self.suspend_in_doubt(task.key, task.task, &format!("{by} gave no answer of use: {why}"));
            }
        }
        self.settle();
    }

    /// The handler has had its time.
    pub(super) fn handler_late(&mut self, key: InstanceKey, id: u32) {
        let (now, limit) = (self.now, self.config.limits.handler_ms_max);
        let task = self.instances.get(&key).and_then(|instance| instance.tasks.get(&id));
        if task.and_then(|task| task.limit_of_handler(limit)).is_some_and(|at| at <= now) {
            self.call_off(key, id);
            self.suspend_in_doubt(key, id, &format!("its handler took more than {limit} ms"));
        }
    }

    /// The worker that ran the handler is gone: it is asked again.
    pub(super) fn handler_lost(&mut self, task: TaskRef, (reason, counts): (&str, bool)) {
        let limit = self.config.limits.lost_workers_max;
        let Some(state) = self.handed_out(task) else { return };
        state.running = false;
        let Some(once) = &mut state.record.once else { return };
        once.handlers_lost += u32::from(counts);
        if once.handlers_lost >= limit {
            let why = format!(
                "{} workers were lost while they ran its handler, the last one: {reason}",
                once.handlers_lost
            );
            self.suspend_in_doubt(task.key, task.task, &why);
        } else {
            self.hand_out(task.key, task.task);
        }
    }

    /// Somebody has to say what follows: the instance takes no turn until then, and keeps what arrives.
    fn suspend_in_doubt(&mut self, key: InstanceKey, id: u32, why: &str) {
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let Some(task) = instance.tasks.get_mut(&id) else { return };
        let name = task.scheduled.as_ref().map_or("", |scheduled| &scheduled.name);
        let why: String = why.chars().take(512).collect();
        let reason = format!("nobody knows whether activity {name:?} (task {id}) ran: {why}");
        task.running = false;
        if let Some(once) = &mut task.record.once {
            once.enter(Stage::Suspended);
            once.why = why;
        }
        self.mark_dirty(key);
        let is_suspended = self.suspend_now(key, reason);
        if let Some(instance) = self.instances.get_mut(&key).filter(|_| is_suspended) {
            instance.record.suspended_in_doubt = true;
        }
    }

    /// Somebody says what follows for an activity whose outcome is unknown.
    pub(super) fn resolve(
        &mut self,
        key: InstanceKey,
        task: Option<u32>,
        answer: Answer,
        by: &str,
    ) -> Result<(), RequestError> {
        let Some(instance) = self.instances.get_mut(&key) else { return Ok(()) };
        let (id, status) = (instance.id.clone(), instance.status);
        if status.is_terminal() {
            return Err(RequestError::Ended { id, status });
        }
        let in_doubt = instance.in_doubt();
        let found = match task {
            Some(task) => in_doubt.contains(&task).then_some(task),
            None if in_doubt.len() > 1 => return Err(RequestError::SeveralInDoubt { id, tasks: in_doubt }),
            None => in_doubt.first().copied(),
        };
        let Some(task) = found else { return Err(RequestError::NotInDoubt { id, task }) };
        if let Answer::Suspend(why) = answer {
            self.call_off(key, task);
            self.suspend_in_doubt(key, task, &why);
        } else {
            let state = self.instances.get_mut(&key).and_then(|instance| instance.tasks.get_mut(&task));
            if let Some(once) = state.and_then(|task| task.record.once.as_mut()) {
                once.once_more = 0;
            }
            self.settle_doubt(key, task, answer, by);
        }
        Ok(())
    }

    /// Neither the handler, nor the next attempt while it waits for a worker, is wanted any more.
    fn call_off(&mut self, key: InstanceKey, id: u32) {
        let Some(instance) = self.instances.get(&key) else { return };
        let Some(task) = instance.tasks.get(&id) else { return };
        let is_out = task.running && (task.offered || task.stage() == Some(Stage::Asked));
        let unwanted = is_out.then(|| Self::task_ref(instance, task));
        self.cancel_attempt(unwanted);
        if let Some(task) = self.instances.get_mut(&key).and_then(|instance| instance.tasks.get_mut(&id)) {
            (task.running, task.offered) = (false, false);
        }
    }

    /// What follows is known.
    fn settle_doubt(&mut self, key: InstanceKey, id: u32, answer: Answer, by: &str) {
        let now = self.now;
        self.call_off(key, id);
        match answer {
            Answer::Complete(output) => {
                let Some(instance) = self.instances.get_mut(&key) else { return };
                let Some(task) = instance.tasks.remove(&id) else { return };
                let (attempt, delivery) = (task.record.attempt, task.record.delivery);
                let kept = task.record.key.as_ref().map(|_| output.clone());
                let done = TaskCompleted { id, output, attempt, delivery, settled_by: by.to_owned() };
                instance.inbox.push(Event::new(now, done));
                self.unwatch(key, &task);
                if let (Some(usage), Some(output)) = (&task.record.key, kept) {
                    self.key_settled(key, usage, id, Ok(output));
                }
                self.mark_dirty(key);
            }
            Answer::Fail(failure) => {
                self.enter(key, id, Stage::Queued);
                self.task_failed_by(key, id, failure.non_retryable().within_limits(), by);
            }
            Answer::RunOnceMore => {
                let task = self.instances.get_mut(&key).and_then(|instance| instance.tasks.get_mut(&id));
                let Some(task) = task else { return };
                let has_waited = task.stage() == Some(Stage::Suspended);
                if let Some(once) = &mut task.record.once {
                    once.enter(Stage::Queued);
                }
                // Its time as a whole begins again: it was somebody outside who used it up.
                if has_waited {
                    task.record.scheduled_at = now.0;
                }
                self.watch_limits(key, id);
                self.mark_dirty(key);
            }
            Answer::Suspend(why) => return self.suspend_in_doubt(key, id, &why),
        }
        self.resume_if_settled(key, by);
        self.enqueue(key);
        self.hand_out_tasks(key);
    }

    /// An instance that was suspended because of a doubt goes on when there is none left.
    fn resume_if_settled(&mut self, key: InstanceKey, by: &str) {
        let now = self.now;
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let suspends = instance.tasks.values().any(|task| task.stage() == Some(Stage::Suspended));
        if suspends || !std::mem::take(&mut instance.record.suspended_in_doubt) {
            return;
        }
        if instance.record.suspended.take().is_some() {
            instance.status = if instance.has_begun() { Status::Running } else { Status::Pending };
            let reason =
                if by.is_empty() { "the outcome is known".to_owned() } else { format!("settled by {by}") };
            instance.note_pause(Event::new(now, ExecutionResumed { reason }), &self.config.limits);
            self.mark_dirty(key);
            self.hand_out_tasks(key);
            self.start_due_children(key);
        }
    }

    /// The present attempt has ended, and if nobody knew what became of it, that is known now.
    pub(super) fn attempt_or_doubt_ended(
        &mut self,
        key: InstanceKey,
        id: u32,
        result: Result<Option<Bytes>, Failure>,
    ) {
        let task = self.instances.get(&key).and_then(|instance| instance.tasks.get(&id));
        let once = task.and_then(|task| task.record.once.as_ref());
        if !once.is_some_and(|once| once.is_in_doubt() || once.runs_once_more()) {
            return self.attempt_ended(key, id, result);
        }
        self.call_off(key, id);
        self.enter(key, id, Stage::Out);
        self.attempt_ended(key, id, result);
        self.resume_if_settled(key, "");
        self.enqueue(key);
    }

    /// A result that is not that of what is handed out. That of the attempt in doubt settles the doubt; a good one does so
    /// even after somebody has let the activity run once more, until that is handed over. Any other is noted, in the history
    /// and for the handler, and never counts.
    pub(super) fn result_late(&mut self, task: TaskRef, result: Result<Option<Bytes>, Failure>) {
        let Some(instance) = self.awaiting(task) else { return };
        let Some(state) = instance.tasks.get_mut(&task.task) else { return };
        if task.asks {
            return;
        }
        let known = 1..=state.record.delivery;
        let Some(once) = state.record.once.as_mut() else {
            if known.contains(&task.delivery) {
                self.note_late(task, result);
            }
            return;
        };
        let has_begun = once.attempt(task.delivery).is_some();
        let settles = once.is_in_doubt() || (once.runs_once_more() && result.is_ok());
        if state.record.delivery == task.delivery && settles {
            if state.scheduled.is_none() && result.is_err() {
                // The history says whether another attempt follows.
                return self.hold_result(task.key, task.task, result);
            }
            self.attempt_or_doubt_ended(task.key, task.task, result);
        } else if state.record.delivery >= task.delivery && has_begun {
            let Some(attempt) = once.attempt(task.delivery).filter(|attempt| attempt.late.is_none()) else {
                return;
            };
            let kept = result.clone().ok().flatten().filter(|output| output.len() <= REMEMBERED_BYTES_MAX);
            attempt.late = Some(kept.unwrap_or_default());
            if let Err(failure) = &result {
                attempt.end = format!("failed, too late to count: {}", failure.kind);
            }
            self.note_late(task, result);
            self.enqueue(task.key);
        }
    }

    /// The name that an attempt has on the present branch, if that has gone on with an activity which runs at most once:
    /// another branch handed it over, and it may have been at work all the time.
    pub(super) fn on_present_branch(&self, task: TaskRef) -> TaskRef {
        let Some(instance) = self.instances.get(&task.key) else { return task };
        let record = &instance.record;
        if record.branch == task.branch || task.asks {
            return task;
        }
        let names =
            |step: &Step| step.task == task.task && record.origin_on(task.branch, step.event) == step.branch;
        let is_same = |present: &&Task| {
            let TaskRecord { id, event, .. } = present.record;
            let own = Step { branch: record.origin(event), event, task: id };
            present.is_at_most_once() && (names(&own) || names(&record.own_step(&present.record)))
        };
        let present = instance.tasks.values().find(is_same);
        present.map_or(task, |present| TaskRef { branch: record.branch, task: present.record.id, ..task })
    }

    /// A worker brings the result of an attempt that it got from an earlier life, perhaps in another process.
    pub(super) fn bring(&mut self, answer: ReplyToken, key: InstanceKey, brought: Brought) {
        let Some(instance) = self.instances.get(&key) else { return };
        let of_token = |task: &Task| {
            let once = task.record.once.as_ref().filter(|_| !brought.token.is_empty())?;
            let attempt = once.attempts.iter().find(|attempt| attempt.token == brought.token)?;
            let delivery = attempt.delivery;
            Some(TaskRef { delivery, asks: false, ..Self::task_ref(instance, task) })
        };
        let found = instance.tasks.get(&brought.task).filter(|_| instance.is_active()).and_then(of_token);
        let Some(task) = found else {
            let (id, task) = (instance.id.clone(), Some(brought.task));
            return self.reply(answer, Err(RequestError::NotInDoubt { id, task }));
        };
        self.take_result_with(task, brought.result, true);
        match self.holds_result(task) {
            true => self.brought.push((task, answer)),
            false => self.reply(answer, Ok(Response::Done)),
        }
    }

    /// Answers those whose results had to wait for the history and are recorded by the open batch.
    pub(super) fn answer_brought(&mut self) {
        let mut brought = std::mem::take(&mut self.brought);
        for (_, answer) in brought.extract_if(.., |(task, _)| !self.holds_result(*task)).collect::<Vec<_>>() {
            self.reply(answer, Ok(Response::Done));
        }
        self.brought = brought;
    }

    /// Somebody may want to know what an attempt came to that nobody waits for. It is part of the next turn and makes none
    /// by itself: the code does not see it.
    fn note_late(&mut self, task: TaskRef, result: Result<Option<Bytes>, Failure>) {
        let (now, limit) = (self.now, self.config.limits.payload_bytes_max);
        let room = self.config.limits.inbox_bytes_max;
        let Some(instance) = self.awaiting(task).filter(|instance| instance.has_room(room)) else { return };
        let (output, failure) = match result {
            Ok(output) => (output.filter(|output| output.len() <= limit), None),
            Err(failure) => (None, Some(failure.within_limits())),
        };
        let late = TaskResultLate { id: task.task, delivery: task.delivery, output, failure };
        instance.inbox.push(Event::new(now, late));
        self.mark_dirty(task.key);
    }
}

impl Instance {
    /// Tasks of which somebody has to say what follows.
    pub(super) fn suspended_tasks(&self) -> Vec<u32> {
        let suspends = self.tasks.values().filter(|task| task.stage() == Some(Stage::Suspended));
        suspends.map(|task| task.record.id).collect()
    }

    /// Tasks of which nobody knows the outcome.
    pub(super) fn in_doubt(&self) -> Vec<u32> {
        let in_doubt = self
            .tasks
            .values()
            .filter(|task| task.record.once.as_ref().is_some_and(|once| once.is_in_doubt()));
        in_doubt.map(|task| task.record.id).collect()
    }
}
