//! What orchestrations ask of entities, and the answers.

use super::record::{CallRecord, LeftCall, LockRequest, Operation, SectionRecord, TaskName};
use crate::failure::Failure;
use crate::history::{
    EntityLockGranted, EntityLockRequested, EntityOperationCalled, EntityOperationCompleted,
    EntityOperationFailed, EntityOperationSignaled, EntityUnlockSent, Event, EventKind, ParentLink,
};
use crate::id::{InstanceId, InstanceKey};
use crate::partition::Partition;
use crate::partition::instance::Instance;
use crate::partition::message::Body;
use crate::rewind::{Found, Sort};
use bytes::Bytes;

/// The answer to a call.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OperationEnded {
    /// Which task of the receiver this answers.
    #[prost(message, optional, tag = "1")]
    pub caller: Option<ParentLink>,
    /// What the operation returned, if it ended well.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub output: Option<Bytes>,
    /// Why it failed; absent if it ended well.
    #[prost(message, optional, tag = "3")]
    pub failure: Option<Failure>,
    /// The caller's name for it; may be empty.
    #[prost(string, tag = "4")]
    pub request: String,
}

/// All entities of a critical section are held.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LockGranted {
    /// Which section of the receiver: the task.
    #[prost(message, optional, tag = "1")]
    pub holder: Option<ParentLink>,
    /// The holder's name for it; may be empty.
    #[prost(string, tag = "2")]
    pub request: String,
}

impl Partition {
    pub(in crate::partition) fn call_entity(&mut self, key: InstanceKey, called: EntityOperationCalled) {
        let now = self.now;
        let found = self.reused(key, || Sort::of_call(&called));
        let Some(instance) = self.instances.get_mut(&key) else { return };
        if let Some(Found::Result(output)) = found {
            let (id, request) = (called.id, called.request.clone());
            instance.append(Event::new(now, called));
            return instance.inbox.push(Event::new(now, EntityOperationCompleted { id, output, request }));
        }
        if let Some(Found::Call(name)) = found
            && let Some(left) = instance.left_call(name)
        {
            let (id, entity, request) = (called.id, called.entity.clone(), called.request.clone());
            let (ended, output, sent_as) = (left.ended, left.output.clone(), left.names.first().copied());
            let event = instance.append(Event::new(now, called));
            if ended {
                instance.inbox.push(Event::new(now, EntityOperationCompleted { id, output, request }));
            } else {
                instance.calls.insert(id, CallRecord { id, event, entity, sent_as, request });
            }
            return;
        }
        let operation = Operation {
            name: called.operation.clone(),
            input: called.input.clone(),
            caller: Some(link(instance, called.id)),
            at: 0,
            request: called.request.clone(),
        };
        let (id, entity) = (called.id, called.entity.clone());
        let event = instance.append(Event::new(now, called));
        instance.calls.insert(id, CallRecord { id, event, entity: entity.clone(), ..CallRecord::default() });
        self.send(&InstanceId::recorded(&entity), Body::Operation(operation));
    }

    pub(in crate::partition) fn signal_entity(
        &mut self,
        key: InstanceKey,
        signaled: EntityOperationSignaled,
    ) {
        let now = self.now;
        let was_sent = self.reused(key, || Sort::of_signal(&signaled)).is_some();
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let operation = Operation {
            name: signaled.operation.clone(),
            input: signaled.input.clone(),
            caller: None,
            at: signaled.at,
            request: signaled.request.clone(),
        };
        let entity = InstanceId::recorded(&signaled.entity);
        instance.append(Event::new(now, signaled));
        if !was_sent {
            self.send(&entity, Body::Operation(operation));
        }
    }

    pub(in crate::partition) fn request_lock(&mut self, key: InstanceKey, requested: EntityLockRequested) {
        let now = self.now;
        // A worker that asks for a second section gives up the first: never two.
        self.release_section(key);
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let mut set = requested.set.clone();
        set.sort_unstable();
        set.dedup();
        let request = LockRequest {
            holder: Some(link(instance, requested.id)),
            set: set.clone(),
            position: 0,
            request: requested.request.clone(),
        };
        instance.record.section =
            Some(Box::new(SectionRecord { id: requested.id, set, granted: false, since: now.0 }));
        instance.append(Event::new(now, requested));
        match request.entity() {
            Some(first) => self.send(&first, Body::Lock(request)),
            None => self.lock_granted(key, LockGranted { holder: request.holder, request: request.request }),
        }
    }

    pub(in crate::partition) fn unlock_entities(&mut self, key: InstanceKey, sent: EntityUnlockSent) {
        let now = self.now;
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let entities = sent.entities.clone();
        instance.append(Event::new(now, sent));
        let Some(mut section) = instance.record.section.take() else { return };
        let all = entities.is_empty() || !section.granted;
        // Some of them, one by one, as the DurableTask SDKs do; or all.
        let (gone, rest) = section.set.drain(..).partition(|entity| all || entities.contains(entity));
        let holder = link(instance, section.id);
        section.set = rest;
        instance.record.section = (!section.set.is_empty()).then(|| section.clone());
        self.send_unlocks(holder, gone, section.granted);
    }

    /// The critical section of an orchestration is over, however that came about.
    pub(in crate::partition) fn release_section(&mut self, key: InstanceKey) {
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let Some(section) = instance.record.section.take() else { return };
        let holder = link(instance, section.id);
        self.mark_dirty(key);
        self.send_unlocks(holder, section.set, section.granted);
    }

