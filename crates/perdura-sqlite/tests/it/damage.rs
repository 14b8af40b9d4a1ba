//! Flipped bits are an error or show in a checksum. They never panic, and never come out as other data.

use crate::fixture::{ZERO, acquire, commit, insert, open};
use perdura_core::history::{Event, TurnStarted, encode_events};
use perdura_core::partition::{Batch, Envelope, InstanceRow};
use perdura_core::{InstanceKey, Timestamp};
use perdura_sqlite::{SqliteOptions, SqliteStore};
use perdura_store::conformance::block_on;
use perdura_store::{CommitLog, InstanceQuery, Instances, Lookup, StoreError};
use std::path::Path;

const INSTANCES: u64 = 40;

fn hub(path: &Path) -> Vec<InstanceRow> {
    let store = open(path);
    let grant = acquire(&store);
    let writes = (1..=INSTANCES).map(|number| {
        let mut write = insert(number, 0);
        if let Some(history) = &mut write.history {
            history.events = encode_events(vec![Event::new(Timestamp(7), TurnStarted::default()); 1]);
        }
        write
    });
    let batch = Batch { writes: writes.collect(), ..Batch::default() };
    let rows = batch.writes.iter().map(|write| write.row.clone()).collect();
    commit(&store, &grant, batch);
    rows
}

/// Reads everything in every way. What is returned was stored, or does not pass its own check.
fn read_all(path: &Path, stored: &[InstanceRow]) -> Result<(), StoreError> {
    let store = SqliteStore::open(path, SqliteOptions::default())?;
    let rows = block_on(store.query(InstanceQuery::default(), usize::MAX));
    let unfinished = block_on(store.unfinished(ZERO, None, usize::MAX));
    let _ = block_on(store.messages(ZERO, None, usize::MAX));
    let _ = block_on(store.find(stored.iter().map(|row| Lookup::Id(row.id.clone())).collect()));
    for number in 1..=INSTANCES {
        let history = block_on(store.history(InstanceKey::new(ZERO, number), 1, 0, 0, usize::MAX));
        for row in history.unwrap_or_default() {
            let _ = row.open();
        }
    }
    for row in [rows, unfinished].into_iter().flat_map(Result::unwrap_or_default) {
        if let Ok(record) = row.open() {
            let original = stored.iter().find(|original| original.id == row.id);
            let original = original.unwrap_or_else(|| panic!("instance {} was never stored", row.id));
            assert_eq!(Ok(record), original.open());
        }
    }
    let _ = store.check();
    let _ = block_on(store.acquire(ZERO, 2));
    Ok(())
}

#[test]
fn flipped_bytes_anywhere_never_panic_and_never_make_other_data() {
    let place = tempfile::tempdir().unwrap();
    let sound = place.path().join("sound");
    let stored = hub(&sound);
    let bytes = std::fs::read(&sound).unwrap();
    let (mut refused, mut opened) = (0, 0);
    for at in (0..bytes.len()).step_by(97) {
        let path = place.path().join(format!("flipped-{at}"));
        let mut flipped = bytes.clone();
        flipped[at] ^= 0xff;
        std::fs::write(&path, &flipped).unwrap();
        match read_all(&path, &stored) {
            Ok(()) => opened += 1,
            Err(_) => refused += 1,
        }
        for suffix in ["", "-lock", "-wal", "-shm"] {
            let _ = std::fs::remove_file(place.path().join(format!("flipped-{at}{suffix}")));
        }
    }
    assert!(refused > 0 && opened > 0, "{refused} refused, {opened} opened");
}

#[test]
fn a_file_that_was_cut_off_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("hub");
    let stored = hub(&path);
    let bytes = std::fs::read(&path).unwrap();
    for length in [1, 15, 100, 4096, bytes.len() / 2] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let _ = read_all(&path, &stored);
    }
}

