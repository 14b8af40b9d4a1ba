//! What clients and operators do to an instance, and how an instance ends.

use super::effect::Effect;
use super::instance::{TurnState, Waiter};
use super::keys::content_of;
use super::message::{Body, Cancel, Terminate};
use super::request::{ReplyToken, Request, RequestError, Response, StartRequest};
use super::wakes::Wake;
use super::{Bug, Parked, Partition};
use crate::delivery::{Answer, Stage, check_no_hub_key};
use crate::failure::{Failure, kind};
use crate::history::{
    CancelRequested, Event, EventRaised, ExecutionCompleted, ExecutionResumed, ExecutionSuspended,
    ExecutionTerminated, ParentLink,
};
use crate::id::{ExecutionId, InstanceId, InstanceKey, check_key, check_name, check_tags, check_text};
use crate::limits::{DELAY_MS_MAX, FAILURE_TEXT_BYTES_MAX, TRACE_BYTES_MAX};
use crate::rewind::LeftTask;
use crate::status::Status;
use crate::time::Timestamp;
use bytes::Bytes;

/// How an execution ended.
pub(super) struct Ended {
    pub(super) status: Status,
    pub(super) output: Option<Bytes>,
    pub(super) failure: Option<Failure>,
}

impl Ended {
    /// What a parent is told went wrong with child `id`; `None` if it ended well.
    pub(super) fn failure_for_parent(
        id: &InstanceId,
        status: Status,
        failure: Option<Failure>,
    ) -> Option<Failure> {
        let default = |kind: &str, message: &str| Some(Failure::new(kind, message).non_retryable());
        let failure = match status {
            Status::Failed => Some(failure.unwrap_or_default()),
            Status::Canceled => failure.or_else(|| default(kind::CANCELED, "it was canceled")),
            Status::Terminated => failure.or_else(|| default(kind::TERMINATED, "it was terminated")),
            _ => None,
        };
        failure.map(|failure| failure.of_child(id))
    }
}

impl Partition {
    /// Everything that can be refused without looking at the instance.
    pub(super) fn check_request(&self, request: &Request) -> Result<(), RequestError> {
        match request {
            Request::Start(start) => self.check_start(start),
            Request::Raise { id, name, input, event_id } => {
                check_name("event name", name)?;
                if !event_id.is_empty() {
                    check_key("event id", event_id)?;
                }
                self.check_payload(id, "event", input)
            }
            Request::Signal(signal) => {
                check_name("operation name", &signal.operation)?;
                check_text("request id", &signal.request_id)?;
                if let Some(at) = signal.at.filter(|at| at.0.saturating_sub(self.now.0) > DELAY_MS_MAX) {
                    return Err(RequestError::TooFarAhead { id: signal.to.instance().clone(), at });
                }
                self.check_payload(signal.to.instance(), "input", &signal.input)
            }
            Request::Suspend { reason, .. }
            | Request::Resume { reason, .. }
            | Request::Cancel { reason, .. } => Ok(check_text("reason", reason)?),
            // On the wire it is the output that the instance ends with.
            Request::Terminate { id, reason, .. } => self.check_size(id, "reason", reason.len()),
            Request::Rewind { id, spec } => spec.check(id, self.config.limits.payload_bytes_max),
            Request::Resolve { id, answer, by, .. } => {
                check_text("who resolves", by)?;
                match answer {
                    Answer::Complete(output) => self.check_payload(id, "result", output),
                    Answer::Suspend(why) => Ok(check_text("reason", why)?),
                    Answer::Fail(_) | Answer::RunOnceMore => Ok(()),
                }
            }
            Request::Purge { .. }
            | Request::DeleteEntity { .. }
            | Request::Bring { .. }
            | Request::Wait { .. }
            | Request::WaitBegun { .. } => Ok(()),
        }
    }

    fn check_start(&self, start: &StartRequest) -> Result<(), RequestError> {
        check_name("orchestration name", &start.name)?;
        check_no_hub_key(start.id.as_str())?;
        check_text("version", &start.version)?;
        check_text("request id", &start.request_id)?;
        check_tags(&start.tags)?;
        if let Some(at) = start.start_at.filter(|at| at.0.saturating_sub(self.now.0) > DELAY_MS_MAX) {
            return Err(RequestError::TooFarAhead { id: start.id.clone(), at });
        }
        if let Some(bytes) = start.trace.as_ref().map(Bytes::len).filter(|bytes| *bytes > TRACE_BYTES_MAX) {
            let (id, field) = (start.id.clone(), "trace context");
            return Err(RequestError::TooLarge { id, field, bytes, limit: TRACE_BYTES_MAX });
        }
        self.check_payload(&start.id, "input", &start.input)
    }

