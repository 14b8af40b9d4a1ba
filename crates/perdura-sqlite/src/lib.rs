//! The SQLite store of Perdura: a task hub in one file.
//!
//! One thread owns the connection that writes; a second one moves what was written from the log to the file, so that
//! commits do not wait for it; reads go to connections of their own and happen in place. A lock file keeps a second
//! process out. No code outside this crate sees SQL, and the SQL is in `sql/`.

mod backup;
mod checkpoint;
mod clock;
mod commit;
mod connection;
mod error;
mod files;
mod guest;
mod lock;
mod log_room;
mod open;
mod options;
mod query;
mod readers;
mod row;
mod sql;
mod store;
mod works;
mod writer;

pub use guest::Transaction;
pub use options::SqliteOptions;
/// The library by which users write their statements: parameters, rows and errors.
pub use rusqlite;
pub use store::SqliteStore;
