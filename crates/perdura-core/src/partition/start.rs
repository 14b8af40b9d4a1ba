//! The atomic start: one call looks, decides and says what happened.

use super::instance::Instance;
use super::record::{AnsweredStart, InstanceRecord, RunId, Traces};
use super::request::{ReplyToken, RequestError, Response, StartOutcome, StartRequest, Started};
use super::wakes::Wake;
use super::{Bug, Partition};
use crate::history::{Event, ExecutionStarted, ParentLink};
use crate::id::{ExecutionId, InstanceId, InstanceKey, Tags};
use crate::limits::START_REQUESTS_REMEMBERED;
use crate::status::{OnExisting, ReusePolicy, Status};
use crate::time::Timestamp;
use bytes::Bytes;

/// A start, by a client or by a parent.
pub(super) struct Start {
    pub(super) id: InstanceId,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) input: Option<Bytes>,
    pub(super) tags: Tags,
    pub(super) start_at: Option<Timestamp>,
    pub(super) reuse: ReusePolicy,
    /// The client's request id, and the checksum of what it asked.
    pub(super) request: Option<(String, u32)>,
    pub(super) parent: Option<ParentLink>,
    pub(super) execution: Option<ExecutionId>,
    pub(super) trace: Option<Bytes>,
}

impl Partition {
    pub(super) fn start_by_client(
        &mut self,
        token: ReplyToken,
        request: StartRequest,
        existing: Option<InstanceKey>,
    ) {
        let content = checksum(&request);
        let request_id = (!request.request_id.is_empty()).then_some((request.request_id, content));
        let start = Start {
            id: request.id,
            name: request.name,
            version: request.version,
            input: request.input,
            tags: request.tags,
            start_at: request.start_at,
            reuse: request.reuse,
            request: request_id,
            parent: None,
            execution: request.execution,
            trace: request.trace,
        };
        let answer = self.start(start, existing).map(Response::Started);
        self.reply(token, answer);
    }

    /// Decides a start. `existing` is the instance that has the id.
    pub(super) fn start(
        &mut self,
        start: Start,
        existing: Option<InstanceKey>,
    ) -> Result<Started, RequestError> {
        let Some(instance) = existing.and_then(|key| self.instances.get(&key)) else {
            if self.is_never_written(&start.id) {
                let what = self.why_unwritable(&start.id);
                return Err(RequestError::Damaged { id: start.id, what });
            }
            return Ok(self.create(start));
        };
        let (key, status) = (instance.key, instance.status);
        if let Some((request_id, content)) = &start.request
            && let Some(answered) = instance.record.starts.iter().find(|s| s.request_id == *request_id)
        {
            if answered.content != *content {
                return Err(RequestError::RequestIdReused { id: start.id, request_id: request_id.clone() });
            }
            return Ok(repeat(&start.id, answered));
        }
        match start.reuse.on(status) {
            OnExisting::Fail => Err(RequestError::AlreadyExists {
                id: start.id,
                status,
                created_at: Timestamp(instance.record.created_at),
            }),
            OnExisting::UseExisting => Ok(Started {
                outcome: StartOutcome::Existing,
                id: start.id,
                execution: instance.run(),
                generation: instance.record.generation,
            }),
            OnExisting::Replace => Ok(self.replace(key, start)),
        }
    }

    fn create(&mut self, start: Start) -> Started {
        let key = InstanceKey::new(self.config.id, self.config.next_key);
        self.config.next_key += 1;
        let id = start.id.clone();
        let mut instance = Instance::new(key, InstanceRecord::default(), Status::Pending);
        instance.id = id;
        let id = instance.id.clone();
        self.admit(instance);
        let started = self.begin(key, start, StartOutcome::Created);
        self.keep_aside(&id, key);
        started
    }

