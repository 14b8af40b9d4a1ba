//! What clients do with many instances.

use super::client::{invalid, status_in};
use super::instance_id;
use super::refusal::Refusal;
use crate::convert::state::{Payloads, state_out};
use crate::convert::time::time_in;
use crate::hub::Hub;
use futures_util::StreamExt;
use futures_util::stream;
use perdura_core::partition::RequestError;
use perdura_core::{InstanceId, Status as InstanceStatus, Tags, Timestamp};
use perdura_engine::{Bulk, EngineError, Listed};
use perdura_proto::*;
use perdura_store::{EndedQuery, InstanceQuery as StoreQuery};
use prost::Message;
use std::time::Duration;
use tonic::Status;

/// Entries of a page that names no size.
const PAGE_DEFAULT: usize = 100;
/// Most entries of a page.
const PAGE_MAX: usize = 1000;
/// A page with payloads ends when it has this many bytes: clients receive 4 MiB at most unless they are told otherwise.
pub(super) const PAGE_BYTES: usize = 1 << 20;
/// Purges under way at once: they share commits.
const PURGES_AT_ONCE: usize = 64;

/// The size of a page: 0 is the default; more than the most is cut down to it.
pub(super) fn page_size(field: &str, asked: i32) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Ok(0) => Ok(PAGE_DEFAULT),
        Ok(size) => Ok(size.min(PAGE_MAX)),
        Err(_) => Err(Status::invalid_argument(format!("{field}: {asked} is negative"))),
    }
}

pub(super) fn time(
    field: &'static str,
    at: Option<&prost_types::Timestamp>,
) -> Result<Option<Timestamp>, Status> {
    at.map(|at| time_in(field, at)).transpose().map_err(invalid)
}

/// The statuses to look for; `None` if nobody can be in any of them.
fn statuses(numbers: &[i32]) -> Result<Option<Vec<InstanceStatus>>, Status> {
    let mut statuses = Vec::new();
    for number in numbers {
        statuses.extend(status_in(*number)?);
    }
    let impossible = statuses.is_empty() && !numbers.is_empty();
    Ok((!impossible).then_some(statuses))
}

pub(crate) fn refusal(error: EngineError) -> Status {
    Status::refusal(&error)
}

/// The token for the next page, which is good for this hub only.
pub(super) fn place_out(hub: &Hub, place: Option<String>) -> Option<String> {
    place.map(|place| format!("{}/{place}", hub.name))
}

/// The place that a client's token stands for; an empty one is none.
pub(super) fn place_in(hub: &Hub, token: Option<String>) -> Result<Option<String>, Status> {
    let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(None) };
    match token.rsplit_once('/') {
        Some((name, place)) if name == hub.name.as_str() => Ok(Some(place.to_owned())),
        _ => {
            let page = token.chars().take(80).collect();
            Err(refusal(EngineError::InvalidPage { page }))
        }
    }
}

pub(super) async fn query(
    hub: &Hub,
    request: QueryInstancesRequest,
) -> Result<QueryInstancesResponse, Status> {
    let query = request.query.unwrap_or_default();
    let limit = page_size("maxInstanceCount", query.max_instance_count)?;
    let Some(statuses) = statuses(&query.runtime_status)? else {
        return Ok(QueryInstancesResponse::default());
    };
    let filter = StoreQuery {
        statuses,
        id_prefix: query.instance_id_prefix.filter(|prefix| !prefix.is_empty()),
        created_from: time("createdTimeFrom", query.created_time_from.as_ref())?,
        created_before: time("createdTimeTo", query.created_time_to.as_ref())?,
        ..StoreQuery::default()
    };
    let mut place = place_in(hub, query.continuation_token)?;
    let (mut states, mut bytes) = (Vec::new(), 0);
    // With payloads one by one, so that the page can end anywhere.
    let step = if query.fetch_inputs_and_outputs { 1 } else { limit };
    loop {
        let page = hub.client.page(filter.clone(), &Tags::new(), step, place.as_deref()).await;
        let page = page.map_err(refusal)?;
        for Listed { key, record, .. } in page.instances {
            let payloads = match query.fetch_inputs_and_outputs {
                true => Some(Payloads { input: hub.client.input(key, &record).await.map_err(refusal)? }),
                false => None,
            };
            let state = state_out(&record, payloads);
            bytes += state.encoded_len();
            states.push(state);
        }
        place = page.next;
        if place.is_none() || states.len() >= limit || (step == 1 && bytes >= PAGE_BYTES) {
            let continuation_token = place_out(hub, place);
            return Ok(QueryInstancesResponse { orchestration_state: states, continuation_token });
        }
    }
}

