//! Between rows and values. A value out of range is an error, never a wrong value.

use perdura_core::partition::{Envelope, HistoryRow, InstanceRecord, InstanceRow, Message};
use perdura_core::{InstanceId, InstanceKey, PartitionId, Status, Timestamp};
use rusqlite::{Error, Result, Row};

/// A number for a column. SQLite's integers have a sign.
pub(crate) fn to_column(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|error| Error::ToSqlConversionFailure(error.into()))
}

fn number(row: &Row<'_>, column: usize) -> Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| Error::IntegralValueOutOfRange(column, value))
}

fn status(row: &Row<'_>, column: usize) -> Result<Status> {
    let value: u8 = row.get(column)?;
    Status::from_number(value).ok_or(Error::IntegralValueOutOfRange(column, value.into()))
}

fn bytes(row: &Row<'_>, column: usize) -> Result<bytes::Bytes> {
    Ok(row.get::<_, Vec<u8>>(column)?.into())
}

/// An id that was checked before it was stored; entity ids have a prefix that [`InstanceId::new`] keeps users from.
pub(crate) fn stored_id(row: &Row<'_>, column: usize) -> Result<InstanceId> {
    Ok(recorded_id(row.get(column)?))
}

fn recorded_id(id: String) -> InstanceId {
    Message { to: id, body: None }.receiver()
}

/// The columns of every statement that lists instances. One that cannot be read damages its own row, not the list.
pub(crate) fn instance(row: &Row<'_>) -> Result<InstanceRow> {
    let key = InstanceKey(number(row, 0)?);
    let mut damage = None;
    let record = sound(&mut damage, "record", bytes(row, 10));
    let id = match stored_id(row, 1) {
        Ok(id) => id,
        Err(error) => {
            damage = Some(format!("column id: {error}"));
            // Whoever looks for it shall find it by what is left.
            let known = InstanceRecord::open(record.clone()).ok().map(|record| record.id);
            recorded_id(known.unwrap_or_else(|| format!("(the instance with key {})", key.0)))
        }
    };
    Ok(InstanceRow {
        key,
        id,
        name: sound(&mut damage, "name", row.get(2)),
        status: sound(&mut damage, "status", status(row, 3)),
        created_at: Timestamp(
            // As far as the lists have it, which sort what is no number behind all numbers.
            sound(&mut damage, "created_at", row.get(4).map(Some)).unwrap_or(i64::MAX),
        ),
        updated_at: Timestamp(sound(&mut damage, "updated_at", row.get(5))),
        completed_at: sound(&mut damage, "completed_at", row.get::<_, Option<i64>>(6)).map(Timestamp),
        generation: sound(&mut damage, "generation", row.get(7)),
        branch: sound(&mut damage, "branch", row.get(8)),
        tail: sound(&mut damage, "tail", number(row, 9)),
        record,
        damage,
    })
}

/// A column, or nothing and a note of what is wrong with it.
fn sound<T: Default>(damage: &mut Option<String>, column: &str, value: Result<T>) -> T {
    value.unwrap_or_else(|error| {
        *damage = Some(format!("column {column}: {error}"));
        T::default()
    })
}

pub(crate) fn history(row: &Row<'_>, generation: u32, branch: u32) -> Result<HistoryRow> {
    Ok(HistoryRow { generation, branch, first: number(row, 0)?, count: row.get(1)?, events: bytes(row, 2)? })
}

pub(crate) fn envelope(row: &Row<'_>, to: PartitionId) -> Result<Envelope> {
    Ok(Envelope { from: PartitionId(row.get(0)?), to, number: number(row, 1)?, message: bytes(row, 2)? })
}
