//! The deterministic simulation of Perdura: the pure processor of the engine, a store in memory, nodes, workers and
//! clients in one thread, with virtual time and faults from a seed. A seed is the whole run.
//!
//! The core and the store are built with their feature `planted-bugs`: bugs that exist only to be found by this crate.
//! They are inert unless [`Options::bug`] names one, and no other crate turns the feature on.
//!
//! - [`plan`]: what a seed draws. [`program`]: the orchestrations that run.
//! - [`invariants`]: what is checked, one file for each group.
//! - [`run`]: runs seeds and gives a [`Report`].

mod client;
mod commit;
mod doubt;
mod elsewhere;
pub mod entities;
mod fault;
mod interpreter;
pub mod invariants;
mod life;
mod options;
pub mod outcome;
pub mod payload;
pub mod plan;
pub mod program;
mod random;
mod read;
mod report;
mod run;
mod runner;
mod trace;
mod worker;
mod world;

pub use options::{Options, PlantedBug};
pub use random::Random;
pub use report::{Fault, Found, Report, Stats};
pub use run::{run, run_seed};
