//! Real processes, killed, stopped and starved: what was acknowledged is still there.

mod kill;
mod process;
