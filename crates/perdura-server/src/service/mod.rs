//! The gRPC service: each method finds its hub by a header, and asks the engine or the board.

mod client;
mod entity;
mod items;
mod listing;
mod refusal;
mod rewound;
mod worker;

pub(crate) use listing::refusal;

use crate::hub::{Hub, HubError, Hubs};
use crate::hub_name::HubName;
use crate::work_items::Ending;
pub(crate) use client::reuse;
use perdura_core::InstanceId;
use perdura_proto::task_hub_sidecar_service_server::TaskHubSidecarService;
use perdura_proto::*;
use refusal::Refusal;
use std::sync::Arc;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};

/// Names the hub of a call. Plain SDKs send none and get the default hub.
const HUB_HEADER: &str = "taskhub";

/// See the module.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) hubs: Arc<Hubs>,
    /// Largest message that workers receive, unless their SDK is known to receive more; 0 is without limit.
    pub(crate) worker_message_bytes_max: usize,
}

fn hub_name(metadata: &MetadataMap) -> Result<HubName, Status> {
    let mut values = metadata.get_all(HUB_HEADER).iter();
    let Some(value) = values.next() else { return Ok(HubName::default()) };
    if values.next().is_some() {
        return Err(Status::invalid_argument("more than one taskhub header"));
    }
    let name = value.to_str().map_err(|_| Status::invalid_argument("taskhub header: not plain text"))?;
    HubName::new(name).map_err(|error| Status::invalid_argument(error.to_string()))
}

pub(crate) fn instance_id(id: &str) -> Result<InstanceId, Status> {
    InstanceId::new(id).map_err(|error| Status::invalid_argument(error.to_string()))
}

impl Service {
    async fn hub(&self, metadata: &MetadataMap) -> Result<Arc<Hub>, Status> {
        hub_of(&self.hubs, metadata).await
    }
}

/// The hub that a call names.
pub(crate) async fn hub_of(hubs: &Arc<Hubs>, metadata: &MetadataMap) -> Result<Arc<Hub>, Status> {
    let name = hub_name(metadata)?;
    hubs.get(&name).await.map_err(|error| hub_refusal(&error))
}

/// The hub that a call names, which is not made if there is none.
pub(crate) async fn known_hub_of(hubs: &Arc<Hubs>, metadata: &MetadataMap) -> Result<Arc<Hub>, Status> {
    let name = hub_name(metadata)?;
    hubs.find(&name).await.map_err(|error| hub_refusal(&error))
}

fn hub_refusal(error: &HubError) -> Status {
    match error {
        HubError::TooMany { .. } => Status::resource_exhausted(error.to_string()),
        HubError::NotFound { .. } => Status::not_found(error.to_string()),
        HubError::Closing => Status::unavailable(error.to_string()),
        HubError::Engine(error) => Status::refusal(error),
        HubError::Store(_) | HubError::System(_) => {
            tracing::error!(%error, "a task hub cannot be opened");
            Status::unavailable(error.to_string())
        }
    }
}

/// Of a hub that is gone it is told that it is, and not that its engine is shutting down.
pub(crate) fn of_hub(hub: &Hub, status: Status) -> Status {
    let what = match hub.board.ending() {
        Some(Ending::Deleted) => "was deleted",
        Some(Ending::Replaced) => "was replaced by a new one",
        Some(Ending::Closed) | None => return status,
    };
    if status.code() != Code::Unavailable {
        return status;
    }
    Status::unavailable(format!("task hub {:?} {what} while this call was under way", hub.name.to_string()))
}

/// A method that takes a hub and a message: the rest is the same for all of them.
macro_rules! on_hub {
    ($self:ident, $request:ident, $path:path) => {{
        let hub = $self.hub($request.metadata()).await?;
        $path(&hub, $request.into_inner()).await.map_err(|status| of_hub(&hub, status)).map(Response::new)
    }};
}

/// What a worker brings or gives back: as [`on_hub`], in words that its SDK can bear.
macro_rules! from_worker {
    ($self:ident, $request:ident, $path:path) => {{
        let hub = $self.hub($request.metadata()).await?;
        let agent = worker::user_agent($request.metadata()).to_owned();
        let answer = $path(&hub, $request.into_inner()).await.map_err(|status| of_hub(&hub, status));
        worker::bearable(&agent, answer).map(Response::new)
    }};
}

#[tonic::async_trait]
impl TaskHubSidecarService for Service {
    type GetWorkItemsStream = items::ItemStream;
    type StreamInstanceHistoryStream = worker::HistoryStream;

    async fn hello(&self, request: Request<()>) -> Result<Response<()>, Status> {
        self.hub(request.metadata()).await?;
        Ok(Response::new(()))
    }

    async fn start_instance(
        &self,
        request: Request<CreateInstanceRequest>,
    ) -> Result<Response<CreateInstanceResponse>, Status> {
        on_hub!(self, request, client::start)
    }

    async fn get_instance(
        &self,
        request: Request<GetInstanceRequest>,
    ) -> Result<Response<GetInstanceResponse>, Status> {
        on_hub!(self, request, client::get)
    }

    async fn rewind_instance(
        &self,
        request: Request<RewindInstanceRequest>,
    ) -> Result<Response<RewindInstanceResponse>, Status> {
        on_hub!(self, request, client::rewind)
    }

    async fn restart_instance(
        &self,
        request: Request<RestartInstanceRequest>,
    ) -> Result<Response<RestartInstanceResponse>, Status> {
        on_hub!(self, request, client::restart)
    }

    async fn wait_for_instance_start(
        &self,
        request: Request<GetInstanceRequest>,
    ) -> Result<Response<GetInstanceResponse>, Status> {
        on_hub!(self, request, client::wait_for_start)
    }

