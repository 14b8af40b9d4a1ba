//! The way back of turns that somebody else runs.

use crate::processor::Input;
use perdura_core::orchestration::{TurnOutcome, TurnTicket};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// Nobody waits for the outcome of this turn: it was given before, the instance has ended, begun anew or been suspended,
/// or the partition was loaded again. Whatever the turn did is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody waits for the outcome of this turn any more")]
pub struct TurnNotAwaited;

/// Takes the outcomes of turns that were sent away during one life of a partition.
#[derive(Clone)]
pub struct TurnReturns {
    life: u64,
    inputs: mpsc::Sender<Input>,
    runtime: Handle,
}

impl TurnReturns {
    pub(crate) fn new(life: u64, inputs: mpsc::Sender<Input>, runtime: Handle) -> TurnReturns {
        TurnReturns { life, inputs, runtime }
    }

    /// Gives the outcome of a turn. When this returns, the partition has taken it and will commit it; if the partition is
    /// lost before it could, the turn is run again. An outcome that comes twice is refused the second time.
    pub async fn done(&self, ticket: TurnTicket, outcome: TurnOutcome) -> Result<(), TurnNotAwaited> {
        let (taken, is_taken) = oneshot::channel();
        let input = Input::TurnDone { life: self.life, ticket, outcome, taken };
        self.inputs.send(input).await.map_err(|_| TurnNotAwaited)?;
        is_taken.await.map_err(|_| TurnNotAwaited)
    }

    /// Gives a turn back that nobody has run: the instance takes a new one with the same events and whatever has come
    /// since. Without effect on a turn that nobody waits for.
    pub fn unrun(&self, ticket: TurnTicket) {
        let (inputs, life) = (self.inputs.clone(), self.life);
        // An error means that the partition is gone for good.
        self.runtime.spawn(async move { drop(inputs.send(Input::TurnUnrun { life, ticket }).await) });
    }

    /// Tells that the worker which had a turn is lost. The turn goes to another, or, if it `comes_back`, is given back like
    /// by [`unrun`](Self::unrun). After [`Limits::lost_workers_max`](perdura_core::Limits::lost_workers_max) losses in a row the
    /// instance is suspended, and nobody waits for the turn any more.
    pub fn lost(&self, ticket: TurnTicket, comes_back: bool) {
        let (inputs, life) = (self.inputs.clone(), self.life);
        let input = Input::TurnLost { life, ticket, comes_back };
        // An error means that the partition is gone for good.
        self.runtime.spawn(async move { drop(inputs.send(input).await) });
    }
}
