//! The engine with workers elsewhere, who are driven by hand.

#![expect(clippy::unwrap_used, reason = "a test that meets an error shall stop")]

mod clients;
mod elsewhere;
mod remote;
