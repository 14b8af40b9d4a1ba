//! The async host of Perdura: it owns threads, channels and clocks, and lets the pure core decide.

mod activities;
mod client;
mod engine;
mod entities;
mod error;
mod loss;
mod options;
mod processor;
mod reads;
mod worker;

pub use activities::panic_text;
pub use client::{Client, Listed};
pub use engine::Engine;
pub use error::EngineError;
pub use options::EngineOptions;
pub use worker::{ActivityHost, ActivityTask, BatchEnd, EntityHost, Hosts, OrchestrationHost};
