//! The seam between a processor and the code of orchestrations.

use super::decision::{Turn, TurnOutcome};
use crate::failure::Failure;
use crate::history::Event;
use crate::id::InstanceKey;
use std::sync::Arc;

/// Runs orchestration code for one partition, on the processor's own thread: turns must be short and never block.
///
/// It may keep executions warm (suspended where they were) and then needs only the new events.
pub trait Runner {
    /// Runs a turn. `history` is `None` at first; when the answer is [`Run::NeedsHistory`], the turn comes again with
    /// all events before it.
    fn run(&mut self, turn: &Turn, history: Option<&[Event]>) -> Run;

    /// The execution has ended, leaves memory, or stops: drop what is kept of it. If a turn of it is away, nobody waits
    /// for its outcome any more. Unknown keys are ignored.
    fn forget(&mut self, key: InstanceKey);

    /// Whom to ring, from any thread, when [`disturbed`](Self::disturbed) has something to tell.
    fn ring_at(&mut self, bell: Arc<dyn Fn() + Send + Sync>) {
        drop(bell);
    }

    /// Executions that were woken between their turns by something that is not durable, each told once, and what they
    /// are to fail with: news are all that may wake an execution.
    fn disturbed(&mut self) -> Vec<(InstanceKey, Failure)> {
        Vec::new()
    }
}

/// The answer of a [`Runner`].
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // One for each turn, which is taken apart at once.
pub enum Run {
    /// The turn is over.
    Finished(TurnOutcome),
    /// The execution is not warm: run the turn again with its history.
    NeedsHistory,
    /// Somebody else runs the turn; its outcome comes later.
    Away,
}
