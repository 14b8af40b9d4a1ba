//! What is read of instances for people, not for processors.

use crate::error::EngineError;
use perdura_core::InstanceId;
use perdura_core::history::{Damaged, Event};
use perdura_core::partition::{InstanceRecord, InstanceRow};
use perdura_core::rewind::assemble;
use perdura_store::{Lookup, Store, read_history};

/// The row of an instance and its record; `None` if there is none.
pub(crate) async fn row(
    store: &dyn Store,
    id: &InstanceId,
) -> Result<Option<(InstanceRow, InstanceRecord)>, EngineError> {
    let row = store.find(vec![Lookup::Id(id.clone())]).await?.pop().flatten();
    row.map(|row| open(&row).map(|record| (row, record))).transpose()
}

/// The history of a branch of an instance; `None` if it has no such branch.
pub(crate) async fn history(
    store: &dyn Store,
    row: &InstanceRow,
    record: &InstanceRecord,
    branch: u32,
) -> Result<Option<Vec<Event>>, EngineError> {
    let Some(parts) = record.history_parts(branch) else { return Ok(None) };
    let rows = read_history(store, row.key, record.generation, &parts).await?;
    assemble(&rows).map(Some).map_err(|what| damaged(&row.id, what))
}

/// The events of all branches of an instance, each of them once.
pub(crate) async fn events_of_all_branches(
    store: &dyn Store,
    row: &InstanceRow,
    record: &InstanceRecord,
) -> Result<Vec<Event>, EngineError> {
    let branches = std::iter::once(0).chain(record.branches().iter().map(|opened| opened.branch));
    let mut events = Vec::new();
    for branch in branches {
        // The last part is what the branch does not have from others; one that ended at its cut has nothing of its own.
        let own = record.history_parts(branch).and_then(|mut parts| parts.pop());
        let Some(own) = own.filter(|part| part.branch == branch) else { continue };
        let rows = read_history(store, row.key, record.generation, &[own]).await?;
        events.extend(assemble(&rows).map_err(|what| damaged(&row.id, what))?);
    }
    Ok(events)
}

pub(crate) fn open(row: &InstanceRow) -> Result<InstanceRecord, EngineError> {
    row.open().map_err(|what| damaged(&row.id, what))
}

pub(crate) fn damaged(id: &InstanceId, what: Damaged) -> EngineError {
    EngineError::Damaged { id: id.to_string(), what }
}