    pub(super) fn check_payload(
        &self,
        id: &InstanceId,
        field: &'static str,
        payload: &Option<Bytes>,
    ) -> Result<(), RequestError> {
        self.check_size(id, field, payload.as_ref().map_or(0, Bytes::len))
    }

    fn check_size(&self, id: &InstanceId, field: &'static str, bytes: usize) -> Result<(), RequestError> {
        let limit = self.config.limits.payload_bytes_max;
        if bytes <= limit {
            return Ok(());
        }
        Err(RequestError::TooLarge { id: id.clone(), field, bytes, limit })
    }

    pub(super) fn apply_request(&mut self, token: ReplyToken, request: Request, key: Option<InstanceKey>) {
        let id = request.id().clone();
        let answer = match (request, key) {
            (Request::Start(start), existing) => return self.start_by_client(token, start, existing),
            (Request::Signal(signal), existing) => self.signal_by_client(signal, existing),
            (Request::DeleteEntity { .. }, None) => Ok(()),
            (Request::DeleteEntity { .. }, Some(key)) => self.delete_entity(key),
            // Nothing is there, which is what a purge is for: perhaps the first time did it.
            (Request::Purge { again: true, .. }, None) => Ok(()),
            (_, None) => Err(RequestError::NotFound { id }),
            (Request::Wait { execution, .. }, Some(key)) => return self.wait(token, key, execution),
            (Request::WaitBegun { .. }, Some(key)) => return self.wait_begun(token, key),
            (Request::Bring { brought, .. }, Some(key)) => return self.bring(token, key, brought),
            (Request::Raise { name, input, event_id, .. }, Some(key)) => {
                self.raise(key, name, input, &event_id)
            }
            (Request::Suspend { reason, .. }, Some(key)) => self.suspend(key, reason),
            (Request::Resume { reason, .. }, Some(key)) => self.resume(key, reason),
            (Request::Cancel { reason, .. }, Some(key)) => {
                self.cancel(key, reason);
                Ok(())
            }
            (Request::Terminate { reason, recurse, .. }, Some(key)) => {
                self.terminate(key, reason, recurse);
                Ok(())
            }
            (Request::Purge { .. }, Some(key)) => self.purge(key),
            (Request::Resolve { task, answer, by, .. }, Some(key)) => self.resolve(key, task, answer, &by),
            (request @ Request::Rewind { .. }, Some(key)) => {
                return self.rewind_by_client(token, request, key);
            }
        };
        self.reply(token, answer.map(|()| Response::Done));
    }

    fn raise(
        &mut self,
        key: InstanceKey,
        name: String,
        input: Option<Bytes>,
        event_id: &str,
    ) -> Result<(), RequestError> {
        let (now, limits) = (self.now, self.config.limits.clone());
        let drops = self.planted(Bug::SuspendedDropsEvents);
        let Some(instance) = self.instances.get_mut(&key) else { return Ok(()) };
        let (id, status) = (instance.id.clone(), instance.status);
        let content = content_of(&name, input.as_ref());
        // Perhaps it has ended because of it.
        match instance.knows_event(event_id, content) {
            Some(true) => return Ok(()),
            Some(false) => return Err(RequestError::EventIdReused { id, event_id: event_id.to_owned() }),
            None => {}
        }
        if status.is_terminal() {
            return Err(RequestError::Ended { id, status });
        }
        instance.check_room(&name, &input, &limits)?;
        instance.note_event(event_id, content);
        if !(drops && instance.is_suspended()) {
            instance.inbox.push(Event::new(now, EventRaised { name, input }));
        }
        self.mark_dirty(key);
        self.enqueue(key);
        Ok(())
    }

    fn suspend(&mut self, key: InstanceKey, reason: String) -> Result<(), RequestError> {
        let Some(instance) = self.instances.get_mut(&key) else { return Ok(()) };
        // Whoever asks for it resumes it, whatever becomes known meanwhile.
        if instance.is_active() && std::mem::take(&mut instance.record.suspended_in_doubt) {
            self.mark_dirty(key);
        }
        self.suspend_now(key, reason);
        Ok(())
    }

