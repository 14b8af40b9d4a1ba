//! Whoever brings a result from elsewhere is told when the commit is durable that records it, and not before.

use crate::life::Life;
use perdura_core::history::Damaged;
use perdura_core::partition::{Batch, Effect, Partition, TaskRef};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Why a result is not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRecorded {
    /// Nobody waits for it: it was given before, the instance has ended, begun anew or been suspended, or somebody else does
    /// the work by now. Whatever it says is dropped.
    #[error("nobody waits for this result any more")]
    Unwanted,
    /// The partition was lost before its commit was known to be durable. Either it was recorded, or the work is handed out
    /// again.
    #[error("the partition was lost before it was known whether the result was recorded")]
    Lost,
}

/// Goes with a result to the engine, which tells by it what became of the result. Clones are of one result.
#[derive(Clone)]
pub struct Receipt(Arc<Mutex<Option<Sender>>>);

type Sender = oneshot::Sender<Result<(), NotRecorded>>;

/// Where the other end of a [`Receipt`] comes out.
#[derive(Debug)]
pub struct Recorded(oneshot::Receiver<Result<(), NotRecorded>>);

impl Receipt {
    /// A receipt, and who waits for it.
    #[must_use]
    pub fn new() -> (Receipt, Recorded) {
        let (sender, receiver) = oneshot::channel();
        (Receipt(Arc::new(Mutex::new(Some(sender)))), Recorded(receiver))
    }

    pub(crate) fn tell(&self, outcome: Result<(), NotRecorded>) {
        if let Some(sender) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // An error means that the one who brought it has gone.
            let _ = sender.send(outcome);
        }
    }
}

impl Recorded {
    /// Waits until the result is recorded durably, or it is known that it will not be.
    ///
    /// # Errors
    /// It is not recorded, or nobody knows whether it is.
    pub async fn wait(self) -> Result<(), NotRecorded> {
        self.0.await.unwrap_or(Err(NotRecorded::Lost))
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt")
    }
}

impl PartialEq for Receipt {
    fn eq(&self, other: &Receipt) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Receipt {}

/// The receipts of one life of a processor. With it goes what they were for: those who wait learn that it was lost.
#[derive(Default)]
pub(crate) struct Receipts {
    /// For what the open batch records.
    open: Vec<Receipt>,
    /// For what the batch records that is being written.
    in_flight: Vec<Receipt>,
    /// For what is recorded, and not told yet.
    durable: Vec<Receipt>,
    /// For results that wait for room in the inbox of their instance, in memory only.
    held: Vec<(TaskRef, Receipt)>,
}

impl Receipts {
    /// What this is for is part of the open batch, if it was `wanted`.
    pub(crate) fn add(&mut self, receipt: Option<Receipt>, wanted: bool) {
        match receipt {
            Some(receipt) if wanted => self.open.push(receipt),
            Some(receipt) => receipt.tell(Err(NotRecorded::Unwanted)),
            None => {}
        }
    }

    /// The same of the result of a task, which was told to the partition.
    pub(crate) fn add_of_task(
        &mut self,
        task: TaskRef,
        receipt: Receipt,
        wanted: bool,
        partition: &Partition,
    ) {
        if wanted && partition.holds_result(task) {
            self.held.push((task, receipt));
        } else {
            self.add(Some(receipt), wanted);
        }
    }

    /// Tells those whose results are durable.
    pub(crate) fn tell(&mut self) {
        self.durable.drain(..).for_each(|receipt| receipt.tell(Ok(())));
    }

    fn release(&mut self, partition: &Partition) {
        let recorded = self.held.extract_if(.., |(task, _)| !partition.holds_result(*task));
        self.open.extend(recorded.map(|(_, receipt)| receipt));
    }
}

impl Life {
    /// Seals the open batch. What it records that others have brought, they learn when it is [`committed`](Self::committed).
    pub(crate) fn seal(&mut self) -> Result<(Option<Batch>, Vec<Effect>), Damaged> {
        self.receipts.release(&self.partition);
        let is_open = !self.partition.is_committing();
        let sealed = self.partition.seal()?;
        match &sealed.0 {
            Some(_) => self.receipts.in_flight.append(&mut self.receipts.open),
            // Nothing is to be written.
            None if is_open => self.receipts.durable.append(&mut self.receipts.open),
            None => {}
        }
        Ok(sealed)
    }

    /// The batch that was sealed last is durable. Those who wait to hear that come after what others wait to begin with:
    /// [`Receipts::tell`].
    pub(crate) fn committed(&mut self) -> Vec<Effect> {
        self.receipts.durable.append(&mut self.receipts.in_flight);
        self.partition.committed()
    }
}
