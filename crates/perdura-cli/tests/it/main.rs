//! The `perdura` command as its users run it.
#![allow(clippy::unwrap_used)]

mod demo;
mod demo_input;
mod inspect;
mod operate;
mod perdura;
mod serve;
