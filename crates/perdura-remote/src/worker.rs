//! A worker: it fetches work, runs it, and brings what came of it.

use crate::attendance::Attendant;
use crate::client::may_ask_again;
use crate::connection::{AttendanceGrpc, Grpc};
use crate::turns::{self, Answer, Ask};
use crate::{Connection, RemoteError, activities, entities};
use perdura::Registry;
use perdura_proto::attendance::Leaving;
use perdura_proto::work_item::Request as Work;
use perdura_proto::*;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Code, Status, Streaming};

/// Turns, and batches of operations, that the server may hand over at once.
const TURNS_MAX: i32 = 1000;
const BATCHES_MAX: i32 = 100;
/// The server pings every 10 s: after this time of silence the connection is taken for dead.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// How long to wait before connecting again, at first and at most.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How often a result is brought again when the server cannot be reached.
const DELIVERIES_MAX: u32 = 8;

/// A worker that is not started yet; from [`Connection::worker`].
#[must_use = "nothing runs before `start`"]
pub struct WorkerBuilder {
    connection: Connection,
    registry: Registry,
    activities_max: i32,
}

impl WorkerBuilder {
    pub(crate) fn new(connection: Connection, registry: Registry) -> WorkerBuilder {
        WorkerBuilder { connection, registry, activities_max: 100 }
    }

    /// Most activities that run here at once; 100 if nothing is said. The others wait for this worker or another.
    pub fn activities_max(mut self, most: u16) -> WorkerBuilder {
        self.activities_max = i32::from(most.max(1));
        self
    }

    /// Connects, and fetches work from then on, over lost connections and restarts of the server. Only what is
    /// registered is fetched; the rest is left to other workers.
    pub async fn start(self) -> Result<Worker, RemoteError> {
        let mut grpc = self.connection.grpc();
        grpc.hello(()).await?;
        let turns =
            turns::start(self.registry.clone()).map_err(|error| Status::internal(error.to_string()))?;
        let request = GetWorkItemsRequest {
            max_concurrent_orchestration_work_items: TURNS_MAX,
            max_concurrent_activity_work_items: self.activities_max,
            max_concurrent_entity_work_items: BATCHES_MAX,
            capabilities: vec![CAPABILITY_PERDURA_TURNS],
            work_item_filters: Some(filters(&self.registry)),
            worker_instance_id: format!("{}-{:016x}", std::process::id(), RandomState::new().hash_one(())),
        };
        let (stop, running) = (CancellationToken::new(), TaskTracker::new());
        let attendance = self.connection.attendance();
        let attendant = Attendant::start(attendance.clone());
        let desk =
            Desk { grpc, attendance, registry: self.registry, turns, attendant, running: running.clone() };
        let fetching = tokio::spawn(desk.fetch_until(request, stop.clone()));
        Ok(Worker { stop, running, fetching: Some(fetching) })
    }
}

/// A running worker. Dropping it stops it too, without waiting for what it runs.
#[must_use = "a worker that is dropped stops"]
pub struct Worker {
    stop: CancellationToken,
    running: TaskTracker,
    fetching: Option<tokio::task::JoinHandle<()>>,
}

impl Worker {
    /// Fetches no more work, and waits until what runs here has ended and was brought. Until then the server counts on this
    /// worker for it.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Some(fetching) = self.fetching.take() {
            // It can only fail by a panic, which was told of already.
            let _ = fetching.await;
        }
        self.running.close();
        self.running.wait().await;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What is registered, as the whitelist that the server asks for.
fn filters(registry: &Registry) -> WorkItemFilters {
    let names = registry.names();
    let versions = |versions: &[String]| versions.to_vec();
    WorkItemFilters {
        orchestrations: names
            .orchestrations
            .iter()
            .map(|(name, all)| OrchestrationFilter { name: name.clone(), versions: versions(all) })
            .collect(),
        activities: names
            .activities
            .iter()
            .map(|(name, all)| {
                // A call that says nothing of a version counts as one of the caller's own.
                let any = all.iter().any(String::is_empty);
                ActivityFilter { name: name.clone(), versions: if any { Vec::new() } else { versions(all) } }
            })
            .collect(),
        entities: names.entities.into_iter().map(|name| EntityFilter { name }).collect(),
    }
}

/// The next item of a stream, or why there is none.
async fn next(items: &mut Streaming<WorkItem>) -> Result<WorkItem, Status> {
    match tokio::time::timeout(SILENCE_MAX, items.message()).await {
        Ok(Ok(Some(item))) => Ok(item),
        Ok(Ok(None)) => Err(Status::ok("the server closed it")),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::deadline_exceeded("nothing was heard of the server")),
    }
}

#[derive(Clone)]
struct Desk {
    grpc: Grpc,
    attendance: AttendanceGrpc,
    registry: Registry,
    turns: mpsc::Sender<Ask>,
    attendant: Attendant,
    running: TaskTracker,
}

