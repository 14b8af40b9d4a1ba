//! The activities that run in this process, for one partition: which wait, which run, and how they are told to stop.

use crate::hand_over::HandOver;
use crate::handler;
use crate::life::tell_end;
use crate::processor::Input;
use crate::receipt::Receipts;
use crate::worker::{ActivityEnd, ActivityHost, ActivityTask};
use bytes::Bytes;
use perdura_core::failure::kind;
use perdura_core::partition::{Partition, TaskRef, TaskStart};
use perdura_core::why::Line;
use perdura_core::{Failure, InstanceKey, Timestamp};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub(crate) struct Activities {
    host: Arc<dyn ActivityHost>,
    /// Where user code runs: never the thread of the processor.
    runtime: Handle,
    inputs: mpsc::Sender<Input>,
    running_max: usize,
    /// The largest details of a heartbeat.
    details_bytes_max: usize,
    waiting: VecDeque<TaskStart>,
    /// Attempts among the waiting ones that nobody wants any more.
    unwanted: FxHashSet<TaskRef>,
    running: FxHashMap<TaskRef, Running>,
    /// Attempts of lost lives that have not ended, each with its life. They still take their place.
    strays: FxHashMap<(u64, TaskRef), Running>,
    /// Strays that the next life wants, if any, which have ended in between.
    ended: Vec<(TaskRef, ActivityEnd)>,
    /// Attempts whose hand-over is being committed.
    taking: FxHashMap<TaskRef, oneshot::Sender<()>>,
    life: u64,
    epoch: u64,
    worker: Arc<str>,
    draining: bool,
}

/// An attempt that has not ended.
struct Running {
    canceled: CancellationToken,
    /// The life that started it.
    life: u64,
    /// Its hand-over is committed: it may have begun, and no other takes its place unless somebody says so.
    is_taken: bool,
}

impl Activities {
    pub(crate) fn new(
        host: Arc<dyn ActivityHost>,
        runtime: Handle,
        inputs: mpsc::Sender<Input>,
        (running_max, details_bytes_max): (usize, usize),
    ) -> Activities {
        Activities {
            host,
            runtime,
            inputs,
            running_max,
            details_bytes_max,
            waiting: VecDeque::new(),
            unwanted: FxHashSet::default(),
            running: FxHashMap::default(),
            strays: FxHashMap::default(),
            ended: Vec::new(),
            taking: FxHashMap::default(),
            life: 0,
            epoch: 0,
            worker: format!("process {}", std::process::id()).into(),
            draining: false,
        }
    }

    /// A life begins. Attempts of lives before it go on if their hand-over is committed and nothing else is decided about
    /// them; the others are told that nobody waits for them.
    pub(crate) fn begin_life(
        &mut self,
        (life, epoch): (u64, u64),
        partition: &mut Partition,
        receipts: &mut Receipts,
        now: Timestamp,
    ) {
        (self.life, self.epoch) = (life, epoch);
        partition.set_worker(self.worker.clone());
        for (task, end) in std::mem::take(&mut self.ended) {
            if partition.task_still_runs(task, now) {
                tell_end(partition, receipts, task, end, now);
            }
        }
        let wanted = |(_, task): &(u64, TaskRef), stray: &mut Running| {
            stray.is_taken && partition.task_still_runs(*task, now)
        };
        for ((_, task), stray) in self.strays.extract_if(wanted) {
            self.running.insert(task, stray);
        }
        self.strays.values().for_each(|stray| stray.canceled.cancel());
    }

    /// The hand-over of an attempt is about to be committed; `taken` learns when it is.
    pub(crate) fn taken(&mut self, task: TaskRef, taken: oneshot::Sender<()>) {
        self.taking.insert(task, taken);
    }

    /// The hand-over of an attempt is committed.
    pub(crate) fn confirm(&mut self, task: TaskRef) {
        if let Some(running) = self.running.get_mut(&task) {
            running.is_taken = true;
        }
        if let Some(taken) = self.taking.remove(&task) {
            // An error means that whoever was about to run it is gone; its end says so.
            let _ = taken.send(());
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
            Some(running) => {
                running.canceled.cancel();
                self.taking.remove(&task);
            }
            // Found when its turn comes: to look for each of many would take for ever.
            None => drop(self.unwanted.insert(task)),
        }
    }

