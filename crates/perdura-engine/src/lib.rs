//! The async host of Perdura: it owns threads, channels and clocks, and lets the pure core decide.

mod activities;
mod at_rest;
mod batch;
mod bulk;
mod client;
mod engine;
mod entities;
mod error;
mod life;
mod listing;
mod lookups;
mod loss;
mod options;
mod processor;
mod reads;
mod restart;
mod rewind;
mod turns;
mod why;
mod worker;

pub use activities::panic_text;
pub use at_rest::ask_at_rest;
pub use batch::{BatchItem, BatchReport, RewindBatch};
pub use bulk::{Bulk, BulkDone};
pub use client::{Client, Listed};
pub use engine::Engine;
pub use error::EngineError;
pub use listing::Page;
pub use options::EngineOptions;
pub use restart::RestartUnder;
pub use rewind::{Rewound, plan_rewind, rewind_at_rest};
pub use turns::{TurnNotAwaited, TurnReturns};
pub use why::why_in;
pub use worker::{ActivityEnd, ActivityHost, ActivityTask, BatchEnd, EntityHost, Hosts, OrchestrationHost};
