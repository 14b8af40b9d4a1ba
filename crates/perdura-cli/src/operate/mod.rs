//! What an operator does with the instances of a hub: of a server that runs, or of a file whose engine is stopped. Both
//! answer the same calls.

pub mod branches;
pub mod control;
pub mod diff;
pub mod history;
mod hub;
pub mod list;
pub mod replay;
mod report;
pub mod resolve;
pub mod rewind;
mod select;
mod time;
pub mod why;

pub use time::span;
