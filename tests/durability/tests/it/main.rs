//! Real processes, killed, stopped and starved: what was acknowledged is still there.
#![expect(clippy::unwrap_used, reason = "a test that meets an error shall stop")]

mod bad_input;
mod bank;
mod damage;
mod dead_letter;
mod kill;
mod memory;
mod once;
mod owners;
mod pause;
mod process;
mod shutdown;
#[path = "../../../../crates/perdura-sqlite/tests/it/small_disk.rs"]
mod small_disk;
mod space;
mod starts;
mod transactional;
