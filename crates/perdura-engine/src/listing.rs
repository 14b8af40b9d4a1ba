//! Lists of instances in pages, and the instances themselves with their input.

use crate::client::{Client, Listed, damaged};
use crate::error::EngineError;
use bytes::Bytes;
use perdura_core::history::{Event, EventKind, ExecutionStarted};
use perdura_core::partition::InstanceRecord;
use perdura_core::{InstanceId, InstanceKey, Tags, Timestamp};
use perdura_store::{EndedQuery, InstanceQuery};

/// Rows that one call looks at when it filters by tags, which no index knows.
const SCANNED_MAX: usize = 5000;
/// Rows read at once for a filter by tags.
const SCAN_PAGE: usize = 500;
/// How often an instance is read anew that begins a new generation while it is read.
const TRIES: usize = 5;

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// The instances, by rising time of creation.
    pub instances: Vec<Listed>,
    /// Give it to the next call to go on; `None` at the end.
    pub next: Option<String>,
}

impl Client {
    /// A page of the instances that match and carry all of `tags`, at most `limit`, by rising time of creation. `page` is
    /// what the page before gave as [`Page::next`]; it takes the place of the query's `after`. With tags a page may hold
    /// fewer than `limit`, or none, and another one follow.
    pub async fn page(
        &self,
        mut query: InstanceQuery,
        tags: &Tags,
        limit: usize,
        page: Option<&str>,
    ) -> Result<Page, EngineError> {
        if let Some(page) = page {
            query.after = Some(read_place(page)?);
        }
        let mut instances = Vec::new();
        let mut scanned = 0;
        while instances.len() < limit && scanned < SCANNED_MAX {
            let wanted = limit - instances.len();
            // One more than wanted, to know whether more follow.
            let read = if tags.is_empty() { wanted.saturating_add(1) } else { SCAN_PAGE };
            let rows = self.store().query(query.clone(), read).await?;
            let is_last = rows.len() < read;
            for (at, row) in rows.iter().enumerate() {
                let listed = Listed::new(row);
                query.after = Some((row.created_at, row.key));
                if tags.iter().all(|(key, value)| listed.record.tags.get(key) == Some(value)) {
                    instances.push(listed);
                }
                if instances.len() == limit {
                    let more = !is_last || at + 1 < rows.len();
                    return Ok(Page { instances, next: query.after.filter(|_| more).map(place) });
                }
            }
            if is_last {
                return Ok(Page { instances, next: None });
            }
            scanned += rows.len();
        }
        Ok(Page { instances, next: query.after.map(place) })
    }

    /// When instances ended, and their ids, by rising time and then by id, at most `limit`. The last of a page, as the
    /// query's `after`, gives the next one. Each call looks at every instance of the hub: ask for large pages.
    pub async fn ended(
        &self,
        query: EndedQuery,
        limit: usize,
    ) -> Result<Vec<(Timestamp, InstanceId)>, EngineError> {
        Ok(self.store().ended(query, limit).await?)
    }

    /// What is known of an instance, and what it began with; `None` if there is no such instance.
    pub async fn get_started(
        &self,
        id: &InstanceId,
    ) -> Result<Option<(InstanceRecord, ExecutionStarted)>, EngineError> {
        for _ in 0..TRIES {
            let Some((row, record)) = self.row(id).await? else { return Ok(None) };
            if let Some(started) = self.started(row.key, &record).await? {
                return Ok(Some((record, started)));
            }
        }
        Err(EngineError::Unavailable {
            why: format!("instance {id:?} begins anew faster than it can be read"),
        })
    }

    /// The input of an instance of a list; `None` if it has none, or has begun anew or been purged since.
    pub async fn input(
        &self,
        key: InstanceKey,
        record: &InstanceRecord,
    ) -> Result<Option<Bytes>, EngineError> {
        Ok(self.started(key, record).await?.and_then(|started| started.input))
    }

    /// What an execution began with: an event of the first row of its history, or in the inbox before its first turn.
    async fn started(
        &self,
        key: InstanceKey,
        record: &InstanceRecord,
    ) -> Result<Option<ExecutionStarted>, EngineError> {
        let id = record.instance_id();
        let waiting = record.inbox_events().map_err(|what| damaged(&id, what))?;
        if let Some(started) = waiting.into_iter().find_map(as_started) {
            return Ok(Some(started));
        }
        // At least one row comes, however long it is.
        let rows = self.store().history(key, record.generation, record.branch, 0, 1).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let events = first.open().map_err(|what| damaged(&id, what))?;
        Ok(events.into_iter().find_map(as_started))
    }
}

fn as_started(event: Event) -> Option<ExecutionStarted> {
    match event.kind {
        EventKind::ExecutionStarted(started) => Some(started),
        _ => None,
    }
}

/// A place in a list, as callers carry it.
fn place((at, key): (Timestamp, InstanceKey)) -> String {
    format!("{}.{}", at.0, key.0)
}

fn read_place(text: &str) -> Result<(Timestamp, InstanceKey), EngineError> {
    let parts = text.split_once('.');
    let place =
        parts.and_then(|(at, key)| Some((Timestamp(at.parse().ok()?), InstanceKey(key.parse().ok()?))));
    place.ok_or_else(|| EngineError::InvalidPage { page: text.chars().take(80).collect() })
}
