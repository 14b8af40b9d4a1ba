//! Sub-orchestrations: start, answer, try again.

use super::control::Ended;
use super::instance::Child;
use super::message::{Awaited, Body, Cancel, ChildEnded, FindCycle, Raise, StartChild, Terminate};
use super::record::ChildRecord;
use super::request::StartOutcome;
use super::start::Start;
use super::wakes::Wake;
use super::{Bug, Partition};
use crate::delivery::{HUB_KEY_ORCHESTRATION, check_no_hub_key, is_hub_key};
use crate::failure::{Failure, kind};
use crate::history::{
    Event, EventRaised, ParentLink, SubOrchestrationCompleted, SubOrchestrationFailed,
    SubOrchestrationScheduled,
};
use crate::id::{InstanceId, InstanceKey};
use crate::rewind::{Found, RewindOrder, Sort};
use crate::status::{OnExisting, ReusePolicy, Status};
use crate::time::Timestamp;
use std::sync::Arc;

/// How far up a cycle of waiting parents is looked for.
const CYCLE_PARENTS_MAX: usize = 1000;

impl Partition {
    pub(super) fn schedule_child(&mut self, key: InstanceKey, mut scheduled: SubOrchestrationScheduled) {
        let now = self.now;
        let found = self.reused(key, || Sort::of_child(&scheduled));
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let is_unnamed = scheduled.instance.is_empty();
        if let Some(Found::Child(known)) = &found
            && is_unnamed
        {
            scheduled.instance.clone_from(known);
        }
        if scheduled.instance.is_empty() {
            let id = InstanceId::of_child(
                &instance.id,
                instance.execution(),
                (instance.record.branch, scheduled.id),
            );
            scheduled.instance = id.as_str().to_owned();
        }
        let event = instance.append(Event::new(now, scheduled.clone()));
        let id = scheduled.id;
        match found {
            Some(Found::Result(output)) => {
                return instance.inbox.push(Event::new(now, SubOrchestrationCompleted { id, output }));
            }
            Some(Found::Sent) => return,
            Some(Found::Child(known)) if known == scheduled.instance => {
                let retry = scheduled.retry.clone();
                let record =
                    ChildRecord { id, event, instance: known, attempt: 1, retry, ..ChildRecord::default() };
                return self.take_child_along(key, record, &scheduled, false);
            }
            _ => {}
        }
        let link = (!scheduled.detached).then(|| instance.link(scheduled.id, 1));
        let order = instance.record.rewinds.as_ref().and_then(|rewinds| rewinds.order.clone());
        if !scheduled.detached {
            let record = ChildRecord {
                id: scheduled.id,
                event,
                instance: scheduled.instance.clone(),
                attempt: 1,
                not_before: 0,
                retry: scheduled.retry.clone(),
                canceled: false,
            };
            let kept = scheduled.retry.is_some().then(|| Arc::new(scheduled.clone()));
            instance.children.insert(scheduled.id, Child { record, scheduled: kept });
        }
        self.send_start(&scheduled, link, order);
    }

    fn send_start(
        &mut self,
        scheduled: &SubOrchestrationScheduled,
        parent: Option<ParentLink>,
        order: Option<RewindOrder>,
    ) {
        let start = StartChild {
            name: scheduled.name.clone(),
            version: scheduled.version.clone(),
            input: scheduled.input.clone(),
            detached: parent.is_none(),
            parent,
            reuse: scheduled.reuse,
            tags: scheduled.tags.clone(),
            trace: scheduled.trace.clone(),
            start_at: None,
            order,
        };
        self.send(&InstanceId::recorded(&scheduled.instance), Body::StartChild(start));
    }

