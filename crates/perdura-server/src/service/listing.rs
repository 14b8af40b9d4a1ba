//! What clients do with many instances.

use super::client::{invalid, row, state, status_in};
use super::instance_id;
use super::refusal::Refusal;
use crate::convert::time::time_in;
use crate::hub::Hub;
use futures_util::StreamExt;
use futures_util::stream;
use perdura_core::history::EventKind;
use perdura_core::partition::{InstanceRow, RequestError};
use perdura_core::{InstanceId, InstanceKey, Status as InstanceStatus, Timestamp};
use perdura_engine::EngineError;
use perdura_proto::*;
use perdura_store::InstanceQuery as StoreQuery;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tonic::Status;

/// Entries of a page that names no size.
const PAGE_DEFAULT: usize = 100;
/// Most entries of a page.
const PAGE_MAX: usize = 1000;
/// Purges under way at once: they share commits.
const PURGES_AT_ONCE: usize = 64;

/// The size of a page: 0 is the default; more than the most is cut down to it.
fn page_size(field: &str, asked: i32) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Ok(0) => Ok(PAGE_DEFAULT),
        Ok(size) => Ok(size.min(PAGE_MAX)),
        Err(_) => Err(Status::invalid_argument(format!("{field}: {asked} is negative"))),
    }
}

