//! The way back of turns that somebody else runs.

use crate::processor::Input;
use crate::receipt::{NotRecorded, Receipt};
use perdura_core::orchestration::{TurnOutcome, TurnTicket};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

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

    /// Gives the outcome of a turn, and waits until that is durable. If the partition is lost before, the turn is run again,
    /// unless it was recorded all the same. An outcome that comes twice is refused the second time.
    ///
    /// # Errors
    /// The outcome is not recorded, or nobody knows whether it is.
    pub async fn done(&self, ticket: TurnTicket, outcome: TurnOutcome) -> Result<(), NotRecorded> {
        let (receipt, recorded) = Receipt::new();
        let input = Input::TurnDone { life: self.life, ticket, outcome, receipt };
        self.inputs.send(input).await.map_err(|_| NotRecorded::Lost)?;
        recorded.wait().await
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
