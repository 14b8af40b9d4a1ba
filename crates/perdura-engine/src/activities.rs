//! The activities that run in this process, for one partition: which wait, which run, and how they are told to stop.

use crate::processor::Input;
use crate::worker::{ActivityEnd, ActivityHost, ActivityTask};
use perdura_core::Failure;
use perdura_core::failure::kind;
use perdura_core::partition::{TaskRef, TaskStart};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) struct Activities {
    host: Arc<dyn ActivityHost>,
    /// Where user code runs: never the thread of the processor.
    runtime: Handle,
    inputs: mpsc::Sender<Input>,
    running_max: usize,
    waiting: VecDeque<TaskStart>,
    /// Attempts among the waiting ones that nobody wants any more.
    unwanted: FxHashSet<TaskRef>,
    running: FxHashMap<TaskRef, CancellationToken>,
    /// Attempts of a lost life that have not ended. They have been told, and still take their place.
    strays: FxHashSet<TaskRef>,
    /// Attempts with a time limit that began since the processor was last told: their time runs from then on.
    begun: Vec<TaskRef>,
    draining: bool,
}

impl Activities {
    pub(crate) fn new(
        host: Arc<dyn ActivityHost>,
        runtime: Handle,
        inputs: mpsc::Sender<Input>,
        running_max: usize,
    ) -> Activities {
        Activities {
            host,
            runtime,
            inputs,
            running_max,
            waiting: VecDeque::new(),
            unwanted: FxHashSet::default(),
            running: FxHashMap::default(),
            strays: FxHashSet::default(),
            begun: Vec::new(),
            draining: false,
        }
    }

    /// Runs an attempt now, or as soon as others have finished.
    pub(crate) fn start(&mut self, start: TaskStart) {
        if self.has_room() {
            self.spawn(start);
        } else {
            self.waiting.push_back(start);
        }
    }

    fn has_room(&self) -> bool {
        self.running.len() + self.strays.len() < self.running_max && !self.draining
    }

    /// Nobody waits for this attempt any more.
    pub(crate) fn cancel(&mut self, task: TaskRef) {
        match self.running.get(&task) {
            Some(canceled) => canceled.cancel(),
            // Found when its turn comes: to look for each of many would take for ever.
            None => drop(self.unwanted.insert(task)),
        }
    }

    /// An attempt is over; another may take its place.
    pub(crate) fn finished(&mut self, task: TaskRef) {
        self.running.remove(&task);
        self.strays.remove(&task);
        while self.has_room() {
            let Some(next) = self.waiting.pop_front() else {
                self.unwanted.clear();
                return;
            };
            if !self.unwanted.remove(&next.task) {
                self.spawn(next);
            }
        }
    }

    /// No attempt is started any more.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// Attempts with a time limit that began since the last call.
    pub(crate) fn take_begun(&mut self) -> Vec<TaskRef> {
        std::mem::take(&mut self.begun)
    }

    /// The grant is lost: what waits will be handed out again with new counts, and so will what runs, whose results
    /// nobody takes any more.
    pub(crate) fn let_go(&mut self) {
        self.waiting.clear();
        self.unwanted.clear();
        self.begun.clear();
        for (task, canceled) in self.running.drain() {
            canceled.cancel();
            self.strays.insert(task);
        }
    }

    fn spawn(&mut self, start: TaskStart) {
        let reference = start.task;
        let canceled = CancellationToken::new();
        self.running.insert(reference, canceled.clone());
        if start.scheduled.limits.is_some() {
            self.begun.push(reference);
        }
        let heartbeats = self.inputs.clone();
        let scheduled = &start.scheduled;
        let task = ActivityTask {
            instance: start.instance,
            execution: start.execution,
            task: reference.task,
            name: scheduled.name.clone(),
            version: scheduled.version.clone(),
            orchestration_version: start.orchestration_version,
            input: scheduled.input.clone(),
            tags: scheduled.tags.clone(),
            trace: scheduled.trace.clone(),
            attempt: start.attempt,
            delivery: reference.delivery,
            last_heartbeat: start.last_heartbeat,
            canceled,
            // A heartbeat that finds the queue full is dropped: the next one says the same.
            heartbeat: Arc::new(move |details| {
                let _ = heartbeats.try_send(Input::Heartbeat(reference, details));
            }),
        };
        let (host, inputs) = (self.host.clone(), self.inputs.clone());
        self.runtime.spawn(async move {
            let end = run_caught(async move { host.run(task).await }).await;
            // An error means that the processor is gone for good: nobody is left to be told.
            let _ = inputs.send(Input::TaskDone(reference, end)).await;
        });
    }
}

/// Runs user code; a panic is a failure like any other.
async fn run_caught(attempt: impl Future<Output = ActivityEnd>) -> ActivityEnd {
    let mut attempt = pin!(attempt);
    std::future::poll_fn(move |context| {
        match catch_unwind(AssertUnwindSafe(|| attempt.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(panic) => {
                Poll::Ready(ActivityEnd::Failed(Failure::new(kind::PANIC, panic_text(panic.as_ref()))))
            }
        }
    })
    .await
}

/// What a panic says.
#[must_use]
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a message".into())
}
