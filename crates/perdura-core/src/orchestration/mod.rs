//! One execution of orchestration code: what it decided, what it waits for, and whether a replay still agrees with the
//! history. Knows nothing of futures or of who runs the code.

mod cancel;
mod carried;
mod decision;
mod execution;
mod info;
mod limits_in_force;
mod mailbox;
mod mismatch;
mod runner;
mod section;
mod splitmix;
#[cfg(test)]
mod tests;

pub use carried::{decode_outcome, decode_turn, encode_outcome, encode_turn};
pub(crate) use decision::NO_RESOLVING;
pub use decision::{ContinueAsNew, Decision, TerminateInstance, Turn, TurnOutcome, TurnResult, TurnTicket};
pub use execution::{Execution, Ticket};
pub use info::Info;
pub use mismatch::Mismatch;
pub use runner::{Run, Runner};
