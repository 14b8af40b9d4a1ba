//! Batches of entity operations that run in this process, for one partition.

use crate::activities::panic_text;
use crate::life::Life;
use crate::worker::{BatchEnd, EntityHost};
use futures_util::FutureExt;
use perdura_core::Timestamp;
use perdura_core::entity::{BatchTicket, OperationBatch};
use rustc_hash::FxHashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Batches that have ended and may wait for the processor; others wait where they ran.
const ENDED_MAX: usize = 1024;

/// A batch that is over.
pub(crate) type Ended = (BatchTicket, BatchEnd);

pub(crate) struct Entities {
    host: Arc<dyn EntityHost>,
    /// Where user code runs: never the thread of the processor.
    runtime: Handle,
    sender: mpsc::Sender<Ended>,
    ended: mpsc::Receiver<Ended>,
    running: FxHashMap<BatchTicket, AbortHandle>,
    /// Batches that are not started, or were lost, while it drains.
    not_run: Vec<BatchTicket>,
    draining: bool,
}

impl Entities {
    pub(crate) fn new(host: Arc<dyn EntityHost>, runtime: Handle) -> Entities {
        let (sender, ended) = mpsc::channel(ENDED_MAX);
        let (running, not_run) = (FxHashMap::default(), Vec::new());
        Entities { host, runtime, sender, ended, running, not_run, draining: false }
    }

    pub(crate) fn hands_over(&self) -> bool {
        self.host.hands_over()
    }

    /// Runs a batch. One entity has at most one at a time, so their number needs no limit of its own.
    pub(crate) fn start(&mut self, batch: OperationBatch) {
        if self.draining {
            return self.not_run.push(batch.ticket);
        }
        let ticket = batch.ticket;
        let (host, sender) = (self.host.clone(), self.sender.clone());
        let task = self.runtime.spawn(async move {
            let running = AssertUnwindSafe(async move { host.run(batch).await });
            let end = running.catch_unwind().await.unwrap_or_else(|panic| BatchEnd::Lost {
                why: format!("the code that runs entities panicked: {}", panic_text(panic.as_ref())),
            });
            // An error means that the processor is gone for good: nobody is left to be told.
            let _ = sender.send((ticket, end)).await;
        });
        self.running.insert(ticket, task.abort_handle());
    }

    /// Waits for the end of a batch.
    pub(crate) async fn ended(&mut self) -> Option<Ended> {
        self.ended.recv().await
    }

    /// Tells the partition of the batches that have ended.
    pub(crate) fn take_ended(&mut self, life: &mut Life, now: Timestamp) {
        for _ in 0..ENDED_MAX {
            let Ok(end) = self.ended.try_recv() else { break };
            self.end(end, life, now);
        }
    }

    /// Tells the partition what became of a batch.
    pub(crate) fn end(&mut self, (ticket, end): Ended, life: &mut Life, now: Timestamp) {
        self.running.remove(&ticket);
        let partition = &mut life.partition;
        match end {
            BatchEnd::Done(done) => drop(partition.operations_done(ticket, done, now)),
            BatchEnd::Brought(done, receipt) => {
                let wanted = partition.operations_done(ticket, done, now);
                life.receipts.add(Some(receipt), wanted);
            }
            // The next life hands it out; that this one ends is nobody's fault.
            BatchEnd::Lost { .. } | BatchEnd::LostBeside if self.draining => self.not_run.push(ticket),
            BatchEnd::Lost { why } => {
                tracing::warn!(?ticket, why, "operations of an entity were lost");
                partition.operations_lost(ticket, &why, now);
            }
            BatchEnd::LostBeside => partition.operations_lost_beside(ticket, now),
            BatchEnd::CannotRun { why } => {
                tracing::warn!(?ticket, why, "the entity is blocked");
                partition.operations_cannot_run(ticket, why, now);
            }
        }
    }

    /// No batch is started any more.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    /// While it drains: what is not run, and what still runs when the time is up, is for the next process, and is not
    /// counted as lost with this one.
    pub(crate) fn give_back(&mut self, life: &mut Life, time_is_up: bool) {
        if time_is_up {
            for (ticket, task) in self.running.drain() {
                task.abort();
                self.not_run.push(ticket);
            }
        }
        for ticket in self.not_run.drain(..) {
            life.partition.operations_given_back(ticket);
        }
    }

    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// The grant is lost: what runs will be handed out again.
    pub(crate) fn let_go(&mut self) {
        self.running.clear();
        self.not_run.clear();
    }
}

/// The processor is gone, and nobody waits for what still runs: it will run again.
impl Drop for Entities {
    fn drop(&mut self) {
        self.running.values().for_each(AbortHandle::abort);
    }
}
