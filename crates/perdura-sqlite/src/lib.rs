//! The SQLite store of Perdura: a task hub in one file.