    /// Suspends an instance that is active and is not suspended; says whether it was so.
    pub(super) fn suspend_now(&mut self, key: InstanceKey, reason: String) -> bool {
        let now = self.now;
        let Some(instance) = self.instances.get_mut(&key) else { return false };
        if !instance.is_active() || instance.is_suspended() {
            return false;
        }
        instance.record.suspended = Some(reason.clone());
        instance.status = Status::Suspended;
        instance.note_pause(Event::new(now, ExecutionSuspended { reason }), &self.config.limits);
        // A turn that is away is run again when the instance goes on; what becomes of it until then is dropped.
        if self.call_back(key) {
            self.forgotten.push(key);
        }
        self.mark_dirty(key);
        true
    }

    fn resume(&mut self, key: InstanceKey, reason: String) -> Result<(), RequestError> {
        let now = self.now;
        let Some(instance) = self.instances.get_mut(&key) else { return Ok(()) };
        if instance.entity.is_some() {
            self.resume_entity(key);
            return Ok(());
        }
        let tasks = instance.suspended_tasks();
        if !tasks.is_empty() {
            return Err(RequestError::InDoubt { id: instance.id.clone(), tasks });
        }
        if instance.is_active() && instance.record.suspended.take().is_some() {
            instance.status = if instance.has_begun() { Status::Running } else { Status::Pending };
            instance.note_pause(Event::new(now, ExecutionResumed { reason }), &self.config.limits);
            instance.record.trial = None;
            self.mark_dirty(key);
            self.enqueue(key);
            self.hand_out_tasks(key);
            self.start_due_children(key);
        }
        Ok(())
    }

    /// Asks an instance to end by its own code. One that has not begun ends at once.
    pub(super) fn cancel(&mut self, key: InstanceKey, reason: String) {
        let now = self.now;
        let Some(instance) = self.instances.get_mut(&key) else { return };
        if !instance.is_active() || instance.record.cancel_requested.is_some() {
            return;
        }
        instance.record.cancel_requested = Some(reason.clone());
        instance.inbox.push(Event::new(now, CancelRequested { reason: reason.clone() }));
        let has_turn = matches!(instance.turn, TurnState::Running(_) | TurnState::Parked(_));
        if instance.has_run() || has_turn {
            self.mark_dirty(key);
            self.enqueue(key);
        } else {
            self.record_inbox(key);
            let failure = Some(Failure::new(kind::CANCELED, reason).non_retryable());
            self.end(key, Ended { status: Status::Canceled, output: None, failure });
        }
    }

    /// Ends an instance by force; its code does not run.
    pub(super) fn terminate(&mut self, key: InstanceKey, reason: String, recurse: bool) {
        let now = self.now;
        let recurse_children = recurse && !self.planted(Bug::TerminateNotRecursive);
        let Some(instance) = self.instances.get_mut(&key) else { return };
        if !instance.is_active() {
            return;
        }
        let children = self.children_of(key);
        let untaken = self.record_inbox(key);
        if let Some(instance) = self.instances.get_mut(&key) {
            let terminated = ExecutionTerminated { reason: reason.clone(), recurse, untaken };
            instance.append(Event::new(now, terminated));
        }
        let failure = Some(Failure::new(kind::TERMINATED, reason.clone()).non_retryable());
        // Failures are cut to a size; who asked finds all of the reason.
        let output = (reason.len() > FAILURE_TEXT_BYTES_MAX).then(|| Bytes::from(reason.clone()));
        self.end(key, Ended { status: Status::Terminated, output, failure });
        if recurse_children {
            self.terminate_children(children, &reason);
        }
    }

    pub(super) fn terminate_children(&mut self, children: Vec<(InstanceId, ParentLink)>, reason: &str) {
        for (id, link) in children {
            let terminate = Terminate { reason: reason.to_owned(), recurse: true, parent: Some(link) };
            self.send(&id, Body::Terminate(terminate));
        }
    }

