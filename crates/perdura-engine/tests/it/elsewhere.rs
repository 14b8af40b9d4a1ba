//! Hosts that run nothing themselves: what is to be run goes to the test.

use perdura_core::entity::OperationBatch;
use perdura_core::history::*;
use perdura_core::orchestration::*;
use perdura_core::partition::StartRequest;
use perdura_core::*;
use perdura_engine::*;
use perdura_store::BoxFuture;
use perdura_store::Store;
use perdura_store::sim::SimStore;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// A turn that was sent away.
pub struct Away {
    pub turn: Turn,
    pub history: Vec<Event>,
    pub returns: TurnReturns,
}

impl Away {
    pub async fn done(&self, decisions: Vec<Decision>) -> Result<(), NotRecorded> {
        let result = TurnResult { decisions, ..TurnResult::default() };
        self.returns.done(self.turn.ticket(), TurnOutcome::Done(result)).await
    }
}

/// An activity that was handed out.
pub struct Attempt {
    pub task: ActivityTask,
    pub end: oneshot::Sender<ActivityEnd>,
}

/// The test's side of an engine whose workers are elsewhere.
pub struct Elsewhere {
    pub engine: Engine,
    pub client: Client,
    pub store: SimStore,
    pub turns: mpsc::Receiver<Away>,
    pub attempts: mpsc::Receiver<Attempt>,
    pub forgotten: mpsc::Receiver<InstanceKey>,
}

struct Orchestrations(mpsc::Sender<Away>, mpsc::Sender<InstanceKey>);
struct NoEntities;
struct Activities(mpsc::Sender<Attempt>);
struct Sender(TurnReturns, mpsc::Sender<Away>, mpsc::Sender<InstanceKey>);

impl OrchestrationHost for Orchestrations {
    fn runner(&self, _: PartitionId, returns: TurnReturns) -> Box<dyn Runner> {
        Box::new(Sender(returns, self.0.clone(), self.1.clone()))
    }
}

impl Runner for Sender {
    fn run(&mut self, turn: &Turn, history: Option<&[Event]>) -> Run {
        if turn.from > 0 && history.is_none() {
            return Run::NeedsHistory;
        }
        let history = history.unwrap_or_default().to_vec();
        let away = Away { turn: turn.clone(), history, returns: self.0.clone() };
        self.1.try_send(away).map_or(Run::NeedsHistory, |()| Run::Away)
    }

    fn forget(&mut self, key: InstanceKey) {
        let _ = self.2.try_send(key);
    }
}

impl ActivityHost for Activities {
    fn run(&self, task: ActivityTask) -> BoxFuture<'static, ActivityEnd> {
        let attempts = self.0.clone();
        Box::pin(async move {
            let (end, ended) = oneshot::channel();
            let _ = attempts.send(Attempt { task, end }).await;
            ended.await.unwrap_or(ActivityEnd::NotStarted)
        })
    }
}

impl EntityHost for NoEntities {
    fn run(&self, _: OperationBatch) -> BoxFuture<'static, BatchEnd> {
        Box::pin(async { BatchEnd::CannotRun { why: "nobody here runs entities".into() } })
    }
}

impl Elsewhere {
    pub async fn start(partitions: u16) -> Elsewhere {
        let store = SimStore::new(partitions);
        store.set_clock(Timestamp(1_000_000));
        let (turn, turns) = mpsc::channel(1000);
        let (attempt, attempts) = mpsc::channel(1000);
        let (forget, forgotten) = mpsc::channel(1000);
        let options = EngineOptions { running_activities_max: None, ..EngineOptions::default() };
        let hosts = Hosts {
            orchestrations: Arc::new(Orchestrations(turn, forget)),
            activities: Arc::new(Activities(attempt)),
            entities: Arc::new(NoEntities),
        };
        let engine = Engine::start(Arc::new(store.clone()), hosts, options).await.unwrap();
        let client = engine.client();
        Elsewhere { engine, client, store, turns, attempts, forgotten }
    }

    /// Begins to start an engine, and gives up.
    pub async fn give_up(store: Arc<dyn Store>) {
        let hosts = Hosts {
            orchestrations: Arc::new(Orchestrations(mpsc::channel(1).0, mpsc::channel(1).0)),
            activities: Arc::new(Activities(mpsc::channel(1).0)),
            entities: Arc::new(NoEntities),
        };
        let mut start = Box::pin(Engine::start(store, hosts, EngineOptions::default()));
        // An engine that is there already is dropped, too.
        std::future::poll_fn(|cx| {
            drop(start.as_mut().poll(cx));
            std::task::Poll::Ready(())
        })
        .await;
    }

    pub async fn turn(&mut self) -> Away {
        self.turns.recv().await.unwrap()
    }

    pub async fn attempt(&mut self) -> Attempt {
        self.attempts.recv().await.unwrap()
    }
}

pub fn id(text: &str) -> InstanceId {
    InstanceId::new(text).unwrap()
}

pub fn start(text: &str, name: &str) -> StartRequest {
    StartRequest {
        id: id(text),
        fresh: false,
        name: name.into(),
        version: String::new(),
        input: None,
        tags: Tags::new(),
        start_at: None,
        reuse: ReusePolicy::FAIL,
        request_id: String::new(),
        execution: None,
        trace: None,
    }
}

pub fn complete() -> Decision {
    Decision::Complete(ExecutionCompleted::new(Status::Completed, None, None))
}

pub fn news(away: &Away) -> Vec<&'static str> {
    away.turn.events[1..].iter().map(|event| event.kind.name()).collect()
}