    /// The execution that has the id ends, its children too, and a new one begins in its place.
    fn replace(&mut self, key: InstanceKey, start: Start) -> Started {
        // Whoever waits is answered when it is known whom the new execution leaves waiting.
        let waiters = self.instances.get_mut(&key).map(|instance| std::mem::take(&mut instance.waiters));
        self.terminate(key, "replaced by a new start".into(), true);
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.waiters = waiters.unwrap_or_default();
        }
        self.begin(key, start, StartOutcome::Replaced)
    }

    /// Begins a generation in an instance that is new or has ended.
    fn begin(&mut self, key: InstanceKey, start: Start, outcome: StartOutcome) -> Started {
        let now = self.now;
        // Answers to the run before are known by its id: it must not be that of the new one.
        let before = self.instances.get(&key).map(|instance| instance.execution());
        let given = start.execution.filter(|given| Some(*given) != before);
        let execution = given.unwrap_or_else(|| self.new_execution_id());
        let forgets = self.planted(Bug::RequestIdForgotten);
        let start_at = start.start_at.filter(|at| *at > now);
        let started = Started { outcome, id: start.id.clone(), execution, generation: 0 };
        let Some(instance) = self.instances.get_mut(&key) else { return started };
        let generation = instance.record.generation + 1;
        let mut starts = std::mem::take(&mut instance.record.starts);
        if let Some((request_id, content)) = start.request.filter(|_| !forgets) {
            let execution = execution.into();
            starts.reserve_exact(1);
            starts.push(AnsweredStart {
                request_id,
                content,
                outcome: outcome as u32,
                generation,
                execution,
            });
            let too_many = starts.len().saturating_sub(START_REQUESTS_REMEMBERED);
            starts.drain(..too_many);
        }
        let event = ExecutionStarted {
            name: start.name.clone(),
            version: start.version.clone(),
            input: start.input,
            execution: RunId::from(execution).to_bytes(),
            start_at: start_at.map(|at| at.0),
            parent: start.parent.clone(),
            tags: start.tags.clone(),
            trace: start.trace.clone(),
        };
        instance.record = InstanceRecord {
            name: start.name,
            version: start.version,
            generation,
            start_generation: generation,
            execution: execution.into(),
            run: execution.into(),
            created_at: now.0,
            start_at: start_at.map_or(0, |at| at.0),
            parents: start.parent.into_iter().collect(),
            tags: start.tags,
            starts,
            traces: start.trace.map(|trace| Box::new(Traces { start: Some(trace), turn: None })),
            ..InstanceRecord::default()
        };
        instance.status = Status::Pending;
        instance.unwritten.clear();
        instance.reuse = None;
        instance.drop_before = instance.stored.map(|_| generation);
        instance.inbox = vec![Event::new(now, event)].into();
        self.forget_history(key);
        self.restart_rewinds(key);
        self.answer_waiters_of_replaced(key);
        self.mark_dirty(key);
        if let Some(at) = start_at {
            self.wakes.add(at, key, Wake::Start);
        }
        self.enqueue(key);
        Started { generation, ..started }
    }

    /// Whoever waited for the run that was replaced learns it; who waits for the id goes on waiting.
    fn answer_waiters_of_replaced(&mut self, key: InstanceKey) {
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let (stay, go): (Vec<_>, Vec<_>) =
            std::mem::take(&mut instance.waiters).into_iter().partition(|waiter| {
                waiter.execution.is_none_or(|execution| instance.record.is_of_run(execution))
            });
        instance.waiters = stay;
        let id = instance.id.clone();
        for waiter in go {
            self.reply(waiter.token, Err(RequestError::Replaced { id: id.clone() }));
        }
    }
}

fn repeat(id: &InstanceId, answered: &AnsweredStart) -> Started {
    Started {
        outcome: if answered.outcome == StartOutcome::Replaced as u32 {
            StartOutcome::Replaced
        } else {
            StartOutcome::Created
        },
        id: id.clone(),
        execution: answered.execution.id(),
        generation: answered.generation,
    }
}

/// CRC-32 of what a start asks for, to tell a retry from another start under the same request id.
fn checksum(start: &StartRequest) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    let mut field = |bytes: &[u8]| {
        crc.update(&(bytes.len() as u64).to_le_bytes());
        crc.update(bytes);
    };
    field(start.name.as_bytes());
    field(start.version.as_bytes());
    field(&[u8::from(start.input.is_some())]);
    field(start.input.as_deref().unwrap_or_default());
    for (key, value) in &start.tags {
        field(key.as_bytes());
        field(value.as_bytes());
    }
    field(&start.start_at.map_or(0, |at| at.0).to_le_bytes());
    crc.finalize()
}
