//! Entities: what clients ask of them, and what workers bring back.

use super::client::invalid;
use super::listing::{PAGE_BYTES, page_size, refusal, time};
use super::worker::{stale, told};
use crate::convert::entity::done_in;
use crate::convert::payload_in;
use crate::convert::time::{time_in, time_out};
use crate::hub::Hub;
use crate::work_items::Kind;
use perdura_core::partition::{EntityRecord, InstanceRecord, SignalRequest};
use perdura_core::{EntityId, Tags, Timestamp};
use perdura_engine::{BatchEnd, Receipt};
use perdura_proto::*;
use perdura_store::{InstanceKind, InstanceQuery as StoreQuery};
use prost::Message;
use tonic::Status;

/// Rows that one call looks at when few of them match.
const SCANNED_MAX: usize = 5000;

/// Longest id of an entity that a client may signal, in characters: the limit of the protocol's own service, on which SDKs
/// rely.
const SIGNALED_ID_MAX: usize = 100;

/// The entity of an id of the wire.
pub(super) fn entity_id(id: &str) -> Result<EntityId, Status> {
    EntityId::parse(id).map_err(invalid)
}

pub(super) async fn signal(hub: &Hub, request: SignalEntityRequest) -> Result<SignalEntityResponse, Status> {
    let length = request.instance_id.chars().count();
    if length > SIGNALED_ID_MAX {
        return Err(Status::invalid_argument(format!(
            "entity id: its length is {length} characters, and a client may signal one of {SIGNALED_ID_MAX} at most"
        )));
    }
    let at = request.scheduled_time.as_ref().map(|at| time_in("scheduledTime", at)).transpose();
    let signal = SignalRequest {
        to: entity_id(&request.instance_id)?,
        operation: request.name,
        input: payload_in(request.input),
        at: at.map_err(invalid)?,
        request_id: request.request_id,
        stamp: None,
    };
    hub.client.signal(signal).await.map_err(refusal)?;
    Ok(SignalEntityResponse {})
}

pub(super) async fn get(hub: &Hub, request: GetEntityRequest) -> Result<GetEntityResponse, Status> {
    let id = entity_id(&request.instance_id)?;
    let record = hub.client.entity(&id).await.map_err(refusal)?;
    // One that has only work or a lock does not exist for those who ask for its state.
    let entity = record.and_then(|record| metadata(&record, request.include_state, false));
    Ok(GetEntityResponse { exists: entity.is_some(), entity })
}

/// What is told of an entity; `None` if it has no state, unless stateless ones are wanted too.
fn metadata(record: &InstanceRecord, with_state: bool, transient: bool) -> Option<EntityMetadata> {
    let entity = record.entity.as_deref()?;
    let is_there = entity.state.is_some() || (transient && has_something(entity));
    is_there.then(|| EntityMetadata {
        instance_id: record.id.clone(),
        last_modified_time: Some(time_out(Timestamp(record.updated_at))),
        backlog_queue_size: i32::try_from(entity.queue.len()).unwrap_or(i32::MAX),
        locked_by: entity.lock.as_ref().and_then(|lock| Some(lock.holder.as_ref()?.instance.clone())),
        serialized_state: entity
            .state
            .as_ref()
            .filter(|_| with_state)
            .map(|state| String::from_utf8_lossy(state).into_owned()),
    })
}

fn has_something(entity: &EntityRecord) -> bool {
    !entity.queue.is_empty() || entity.lock.is_some() || !entity.delayed.is_empty()
}

pub(super) async fn query(hub: &Hub, request: QueryEntitiesRequest) -> Result<QueryEntitiesResponse, Status> {
    let query = request.query.unwrap_or_default();
    let limit = page_size("pageSize", query.page_size.unwrap_or(0))?;
    let from = time("lastModifiedFrom", query.last_modified_from.as_ref())?;
    let to = time("lastModifiedTo", query.last_modified_to.as_ref())?;
    let filter = StoreQuery {
        kind: InstanceKind::Entity,
        id_prefix: query.instance_id_starts_with.filter(|prefix| !prefix.is_empty()),
        ..StoreQuery::default()
    };
    let mut place = query.continuation_token.filter(|token| !token.is_empty());
    let (mut entities, mut bytes, mut scanned) = (Vec::new(), 0, 0);
    loop {
        // States one by one, so that the page can end anywhere.
        let step = if query.include_state { 1 } else { limit - entities.len() };
        let page =
            hub.client.page(filter.clone(), &Tags::new(), step, place.as_deref()).await.map_err(refusal)?;
        scanned += page.instances.len().max(1);
        for perdura_engine::Listed { record, .. } in page.instances {
            let modified = Timestamp(record.updated_at);
            let within = from.is_none_or(|from| modified >= from) && to.is_none_or(|to| modified < to);
            let entity = metadata(&record, query.include_state, query.include_transient);
            if let Some(entity) = entity.filter(|_| within) {
                bytes += entity.encoded_len();
                entities.push(entity);
            }
        }
        place = page.next;
        if place.is_none() || entities.len() >= limit || bytes >= PAGE_BYTES || scanned >= SCANNED_MAX {
            return Ok(QueryEntitiesResponse { entities, continuation_token: place });
        }
    }
}

/// An entity without state, work and lock is gone by itself, and a lock goes with its holder: nothing is ever left to be
/// cleaned.
pub(super) async fn clean(
    _: &Hub,
    _: CleanEntityStorageRequest,
) -> Result<CleanEntityStorageResponse, Status> {
    Ok(CleanEntityStorageResponse::default())
}

pub(super) async fn complete(hub: &Hub, result: EntityBatchResult) -> Result<CompleteTaskResponse, Status> {
    let (id, work) = hub.board.find_batch(&result.completion_token).ok_or_else(stale)?;
    // An error of the worker's own, not of an operation; or nothing was run. Somebody else may do better.
    if result.failure_details.is_some() || result.requires_state || result.results.is_empty() {
        hub.board.refuse(id);
        return Ok(CompleteTaskResponse {});
    }
    let done = done_in(result, work.batch.operations.len()).map_err(|bad| {
        tracing::warn!(hub = %hub.name, entity = %work.batch.id, %bad, "the answer of a worker was refused");
        hub.board.refuse(id);
        Status::invalid_argument(format!("entity {:?}: {bad}", work.batch.id))
    })?;
    hub.board.remove(id).ok_or_else(stale)?;
    let (receipt, recorded) = Receipt::new();
    work.finish(BatchEnd::Brought(done, receipt));
    told(recorded.wait()).await
}

pub(super) async fn abandon(
    hub: &Hub,
    request: AbandonEntityTaskRequest,
) -> Result<AbandonEntityTaskResponse, Status> {
    match hub.board.abandon(&request.completion_token, Kind::Entity) {
        true => Ok(AbandonEntityTaskResponse {}),
        false => Err(stale()),
    }
}
