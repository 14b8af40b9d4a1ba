//! A server, and workers that do what a test tells them.

use perdura_proto::task_hub_sidecar_service_client::TaskHubSidecarServiceClient;
use perdura_proto::work_item::Request as Work;
use perdura_proto::*;
use perdura_server::{Server, ServerOptions};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

pub type Client = TaskHubSidecarServiceClient<Channel>;

/// Longer than anything here takes; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct World {
    pub server: Server,
    pub directory: tempfile::TempDir,
}

impl World {
    pub async fn new() -> World {
        World::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut ServerOptions)) -> World {
        let directory = tempfile::tempdir().unwrap();
        let mut options = ServerOptions::new(directory.path().join("hubs"));
        options.listen = vec!["127.0.0.1:0".parse().unwrap()];
        change(&mut options);
        World { server: Server::start(options).await.unwrap(), directory }
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(format!("http://{}", self.server.addresses()[0])).unwrap()
    }

    pub async fn channel(&self) -> Channel {
        self.endpoint().connect().await.unwrap()
    }

    pub async fn client(&self) -> Client {
        TaskHubSidecarServiceClient::new(self.channel().await).max_decoding_message_size(usize::MAX)
    }

    pub async fn worker(&self) -> Worker {
        self.worker_with(GetWorkItemsRequest::default()).await
    }

    pub async fn worker_with(&self, request: GetWorkItemsRequest) -> Worker {
        let mut client = self.client().await;
        let items = client.get_work_items(request).await.unwrap().into_inner();
        Worker { client, items }
    }

    /// Starts an instance.
    pub async fn start(&self, id: &str, name: &str) {
        let request =
            CreateInstanceRequest { instance_id: id.into(), name: name.into(), ..Default::default() };
        self.client().await.start_instance(request).await.unwrap();
    }

    pub async fn state(&self, id: &str) -> Option<OrchestrationState> {
        let request = GetInstanceRequest { instance_id: id.into(), get_inputs_and_outputs: true };
        self.client().await.get_instance(request).await.unwrap().into_inner().orchestration_state
    }

    pub async fn end_of(&self, id: &str) -> OrchestrationState {
        let request = GetInstanceRequest { instance_id: id.into(), get_inputs_and_outputs: true };
        let mut client = self.client().await;
        let ended = within(client.wait_for_instance_completion(request)).await.unwrap();
        ended.into_inner().orchestration_state.unwrap()
    }
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing happened for a long time")
}

/// A connected worker.
pub struct Worker {
    pub client: Client,
    pub items: Streaming<WorkItem>,
}

/// A turn that a worker was given.
pub struct Turn {
    pub token: String,
    pub request: OrchestratorRequest,
}

/// An activity that a worker was given.
pub struct Activity {
    pub token: String,
    pub request: ActivityRequest,
}

impl Worker {
    pub async fn next(&mut self) -> Result<WorkItem, Status> {
        let item = within(self.items.message()).await?;
        Ok(item.expect("the stream ended"))
    }

    pub async fn turn(&mut self) -> Turn {
        let item = self.next().await.unwrap();
        match item.request {
            Some(Work::OrchestratorRequest(request)) => Turn { token: item.completion_token, request },
            other => panic!("not a turn: {other:?}"),
        }
    }

    pub async fn activity(&mut self) -> Activity {
        let item = self.next().await.unwrap();
        match item.request {
            Some(Work::ActivityRequest(request)) => Activity { token: item.completion_token, request },
            other => panic!("not an activity: {other:?}"),
        }
    }

    pub async fn answer(&mut self, turn: &Turn, actions: Vec<OrchestratorAction>) -> Result<(), Status> {
        self.client.complete_orchestrator_task(response(turn, actions)).await.map(drop)
    }

    pub async fn finish(&mut self, activity: &Activity, result: &str) -> Result<(), Status> {
        self.client.complete_activity_task(result_of(activity, result)).await.map(drop)
    }
}

pub fn response(turn: &Turn, actions: Vec<OrchestratorAction>) -> OrchestratorResponse {
    OrchestratorResponse {
        instance_id: turn.request.instance_id.clone(),
        completion_token: turn.token.clone(),
        actions,
        ..Default::default()
    }
}

pub fn result_of(activity: &Activity, result: &str) -> ActivityResponse {
    let instance = activity.request.orchestration_instance.as_ref().unwrap();
    ActivityResponse {
        instance_id: instance.instance_id.clone(),
        task_id: activity.request.task_id,
        result: Some(result.into()),
        completion_token: activity.token.clone(),
        ..Default::default()
    }
}

pub fn schedule(id: i32, name: &str) -> OrchestratorAction {
    let task = ScheduleTaskAction { name: name.into(), input: Some("1".into()), ..Default::default() };
    action(id, orchestrator_action::OrchestratorActionType::ScheduleTask(task))
}

pub fn complete(output: &str) -> OrchestratorAction {
    let end = CompleteOrchestrationAction {
        orchestration_status: OrchestrationStatus::Completed as i32,
        result: Some(output.into()),
        ..Default::default()
    };
    action(100, orchestrator_action::OrchestratorActionType::CompleteOrchestration(end))
}

pub fn action(id: i32, kind: orchestrator_action::OrchestratorActionType) -> OrchestratorAction {
    OrchestratorAction { id, orchestrator_action_type: Some(kind) }
}

/// The names of the kinds of events.
pub fn kinds(events: &[HistoryEvent]) -> Vec<String> {
    let name = |event: &HistoryEvent| {
        let debug = format!("{:?}", event.event_type.as_ref().unwrap());
        debug.split('(').next().unwrap().to_owned()
    };
    events.iter().map(name).collect()
}

pub fn code<T: std::fmt::Debug>(result: Result<T, Status>) -> Code {
    result.unwrap_err().code()
}
