//! The async host of Perdura: it owns threads, channels and clocks, and lets the pure core decide.

mod worker;

pub use worker::{ActivityHost, ActivityTask, OrchestrationHost};