    /// A parent asks for a child: the same rule as a client's start.
    pub(super) fn start_child(&mut self, id: &InstanceId, start: StartChild, existing: Option<InstanceKey>) {
        let parent = start.parent.clone();
        if let Err(failure) = self.check_hub_key(id, &start, existing) {
            return parent.map_or((), |parent| self.answer_parent(parent, None, Some(failure)));
        }
        let mut reuse = ReusePolicy::from_bits(start.reuse);
        // That nobody knows whether an activity ran which runs at most once is kept under its key.
        if is_hub_key(id.as_str()) && existing.is_some_and(|key| self.ended_in_doubt(key)) {
            reuse = reuse.when(Status::Failed, OnExisting::UseExisting);
        }
        if let Some(parent) = &parent {
            if self.is_to_be_tried_again(existing, parent, reuse) {
                reuse = reuse.when_terminal(OnExisting::Replace);
            }
            // So may a child of a branch that was left.
            if self.is_of_left_branch(existing, parent) {
                reuse = ReusePolicy::REPLACE;
            }
        }
        let request = Start {
            execution: None,
            id: id.clone(),
            name: start.name,
            version: start.version,
            input: start.input,
            tags: start.tags,
            start_at: start.start_at.map(Timestamp),
            reuse,
            request: None,
            parent: start.parent,
            trace: start.trace,
        };
        let refusal = match self.start(request, existing) {
            Ok(started) if started.outcome == StartOutcome::Existing => {
                if let (Some(key), Some(parent)) = (existing, parent) {
                    self.attach_parent(key, parent);
                }
                return;
            }
            Ok(_) => return,
            Err(refusal) => refusal,
        };
        if let Some(parent) = parent {
            let failure = Failure::new(kind::ALREADY_EXISTS, refusal.to_string());
            self.answer_parent(parent, None, Some(failure));
        }
    }

    /// The id of an idempotency key of the hub is for calls under that key, and what else has it is none of their results.
    fn check_hub_key(
        &self,
        id: &InstanceId,
        start: &StartChild,
        existing: Option<InstanceKey>,
    ) -> Result<(), Failure> {
        if start.name != HUB_KEY_ORCHESTRATION || start.parent.is_none() {
            return check_no_hub_key(id.as_str())
                .map_err(|error| Failure::new(kind::INVALID, error.to_string()).non_retryable());
        }
        let existing = existing.and_then(|key| self.instances.get(&key)).filter(|_| is_hub_key(id.as_str()));
        match existing.filter(|instance| instance.record.name != HUB_KEY_ORCHESTRATION) {
            None => Ok(()),
            Some(other) => {
                let message = format!(
                    "the idempotency key of {id:?} cannot be used: an instance of {:?} has that id; purge it",
                    other.record.name
                );
                Err(Failure::new(kind::ALREADY_EXISTS, message).non_retryable())
            }
        }
    }

    /// An orchestration cannot have the id of an entity.
    pub(super) fn refuse_child(&mut self, start: StartChild) {
        if let Some(parent) = start.parent {
            let message =
                "a sub-orchestration cannot have the instance id of an entity; choose one without \"@\"";
            let failure = Failure::new(kind::INVALID, message).non_retryable();
            self.answer_parent(parent, None, Some(failure));
        }
    }

    fn ended_in_doubt(&self, key: InstanceKey) -> bool {
        let failure = self.instances.get(&key).and_then(|instance| instance.record.failure.as_deref());
        failure.is_some_and(|failure| failure.kind == kind::UNKNOWN_OUTCOME)
    }

    /// Whether an instance is in the way of another attempt: an earlier attempt of the same task, whatever the policy
    /// says of others; or one that failed, which the policy would use, and which would only fail the attempt again.
    fn is_to_be_tried_again(
        &self,
        existing: Option<InstanceKey>,
        parent: &ParentLink,
        reuse: ReusePolicy,
    ) -> bool {
        let used = |status: Status| {
            let failed = status.is_terminal() && status != Status::Completed;
            parent.attempt > 1 && failed && reuse.on(status) == OnExisting::UseExisting
        };
        let existing_used =
            || existing.and_then(|key| self.instances.get(&key)).is_some_and(|i| used(i.status));
        self.is_earlier_attempt(existing, parent) || existing_used()
    }