impl Desk {
    async fn fetch_until(self, request: GetWorkItemsRequest, stop: CancellationToken) {
        let mut pause = RECONNECT.0;
        loop {
            let (status, got_work) = match self.fetch(&request, &stop).await {
                Ok(()) => return,
                Err(lost) => lost,
            };
            if got_work {
                pause = RECONNECT.0;
            }
            tracing::warn!(code = ?status.code(), message = status.message(), "the stream of work has ended");
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(RECONNECT.1);
        }
    }

    /// Fetches work until it is to stop, or the stream ends; then also says whether anything came.
    async fn fetch(
        &self,
        request: &GetWorkItemsRequest,
        stop: &CancellationToken,
    ) -> Result<(), (Status, bool)> {
        let mut grpc = self.grpc.clone();
        let items = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            items = grpc.get_work_items(request.clone()) => items,
        };
        let mut items = items.map_err(|status| (status, false))?.into_inner();
        let mut got = false;
        loop {
            let item = tokio::select! {
                () = stop.cancelled() => {
                    self.leave(items, &request.worker_instance_id).await;
                    return Ok(());
                }
                item = next(&mut items) => item.map_err(|status| (status, got))?,
            };
            got = true;
            self.take(item);
        }
    }

    /// Takes no more than what the server has handed over already, and keeps the stream until all that has ended: a server
    /// takes a worker whose stream has ended for lost, and what it had goes to others.
    async fn leave(&self, mut items: Streaming<WorkItem>, worker: &str) {
        let leaving = Leaving { worker_instance_id: worker.to_owned() };
        match self.attendance.clone().leave(leaving).await {
            Ok(_) => {
                while let Ok(item) = next(&mut items).await
                    && item.completion_token != LEFT
                {
                    self.take(item);
                }
            }
            Err(status) => {
                tracing::debug!(code = ?status.code(), message = status.message(), "the server was not told of the end");
            }
        }
        self.running.close();
        self.running.wait().await;
    }

    fn take(&self, item: WorkItem) {
        let (desk, token) = (self.clone(), item.completion_token);
        let running = &self.running;
        match item.request {
            Some(Work::OrchestratorRequest(turn)) => drop(running.spawn(desk.run_turn(token, turn))),
            Some(Work::ActivityRequest(activity)) => drop(running.spawn(async move {
                let response = activities::run(desk.registry.clone(), &desk.attendant, token, activity).await;
                let complete = || {
                    let (mut grpc, response) = (desk.grpc.clone(), response.clone());
                    async move { grpc.complete_activity_task(response).await.map(drop) }
                };
                told("activity", deliver(complete).await);
            })),
            Some(Work::EntityRequestV2(batch)) => drop(running.spawn(async move {
                let response = entities::run(desk.registry.clone(), token, batch).await;
                let complete = || {
                    let (mut grpc, response) = (desk.grpc.clone(), response.clone());
                    async move { grpc.complete_entity_task(response).await.map(drop) }
                };
                told("operations of an entity", deliver(complete).await);
            })),
            Some(Work::HealthPing(_)) | Some(Work::EntityRequest(_)) | None => {}
        }
    }

    async fn run_turn(self, token: String, request: OrchestratorRequest) {
        let (answer, answered) = oneshot::channel();
        let instance = request.instance_id;
        let ask = Ask::Run { instance: instance.clone(), turn: request.perdura_turn.into(), answer };
        if self.turns.send(ask).await.is_err() {
            return;
        }
        let mut response = OrchestratorResponse {
            instance_id: instance.clone(),
            completion_token: token,
            ..OrchestratorResponse::default()
        };
        match answered.await {
            Ok(Answer::Outcome(outcome)) => response.perdura_outcome = outcome.into(),
            Ok(Answer::NeedsHistory) => response.requires_history = true,
            // The thread is gone: the server hands the turn to somebody else.
            Err(_) => return,
        }
        let complete = || {
            let (mut grpc, response) = (self.grpc.clone(), response.clone());
            async move { grpc.complete_orchestrator_task(response).await.map(drop) }
        };
        let delivered = deliver(complete).await;
        if delivered.is_err() {
            // An error means that the worker is shutting down.
            let _ = self.turns.send(Ask::Forget { instance }).await;
        }
        told("turn", delivered);
    }
}

/// Brings a result, again while the server cannot be reached. The second time is harmless if the first one counted.
async fn deliver<F>(complete: impl Fn() -> F) -> Result<(), Status>
where
    F: Future<Output = Result<(), Status>>,
{
    let mut pause = RECONNECT.0;
    for _ in 1..DELIVERIES_MAX {
        match complete().await {
            Err(status) if may_ask_again(&status) => tokio::time::sleep(pause).await,
            done => return done,
        }
        pause = (pause * 2).min(RECONNECT.1);
    }
    complete().await
}

fn told(what: &'static str, delivered: Result<(), Status>) {
    match delivered {
        Ok(()) => {}
        // Somebody else was taken for it meanwhile, or nobody wants it any more.
        Err(status) if status.code() == Code::NotFound => {
            tracing::debug!(what, message = status.message(), "a result came too late");
        }
        Err(status) => {
            tracing::warn!(what, code = ?status.code(), message = status.message(), "a result was not taken")
        }
    }
}
