//! What callers do with a hub.

use crate::at_rest::ask_at_rest;
use crate::error::EngineError;
use crate::handler::read_resolution;
use crate::lookups;
use crate::processor::{Input, random};
use bytes::Bytes;
use perdura_core::delivery::{Answer, RESOLVE_EVENT};
use perdura_core::history::{Damaged, Event};
use perdura_core::partition::{
    Brought, InstanceRecord, InstanceRow, ReplyToken, Request, RequestError, Response, SignalRequest,
    StartRequest, Started,
};
use perdura_core::{EntityId, ExecutionId, Failure, InstanceId, InstanceKey};
use perdura_store::{InstanceQuery, Store};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Mutex, mpsc, oneshot};

/// A client of a hub. Whatever it is told is durable.
#[derive(Clone)]
pub struct Client {
    store: Arc<dyn Store>,
    door: Door,
    tokens: Arc<AtomicU64>,
}

/// Who answers requests.
#[derive(Clone)]
enum Door {
    /// The processors of a running engine.
    Open(Arc<[mpsc::Sender<Input>]>),
    /// Nobody serves the hub: this client decides them itself, one at a time.
    AtRest(Arc<Mutex<()>>),
}

impl Client {
    pub(crate) fn new(store: Arc<dyn Store>, inputs: Arc<[mpsc::Sender<Input>]>) -> Client {
        Client { store, door: Door::Open(inputs), tokens: Arc::new(AtomicU64::new(1)) }
    }

    /// A client of a hub that no engine serves. What it asks is recorded; what follows from it, a turn or an activity,
    /// happens when an engine is started. Waits are answered only if the instance has ended.
    #[must_use]
    pub fn at_rest(store: Arc<dyn Store>) -> Client {
        Client { store, door: Door::AtRest(Arc::default()), tokens: Arc::new(AtomicU64::new(1)) }
    }

