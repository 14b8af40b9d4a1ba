//! The SQLite store: the contract, likeness to the simulated store, and what can happen to files.

mod backup;
mod conformance;
mod damage;
mod fidelity;
mod fixture;
mod full;
mod opening;
