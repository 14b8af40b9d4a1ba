//! What SQLite's errors mean for a hub.

use perdura_store::StoreError;
use rusqlite::{Error, ErrorCode};

pub(crate) fn store_error(store: &str, error: &Error) -> StoreError {
    let store = store.to_owned();
    match error {
        Error::SqliteFailure(..) | Error::SqlInputError { .. } => match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full { store },
            Some(ErrorCode::NotADatabase) => {
                StoreError::Foreign { store, why: "it is not an SQLite file".to_owned() }
            }
            // The statements are fixed, so one that SQLite does not understand means a schema that has changed.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::Unknown) => {
                StoreError::Damaged { store, what: error.to_string() }
            }
            _ => StoreError::Unavailable { store, why: error.to_string() },
        },
        // All others are about values that came from the file: of another type, out of range, not UTF-8, missing.
        _ => StoreError::Damaged { store, what: error.to_string() },
    }
}
