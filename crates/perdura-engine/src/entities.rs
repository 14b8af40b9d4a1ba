//! Batches of entity operations that run in this process, for one partition.

use crate::activities::panic_text;
use crate::processor::Input;
use crate::worker::{BatchEnd, EntityHost};
use futures_util::FutureExt;
use perdura_core::entity::{BatchTicket, OperationBatch};
use rustc_hash::FxHashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

pub(crate) struct Entities {
    host: Arc<dyn EntityHost>,
    /// Where user code runs: never the thread of the processor.
    runtime: Handle,
    inputs: mpsc::Sender<Input>,
    running: FxHashSet<BatchTicket>,
    draining: bool,
}

impl Entities {
    pub(crate) fn new(host: Arc<dyn EntityHost>, runtime: Handle, inputs: mpsc::Sender<Input>) -> Entities {
        Entities { host, runtime, inputs, running: FxHashSet::default(), draining: false }
    }

    /// Runs a batch. One entity has at most one at a time, so their number needs no limit of its own.
    pub(crate) fn start(&mut self, batch: OperationBatch) {
        if self.draining {
            return;
        }
        let ticket = batch.ticket;
        self.running.insert(ticket);
        let (host, inputs) = (self.host.clone(), self.inputs.clone());
        self.runtime.spawn(async move {
            let running = AssertUnwindSafe(async move { host.run(batch).await });
            let end = running.catch_unwind().await.unwrap_or_else(|panic| BatchEnd::Lost {
                why: format!("the code that runs entities panicked: {}", panic_text(panic.as_ref())),
            });
            // An error means that the processor is gone for good: nobody is left to be told.
            let _ = inputs.send(Input::OperationsDone(ticket, end)).await;
        });
    }

    /// A batch is over.
    pub(crate) fn finished(&mut self, ticket: BatchTicket) {
        self.running.remove(&ticket);
    }

    /// No batch is started any more.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// The grant is lost: what runs will be handed out again.
    pub(crate) fn let_go(&mut self) {
        self.running.clear();
    }
}
