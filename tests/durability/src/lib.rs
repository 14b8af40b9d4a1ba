//! A process that carries a load, and what it and the tests say to each other.

mod bank;
mod evidence;
mod options;
mod program;
mod protocol;
mod random;

pub use bank::{Account, Book, LEDGER, OPENED_WITH, Transfer};
pub use evidence::{Evidence, Line, read_evidence};
pub use options::LoadOptions;
pub use program::{Done, Mode, Program, Step, TABLES, Transcript, carry_out, echo, registry, work};
pub use protocol::{Answer, Ask, Audit, Command, EntityLook, Refusal, Reply, Reuse};
pub use random::Random;