    /// Ends an instance whose code cannot go on, as a failure, without a turn. One that is suspended, or has a turn under
    /// way, is left alone: the failure comes out in its next turn.
    pub fn fail(&mut self, key: InstanceKey, failure: Failure, now: Timestamp) {
        self.advance(now);
        let Some(instance) = self.instances.get(&key) else { return };
        let rests = matches!(instance.turn, TurnState::Idle | TurnState::Queued);
        if instance.is_active() && rests && !instance.is_suspended() {
            self.record_inbox(key);
            self.end(key, Ended { status: Status::Failed, output: None, failure: Some(failure) });
        }
        self.settle();
    }

    /// What arrived and was never taken by a turn is recorded before an end by force: nothing that was acknowledged
    /// is lost to a later rewind. Gives how much it was.
    fn record_inbox(&mut self, key: InstanceKey) -> u32 {
        self.call_back(key);
        let Some(instance) = self.instances.get_mut(&key) else { return 0 };
        let untaken = instance.inbox.take();
        let count = untaken.len() as u32;
        for event in untaken {
            instance.append(event);
        }
        count
    }

    pub(super) fn children_of(&self, key: InstanceKey) -> Vec<(InstanceId, ParentLink)> {
        let Some(instance) = self.instances.get(&key) else { return Vec::new() };
        let children = instance.children.values().map(|child| &child.record);
        children.map(|c| (InstanceId::recorded(&c.instance), instance.link(c.id, c.attempt))).collect()
    }