/// Puts `value`, an SQL expression, where only values of the right type can be put.
fn spoil(path: &Path, table: &str, column: &str, value: &str, which: &str) {
    let schema = |change: &str| {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection
            .execute_batch(&format!(
                "PRAGMA writable_schema = ON;
                 UPDATE sqlite_schema SET sql = {change} WHERE type = 'table' AND name = '{table}'"
            ))
            .unwrap();
    };
    schema("replace(sql, 'STRICT', '/*STRICT*/')");
    schema("replace(sql, '/*STRICT*/, WITHOUT', 'WITHOUT')");
    let connection = rusqlite::Connection::open(path).unwrap();
    let changed = connection.execute(&format!("UPDATE {table} SET {column} = {value} WHERE {which}"), ());
    assert_eq!(changed.unwrap(), 1, "{column}");
    drop(connection);
    schema("replace(replace(sql, '/*STRICT*/', 'STRICT'), ') WITHOUT', ') STRICT, WITHOUT')");
}

#[test]
fn a_damaged_column_damages_its_own_row_and_no_other() {
    for (column, value) in [
        ("status", "99"),
        ("status", "-1"),
        ("status", "2"),
        ("generation", "'x'"),
        ("branch", "-1"),
        ("tail", "x'00'"),
        ("created_at", "'x'"),
        ("updated_at", "1.5"),
        ("completed_at", "'x'"),
        ("name", "CAST(x'ff' AS TEXT)"),
        ("id", "CAST(x'ff' AS TEXT)"),
        ("record", "'x'"),
    ] {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("hub");
        let stored = hub(&path);
        let key = stored[6].key;
        spoil(&path, "instance", column, value, &format!("key = {}", key.0));
        let store = open(&path);
        let listed = block_on(store.query(InstanceQuery::default(), usize::MAX)).unwrap();
        let unfinished = block_on(store.unfinished(ZERO, None, usize::MAX)).unwrap();
        let wanted = stored.iter().map(|row| Lookup::Key(row.key)).collect();
        let found: Vec<_> = block_on(store.find(wanted)).unwrap().into_iter().flatten().collect();
        for mut rows in [listed, unfinished, found] {
            // A list is in the order of creation, which a row may have lost.
            rows.sort_by_key(|row| row.key);
            assert_eq!(rows.len(), stored.len(), "{column} = {value}");
            for (row, original) in rows.iter().zip(&stored) {
                match row.open() {
                    Ok(record) => assert_eq!(Ok(record), original.open()),
                    Err(damage) => {
                        assert_eq!((row.key, &row.id), (key, &original.id), "{column} = {value}");
                        assert!(damage.to_string().contains(column), "{damage}");
                    }
                }
            }
            assert_eq!(rows.iter().filter(|row| row.open().is_err()).count(), 1, "{column} = {value}");
        }
    }
}

#[test]
fn a_damaged_message_holds_up_no_other() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("hub");
    let store = open(&path);
    let grant = acquire(&store);
    let envelope = |number| Envelope { from: ZERO, to: ZERO, number, message: vec![7].into() };
    commit(&store, &grant, Batch { outgoing: (1..=3).map(envelope).collect(), ..Batch::default() });
    drop(store);
    spoil(&path, "message", "body", "'x'", "number = 2");
    let store = open(&path);
    let numbers = |limit| -> Vec<u64> {
        block_on(store.messages(ZERO, None, limit)).unwrap().iter().map(|message| message.number).collect()
    };
    assert_eq!((numbers(2), numbers(1)), (vec![1, 3], vec![1]));
}

#[test]
fn pages_come_to_an_end_past_rows_whose_time_cannot_be_read() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("hub");
    let stored = hub(&path);
    for row in [&stored[0], &stored[6]] {
        spoil(&path, "instance", "created_at", "'x'", &format!("key = {}", row.key.0));
    }
    let store = open(&path);
    let mut query = InstanceQuery::default();
    let mut seen = Vec::new();
    while seen.len() <= stored.len() {
        let page = block_on(store.query(query.clone(), 3)).unwrap();
        let Some(last) = page.last() else { break };
        query.after = Some((last.created_at, last.key));
        seen.extend(page.iter().map(|row| row.key));
    }
    seen.sort_unstable();
    assert_eq!(seen, stored.iter().map(|row| row.key).collect::<Vec<_>>());
}