    /// An attempt is over; another may take its place.
    pub(crate) fn finished(&mut self, life: u64, task: TaskRef) {
        if self.running.get(&task).is_some_and(|running| running.life == life) {
            self.running.remove(&task);
        }
        self.strays.remove(&(life, task));
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

    /// An attempt has ended while no life is there to be told.
    pub(crate) fn finished_between(&mut self, life: u64, task: TaskRef, end: ActivityEnd) {
        if self.strays.get(&(life, task)).is_some_and(|stray| stray.is_taken) {
            self.ended.push((task, end));
        }
        self.finished(life, task);
    }

    /// No attempt is started any more.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    /// How many attempts could begin at once, were they handed out now.
    pub(crate) fn room(&self) -> usize {
        if self.draining || self.host.hands_over() {
            return 0;
        }
        let busy = self.running.len() + self.strays.len() + self.waiting.len();
        self.running_max.saturating_sub(busy)
    }

    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// How the attempts of an instance stand. Of those that the host hands to workers later, it knows more.
    pub(crate) fn lines(&self, key: InstanceKey) -> Vec<(u32, Line)> {
        let running = self.running.keys().filter(|task| task.key == key && !self.host.hands_over());
        let waiting = (0..).zip(&self.waiting).filter(|(_, waits)| waits.task.key == key);
        let running = running.map(|task| (task.task, Line::WithWorker));
        running.chain(waiting.map(|(ahead, waits)| (waits.task.task, Line::Queued { ahead }))).collect()
    }

    /// The grant is lost: what waits will be handed out again with new counts, and so will what runs, whose results
    /// nobody takes any more; but not what was handed over for good.
    pub(crate) fn let_go(&mut self) {
        self.waiting.clear();
        self.unwanted.clear();
        self.taking.clear();
        for (task, running) in self.running.drain() {
            if !running.is_taken {
                running.canceled.cancel();
            }
            self.strays.insert((running.life, task), running);
        }
    }

    /// What tells the processor that an attempt begins, if it has limits.
    fn begins(&self, task: TaskRef, has_limits: bool) -> Arc<dyn Fn() + Send + Sync> {
        if !has_limits {
            return Arc::new(|| {});
        }
        let (inputs, runtime) = (self.inputs.clone(), self.runtime.clone());
        Arc::new(move || {
            let Err(TrySendError::Full(began)) = inputs.try_send(Input::Began(task)) else { return };
            let inputs = inputs.clone();
            runtime.spawn(async move { inputs.send(began).await.ok() });
        })
    }

    fn spawn(&mut self, start: TaskStart) {
        let (life, reference) = (self.life, start.task);
        let canceled = CancellationToken::new();
        let running = Running { canceled: canceled.clone(), life, is_taken: start.is_taken };
        self.running.insert(reference, running);
        let began = self.begins(reference, start.scheduled.limits.is_some() && !start.has_barrier);
        if !self.host.hands_over() {
            began();
        }
        let heartbeats = self.inputs.clone();
        let hand_over = start.has_barrier.then(|| HandOver::new(self.inputs.clone(), life, reference));
        let scheduled = &start.scheduled;
        let task = ActivityTask {
            instance: start.instance,
            execution: start.execution,
            task: reference.task,
            name: scheduled.name.clone(),
            version: scheduled.version.clone(),
            orchestration_version: start.orchestration_version,
            input: start.question.as_deref().map(handler::input_of).or_else(|| scheduled.input.clone()),
            tags: scheduled.tags.clone(),
            trace: scheduled.trace.clone(),
            attempt: start.attempt,
            delivery: reference.delivery,
            lost: start.lost,
            last_heartbeat: start.last_heartbeat,
            origin: start.origin,
            step: start.step,
            branch: reference.branch,
            epoch: self.epoch,
            hand_over: hand_over.clone(),
            canceled,
            began,
            details_bytes_max: self.details_bytes_max,
            // A heartbeat that finds the queue full is dropped: the next one says the same.
            heartbeat: Arc::new(move |details| {
                let _ = heartbeats.try_send(Input::Heartbeat(reference, details));
            }),
        };
        let (host, inputs) = (self.host.clone(), self.inputs.clone());
        if let Some(hand_over) = hand_over {
            let worker = self.worker.clone();
            self.runtime.spawn(async move {
                let may_run = host.hands_over() || hand_over.commit(&worker, Bytes::new()).await;
                let end =
                    if may_run { Some(run_caught(async move { host.run(task).await }).await) } else { None };
                let input = match end.filter(|_| hand_over.is_done()) {
                    Some(end) => Input::TaskDone(life, reference, end),
                    None => Input::TaskUnbegun(life, reference),
                };
                let _ = inputs.send(input).await;
            });
            return;
        }
        self.runtime.spawn(async move {
            let end = run_caught(async move { host.run(task).await }).await;
            // An error means that the processor is gone for good: nobody is left to be told.
            let _ = inputs.send(Input::TaskDone(life, reference, end)).await;
        });
    }
}

/// The processor is gone, and nobody waits for what still runs: it will run again.
impl Drop for Activities {
    fn drop(&mut self) {
        self.running.values().chain(self.strays.values()).for_each(|running| running.canceled.cancel());
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