    /// A cancel request is about to reach the code: everything it waits for ends. Running activities and children
    /// are told. Children are remembered until they end: a termination shall reach them.
    pub(super) fn cancel_outstanding(&mut self, key: InstanceKey) {
        let reason =
            self.instances.get(&key).and_then(|i| i.record.cancel_requested.clone()).unwrap_or_default();
        self.withdraw_lock_request(key);
        let told = self.children_of(key);
        let mut children =
            self.instances.get_mut(&key).map(|i| std::mem::take(&mut i.children)).unwrap_or_default();
        self.drop_outstanding(key);
        // One that waits for its next attempt does not run.
        children.retain(|id, child| match std::mem::take(&mut child.record.not_before) {
            0 => true,
            not_before => {
                self.wakes.remove(Timestamp(not_before), key, Wake::ChildRetry(*id));
                false
            }
        });
        for child in children.values_mut() {
            child.record.canceled = true;
            child.record.retry = None;
        }
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.children = children;
        }
        for (id, link) in told {
            self.send(&id, Body::Cancel(Cancel { reason: reason.clone(), parent: Some(link) }));
        }
        self.mark_dirty(key);
    }

    /// Nobody waits any more for what is outstanding. Running activities are told.
    pub(super) fn drop_outstanding(&mut self, key: InstanceKey) {
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let tasks = std::mem::take(&mut instance.tasks);
        tasks.values().for_each(|task| instance.leave_call(task, false));
        // What entities answer later is for a rewind.
        let branch = instance.record.branch;
        for call in std::mem::take(&mut instance.calls).into_values() {
            instance.record.rewinds.get_or_insert_default().leave_call(&call, branch);
        }
        let timers = std::mem::take(&mut instance.timers);
        let children = std::mem::take(&mut instance.children);
        for task in tasks.values().filter(|task| task.record.delivery > 0) {
            let in_doubt = task.is_at_most_once() && task.stage() != Some(Stage::Queued);
            let task = &task.record;
            let (branch, delivery) = (instance.record.origin(task.event), task.delivery);
            let mut attempts = task.once.iter().flat_map(|once| &once.attempts);
            let token = attempts.find(|attempt| attempt.delivery == delivery);
            let token = token.map(|attempt| attempt.token.clone()).unwrap_or_default();
            let step = task.step.as_deref().copied();
            let left = LeftTask { id: task.id, delivery, event: task.event, branch, in_doubt, token, step };
            let step = step.map(|step| LeftTask::of_step(step, delivery));
            let rewinds = instance.record.rewinds.get_or_insert_default();
            [Some(left), step].into_iter().flatten().for_each(|left| rewinds.leave(left));
        }
        let running: Vec<_> =
            tasks.values().filter(|task| task.running).map(|task| Self::task_ref(instance, task)).collect();
        for task in running {
            self.effect(Effect::CancelTask(task));
        }
        for task in tasks.values() {
            self.unwatch(key, task);
        }
        for (id, at) in timers {
            self.wakes.remove(at, key, Wake::Timer(id));
        }
        for child in children.values().filter(|child| child.record.not_before != 0) {
            self.wakes.remove(Timestamp(child.record.not_before), key, Wake::ChildRetry(child.record.id));
        }
        self.drop_held(key);
    }

    /// The execution is over.
    pub(super) fn end(&mut self, key: InstanceKey, ended: Ended) {
        let now = self.now;
        let tells_parent = !(self.planted(Bug::ParentNotTold) && ended.status == Status::Terminated);
        self.release_section(key);
        self.drop_outstanding(key);
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let Ended { status, output, failure } = ended;
        let end = ExecutionCompleted::new(status, output.clone(), failure.clone());
        instance.append(Event::new(now, end));
        // What arrived during the last turn stays in the inbox: a rewind delivers it.
        instance.reuse = None;
        instance.turn = TurnState::Idle;
        instance.status = status;
        let record = &mut instance.record;
        record.suspended = None;
        record.block = None;
        let start_at = Timestamp(std::mem::take(&mut record.start_at));
        record.completed_at = now.0;
        record.updated_at = now.0;
        record.output = output.clone();
        record.failure = failure.clone().map(Box::new);
        let parents = std::mem::take(&mut record.parents);
        record.parents = parents.clone();
        let waiters = std::mem::take(&mut instance.waiters);
        let id = instance.id.clone();
        let final_record = (!waiters.is_empty()).then(|| instance.final_record());
        if start_at != Timestamp(0) {
            self.wakes.remove(start_at, key, Wake::Start);
        }
        self.mark_dirty(key);
        self.forgotten.push(key);
        for Waiter { token, for_begin, .. } in waiters {
            if let Some(record) = final_record.clone().map(Box::new) {
                let answer = if for_begin { Response::Begun(record) } else { Response::Ended(record) };
                self.reply(token, Ok(answer));
            }
        }
        let failure = Ended::failure_for_parent(&id, status, failure);
        for parent in parents.into_iter().filter(|_| tells_parent) {
            self.answer_parent(parent, output.clone(), failure.clone());
        }
    }

    fn wait(&mut self, token: ReplyToken, key: InstanceKey, execution: Option<ExecutionId>) {
        let Some(instance) = self.instances.get_mut(&key) else { return };
        if execution.is_some_and(|execution| !instance.record.is_of_run(execution)) {
            let id = instance.id.clone();
            return self.reply(token, Err(RequestError::Replaced { id }));
        }
        if instance.is_active() {
            instance.waiters.push(Waiter { token, for_begin: false, execution });
        } else {
            let record = instance.final_record();
            self.reply(token, Ok(Response::Ended(Box::new(record))));
        }
    }

    fn wait_begun(&mut self, token: ReplyToken, key: InstanceKey) {
        let Some(instance) = self.instances.get_mut(&key) else { return };
        if instance.is_active() && !instance.has_run() {
            instance.waiters.push(Waiter { token, for_begin: true, execution: None });
        } else {
            let record = instance.final_record();
            self.reply(token, Ok(Response::Begun(Box::new(record))));
        }
    }

    /// A caller does not wait any more.
    pub fn stop_waiting(&mut self, token: ReplyToken, id: &InstanceId) {
        if let Some(lookup) = self.id_lookups.get_mut(id) {
            lookup.waiting.retain(|parked| !matches!(parked, Parked::Request(waits, _) if *waits == token));
        }
        let key = self.ids.get(id).copied();
        if let Some(instance) = key.and_then(|key| self.instances.get_mut(&key)) {
            instance.waiters.retain(|waiter| waiter.token != token);
        }
    }

    fn purge(&mut self, key: InstanceKey) -> Result<(), RequestError> {
        let Some(instance) = self.instances.get(&key) else { return Ok(()) };
        let (id, status) = (instance.id.clone(), instance.status);
        if !status.is_terminal() {
            return Err(RequestError::NotEnded { id, status });
        }
        self.purge_row(id, key);
        self.remove(key);
        self.forget_rewinds(key);
        Ok(())
    }

    pub(super) fn purge_row(&mut self, id: InstanceId, key: InstanceKey) {
        self.overtake(key, &id);
        self.open.purge.push(key);
        self.purged_keys.insert(key, self.open_batch());
        self.purged_ids.insert(id, self.open_batch());
    }
}