    /// A request to cancel ends the wait for a lock; one that is held stays with the code.
    pub(in crate::partition) fn withdraw_lock_request(&mut self, key: InstanceKey) {
        let section = self.instances.get(&key).and_then(|instance| instance.record.section.as_deref());
        if section.is_some_and(|section| !section.granted) {
            self.release_section(key);
        }
    }

    pub(super) fn answer_caller(
        &mut self,
        caller: ParentLink,
        request: String,
        result: Result<Option<Bytes>, Failure>,
    ) {
        let to = InstanceId::recorded(&caller.instance);
        let (output, failure) = match result {
            Ok(output) => (output, None),
            Err(failure) => (None, Some(failure)),
        };
        self.send(
            &to,
            Body::OperationEnded(OperationEnded { caller: Some(caller), output, failure, request }),
        );
    }

    pub(in crate::partition) fn operation_ended(&mut self, key: InstanceKey, ended: OperationEnded) {
        let now = self.now;
        let Some(caller) = ended.caller.clone() else { return };
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let (branch, sent) = (instance.record.branch, TaskName { branch: caller.branch, task: caller.task });
        if !is_of_run(instance, &caller) {
            return;
        }
        let is_left = instance.note_left_call(&ended);
        let waiting = instance.calls.values().find(|call| call.sent_as(branch) == sent).map(|call| call.id);
        let Some(id) = waiting else {
            return match is_left {
                true => self.mark_dirty(key),
                false => self.lock_refused(key, &caller, ended.failure, ended.request),
            };
        };
        let taken_over = instance.calls.remove(&id).filter(|call| call.sent_as.is_some());
        let request = taken_over.map_or(ended.request, |call| call.request);
        instance.inbox.push(match ended.failure {
            None => Event::new(now, EntityOperationCompleted { id, output: ended.output, request }),
            failure => Event::new(now, EntityOperationFailed { id, failure, request }),
        });
        self.mark_dirty(key);
        self.enqueue(key);
    }

    /// Who holds one of the entities waits for this instance, so its critical section would never be granted.
    fn lock_refused(
        &mut self,
        key: InstanceKey,
        wanted: &ParentLink,
        failure: Option<Failure>,
        request: String,
    ) {
        let (now, id) = (self.now, wanted.task);
        let Some(failure) = failure else { return };
        let Some(instance) = self.instances.get(&key) else { return };
        let section = instance.record.section.as_deref();
        let waits = section.is_some_and(|section| section.id == id && !section.granted);
        if !waits || !is_of_present_run(instance, wanted) {
            return;
        }
        // The workers that name their sections know of no refusal: they would take it for the lock.
        if !request.is_empty() {
            return self.fail(key, failure, now);
        }
        self.release_section(key);
        if let Some(instance) = self.instances.get_mut(&key) {
            let failed = EntityOperationFailed { id, failure: Some(failure), request };
            instance.inbox.push(Event::new(now, failed));
        }
        self.enqueue(key);
    }

    pub(in crate::partition) fn lock_granted(&mut self, key: InstanceKey, granted: LockGranted) {
        let now = self.now;
        let Some(holder) = granted.holder else { return };
        let Some(instance) = self.instances.get_mut(&key) else { return };
        if !is_of_present_run(instance, &holder) {
            return;
        }
        // One that is not wanted any more is released by what was sent when it was given up; and one grant is enough.
        let waits = |section: &&mut SectionRecord| section.id == holder.task && !section.granted;
        let Some(section) = instance.record.section.as_deref_mut().filter(waits) else { return };
        section.granted = true;
        // The request to cancel came first, and its turn gives up a lock that is not there yet.
        if instance.inbox.iter().any(|event| matches!(event.kind, EventKind::CancelRequested(_))) {
            return self.release_section(key);
        }
        instance.inbox.push(Event::new(now, EntityLockGranted { id: holder.task, request: granted.request }));
        self.mark_dirty(key);
        self.enqueue(key);
    }
}

/// Whether a link names what an instance does now.
pub(super) fn is_of_present_run(instance: &Instance, link: &ParentLink) -> bool {
    instance.is_active() && is_of_run(instance, link) && instance.record.branch == link.branch
}

/// Whether a link names the run of an instance, on whatever branch.
fn is_of_run(instance: &Instance, link: &ParentLink) -> bool {
    let record = &instance.record;
    record.generation == link.generation && record.execution == link.execution
}

impl Instance {
    /// Notes the answer to a call of a branch that was left; says whether it is one.
    pub(in crate::partition) fn note_left_call(&mut self, ended: &OperationEnded) -> bool {
        let Some(caller) = ended.caller.as_ref().filter(|caller| is_of_run(self, caller)) else {
            return false;
        };
        let sent = TaskName { branch: caller.branch, task: caller.task };
        self.record.rewinds.as_mut().is_some_and(|rewinds| rewinds.left_call_ended(sent, ended))
    }

    /// A call that was under way when a branch was left.
    fn left_call(&self, name: TaskName) -> Option<&LeftCall> {
        let rewinds = self.record.rewinds.as_ref()?;
        rewinds.calls.iter().find(|left| left.names.contains(&name))
    }
}

pub(super) fn link(instance: &Instance, task: u32) -> ParentLink {
    ParentLink {
        instance: instance.id.as_str().to_owned(),
        generation: instance.record.generation,
        branch: instance.record.branch,
        task,
        attempt: 1,
        execution: instance.record.execution.to_bytes(),
        ..ParentLink::default()
    }
}