    async fn wait_for_instance_completion(
        &self,
        request: Request<GetInstanceRequest>,
    ) -> Result<Response<GetInstanceResponse>, Status> {
        on_hub!(self, request, client::wait_for_completion)
    }

    async fn raise_event(
        &self,
        request: Request<RaiseEventRequest>,
    ) -> Result<Response<RaiseEventResponse>, Status> {
        on_hub!(self, request, client::raise)
    }

    async fn terminate_instance(
        &self,
        request: Request<TerminateRequest>,
    ) -> Result<Response<TerminateResponse>, Status> {
        on_hub!(self, request, client::terminate)
    }

    async fn suspend_instance(
        &self,
        request: Request<SuspendRequest>,
    ) -> Result<Response<SuspendResponse>, Status> {
        on_hub!(self, request, client::suspend)
    }

    async fn resume_instance(
        &self,
        request: Request<ResumeRequest>,
    ) -> Result<Response<ResumeResponse>, Status> {
        on_hub!(self, request, client::resume)
    }

    async fn query_instances(
        &self,
        request: Request<QueryInstancesRequest>,
    ) -> Result<Response<QueryInstancesResponse>, Status> {
        on_hub!(self, request, listing::query)
    }

    async fn list_instance_ids(
        &self,
        request: Request<ListInstanceIdsRequest>,
    ) -> Result<Response<ListInstanceIdsResponse>, Status> {
        on_hub!(self, request, listing::list_ids)
    }

    async fn purge_instances(
        &self,
        request: Request<PurgeInstancesRequest>,
    ) -> Result<Response<PurgeInstancesResponse>, Status> {
        on_hub!(self, request, listing::purge)
    }

    async fn get_work_items(
        &self,
        request: Request<GetWorkItemsRequest>,
    ) -> Result<Response<Self::GetWorkItemsStream>, Status> {
        let hub = self.hub(request.metadata()).await?;
        Ok(Response::new(items::ItemStream::new(&self.hubs, &hub, request, self.worker_message_bytes_max)))
    }

    async fn complete_activity_task(
        &self,
        request: Request<ActivityResponse>,
    ) -> Result<Response<CompleteTaskResponse>, Status> {
        from_worker!(self, request, worker::complete_activity)
    }

    async fn complete_orchestrator_task(
        &self,
        request: Request<OrchestratorResponse>,
    ) -> Result<Response<CompleteTaskResponse>, Status> {
        from_worker!(self, request, worker::complete_orchestration)
    }

    async fn complete_entity_task(
        &self,
        request: Request<EntityBatchResult>,
    ) -> Result<Response<CompleteTaskResponse>, Status> {
        from_worker!(self, request, entity::complete)
    }

    async fn stream_instance_history(
        &self,
        request: Request<StreamInstanceHistoryRequest>,
    ) -> Result<Response<Self::StreamInstanceHistoryStream>, Status> {
        on_hub!(self, request, worker::history)
    }

    async fn create_task_hub(
        &self,
        request: Request<CreateTaskHubRequest>,
    ) -> Result<Response<CreateTaskHubResponse>, Status> {
        let name = hub_name(request.metadata())?;
        let made = match request.get_ref().recreate_if_exists {
            true => self.hubs.recreate(&name).await,
            false => self.hubs.get(&name).await,
        };
        made.map_err(|error| hub_refusal(&error))?;
        Ok(Response::new(CreateTaskHubResponse {}))
    }

    async fn delete_task_hub(
        &self,
        request: Request<DeleteTaskHubRequest>,
    ) -> Result<Response<DeleteTaskHubResponse>, Status> {
        let name = hub_name(request.metadata())?;
        self.hubs.delete(&name).await.map_err(|error| hub_refusal(&error))?;
        Ok(Response::new(DeleteTaskHubResponse {}))
    }

    async fn signal_entity(
        &self,
        request: Request<SignalEntityRequest>,
    ) -> Result<Response<SignalEntityResponse>, Status> {
        on_hub!(self, request, entity::signal)
    }

    async fn get_entity(
        &self,
        request: Request<GetEntityRequest>,
    ) -> Result<Response<GetEntityResponse>, Status> {
        on_hub!(self, request, entity::get)
    }

    async fn query_entities(
        &self,
        request: Request<QueryEntitiesRequest>,
    ) -> Result<Response<QueryEntitiesResponse>, Status> {
        on_hub!(self, request, entity::query)
    }

    async fn clean_entity_storage(
        &self,
        request: Request<CleanEntityStorageRequest>,
    ) -> Result<Response<CleanEntityStorageResponse>, Status> {
        on_hub!(self, request, entity::clean)
    }

    async fn abandon_task_activity_work_item(
        &self,
        request: Request<AbandonActivityTaskRequest>,
    ) -> Result<Response<AbandonActivityTaskResponse>, Status> {
        from_worker!(self, request, worker::abandon_activity)
    }

    async fn abandon_task_orchestrator_work_item(
        &self,
        request: Request<AbandonOrchestrationTaskRequest>,
    ) -> Result<Response<AbandonOrchestrationTaskResponse>, Status> {
        from_worker!(self, request, worker::abandon_orchestration)
    }

    async fn abandon_task_entity_work_item(
        &self,
        request: Request<AbandonEntityTaskRequest>,
    ) -> Result<Response<AbandonEntityTaskResponse>, Status> {
        from_worker!(self, request, entity::abandon)
    }

    async fn skip_graceful_orchestration_terminations(
        &self,
        request: Request<SkipGracefulOrchestrationTerminationsRequest>,
    ) -> Result<Response<SkipGracefulOrchestrationTerminationsResponse>, Status> {
        on_hub!(self, request, client::terminate_batch)
    }
}
