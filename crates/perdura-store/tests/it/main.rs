//! The simulated store keeps the contract, and breaks it with a bug planted.

mod conformance;
#[cfg(feature = "planted-bugs")]
mod planted_bugs;
mod simulation;
