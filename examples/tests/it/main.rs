//! The examples as a reader runs them, each as a program on a new file; and their orchestrations in virtual time.
#![allow(dead_code, clippy::unwrap_used)] // The `main` of each example.

mod bank;
#[path = "../../bank_transfer.rs"]
mod bank_transfer;
#[path = "../../chaining.rs"]
mod chaining;
#[path = "../../counter.rs"]
mod counter;
mod entities;
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
#[path = "../../rate_limiter.rs"]
mod rate_limiter;
#[path = "../../saga.rs"]
mod saga;
#[path = "../../shopping_cart.rs"]
mod shopping_cart;
mod singleton;
mod virtual_time;
