//! What the engine asks of those who run user code.

use crate::hand_over::HandOver;
use crate::receipt::Receipt;
use crate::turns::TurnReturns;
use bytes::Bytes;
use perdura_core::delivery::idempotency_key;
use perdura_core::entity::{OperationBatch, OperationsDone};
use perdura_core::orchestration::Runner;
use perdura_core::{ExecutionId, Failure, InstanceId, PartitionId, Tags};
use perdura_store::{BoxFuture, Work};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Makes a runner for each partition.
pub trait OrchestrationHost: Send + Sync + 'static {
    /// A runner for one life of a partition. Called on the thread of the partition, where the runner stays until it is
    /// dropped with that life. `returns` takes the outcomes of turns that the runner sends
    /// [away](perdura_core::orchestration::Run::Away); after the life nobody waits for them.
    fn runner(&self, partition: PartitionId, returns: TurnReturns) -> Box<dyn Runner>;
}

/// Runs activities.
pub trait ActivityHost: Send + Sync + 'static {
    /// Runs one attempt of an activity. A panic inside is caught by the engine and counts as a failed attempt.
    fn run(&self, task: ActivityTask) -> BoxFuture<'static, ActivityEnd>;

    /// Whether it hands attempts to workers later than when it is told to run them. Then it waits itself for
    /// [`ActivityTask::hand_over`], right before a worker gets the attempt; otherwise the engine does.
    fn hands_over(&self) -> bool {
        false
    }
}

/// How an attempt of an activity ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActivityEnd {
    /// It returned.
    Completed(Option<Bytes>),
    /// It failed; its retry policy says what follows.
    Failed(Failure),
    /// It is transactional, and has come to the point where it writes: this work is run in the transaction of the commit
    /// that records its end. For hosts in the process of the engine.
    Transaction(Work),
    /// The worker that had it is gone, and nobody knows what came of it. The same attempt is handed out again with the
    /// next delivery count, up to [`Limits::lost_workers_max`](perdura_core::Limits::lost_workers_max).
    Lost {
        /// What is known of the loss.
        reason: String,
    },
    /// As [`Lost`](Self::Lost), but something else that the worker had has cost it: this attempt is not counted.
    LostBeside {
        /// What is known of the loss.
        reason: String,
    },
    /// No worker ever had it. It is handed out again after a second.
    NotStarted,
    /// Somebody elsewhere has brought this end, and waits to be told that it is recorded.
    Brought(Box<ActivityEnd>, Receipt),
}

impl From<Result<Option<Bytes>, Failure>> for ActivityEnd {
    fn from(result: Result<Option<Bytes>, Failure>) -> Self {
        match result {
            Ok(output) => ActivityEnd::Completed(output),
            Err(failure) => ActivityEnd::Failed(failure),
        }
    }
}

/// Everybody who runs user code for an engine.
#[derive(Clone)]
pub struct Hosts {
    /// Runs turns.
    pub orchestrations: Arc<dyn OrchestrationHost>,
    /// Runs activities.
    pub activities: Arc<dyn ActivityHost>,
    /// Runs operations of entities.
    pub entities: Arc<dyn EntityHost>,
}

/// Runs operations of entities.
pub trait EntityHost: Send + Sync + 'static {
    /// Runs operations of one entity, one after another. Never called for one entity while a batch of it runs, unless the
    /// partition was taken over meanwhile; only one of the two outcomes will count.
    fn run(&self, batch: OperationBatch) -> BoxFuture<'static, BatchEnd>;

    /// Whether it hands batches to workers elsewhere, and keeps apart by itself what was [lost](OperationBatch::lost) often:
    /// otherwise the engine does, which gives it no other such batch until this one has ended.
    fn hands_over(&self) -> bool {
        false
    }
}

/// How a batch of entity operations ended.
#[derive(Clone, Debug, PartialEq)]
pub enum BatchEnd {
    /// Some or all of it was run.
    Done(OperationsDone),
    /// Whoever ran it is gone, and nobody knows what it did: it is handed out again, with the next delivery counts and one
    /// operation at a time. After [`Limits::lost_workers_max`](perdura_core::Limits::lost_workers_max) losses in a row the
    /// entity is blocked until the next start.
    Lost {
        /// What happened.
        why: String,
    },
    /// As [`Lost`](Self::Lost), but something else that the worker had has cost it: this batch is not counted.
    LostBeside,
    /// Nobody here runs this entity. Its operations wait until somebody does, after the next start.
    CannotRun {
        /// What to do.
        why: String,
    },
    /// Somebody elsewhere has brought this outcome, and waits to be told that it is recorded.
    Brought(OperationsDone, Receipt),
}

/// One attempt to run an activity.
#[derive(Clone)]
pub struct ActivityTask {
    /// The instance that asked for it.
    pub instance: InstanceId,
    /// The run of the instance.
    pub execution: ExecutionId,
    /// The task's number in that run.
    pub task: u32,
    /// The activity's name.
    pub name: String,
    /// The version asked for. `None`: nothing was said of it; empty: the one without a version.
    pub version: Option<String>,
    /// The version of the orchestration that asked; empty if it has none.
    pub orchestration_version: String,
    /// Its input.
    pub input: Option<Bytes>,
    /// Its tags.
    pub tags: Tags,
    /// The trace context that it was scheduled with.
    pub trace: Option<Bytes>,
    /// Which attempt of the retry policy this is; the first is 1.
    pub attempt: u32,
    /// How many times the task has been handed to a worker, this one included; no two attempts share a number.
    pub delivery: u32,
    /// Workers that were lost one after another while they ran this attempt.
    pub lost: u32,
    /// What the last heartbeat of an earlier attempt said.
    pub last_heartbeat: Option<Bytes>,
    /// The branch of the history on which it was scheduled.
    pub origin: u32,
    /// What outside systems know the step by, if not by its run, its number and its origin.
    pub step: Option<Arc<str>>,
    /// The branch on which it runs: each rewind begins another one.
    pub branch: u32,
    /// The epoch of the grant under which it was handed out.
    pub epoch: u64,
    /// What is to be committed before it begins, if its count is precise.
    pub hand_over: Option<HandOver>,
    /// Cancelled when nobody waits for the result any more.
    pub canceled: CancellationToken,
    /// Called when a worker begins with it: from then on its time limits run. A host that runs activities itself need not
    /// call it.
    pub began: Arc<dyn Fn() + Send + Sync>,
    /// The largest details of a heartbeat that are kept, in bytes.
    pub details_bytes_max: usize,
    /// Where heartbeats go. What they say is kept if it is not larger than that.
    pub heartbeat: Arc<dyn Fn(Option<Bytes>) + Send + Sync>,
}

impl ActivityTask {
    /// What outside systems know the step by: the same for all its attempts and deliveries, and for no other step.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        let own = || idempotency_key(self.execution, self.task, self.origin);
        self.step.as_deref().map_or_else(own, str::to_owned)
    }
}
