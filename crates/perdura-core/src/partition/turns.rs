//! Turns: an instance with news runs its code, and what the code decides is recorded and set in motion.

use super::control::Ended;
use super::dead_letter::Caution;
use super::instance::{Instance, TurnState, Waiter};
use super::record::Block;
use super::wakes::Wake;
use super::{Body, Bug, Partition, Raise, Response, Terminate};
use crate::failure::{Failure, kind};
use crate::history::{
    Event, EventKind, EventSent, ExecutionCompleted, ExecutionStarted, TimerCreated, TurnStarted,
};
use crate::id::{ExecutionId, InstanceId, InstanceKey};
use crate::limits::CONTINUE_AS_NEW_PER_MINUTE;
use crate::orchestration::{ContinueAsNew, Decision, Mismatch, Turn, TurnOutcome, TurnResult};
use crate::rewind::Sort;
use crate::status::Status;
use crate::time::Timestamp;

/// Turns that one instance may take in one batch: a loop of turns must let batches be committed between.
const TURNS_PER_BATCH_MAX: u32 = 16;
const MINUTE_MS: i64 = 60_000;

impl Partition {
    /// Queues an instance that has news, if it may run now.
    pub(super) fn enqueue(&mut self, key: InstanceKey) {
        let runs_suspended = self.planted(Bug::SuspendedRuns);
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let held = instance.is_suspended() && !runs_suspended;
        let has_work = !instance.inbox.is_empty() || instance.awaits_results();
        if instance.turn != TurnState::Idle || !instance.is_active() || held || !has_work {
            return;
        }
        // A start that lies ahead; its wake is registered.
        if instance.awaits_start() && instance.record.start_at > self.now.0 {
            return;
        }
        if instance.awaits_start() {
            let due = Timestamp(instance.record.start_at);
            self.rely_on(due);
        }
        if self.is_held(key) || self.lacks_results(key) {
            return;
        }
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.turn = TurnState::Queued;
            self.queue.push_back(key);
        }
    }

    /// The next turn to be run, if any. It comes back by [`finish_turn`](Self::finish_turn) at once, or goes to
    /// [`park_turn`](Self::park_turn) or [`turn_away`](Self::turn_away).
    pub fn next_turn(&mut self) -> Option<Turn> {
        if self.awaits_messages {
            return None;
        }
        // One pass: instances that have had their share of this batch stay in the queue for the next.
        for _ in 0..self.queue.len() {
            let key = self.queue.pop_front()?;
            let (batch, runs_suspended) = (self.open_batch(), self.planted(Bug::SuspendedRuns));
            let is_held = self.is_held(key);
            let Some(instance) = self.instances.get_mut(&key) else {
                self.trial_over(key);
                continue;
            };
            if instance.turn != TurnState::Queued {
                self.trial_over(key);
                continue;
            }
            if instance.inbox.is_empty() || is_held || (instance.is_suspended() && !runs_suspended) {
                instance.turn = TurnState::Idle;
                self.trial_over(key);
                continue;
            }
            if instance.caution != Caution::None && !self.may_run(key) {
                continue;
            }
            let Some(instance) = self.instances.get_mut(&key) else { continue };
            if instance.turns_in_batch.0 != batch {
                instance.turns_in_batch = (batch, 0);
            }
            let unwritten = instance.unwritten.bytes();
            let much = unwritten > 0 && unwritten >= self.config.limits.turn_bytes_max;
            if instance.turns_in_batch.1 >= TURNS_PER_BATCH_MAX || much {
                self.queue.push_back(key);
                continue;
            }
            instance.turns_in_batch.1 += 1;
            instance.turn = TurnState::Running(self.next_turn_number);
            self.next_turn_number += 1;
            return self.make_turn(key);
        }
        self.announce_turns();
        self.release_suspects();
        None
    }

    fn make_turn(&mut self, key: InstanceKey) -> Option<Turn> {
        let (now, bytes_max) = (self.now, self.config.limits.turn_bytes_max);
        let instance = self.instances.get_mut(&key)?;
        let TurnState::Running(number) = instance.turn else { return None };
        let mut events = Vec::with_capacity(instance.inbox.len() + 1);
        events.push(Event::new(now, TurnStarted::default()));
        // What does not fit is for the next turn: a turn is written as one record.
        events.extend(instance.inbox.take_first(bytes_max));
        let turn = Turn {
            key,
            id: instance.id.clone(),
            name: instance.record.name.clone(),
            version: instance.record.version.clone(),
            execution: instance.execution(),
            generation: instance.record.generation,
            branch: instance.record.branch,
            from: instance.record.tail,
            number,
            trace: instance.record.turn_trace(),
            lost: instance.record.trial.as_ref().map_or(0, |trial| trial.lost),
            events,
        };
        if turn.events.iter().any(|event| matches!(event.kind, EventKind::CancelRequested(_))) {
            self.cancel_outstanding(key);
            // The turn may be away for several batches, and what is given up is not part of them any more.
            self.settle();
        }
        Some(turn)
    }

    /// The runner needs the history of this turn's instance: the turn waits, and what it holds stays part of what is
    /// committed. The history is asked for as a [`Need`](super::Need).
    pub fn park_turn(&mut self, turn: Turn) {
        if let Some(key) = self.keep_turn(turn, TurnState::Parked) {
            self.want_history(key);
        }
    }

    /// Takes the outcome of a turn. One that is not awaited any more is dropped.
    pub fn finish_turn(&mut self, turn: Turn, outcome: TurnOutcome) {
        let key = turn.key;
        self.trial_over(key);
        let Some(instance) = self.instances.get_mut(&key) else { return };
        if instance.turn != TurnState::Running(turn.number) {
            return;
        }
        match outcome {
            TurnOutcome::Done(result) => self.record_turn(turn, result),
            TurnOutcome::Diverged(mismatch) => {
                instance.put_back(turn);
                self.block(key, mismatch.to_string(), Some(mismatch));
            }
            TurnOutcome::CannotRun(reason) => {
                instance.put_back(turn);
                self.block(key, reason, None);
            }
        }
        self.settle();
    }

    /// The instance cannot go on in this life of the processor; it says so to whoever looks.
    pub(super) fn block(&mut self, key: InstanceKey, reason: String, mismatch: Option<Mismatch>) {
        let now = self.now;
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.turn = TurnState::Blocked;
            let since =
                instance.record.block.as_ref().filter(|b| b.reason == reason).map_or(now.0, |b| b.since);
            let (event, expected, actual) = match mismatch {
                Some(m) => (Some(m.event), Some(m.expected), Some(m.actual)),
                None => (None, None, None),
            };
            instance.record.block = Some(Box::new(Block { reason, since, event, expected, actual }));
            self.mark_dirty(key);
            self.forgotten.push(key);
        }
    }

    fn record_turn(&mut self, mut turn: Turn, mut result: TurnResult) {
        let (key, generation, awaits_event) = (turn.key, turn.generation, result.awaits_event);
        let gave_up = std::mem::take(&mut result.gave_up);
        let Some(instance) = self.instances.get_mut(&key) else { return };
        instance.turn = TurnState::Idle;
        (instance.record.block, instance.record.trial) = (None, None);
        if instance.status == Status::Pending {
            instance.status = Status::Running;
        }
        if let Some(taken) = result.taken {
            instance.put_first(turn.events.split_off(taken.saturating_add(1).min(turn.events.len())));
        }
        if let Some(began) = result.began {
            turn.events[0].at = began.max(turn.events[0].at);
        }
        if result.trace.is_some() {
            let traces = instance.record.traces.get_or_insert_default();
            traces.turn.clone_from(&result.trace);
        }
        let is_cancel = |event: &&Event| matches!(event.kind, EventKind::CancelRequested(_));
        let canceled = turn.events.iter().find(is_cancel).cloned();
        for event in turn.recorded(&result) {
            instance.append(event);
        }
        if let Some(status) = result.custom_status {
            instance.record.custom_status = status;
        }
        self.mark_dirty(key);
        self.answer_who_awaits_begin(key);
        for decision in result.decisions {
            self.apply_decision(key, decision);
        }
        if let Some(instance) = self.instances.get_mut(&key) {
            let is_holder = instance.record.section.as_ref().is_some_and(|section| section.granted);
            instance.record.awaits_event = awaits_event.unwrap_or(is_holder);
            instance.record.awaits_untold = awaits_event.is_none();
            instance.note_given_up(gave_up);
        }
        self.take_held(key);
        let goes_on = self.instances.get(&key).is_some_and(|i| i.record.generation == generation);
        if goes_on {
            self.enqueue(key);
        } else if let Some(cancel) = canceled {
            self.carry_cancel_over(key, cancel);
        }
    }

    fn answer_who_awaits_begin(&mut self, key: InstanceKey) {
        let Some(instance) = self.instances.get_mut(&key) else { return };
        if !instance.waiters.iter().any(|waiter| waiter.for_begin) {
            return;
        }
        let record = instance.final_record();
        let (begin, end) = std::mem::take(&mut instance.waiters).into_iter().partition(|w| w.for_begin);
        instance.waiters = end;
        let begin: Vec<Waiter> = begin;
        for waiter in begin {
            self.reply(waiter.token, Ok(Response::Begun(Box::new(record.clone()))));
        }
    }

    /// A request to cancel that came in the very turn that continued as new: the code may not have seen it, so the next
    /// generation gets it.
    fn carry_cancel_over(&mut self, key: InstanceKey, cancel: Event) {
        let Some(instance) = self.instances.get_mut(&key).filter(|instance| instance.is_active()) else {
            return;
        };
        if let EventKind::CancelRequested(request) = &cancel.kind {
            instance.record.cancel_requested = Some(request.reason.clone());
            instance.inbox.insert(1, cancel);
        }
    }

    fn apply_decision(&mut self, key: InstanceKey, decision: Decision) {
        match decision {
            Decision::ScheduleTask(task) => self.schedule_task(key, task),
            Decision::CreateTimer(timer) => self.create_timer(key, timer),
            Decision::ScheduleSubOrchestration(child) => self.schedule_child(key, child),
            Decision::SendEvent(sent) => self.send_event(key, sent),
            Decision::Terminate(end) => {
                let terminate = Terminate { reason: end.reason, recurse: end.recurse, parent: None };
                self.send(&InstanceId::recorded(&end.instance), Body::Terminate(terminate));
            }
            Decision::CallEntity(called) => self.call_entity(key, called),
            Decision::SignalEntity(signaled) => self.signal_entity(key, signaled),
            Decision::RequestLock(requested) => self.request_lock(key, requested),
            Decision::Unlock(sent) => self.unlock_entities(key, sent),
            Decision::Complete(end) => self.complete(key, end),
            Decision::ContinueAsNew(next) => self.continue_as_new(key, next),
        }
    }

    fn create_timer(&mut self, key: InstanceKey, timer: TimerCreated) {
        let (now, at) = (self.now, Timestamp(timer.fire_at));
        let lost = self.planted(Bug::TimerLost) && self.draw().is_multiple_of(16);
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.append(Event::new(now, timer));
            instance.timers.insert(timer.id, at);
            if !lost {
                self.wakes.add(at, key, Wake::Timer(timer.id));
            }
        }
    }

    pub(super) fn timer_due(&mut self, key: InstanceKey, id: u32) {
        let now = self.now;
        let Some(instance) = self.instances.get_mut(&key) else { return };
        // The entry may be one of an earlier generation, whose timer had the same number.
        let Some(at) = instance.timers.get(&id).copied().filter(|at| *at <= now) else { return };
        instance.timers.remove(&id);
        instance.inbox.push(Event::new(now, crate::history::TimerFired { id }));
        if !self.planted(Bug::TimerEarly) {
            self.rely_on(at);
        }
        self.mark_dirty(key);
        self.enqueue(key);
    }

    fn send_event(&mut self, key: InstanceKey, sent: EventSent) {
        let now = self.now;
        let was_sent = self.reused(key, || Sort::of_sent(&sent)).is_some();
        let to = InstanceId::recorded(&sent.instance);
        if let Some(instance) = self.instances.get_mut(&key) {
            let from = Some(instance.link(sent.id, 1));
            let body = Body::Raise(Raise { name: sent.name.clone(), input: sent.input.clone(), from });
            instance.append(Event::new(now, sent));
            if !was_sent {
                self.send(&to, body);
            }
        }
    }

    fn complete(&mut self, key: InstanceKey, end: ExecutionCompleted) {
        let (status, output, failure) = match end.final_status() {
            Some(status) if status.is_terminal() => (status, end.output, end.failure),
            _ => {
                let what = format!("the orchestration ended with status {}, which is not an end", end.status);
                (Status::Failed, None, Some(Failure::new(kind::INVALID, what)))
            }
        };
        self.end(key, Ended { status, output, failure });
    }

    fn continue_as_new(&mut self, key: InstanceKey, next: ContinueAsNew) {
        let now = self.now;
        let drops = self.planted(Bug::ContinueAsNewDropsEvents);
        let execution = self.new_execution_id();
        self.release_section(key);
        self.let_calls_go_on(key);
        self.drop_outstanding(key);
        self.forget_history(key);
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let arrived = instance.inbox.take();
        let record = &mut instance.record;
        record.generation += 1;
        (record.branch, record.rewinds) = (0, None);
        record.failed.clear();
        record.tail = 0;
        record.execution = execution.into();
        if let Some(version) = next.version {
            record.version = version;
        }
        if let Some(tags) = next.tags {
            record.tags = tags;
        }
        let started = ExecutionStarted {
            name: record.name.clone(),
            version: record.version.clone(),
            input: next.input,
            execution: record.execution.to_bytes(),
            start_at: None,
            parent: record.parents.first().cloned(),
            tags: record.tags.clone(),
            trace: record.start_trace(),
        };
        if let Some(traces) = &mut record.traces {
            traces.turn = None;
        }
        record.start_at = hold_back(&mut instance.renewals, now);
        instance.unwritten.clear();
        instance.reuse = None;
        instance.drop_before = Some(instance.record.generation);
        // A generation per batch: a tight loop commits each of its rounds.
        instance.turns_in_batch.1 = TURNS_PER_BATCH_MAX;
        instance.inbox.push(Event::new(now, started));
        if !drops {
            instance.inbox.extend(next.carry_over.into_iter().map(|event| Event::new(now, event)));
        }
        instance.inbox.extend(Instance::external_events(arrived));
        // A request that the code has seen was for the generation that ends; one that it has not seen goes with it.
        let asked = |event: &Event| matches!(event.kind, EventKind::CancelRequested(_));
        if !instance.inbox.iter().any(asked) {
            instance.record.cancel_requested = None;
        }
        let start_at = Timestamp(instance.record.start_at);
        if start_at > now {
            self.wakes.add(start_at, key, Wake::Start);
        }
        self.forgotten.push(key);
        self.restart_rewinds(key);
        self.enqueue(key);
    }

    pub(super) fn new_execution_id(&mut self) -> ExecutionId {
        ExecutionId(u128::from(self.draw()) << 64 | u128::from(self.draw()))
    }
}

/// Counts a continue-as-new; gives the time before which the next generation must not begin, 0 for at once.
fn hold_back(renewals: &mut (Timestamp, u32), now: Timestamp) -> i64 {
    let minute_over = now.0.saturating_sub(renewals.0.0) >= MINUTE_MS;
    if minute_over {
        *renewals = (now, 0);
    }
    renewals.1 += 1;
    if renewals.1 > CONTINUE_AS_NEW_PER_MINUTE { renewals.0.0.saturating_add(MINUTE_MS) } else { 0 }
}
