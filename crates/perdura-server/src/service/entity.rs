//! Entities. The engine has none yet: every method says so.

use crate::hub::Hub;
use perdura_proto::*;
use tonic::Status;

fn not_yet<T>() -> Result<T, Status> {
    Err(Status::unimplemented("this server has no entities yet"))
}

pub(super) async fn signal(_: &Hub, _: SignalEntityRequest) -> Result<SignalEntityResponse, Status> {
    not_yet()
}

pub(super) async fn get(_: &Hub, _: GetEntityRequest) -> Result<GetEntityResponse, Status> {
    not_yet()
}

pub(super) async fn query(_: &Hub, _: QueryEntitiesRequest) -> Result<QueryEntitiesResponse, Status> {
    not_yet()
}

pub(super) async fn clean(
    _: &Hub,
    _: CleanEntityStorageRequest,
) -> Result<CleanEntityStorageResponse, Status> {
    not_yet()
}

pub(super) async fn complete(_: &Hub, _: EntityBatchResult) -> Result<CompleteTaskResponse, Status> {
    not_yet()
}

pub(super) async fn abandon(
    _: &Hub,
    _: AbandonEntityTaskRequest,
) -> Result<AbandonEntityTaskResponse, Status> {
    not_yet()
}
