//! The reads: which statement answers what.

use crate::row;
use crate::sql;
use perdura_core::partition::{Envelope, EnvelopeId, HistoryRow, InstanceRow};
use perdura_core::{InstanceId, InstanceKey, PartitionId, Status, Timestamp};
use perdura_store::{EndedQuery, InstanceKind, InstanceQuery, Lookup};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Params, Result};

/// Below every key and number.
const BEFORE_ALL: i64 = -1;
/// A list of states that fewer instances have sorts them.
const RARE: i64 = 10_000;

pub(crate) fn find(connection: &Connection, wanted: &Lookup) -> Result<Option<InstanceRow>> {
    match wanted {
        Lookup::Key(key) => {
            let Ok(key) = i64::try_from(key.0) else { return Ok(None) };
            connection.prepare_cached(sql::INSTANCE_FIND_BY_KEY)?.query_row([key], row::instance).optional()
        }
        Lookup::Id(id) => connection
            .prepare_cached(sql::INSTANCE_FIND_BY_ID)?
            .query_row([id.as_str()], row::instance)
            .optional(),
    }
}

pub(crate) fn unfinished(
    connection: &Connection,
    partition: PartitionId,
    after: Option<InstanceKey>,
    limit: usize,
) -> Result<Vec<InstanceRow>> {
    let lowest = InstanceKey::new(partition, 0).0 as i64 - 1;
    let highest = (i64::from(partition.0) + 1) * InstanceKey::new(PartitionId(1), 0).0 as i64 - 1;
    let after = after.map_or(lowest, |after| saturate(after.0).max(lowest));
    instances(connection, sql::INSTANCE_UNFINISHED, (after, highest, saturate(limit as u64)))
}

pub(crate) fn messages(
    connection: &Connection,
    partition: PartitionId,
    after: Option<EnvelopeId>,
    limit: usize,
) -> Result<Vec<Envelope>> {
    let (sender, number) =
        after.map_or((BEFORE_ALL, BEFORE_ALL), |after| (after.from.0.into(), saturate(after.number)));
    let mut statement = connection.prepare_cached(sql::MESSAGE_LIST)?;
    let mut rows = statement.query((partition.0, sender, number))?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(row) = rows.next()?
    {
        match row::envelope(row, partition) {
            Ok(envelope) => found.push(envelope),
            // It stays where it is, and holds up no others.
            Err(error) => {
                tracing::error!(partition = partition.0, %error, "a message is damaged and left alone");
            }
        }
    }
    Ok(found)
}

pub(crate) fn history(
    connection: &Connection,
    key: InstanceKey,
    generation: u32,
    branch: u32,
    from: u64,
    bytes_max: usize,
) -> Result<Vec<HistoryRow>> {
    let mut statement = connection.prepare_cached(sql::HISTORY_READ)?;
    let mut rows = statement.query((saturate(key.0), generation, branch, saturate(from)))?;
    let (mut found, mut bytes) = (Vec::new(), 0_usize);
    while let Some(row) = rows.next()? {
        let row = row::history(row, generation, branch)?;
        if row.first.saturating_add(row.count.into()) <= from {
            continue;
        }
        bytes = bytes.saturating_add(row.events.len());
        found.push(row);
        if bytes >= bytes_max {
            break;
        }
    }
    Ok(found)
}

/// Instances that match, in the order of creation. The most selective condition chooses the way: ids, then states that
/// few have. Everything else walks the index by time, from the page before on.
pub(crate) fn query(
    connection: &Connection,
    query: &InstanceQuery,
    limit: usize,
) -> Result<Vec<InstanceRow>> {
    query_with(connection, query, limit, RARE)
}

/// `rare`: so many instances or more have a state that is not rare.
fn query_with(
    connection: &Connection,
    query: &InstanceQuery,
    limit: usize,
    rare: i64,
) -> Result<Vec<InstanceRow>> {
    let (after_time, after) = query.after.map_or((i64::MIN, BEFORE_ALL), |(at, key)| (at.0, saturate(key.0)));
    let limit_column = saturate(limit as u64);
    let from = query.created_from.map_or(i64::MIN, |from| from.0).max(after_time);
    let to = match last_before(query.created_before) {
        // A blob is after everything, also after a text that should be a number.
        Some(i64::MAX) => Value::Blob(Vec::new()),
        Some(last) => Value::Integer(last),
        None => return Ok(Vec::new()),
    };
    let states = state_bits(&query.statuses);
    let name = query.name.as_deref();
    let kind = query.kind == InstanceKind::Entity;
    if let Some(prefix) = query.id_prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
        let end = end_of_prefix(prefix);
        let params = (after, limit_column, from, &to, states, name, after_time, prefix, end, kind);
        return instances(connection, sql::QUERY_BY_ID, params);
    }
    let wanted = Status::ALL.into_iter().filter(|status| query.statuses.contains(status));
    if query.statuses.is_empty() || !are_rare(connection, wanted.clone(), rare)? {
        let params = (after, limit_column, from, &to, states, name, after_time, kind);
        return instances(connection, sql::QUERY_BY_CREATED, params);
    }
    let mut found = Vec::new();
    for status in wanted {
        let params = (after, limit_column, from, &to, states, name, after_time, status as u8, kind);
        found.extend(instances(connection, sql::QUERY_BY_STATUS, params)?);
    }
    found.sort_by_key(|row| (row.created_at, row.key));
    found.truncate(limit);
    Ok(found)
}

