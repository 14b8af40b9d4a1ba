//! What a processor wants done. An effect leaves only after the commit that justifies it.

use super::request::{ReplyToken, RequestError, Response};
use crate::delivery::Question;
use crate::entity::OperationBatch;
use crate::history::TaskScheduled;
use crate::id::{ExecutionId, InstanceId, InstanceKey, PartitionId};
use crate::rewind::HistoryPart;
use bytes::Bytes;
use std::sync::Arc;

/// Something to do once a batch is durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Answer a client.
    Reply(ReplyToken, Result<Response, RequestError>),
    /// Run an attempt of an activity, or the handler that is asked about one.
    StartTask(TaskStart),
    /// The hand-over of an attempt with a barrier is committed: it may begin.
    TaskTaken(TaskRef),
    /// Tell a running attempt that nobody waits for it.
    CancelTask(TaskRef),
    /// Run operations of an entity.
    RunOperations(OperationBatch),
    /// Tell a partition that messages wait for it.
    Notify(PartitionId),
}

/// Names one attempt of one activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskRef {
    /// The instance.
    pub key: InstanceKey,
    /// Its run. Keys and numbers that a fail-over took back are given again; this one is not.
    pub execution: ExecutionId,
    /// Its generation.
    pub generation: u32,
    /// The branch of its history.
    pub branch: u32,
    /// The task's number.
    pub task: u32,
    /// The delivery count.
    pub delivery: u32,
    /// Not the activity, but the handler that is asked what became of it; then the count is that of the asking.
    pub asks: bool,
}

/// An attempt to run.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskStart {
    /// Names it.
    pub task: TaskRef,
    /// The instance that asked.
    pub instance: InstanceId,
    /// Its run.
    pub execution: ExecutionId,
    /// The branch of its history on which the activity was scheduled.
    pub origin: u32,
    /// What outside systems know the step by, if not by its run, its number and its origin.
    pub step: Option<Arc<str>>,
    /// The version of its orchestration; empty if it has none.
    pub orchestration_version: String,
    /// What to run.
    pub scheduled: Arc<TaskScheduled>,
    /// Which attempt of the retry policy.
    pub attempt: u32,
    /// Workers that were lost one after another while they ran this attempt, or this handler.
    pub lost: u32,
    /// What the last heartbeat of an earlier attempt said.
    pub last_heartbeat: Option<Bytes>,
    /// It must not begin before its hand-over is committed:
    /// [`task_taken`](super::Partition::task_taken), then [`Effect::TaskTaken`].
    pub has_barrier: bool,
    /// Its hand-over is committed already: nobody else begins with it before it is known how it ends.
    pub is_taken: bool,
    /// What a handler is asked. Its answer goes to [`task_answered`](super::Partition::task_answered).
    pub question: Option<Box<Question>>,
}

/// Something that a processor needs to read before it can go on with an instance. What it read, it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// The row of an instance, for [`found_id`](super::Partition::found_id).
    FindId(InstanceId),
    /// The row of an instance, for [`found_key`](super::Partition::found_key).
    FindKey(InstanceKey),
    /// A whole history, for [`history_read`](super::Partition::history_read).
    History {
        /// Of which instance.
        key: InstanceKey,
        /// Which generation.
        generation: u32,
        /// Which branch.
        branch: u32,
        /// The pieces that make it up, for [`assemble`](crate::rewind::assemble).
        parts: Vec<HistoryPart>,
    },
}
