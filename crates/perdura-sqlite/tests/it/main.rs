//! The SQLite store: the contract, likeness to the simulated store, and what can happen to files.

// Clippy's own exception for tests does not reach the functions that they share.
#![allow(clippy::unwrap_used)]

mod backup;
mod conformance;
mod damage;
mod fidelity;
mod fixture;
mod full;
mod opening;
mod small_disk;
mod works;