/// Whether so few instances have these states that to sort them costs less than to walk past the others.
fn are_rare(connection: &Connection, statuses: impl Iterator<Item = Status>, rare: i64) -> Result<bool> {
    let mut counted = 0;
    for status in statuses {
        let mut statement = connection.prepare_cached(sql::QUERY_COUNT_STATUS)?;
        counted += statement.query_row((status as u8, rare), |row| row.get::<_, i64>(0))?;
    }
    Ok(counted < rare)
}

/// When and which: instances that have ended, in that order.
pub(crate) fn ended(
    connection: &Connection,
    query: &EndedQuery,
    limit: usize,
) -> Result<Vec<(Timestamp, InstanceId)>> {
    let (after_time, after) = match &query.after {
        Some((at, id)) => (at.0, id.as_str()),
        None => (i64::MIN, ""),
    };
    let from = query.completed_from.map_or(i64::MIN, |from| from.0).max(after_time);
    let Some(to) = last_before(query.completed_before) else { return Ok(Vec::new()) };
    let params = (from, to, after_time, after, state_bits(&query.statuses), saturate(limit as u64));
    let mut statement = connection.prepare_cached(sql::QUERY_ENDED)?;
    let rows = statement.query_map(params, |row| Ok((Timestamp(row.get(0)?), row::stored_id(row, 1)?)))?;
    rows.collect()
}

/// The last moment before a time; `None` if there is none.
fn last_before(before: Option<Timestamp>) -> Option<i64> {
    before.map_or(Some(i64::MAX), |before| before.0.checked_sub(1))
}

fn instances(connection: &Connection, statement: &str, params: impl Params) -> Result<Vec<InstanceRow>> {
    let mut statement = connection.prepare_cached(statement)?;
    let rows = statement.query_map(params, row::instance)?;
    rows.collect()
}

fn saturate(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The wanted statuses as bits; none for any, those that are damaged too.
fn state_bits(statuses: &[Status]) -> Option<i64> {
    let bits = |statuses: &[Status]| statuses.iter().fold(0, |bits, status| bits | 1 << *status as u8);
    (!statuses.is_empty()).then(|| bits(statuses))
}

/// The first text, byte by byte, that is after all that begin with `prefix`. If there is none: a blob, which SQLite
/// sorts after every text.
fn end_of_prefix(prefix: &str) -> Value {
    let mut end: Vec<char> = prefix.chars().collect();
    while let Some(last) = end.pop() {
        // A range of characters leaves out the surrogates, which UTF-8 does not have.
        if let Some(next) = (last..=char::MAX).nth(1) {
            end.push(next);
            return Value::Text(end.into_iter().collect());
        }
    }
    Value::Blob(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_by_state_is_the_same_whichever_way_it_is_found() -> Result<()> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch(sql::SCHEMA)?;
        for key in 0..200_i64 {
            let status = Status::ALL[key as usize * 5 % 7];
            let columns = (key, status as u8, key * 31 % 40, format!("i{key}"));
            connection.execute(
                "INSERT INTO instance VALUES (?1, ?2, 1, 0, 1, ?3, 1, NULL, ?4, 'x', x'00')",
                columns,
            )?;
        }
        let statuses = vec![Status::Failed, Status::Running];
        let mut query = InstanceQuery { statuses, created_from: Some(Timestamp(3)), ..Default::default() };
        let mut seen = 0;
        loop {
            let sorted = query_with(&connection, &query, 7, i64::MAX)?;
            assert_eq!(sorted, query_with(&connection, &query, 7, 0)?);
            let Some(last) = sorted.last() else { break };
            query.after = Some((last.created_at, last.key));
            seen += sorted.len();
        }
        assert!(seen > 40, "{seen}");
        Ok(())
    }

    #[test]
    fn the_end_of_a_prefix_is_behind_every_text_that_begins_with_it() {
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(end_of_prefix("ab"), text("ac"));
        assert_eq!(end_of_prefix("a\u{10ffff}"), text("b"));
        assert_eq!(end_of_prefix("\u{d7ff}"), text("\u{e000}"));
        assert_eq!(end_of_prefix("\u{10ffff}"), Value::Blob(Vec::new()));
    }
}
