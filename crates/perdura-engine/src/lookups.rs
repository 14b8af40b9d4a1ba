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

pub(crate) fn open(row: &InstanceRow) -> Result<InstanceRecord, EngineError> {
    row.open().map_err(|what| damaged(&row.id, what))
}

pub(crate) fn damaged(id: &InstanceId, what: Damaged) -> EngineError {
    EngineError::Damaged { id: id.to_string(), what }
}
