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
mod selection;
mod turns;
mod why;
mod worker;

pub use activities::panic_text;
pub use batch::{Act, Batch, BatchItem, BatchItems, BatchReport};
pub use bulk::{Bulk, BulkDone};
pub use client::{Client, Listed};
pub use engine::Engine;
pub use error::EngineError;
pub use listing::Page;
pub use options::EngineOptions;
pub use restart::RestartUnder;
pub use rewind::Rewound;
pub use selection::Selection;
pub use turns::{TurnNotAwaited, TurnReturns};
pub use why::Workers;
pub use worker::{ActivityEnd, ActivityHost, ActivityTask, BatchEnd, EntityHost, Hosts, OrchestrationHost};
