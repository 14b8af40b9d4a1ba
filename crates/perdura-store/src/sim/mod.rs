//! A store in memory for tests and the deterministic simulation: serial, with no clock and no randomness of its own.
//! Faults are decided outside; only planted bugs live in here.

mod bug;
mod commit;
mod contents;
mod read;
mod store;
mod undo;

pub use bug::StoreBug;
pub use contents::{Contents, HistoryKey, PartitionState};
pub use store::SimStore;
