//! The examples as a reader runs them, each as a program on a new file; and their orchestrations in virtual time.
#![allow(dead_code, clippy::unwrap_used)] // The `main` of each example.

#[path = "../../chaining.rs"]
mod chaining;
#[path = "../../eternal_loop.rs"]
mod eternal_loop;
#[path = "../../event_batching.rs"]
mod event_batching;
#[path = "../../fan_out.rs"]
mod fan_out;
#[path = "../../human_interaction.rs"]
mod human_interaction;
#[path = "../../monitor.rs"]
mod monitor;
mod programs;
#[path = "../../saga.rs"]
mod saga;
mod singleton;
mod virtual_time;
