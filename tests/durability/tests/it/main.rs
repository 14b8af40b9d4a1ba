//! Real processes, killed, stopped and starved: what was acknowledged is still there.
#![expect(clippy::unwrap_used, reason = "a test that meets an error shall stop")]

mod bad_input;
mod damage;
mod kill;
mod memory;
mod owners;
mod pause;
mod process;
mod shutdown;
mod space;
mod starts;
