//! The barrier before an attempt whose delivery count is precise.

use crate::processor::Input;
use crate::worker::ActivityEnd;
use bytes::Bytes;
use perdura_core::partition::TaskRef;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, oneshot};

/// The hand-over of an attempt to a worker, which is committed before the attempt begins.
#[derive(Clone)]
pub struct HandOver {
    inputs: mpsc::Sender<Input>,
    life: u64,
    task: TaskRef,
    done: Arc<AtomicBool>,
}

impl HandOver {
    pub(crate) fn new(inputs: mpsc::Sender<Input>, life: u64, task: TaskRef) -> HandOver {
        HandOver { inputs, life, task, done: Arc::default() }
    }

    /// Raises the delivery count for this worker, and waits until that is durable. Only after `true` may the attempt
    /// begin; after `false` nobody waits for it, and it must not. To be called once. By the `token` a worker that outlives
    /// this process can [bring](crate::Client::bring) its result to another one; empty for one that does not.
    pub async fn commit(&self, worker: &str, token: Bytes) -> bool {
        let (taken, is_durable) = oneshot::channel();
        let (life, task, worker) = (self.life, self.task, worker.to_owned());
        if self.inputs.send(Input::Take { life, task, worker, token, taken }).await.is_err() {
            return false;
        }
        let done = is_durable.await.is_ok();
        self.done.store(done, Ordering::Release);
        done
    }

    /// Brings the result of an attempt whose worker was taken for lost. The engine decides what it is good for. Gives false
    /// if it cannot be told now.
    #[must_use]
    pub fn bring_late(&self, end: ActivityEnd) -> bool {
        self.is_done() && self.inputs.try_send(Input::TaskDone(self.life, self.task, end)).is_ok()
    }

    /// Whether the attempt may have begun.
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }
}