fn time(field: &'static str, at: Option<&prost_types::Timestamp>) -> Result<Option<Timestamp>, Status> {
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

pub(super) async fn query(
    hub: &Hub,
    request: QueryInstancesRequest,
) -> Result<QueryInstancesResponse, Status> {
    let query = request.query.unwrap_or_default();
    let limit = page_size("maxInstanceCount", query.max_instance_count)?;
    let Some(statuses) = statuses(&query.runtime_status)? else {
        return Ok(QueryInstancesResponse::default());
    };
    let token = query.continuation_token.filter(|token| !token.is_empty());
    let filter = StoreQuery {
        statuses,
        id_prefix: query.instance_id_prefix.filter(|prefix| !prefix.is_empty()),
        created_from: time("createdTimeFrom", query.created_time_from.as_ref())?,
        created_before: time("createdTimeTo", query.created_time_to.as_ref())?,
        after: token.map(|token| page_after(hub, &token)).transpose()?,
        ..StoreQuery::default()
    };
    // One more than asked for tells whether there is another page.
    let mut rows = rows(hub, filter, limit + 1).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let mut states = Vec::with_capacity(rows.len());
    for row in &rows {
        let record = row.open().map_err(|what| damaged(row, what))?;
        states.push(state(hub, row, &record, query.fetch_inputs_and_outputs).await?);
    }
    let last = rows.last().filter(|_| more);
    let continuation_token = last.map(|row| format!("{}:{:x}", hub.name, row.key.0));
    Ok(QueryInstancesResponse { orchestration_state: states, continuation_token })
}

fn page_after(hub: &Hub, token: &str) -> Result<InstanceKey, Status> {
    let key = token.rsplit_once(':').filter(|(name, _)| *name == hub.name.as_str());
    let key = key.and_then(|(_, key)| u64::from_str_radix(key, 16).ok());
    // Keys are positive in every store.
    let key = key.filter(|key| i64::try_from(*key).is_ok());
    key.map(InstanceKey).ok_or_else(|| Status::invalid_argument("invalid continuation token"))
}

async fn rows(hub: &Hub, filter: StoreQuery, limit: usize) -> Result<Vec<InstanceRow>, Status> {
    hub.client.store().query(filter, limit).await.map_err(|e| Status::refusal(&e.into()))
}

fn damaged(row: &InstanceRow, what: perdura_core::history::Damaged) -> Status {
    Status::refusal(&EngineError::Damaged { id: row.id.to_string(), what })
}

/// Everything that matches, page by page.
struct Pages {
    filter: StoreQuery,
    ended: bool,
}

impl Pages {
    fn new(filter: StoreQuery) -> Pages {
        Pages { filter, ended: false }
    }

    /// The next page; `None` after the last.
    async fn next(&mut self, hub: &Hub) -> Result<Option<Vec<InstanceRow>>, Status> {
        if self.ended {
            return Ok(None);
        }
        let page = rows(hub, self.filter.clone(), PAGE_MAX).await?;
        self.filter.after = page.last().map(|row| row.key);
        self.ended = page.len() < PAGE_MAX;
        Ok(Some(page))
    }
}

pub(super) async fn list_ids(
    hub: &Hub,
    request: ListInstanceIdsRequest,
) -> Result<ListInstanceIdsResponse, Status> {
    let limit = page_size("pageSize", request.page_size)?;
    let from = time("completedTimeFrom", request.completed_time_from.as_ref())?;
    let to = time("completedTimeTo", request.completed_time_to.as_ref())?;
    let after = match request.last_instance_key.filter(|key| !key.is_empty()) {
        None => None,
        Some(key) => {
            let parts = key.split_once(':').and_then(|(at, id)| Some((at.parse().ok()?, id.to_owned())));
            Some(parts.ok_or_else(|| Status::invalid_argument("invalid lastInstanceKey"))?)
        }
    };
    let Some(filter) = ended(&request.runtime_status)? else { return Ok(ListInstanceIdsResponse::default()) };
    // The first of them in order, whatever order they are read in.
    let mut first: BTreeSet<(i64, String)> = BTreeSet::new();
    let mut pages = Pages::new(filter);
    while let Some(page) = pages.next(hub).await? {
        for row in page {
            let Some(at) = row.completed_at else { continue };
            let entry = (at.0, row.id.to_string());
            let within = from.is_none_or(|from| at >= from) && to.is_none_or(|to| at < to);
            if within && after.as_ref().is_none_or(|after| entry > *after) {
                first.insert(entry);
                if first.len() > limit + 1 {
                    first.pop_last();
                }
            }
        }
    }
    let more = first.len() > limit;
    if more {
        first.pop_last();
    }
    let last_instance_key = first.last().filter(|_| more).map(|(at, id)| format!("{at}:{id}"));
    let instance_ids = first.into_iter().map(|(_, id)| id).collect();
    Ok(ListInstanceIdsResponse { instance_ids, last_instance_key })
}

/// A filter for what has ended, in one of these statuses if there are any; `None` if nothing can match.
fn ended(numbers: &[i32]) -> Result<Option<StoreQuery>, Status> {
    let Some(mut statuses) = statuses(numbers)? else { return Ok(None) };
    if statuses.is_empty() {
        statuses = InstanceStatus::ALL.to_vec();
    }
    statuses.retain(|status| status.is_terminal());
    Ok((!statuses.is_empty()).then(|| StoreQuery { statuses, ..StoreQuery::default() }))
}

pub(super) async fn purge(
    hub: &Hub,
    request: PurgeInstancesRequest,
) -> Result<PurgeInstancesResponse, Status> {
    use purge_instances_request::Request;
    let recursive = request.recursive;
    let (ids, until) = match request.request {
        None => {
            return Err(Status::invalid_argument("nothing to purge: name an instance, several, or a filter"));
        }
        Some(Request::InstanceId(id)) => (vec![id], None),
        Some(Request::InstanceBatch(batch)) => (batch.instance_ids, None),
        Some(Request::PurgeInstanceFilter(filter)) => return purge_matching(hub, filter, recursive).await,
    };
    let ids = ids.iter().map(|id| instance_id(id)).collect::<Result<Vec<_>, _>>()?;
    let (deleted_instance_count, complete) = purge_all(hub, ids, recursive, until).await?;
    Ok(PurgeInstancesResponse { deleted_instance_count, is_complete: Some(complete) })
}

async fn purge_matching(
    hub: &Hub,
    filter: PurgeInstanceFilter,
    recursive: bool,
) -> Result<PurgeInstancesResponse, Status> {
    let until = filter.timeout.map(|budget| {
        let seconds = u64::try_from(budget.seconds).unwrap_or(0);
        let budget = Duration::new(seconds, u32::try_from(budget.nanos).unwrap_or(0).min(999_999_999));
        // A budget beyond all times is none.
        Instant::now().checked_add(budget)
    });
    let until = until.flatten();
    let created_from = time("createdTimeFrom", filter.created_time_from.as_ref())?;
    let created_before = time("createdTimeTo", filter.created_time_to.as_ref())?;
    let Some(ended) = ended(&filter.runtime_status)? else {
        return Ok(PurgeInstancesResponse { deleted_instance_count: 0, is_complete: Some(true) });
    };
    let (mut deleted_instance_count, mut complete) = (0_i32, true);
    let mut pages = Pages::new(StoreQuery { created_from, created_before, ..ended });
    while complete && let Some(page) = pages.next(hub).await? {
        let ids = page.into_iter().map(|row| row.id).collect();
        let (count, all) = purge_all(hub, ids, recursive, until).await?;
        deleted_instance_count = deleted_instance_count.saturating_add(count);
        complete = all;
    }
    Ok(PurgeInstancesResponse { deleted_instance_count, is_complete: Some(complete) })
}

/// Purges those that have ended, with their children if wished. How many there were, and whether the time was enough.
async fn purge_all(
    hub: &Hub,
    ids: Vec<InstanceId>,
    recursive: bool,
    until: Option<Instant>,
) -> Result<(i32, bool), Status> {
    let (mut count, mut layer) = (0_i32, ids);
    // Layer by layer, so that the depth of a tree costs no stack.
    while !layer.is_empty() {
        let mut purges = stream::iter(layer.into_iter().map(|id| purge_one(hub, id, recursive)))
            .buffer_unordered(PURGES_AT_ONCE);
        let mut next = Vec::new();
        while let Some(purged) = purges.next().await {
            if let Some(children) = purged? {
                count = count.saturating_add(1);
                next.extend(children);
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok((count, false));
            }
        }
        layer = next;
    }
    Ok((count, true))
}

/// Purges an instance and names its children, if wished. `None` if there is none or it has not ended.
async fn purge_one(hub: &Hub, id: InstanceId, recursive: bool) -> Result<Option<Vec<InstanceId>>, Status> {
    let ended = matches!(row(hub, &id).await?, Some((row, _)) if row.status.is_terminal());
    let children = if ended && recursive { children(hub, &id).await? } else { Vec::new() };
    match hub.client.purge(id).await {
        Ok(()) => Ok(Some(children)),
        Err(EngineError::Refused(RequestError::NotFound { .. } | RequestError::NotEnded { .. })) => Ok(None),
        Err(error) => Err(Status::refusal(&error)),
    }
}

/// The instances that the present execution of an instance has started and waited for.
async fn children(hub: &Hub, id: &InstanceId) -> Result<Vec<InstanceId>, Status> {
    let events = hub.client.history(id).await.map_err(|error| Status::refusal(&error))?;
    let child = |kind: &EventKind| match kind {
        EventKind::SubOrchestrationScheduled(child) if !child.detached => {
            InstanceId::new(&child.instance).ok()
        }
        _ => None,
    };
    Ok(events.unwrap_or_default().iter().filter_map(|event| child(&event.kind)).collect())
}
