//! The contract of a store as tests. Every store runs all of them:
//!
//! ```
//! use perdura_store::conformance::Place;
//! use perdura_store::sim::SimStore;
//! use perdura_store::{BoxFuture, Store};
//!
//! struct InMemory(SimStore);
//!
//! impl Place for InMemory {
//!     fn open(&self) -> BoxFuture<'_, Box<dyn Store>> {
//!         Box::pin(async { Box::new(self.0.clone()) as Box<dyn Store> })
//!     }
//! }
//!
//! fn fresh() -> InMemory {
//!     InMemory(SimStore::new(perdura_store::conformance::PARTITIONS))
//! }
//!
//! perdura_store::conformance_tests!(fresh);
//! # fn main() {}
//! ```
//!
//! A test opens the hub, may close and open it again, and never depends on an executor.

mod block_on;
mod case;
mod clock;
mod commit;
mod fencing;
mod fixture;
mod generations;
mod history;
mod limits;
mod lookups;
mod messages;
mod purge;
mod query;
mod recovery;

pub use block_on::block_on;
pub use case::{CASES, Case, Place, run, run_all};

/// How many partitions the hub of a test must have.
pub const PARTITIONS: u16 = 3;
