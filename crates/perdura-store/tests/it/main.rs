//! The simulated store keeps the contract, and breaks it with a bug planted.

// Clippy's own exception for tests does not reach the functions that they share.
#![allow(clippy::unwrap_used)]

mod conformance;
#[cfg(feature = "planted-bugs")]
mod planted_bugs;
mod simulation;