    /// Whether no engine serves the hub.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        matches!(self.door, Door::AtRest(_))
    }

    pub(crate) fn inputs(&self) -> &[mpsc::Sender<Input>] {
        match &self.door {
            Door::Open(inputs) => inputs,
            Door::AtRest(_) => &[],
        }
    }

    /// A random id for an instance: 32 hex digits.
    pub fn random_id() -> Result<InstanceId, EngineError> {
        Ok(InstanceId::new(&format!("{:032x}", random()?))?)
    }

    /// Starts an instance, or finds that its id is taken: the answer says which. A start without a request id gets a
    /// random one, so that the engine itself can ask again after a doubtful commit.
    pub async fn start(&self, mut start: StartRequest) -> Result<Started, EngineError> {
        if start.request_id.is_empty() {
            start.request_id = format!("{:032x}", random()?);
        }
        match self.ask(Request::Start(start)).await? {
            Response::Started(started) => Ok(started),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends an external event. It is durable when this returns; who does not wait for it yet gets it later. The event
    /// `perdura.resolve` says what follows for an activity whose outcome is unknown, as [`resolve`](Self::resolve) does.
    pub async fn raise_event(
        &self,
        id: InstanceId,
        name: String,
        input: Option<Bytes>,
    ) -> Result<(), EngineError> {
        if name == RESOLVE_EVENT {
            return self.resolve_by_event(id, input).await;
        }
        self.ask(Request::Raise { id, name, input, event_id: String::new() }).await.map(drop)
    }

    /// The same, for an event that has a name of its own: one whose `event_id` (at most 512 bytes) is among the last 128 that
    /// came is not taken again, and that is success.
    pub async fn raise_event_once(
        &self,
        id: InstanceId,
        name: String,
        input: Option<Bytes>,
        event_id: String,
    ) -> Result<(), EngineError> {
        if name == RESOLVE_EVENT {
            let why = "it is not remembered by an id of its own; raise it without one, or resolve".to_owned();
            return Err(RequestError::NoResolution { id, why }.into());
        }
        self.ask(Request::Raise { id, name, input, event_id }).await.map(drop)
    }

    async fn resolve_by_event(&self, id: InstanceId, input: Option<Bytes>) -> Result<(), EngineError> {
        let read = read_resolution(input.as_ref());
        let said = read.map_err(|why| RequestError::NoResolution { id: id.clone(), why })?;
        let by = if said.by.is_empty() { "operator".to_owned() } else { said.by };
        self.resolve(id, said.task, said.answer, by).await
    }

    /// Stops an instance until it is resumed; everything that arrives is kept. Twice is as good as once.
    pub async fn suspend(&self, id: InstanceId, reason: String) -> Result<(), EngineError> {
        self.ask(Request::Suspend { id, reason }).await.map(drop)
    }

    /// Lets a suspended instance go on. No effect on one that runs.
    pub async fn resume(&self, id: InstanceId, reason: String) -> Result<(), EngineError> {
        self.ask(Request::Resume { id, reason }).await.map(drop)
    }

    /// Says what follows for an activity of which nobody knows whether it ran; `task` may be left out if there is only
    /// one. `by` says who decides, and why.
    pub async fn resolve(
        &self,
        id: InstanceId,
        task: Option<u32>,
        answer: Answer,
        by: String,
    ) -> Result<(), EngineError> {
        self.ask(Request::Resolve { id, task, answer, by }).await.map(drop)
    }

    /// Brings the result of an attempt whose hand-over was committed with this token, by a process that is gone. The engine
    /// decides what it is good for.
    ///
    /// # Errors
    /// [`RequestError::NotInDoubt`]: nobody waits for it.
    pub async fn bring(
        &self,
        id: InstanceId,
        task: u32,
        token: Bytes,
        result: Result<Option<Bytes>, Failure>,
    ) -> Result<(), EngineError> {
        self.ask(Request::Bring { id, brought: Brought { task, token, result } }).await.map(drop)
    }

    /// Asks an instance to end by its own code: whatever it waits for fails, its activities and children are told.
    pub async fn cancel(&self, id: InstanceId, reason: String) -> Result<(), EngineError> {
        self.ask(Request::Cancel { id, reason }).await.map(drop)
    }

    /// Ends an instance by force, its children too if `recurse`. No effect on one that has ended.
    pub async fn terminate(&self, id: InstanceId, reason: String, recurse: bool) -> Result<(), EngineError> {
        self.ask(Request::Terminate { id, reason, recurse }).await.map(drop)
    }

    /// Removes an instance that has ended, with its history. If nobody knows what became of a first attempt, the engine
    /// asks again, and that nothing is there is then success.
    pub async fn purge(&self, id: InstanceId) -> Result<(), EngineError> {
        self.ask(Request::Purge { id, again: false }).await.map(drop)
    }

    /// Sends an entity a signal. It is durable when this returns, and will run once.
    pub async fn signal(&self, signal: SignalRequest) -> Result<(), EngineError> {
        self.ask(Request::Signal(signal)).await.map(drop)
    }

    /// Takes an entity's state away. An error if somebody holds the entity.
    pub async fn delete_entity(&self, entity: EntityId) -> Result<(), EngineError> {
        self.ask(Request::DeleteEntity { entity }).await.map(drop)
    }

    /// What is known of an entity; `None` if it has neither state nor anything to do.
    pub async fn entity(&self, id: &EntityId) -> Result<Option<InstanceRecord>, EngineError> {
        self.get(id.instance()).await
    }

    /// Waits until an instance has ended and gives its record. With the `execution` that a start answered, a later
    /// start of the id, by replacement or after a purge, is an error; without, the wait is for whatever has the id.
    pub async fn wait(
        &self,
        id: InstanceId,
        execution: Option<ExecutionId>,
    ) -> Result<InstanceRecord, EngineError> {
        match self.ask(Request::Wait { id, execution }).await? {
            Response::Ended(record) => Ok(*record),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits until an instance has taken its first turn, or has ended without one, and gives its record.
    pub async fn wait_begun(&self, id: InstanceId) -> Result<InstanceRecord, EngineError> {
        match self.ask(Request::WaitBegun { id }).await? {
            Response::Begun(record) => Ok(*record),
            other => Err(unexpected(&other)),
        }
    }

    /// What is known of an instance; `None` if there is none.
    pub async fn get(&self, id: &InstanceId) -> Result<Option<InstanceRecord>, EngineError> {
        Ok(lookups::row(&*self.store, id).await?.map(|(_, record)| record))
    }

    /// Instances that match, in the order in which they were created, at most `limit`. A damaged one
    /// is listed as what is left of it.
    pub async fn list(&self, query: InstanceQuery, limit: usize) -> Result<Vec<Listed>, EngineError> {
        let rows = self.store.query(query, limit).await?;
        Ok(rows.iter().map(Listed::new).collect())
    }

    /// The history of an instance's present execution; `None` if there is no such instance.
    pub async fn history(&self, id: &InstanceId) -> Result<Option<Vec<Event>>, EngineError> {
        let Some((row, record)) = lookups::row(&*self.store, id).await? else { return Ok(None) };
        lookups::history(&*self.store, &row, &record, record.branch).await
    }

    /// Writes a consistent copy of the hub to a new place while the engine runs. An existing target is an error.
    pub async fn backup(&self, to: &Path) -> Result<(), EngineError> {
        Ok(self.store.backup(to).await?)
    }

    /// The store that the engine works on.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub(crate) async fn ask(&self, request: Request) -> Result<Response, EngineError> {
        let inputs = match &self.door {
            Door::Open(inputs) => inputs,
            Door::AtRest(one) => {
                let _one_at_a_time = one.lock().await;
                return ask_at_rest(&*self.store, request).await;
            }
        };
        let token = ReplyToken(self.tokens.fetch_add(1, Ordering::Relaxed));
        let id = request.id().clone();
        let inputs = &inputs[usize::from(id.partition(inputs.len() as u16).0)];
        let (reply, answer) = oneshot::channel();
        let waits = request.waits();
        inputs.send(Input::Request(token, request, reply)).await.map_err(|_| EngineError::ShuttingDown)?;
        let mut guard = waits.then(|| StopWaiting { inputs, token: Some(token), id });
        let answer = answer.await.map_err(|_| EngineError::ShuttingDown)?;
        if let Some(guard) = &mut guard {
            guard.token = None;
        }
        answer
    }
}

/// An instance in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Its place in the list.
    pub key: InstanceKey,
    /// What is known of it.
    pub record: InstanceRecord,
    /// What is damaged. Then the record has only what the columns of its row say, as far as they can be read.
    pub damage: Option<Damaged>,
}

impl Listed {
    pub(crate) fn new(row: &InstanceRow) -> Listed {
        match row.open() {
            Ok(record) => Listed { key: row.key, record, damage: None },
            Err(damage) => {
                let record = InstanceRecord {
                    id: row.id.as_str().to_owned(),
                    name: row.name.clone(),
                    status: u32::from(row.status as u8),
                    generation: row.generation,
                    branch: row.branch,
                    tail: row.tail,
                    created_at: row.created_at.0,
                    updated_at: row.updated_at.0,
                    completed_at: row.completed_at.map_or(0, |at| at.0),
                    ..InstanceRecord::default()
                };
                Listed { key: row.key, record, damage: Some(damage) }
            }
        }
    }
}

/// Tells the processor when a caller gives up waiting.
struct StopWaiting<'a> {
    inputs: &'a mpsc::Sender<Input>,
    token: Option<ReplyToken>,
    id: InstanceId,
}

impl Drop for StopWaiting<'_> {
    fn drop(&mut self) {
        if let Some(token) = self.token {
            // If the queue is full the waiter stays until the instance ends, which costs memory only.
            let _ = self.inputs.try_send(Input::StopWaiting(token, self.id.clone()));
        }
    }
}

pub(crate) fn unexpected(answer: &Response) -> EngineError {
    EngineError::System(format!("a bug in the engine: the answer to another question, {answer:?}"))
}
