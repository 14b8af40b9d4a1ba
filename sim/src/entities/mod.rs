//! Entities in a world: accounts that programs call, signal and lock, that clients signal and delete, and the workers that
//! run their operations.

pub mod account;
mod client;
pub mod steps;
mod worker;

pub(crate) use client::stamp_number;
pub(crate) use steps::perform;