    /// Whether an instance was started by the same task of the same parent, as an earlier attempt.
    fn is_earlier_attempt(&self, existing: Option<InstanceKey>, parent: &ParentLink) -> bool {
        let Some(instance) = existing.and_then(|key| self.instances.get(&key)) else { return false };
        let same_task = |earlier: &ParentLink| {
            let earlier = ParentLink { attempt: parent.attempt, ..earlier.clone() };
            earlier == *parent
        };
        instance.record.parents.iter().any(same_task)
    }

    /// Whether an instance was started by the same run of the same parent, on a branch that it has left. A key of the hub
    /// belongs to nobody's branch.
    pub(super) fn is_of_left_branch(&self, existing: Option<InstanceKey>, parent: &ParentLink) -> bool {
        let Some(instance) = existing.and_then(|key| self.instances.get(&key)) else { return false };
        let left = |earlier: &ParentLink| earlier.is_same_run(parent) && earlier.branch != parent.branch;
        instance.record.parents.first().is_some_and(left) && !is_hub_key(instance.id.as_str())
    }

    /// One more parent waits for an instance that was there already.
    fn attach_parent(&mut self, key: InstanceKey, parent: ParentLink) {
        let Some(instance) = self.instances.get_mut(&key) else { return };
        if instance.is_active() {
            let link = ParentLink { attached: true, ..parent };
            instance.record.parents.push(link.clone());
            self.mark_dirty(key);
            self.look_for_cycle(key, link);
        } else {
            let failure = instance.record.failure.clone().map(|failure| *failure);
            let failure = Ended::failure_for_parent(&instance.id, instance.status, failure);
            let output = instance.record.output.clone();
            self.answer_parent(parent, output, failure);
        }
    }

    /// A wait for an instance that was there has begun, or begun again.
    pub(super) fn look_for_cycle(&mut self, key: InstanceKey, link: ParentLink) {
        let Some(instance) = self.instances.get(&key) else { return };
        let awaited = Awaited {
            instance: instance.id.as_str().to_owned(),
            execution: instance.record.execution.to_bytes(),
        };
        let to = InstanceId::recorded(&link.instance);
        let find = FindCycle { link: Some(link), awaited: Some(awaited), ..FindCycle::default() };
        self.send(&to, Body::FindCycle(Box::new(find)));
    }

    /// Somebody waits for `awaited` by `link`, and this instance is that one or waited for by it, over any number of
    /// parents. If `awaited` waits for this instance, all of them would wait for ever: the link is answered by an error.
    /// One message walks the parents one after another and remembers where it has been: there may be many ways to the
    /// same one.
    pub(super) fn find_cycle(&mut self, key: Option<InstanceKey>, mut find: FindCycle) {
        let (Some(link), Some(awaited)) = (&find.link, &find.awaited) else { return };
        let instance = key.and_then(|key| self.instances.get(&key)).filter(|instance| instance.is_active());
        let parents = instance.map_or(&[][..], |instance| &instance.record.parents);
        if parents.iter().any(|p| p.instance == awaited.instance && p.execution == awaited.execution) {
            let text = format!(
                "{:?} cannot wait for {:?}, which waits for it: they would wait for ever. Start it detached, or send an event",
                link.instance, awaited.instance
            );
            let failure = Failure::new(kind::INVALID, text).non_retryable();
            return self.answer_parent(link.clone(), None, Some(failure));
        }
        for parent in parents {
            if find.seen.len() < CYCLE_PARENTS_MAX && !find.seen.contains(&parent.instance) {
                find.seen.push(parent.instance.clone());
                find.ahead.push(parent.instance.clone());
            }
        }
        if let Some(next) = find.ahead.pop() {
            self.send(&InstanceId::recorded(&next), Body::FindCycle(Box::new(find)));
        }
    }

    pub(super) fn answer_parent(
        &mut self,
        parent: ParentLink,
        output: Option<bytes::Bytes>,
        failure: Option<Failure>,
    ) {
        let to = InstanceId::recorded(&parent.instance);
        self.send(&to, Body::ChildEnded(ChildEnded { parent: Some(parent), output, failure }));
    }

