//! What people read about entities.

use super::json::payload as as_text;
use super::words::payload;
use crate::escape::escape;
use perdura_core::partition::{EntityRecord, InstanceRecord, Queued, Wanted};
use perdura_core::{EntityId, InstanceId, Timestamp};
use perdura_sqlite::SqliteStore;
use perdura_store::{InstanceKind, InstanceQuery, Instances};
use serde_json::json;
use std::io::{self, Write};

/// Things in a queue that are shown.
const QUEUE_SHOWN: usize = 20;
/// Rows read at once.
const PAGE: usize = 1000;

/// The id of an instance or an entity, from the command line.
pub fn parse_id(id: &str) -> anyhow::Result<InstanceId> {
    Ok(if id.starts_with('@') { EntityId::parse(id)?.instance().clone() } else { InstanceId::new(id)? })
}

/// All entities, at most `limit`, with what each one has.
pub async fn all(
    store: &SqliteStore,
    limit: usize,
    as_json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut query = InstanceQuery { kind: InstanceKind::Entity, ..InstanceQuery::default() };
    let mut left = limit;
    while left > 0 {
        let rows = store.query(query.clone(), left.min(PAGE)).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        query.after = Some((last.created_at, last.key));
        left -= rows.len();
        for row in rows {
            match row.open() {
                Ok(record) => print(&record, as_json, out)?,
                Err(damage) => writeln!(out, "\"{}\"  damaged: {damage}", escape(row.id.as_str()))?,
            }
        }
    }
    Ok(())
}

/// One entity: its state, its queue, who holds it. Nothing for the record of an orchestration.
pub fn print(record: &InstanceRecord, as_json: bool, out: &mut impl Write) -> io::Result<()> {
    let Some(entity) = &record.entity else { return Ok(()) };
    if as_json {
        return writeln!(out, "{}", as_value(record, entity));
    }
    writeln!(out, "\"{}\"  last changed {}", escape(&record.id), Timestamp(record.updated_at))?;
    match &entity.state {
        Some(state) => writeln!(out, "    state: {}", payload(state))?,
        None => writeln!(out, "    no state")?,
    }
    if let Some(block) = &record.block {
        writeln!(out, "    waits for a repair since {}: {}", Timestamp(block.since), escape(&block.reason))?;
    }
    if let Some((operation, delivery)) = entity.running_operation() {
        let more = match entity.running {
            1 => String::new(),
            running => format!(" and {} more, one after another,", running - 1),
        };
        let (name, since) = (escape(&operation.name), Timestamp(entity.running_since));
        writeln!(out, "    runs {name} (delivery {delivery}){more} since {since}")?;
    }
    if let Some(lock) = &entity.lock {
        let holder = lock.holder.as_ref().map_or("?", |holder| &holder.instance);
        let with = escape(&lock.set.join(", "));
        writeln!(out, "    held by \"{}\" since {}, with {with}", escape(holder), Timestamp(lock.since))?;
    }
    let waiting = entity.queue.iter().skip(entity.running as usize);
    for queued in waiting.clone().take(QUEUE_SHOWN) {
        writeln!(out, "    waits: {}", describe(queued))?;
    }
    if waiting.len() > QUEUE_SHOWN {
        writeln!(out, "    … and {} more", waiting.len() - QUEUE_SHOWN)?;
    }
    for operation in entity.delayed.iter().take(QUEUE_SHOWN).filter_map(|delayed| delayed.operation.as_ref())
    {
        writeln!(out, "    at {}: {}", Timestamp(operation.at), escape(&operation.name))?;
    }
    if entity.delayed.len() > QUEUE_SHOWN {
        writeln!(out, "    … and {} more at their time", entity.delayed.len() - QUEUE_SHOWN)?;
    }
    Ok(())
}

fn describe(queued: &Queued) -> String {
    match &queued.wanted {
        Some(Wanted::Operation(operation)) => {
            let from = operation
                .caller
                .as_ref()
                .map_or("a signal".into(), |caller| format!("called by \"{}\"", escape(&caller.instance)));
            format!("{} ({from}, delivery {})", escape(&operation.name), queued.delivery)
        }
        Some(Wanted::Lock(request)) => {
            let holder = request.holder.as_ref().map_or("?", |holder| &holder.instance);
            format!("\"{}\" for the lock", escape(holder))
        }
        None => "something that this version does not know".into(),
    }
}

fn as_value(record: &InstanceRecord, entity: &EntityRecord) -> serde_json::Value {
    let lock = entity.lock.as_ref().map(|lock| {
        let holder = lock.holder.as_ref().map(|holder| holder.instance.clone());
        json!({ "holder": holder, "since": Timestamp(lock.since).to_string(), "entities": lock.set })
    });
    let queue: Vec<_> = entity
        .queue
        .iter()
        .map(|queued| match &queued.wanted {
            Some(Wanted::Operation(operation)) => json!({
                "operation": operation.name,
                "caller": operation.caller.as_ref().map(|caller| &caller.instance),
                "delivery": queued.delivery,
            }),
            Some(Wanted::Lock(request)) => {
                json!({ "lock_for": request.holder.as_ref().map(|holder| &holder.instance) })
            }
            None => json!({}),
        })
        .collect();
    let delayed = entity.delayed.iter().filter_map(|delayed| delayed.operation.as_ref());
    let delayed: Vec<_> = delayed
        .map(|operation| json!({ "operation": operation.name, "at": Timestamp(operation.at).to_string() }))
        .collect();
    let running = (entity.running > 0).then(
        || json!({ "operations": entity.running, "since": Timestamp(entity.running_since).to_string() }),
    );
    json!({
        "entity": record.id,
        "state": entity.state.as_deref().map(as_text),
        "updated_at": Timestamp(record.updated_at).to_string(),
        "lock": lock,
        "running": running,
        "queue": queue,
        "delayed": delayed,
        "blocked": record.block.as_ref().map(|block| &block.reason),
    })
}
