//! The async host of Perdura: it owns threads, channels and clocks, and lets the pure core decide.

mod activities;
mod at_rest;
mod batch;
mod client;
mod engine;
mod error;
mod lookups;
mod options;
mod processor;
mod reads;
mod rewind;
mod why;
mod worker;

pub use at_rest::ask_at_rest;
pub use batch::{BatchItem, BatchReport, RewindBatch};
pub use client::Client;
pub use engine::Engine;
pub use error::EngineError;
pub use options::EngineOptions;
pub use rewind::{Rewound, plan_rewind, rewind_at_rest};
pub use why::why_in;
pub use worker::{ActivityHost, ActivityTask, OrchestrationHost};