pub(super) async fn list_ids(
    hub: &Hub,
    request: ListInstanceIdsRequest,
) -> Result<ListInstanceIdsResponse, Status> {
    let limit = page_size("pageSize", request.page_size)?;
    let after = match request.last_instance_key.filter(|key| !key.is_empty()) {
        None => None,
        Some(key) => {
            let place = key.split_once(':');
            let place =
                place.and_then(|(at, id)| Some((Timestamp(at.parse().ok()?), InstanceId::new(id).ok()?)));
            Some(place.ok_or_else(|| Status::invalid_argument("invalid lastInstanceKey"))?)
        }
    };
    let completed_from = time("completedTimeFrom", request.completed_time_from.as_ref())?;
    let completed_before = time("completedTimeTo", request.completed_time_to.as_ref())?;
    let Some(mut statuses) = statuses(&request.runtime_status)? else {
        return Ok(ListInstanceIdsResponse::default());
    };
    let any = statuses.is_empty();
    statuses.retain(|status| status.is_terminal());
    if statuses.is_empty() && !any {
        return Ok(ListInstanceIdsResponse::default());
    }
    let query = EndedQuery { statuses, completed_from, completed_before, after };
    // One more than asked for tells whether there is another page.
    let mut ended = hub.client.ended(query, limit + 1).await.map_err(refusal)?;
    let more = ended.len() > limit;
    ended.truncate(limit);
    let last = ended.last().filter(|_| more);
    let last_instance_key = last.map(|(at, id)| format!("{}:{id}", at.0));
    let instance_ids = ended.into_iter().map(|(_, id)| id.to_string()).collect();
    Ok(ListInstanceIdsResponse { instance_ids, last_instance_key })
}

pub(super) async fn purge(
    hub: &Hub,
    request: PurgeInstancesRequest,
) -> Result<PurgeInstancesResponse, Status> {
    use purge_instances_request::Request;
    let recursive = request.recursive;
    let ids = match request.request {
        None => {
            return Err(Status::invalid_argument("nothing to purge: name an instance, several, or a filter"));
        }
        Some(Request::InstanceId(id)) => vec![id],
        Some(Request::InstanceBatch(batch)) => batch.instance_ids,
        Some(Request::PurgeInstanceFilter(filter)) => return purge_matching(hub, filter, recursive).await,
    };
    // All are looked at before the first is removed.
    for id in &ids {
        if id.starts_with('@') {
            super::entity::entity_id(id).map(drop)?
        } else {
            instance_id(id).map(drop)?
        }
    }
    let mut purges = stream::iter(ids.into_iter().map(|id| purge_one(hub, id, recursive)))
        .buffer_unordered(PURGES_AT_ONCE);
    let mut deleted = 0;
    while let Some(purged) = purges.next().await {
        deleted += purged?;
    }
    Ok(purged(deleted, true))
}

fn purged(deleted: u64, complete: bool) -> PurgeInstancesResponse {
    let deleted_instance_count = i32::try_from(deleted).unwrap_or(i32::MAX);
    PurgeInstancesResponse { deleted_instance_count, is_complete: Some(complete) }
}

async fn purge_matching(
    hub: &Hub,
    filter: PurgeInstanceFilter,
    recurse: bool,
) -> Result<PurgeInstancesResponse, Status> {
    let Some(statuses) = statuses(&filter.runtime_status)? else { return Ok(purged(0, true)) };
    let query = StoreQuery {
        statuses,
        created_from: time("createdTimeFrom", filter.created_time_from.as_ref())?,
        created_before: time("createdTimeTo", filter.created_time_to.as_ref())?,
        ..StoreQuery::default()
    };
    let budget = filter.timeout.map(|budget| {
        let nanos = u32::try_from(budget.nanos).unwrap_or(0).min(999_999_999);
        Duration::new(u64::try_from(budget.seconds).unwrap_or(0), nanos)
    });
    let bulk = Bulk::Purge { recurse };
    let done = hub.client.ask_all(query, &Tags::new(), &bulk, budget).await.map_err(refusal)?;
    Ok(purged(done.done, done.is_complete))
}

/// How many were purged: none if there is no such instance or it has not ended.
async fn purge_one(hub: &Hub, id: String, recursive: bool) -> Result<u64, Status> {
    if id.starts_with('@') {
        let entity = super::entity::entity_id(&id)?;
        let record = hub.client.entity(&entity).await.map_err(refusal)?;
        // One that has only work or a lock does not exist, as for those who ask for its state.
        let exists = record.is_some_and(|record| record.entity.is_some_and(|entity| entity.state.is_some()));
        return match hub.client.delete_entity(entity).await {
            Err(EngineError::Refused(RequestError::NotFound { .. })) => Ok(0),
            purged => purged.map(|()| u64::from(exists)).map_err(refusal),
        };
    }
    let id = instance_id(&id)?;
    let purged = match recursive {
        true => hub.client.purge_family(id).await,
        false => hub.client.purge(id).await.map(|()| 1),
    };
    match purged {
        Err(EngineError::Refused(RequestError::NotFound { .. } | RequestError::NotEnded { .. })) => Ok(0),
        purged => purged.map_err(refusal),
    }
}