    /// A child has ended: its parent learns it, or it is started once more.
    pub(super) fn child_ended(&mut self, key: InstanceKey, ended: ChildEnded) {
        let (now, dice) = (self.now, self.dice());
        let any_generation = self.planted(Bug::OldGenerationAccepted);
        let Some(link) = ended.parent else { return };
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let record = &instance.record;
        let same_run =
            (record.generation == link.generation && record.execution == link.execution) || any_generation;
        if !instance.is_active() || !same_run || record.branch != link.branch {
            return;
        }
        let Some(child) = instance.children.get_mut(&link.task) else { return };
        if child.record.attempt != link.attempt || child.record.not_before != 0 {
            return;
        }
        if child.record.canceled {
            instance.children.remove(&link.task);
            return self.mark_dirty(key);
        }
        let event = match ended.failure {
            None => Event::new(now, SubOrchestrationCompleted { id: link.task, output: ended.output }),
            Some(failure) => {
                let policy = child.record.retry.clone().unwrap_or_default();
                let next = policy.next_attempt(child.record.attempt, &failure, now, Timestamp::MAX, dice);
                if let Some(at) = next {
                    child.record.attempt += 1;
                    child.record.not_before = at.0;
                    self.wakes.add(at, key, Wake::ChildRetry(link.task));
                    self.mark_dirty(key);
                    return;
                }
                Event::new(now, SubOrchestrationFailed { id: link.task, failure: Some(failure) })
            }
        };
        instance.children.remove(&link.task);
        instance.inbox.push(event);
        self.mark_dirty(key);
        self.enqueue(key);
    }

    pub(super) fn child_retry_due(&mut self, key: InstanceKey, id: u32) {
        let now = self.now;
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let held = instance.is_suspended();
        let Some(child) = instance.children.get_mut(&id) else { return };
        let due = child.record.not_before != 0 && child.record.not_before <= now.0;
        if !due || held {
            return;
        }
        let Some(scheduled) = child.scheduled.clone() else { return self.want_history(key) };
        let not_before = Timestamp(std::mem::take(&mut child.record.not_before));
        let attempt = child.record.attempt;
        let link = instance.link(id, attempt);
        self.rely_on(not_before);
        self.mark_dirty(key);
        self.send_start(&scheduled, Some(link), None);
    }

    /// Starts again every child whose wait is over.
    pub(super) fn start_due_children(&mut self, key: InstanceKey) {
        let Some(instance) = self.instances.get(&key) else { return };
        let ids: Vec<u32> = instance.children.keys().copied().collect();
        for id in ids {
            self.child_retry_due(key, id);
        }
    }

    /// Another instance sends an event. One that comes too late is dropped, as the field does; one for which there is no
    /// room is refused, and its sender's history says so.
    pub(super) fn raised_by_instance(&mut self, key: InstanceKey, raise: Raise) {
        let (now, limits) = (self.now, self.config.limits.clone());
        if let Some(instance) = self.instances.get_mut(&key).filter(|instance| instance.is_active()) {
            match instance.check_room(&raise.name, &raise.input, &limits) {
                Ok(()) => {
                    instance
                        .inbox
                        .push(Event::new(now, EventRaised { name: raise.name, input: raise.input }));
                    self.mark_dirty(key);
                    self.enqueue(key);
                }
                Err(refusal) => self.refuse_raise(raise.from, &refusal),
            }
        }
    }

    pub(super) fn terminate_child(&mut self, key: InstanceKey, terminate: Terminate) {
        if self.is_child_of(key, terminate.parent.as_ref()) {
            self.terminate(key, terminate.reason, terminate.recurse);
        }
    }

    pub(super) fn cancel_child(&mut self, key: InstanceKey, cancel: Cancel) {
        if self.is_child_of(key, cancel.parent.as_ref()) {
            self.cancel(key, cancel.reason);
        }
    }

    fn is_child_of(&self, key: InstanceKey, parent: Option<&ParentLink>) -> bool {
        let Some(instance) = self.instances.get(&key) else { return false };
        parent.is_none_or(|parent| instance.record.parents.contains(parent))
    }
}
