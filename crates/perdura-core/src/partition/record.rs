//! The instance row: what an instance is and what it waits for, as the store keeps it. Field numbers are stored: never
//! reuse one.

use super::entities::{CallRecord, EntityRecord, SectionRecord};
use crate::delivery::OnceRecord;
use crate::failure::{Failure, kind};
use crate::history::{
    Damaged, Event, ParentLink, Step, decode_events, encode_events, open_record, seal_record,
};
use crate::id::{ExecutionId, InstanceId, InstanceKey, Tags};
use crate::retry::RetryPolicy;
use crate::rewind::Rewinds;
use crate::status::Status;
use crate::time::Timestamp;
use bytes::Bytes;

/// A start that was answered, remembered so that its retry gets the same answer.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AnsweredStart {
    /// The request id.
    #[prost(string, tag = "1")]
    pub request_id: String,
    /// CRC-32 of what was asked.
    #[prost(uint32, tag = "2")]
    pub content: u32,
    /// What was answered; the number of a [`StartOutcome`](crate::partition::StartOutcome).
    #[prost(uint32, tag = "3")]
    pub outcome: u32,
    /// The generation that the answer spoke of.
    #[prost(uint32, tag = "4")]
    pub generation: u32,
    /// The execution that the answer spoke of.
    #[prost(message, required, tag = "5")]
    pub execution: RunId,
}

/// The id of an execution as rows keep it: an instance that waits is to be small, and bytes would need a place of their
/// own.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct RunId {
    /// The first 8 bytes.
    #[prost(fixed64, tag = "1")]
    pub high: u64,
    /// The last 8 bytes.
    #[prost(fixed64, tag = "2")]
    pub low: u64,
}

impl RunId {
    /// The id.
    #[must_use]
    pub fn id(self) -> ExecutionId {
        ExecutionId(u128::from(self.high) << 64 | u128::from(self.low))
    }

    /// Its 16 bytes, as events and messages name it.
    #[must_use]
    pub fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.id().0.to_be_bytes())
    }
}

impl From<ExecutionId> for RunId {
    fn from(id: ExecutionId) -> RunId {
        RunId { high: (id.0 >> 64) as u64, low: id.0 as u64 }
    }
}

impl PartialEq<Bytes> for RunId {
    fn eq(&self, bytes: &Bytes) -> bool {
        bytes[..] == self.id().0.to_be_bytes()
    }
}

/// An activity that is not finished.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskRecord {
    /// Its number.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// The number of its `TaskScheduled` event in the history.
    #[prost(uint64, tag = "2")]
    pub event: u64,
    /// Attempts of the retry policy, the present one included.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// Hand-overs to a worker, the present one included.
    #[prost(uint32, tag = "4")]
    pub delivery: u32,
    /// The next attempt waits until then, in ms since 1970; 0 if it does not wait.
    #[prost(int64, tag = "5")]
    pub not_before: i64,
    /// The failure of the last attempt.
    #[prost(message, optional, tag = "6")]
    pub last_failure: Option<Failure>,
    /// What the last heartbeat said.
    #[prost(bytes = "bytes", optional, tag = "7")]
    pub heartbeat: Option<Bytes>,
    /// When it was scheduled, in ms since 1970.
    #[prost(int64, tag = "8")]
    pub scheduled_at: i64,
    /// Workers that were lost while they ran the present attempt.
    #[prost(uint32, tag = "9")]
    pub lost: u32,
    /// The last hand-over of which it is known how it ended. It is not written for each that ends.
    #[prost(uint32, tag = "10")]
    pub accounted: u32,
    /// Its hand-overs, if each is committed before its attempt begins.
    #[prost(message, optional, boxed, tag = "60")]
    pub once: Option<Box<OnceRecord>>,
    /// What it does under an idempotency key.
    #[prost(message, optional, boxed, tag = "61")]
    pub key: Option<Box<KeyUse>>,
    /// The step with which it goes on, if a branch that was left had begun it.
    #[prost(message, optional, boxed, tag = "62")]
    pub step: Option<Box<Step>>,
}

/// A timer that has not fired.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct TimerRecord {
    /// Its number.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// When, in ms since 1970.
    #[prost(int64, tag = "2")]
    pub fire_at: i64,
}

/// A child that has not answered.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ChildRecord {
    /// The task's number.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// The number of its `SubOrchestrationScheduled` event in the history.
    #[prost(uint64, tag = "2")]
    pub event: u64,
    /// The child.
    #[prost(string, tag = "3")]
    pub instance: String,
    /// Attempts of the retry policy, the present one included.
    #[prost(uint32, tag = "4")]
    pub attempt: u32,
    /// The next attempt waits until then, in ms since 1970; 0 if it does not wait.
    #[prost(int64, tag = "5")]
    pub not_before: i64,
    /// How it is retried.
    #[prost(message, optional, tag = "6")]
    pub retry: Option<RetryPolicy>,
    /// It was asked to cancel with its parent, which does not wait for its answer any more.
    #[prost(bool, tag = "7")]
    pub canceled: bool,
}

/// Why an instance cannot go on by itself, although it has work.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Block {
    /// What stands in the way, and what to do.
    #[prost(string, tag = "1")]
    pub reason: String,
    /// Since when, in ms since 1970.
    #[prost(int64, tag = "2")]
    pub since: i64,
    /// The event of the history at which it was found, if it is one.
    #[prost(uint64, optional, tag = "3")]
    pub event: Option<u64>,
    /// What the history has there.
    #[prost(string, optional, tag = "4")]
    pub expected: Option<String>,
    /// What the code did instead.
    #[prost(string, optional, tag = "5")]
    pub actual: Option<String>,
}

/// Everything that a store keeps of an instance besides its history.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InstanceRecord {
    /// The instance id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The orchestration's name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Its version; empty if none.
    #[prost(string, tag = "3")]
    pub version: String,
    /// The number of its [`Status`].
    #[prost(uint32, tag = "4")]
    pub status: u32,
    /// Starts, replacements and continue-as-new so far.
    #[prost(uint32, tag = "5")]
    pub generation: u32,
    /// The branch of the history that counts.
    #[prost(uint32, tag = "6")]
    pub branch: u32,
    /// Events in the history.
    #[prost(uint64, tag = "7")]
    pub tail: u64,
    /// The run's id, 16 bytes.
    #[prost(message, required, tag = "8")]
    pub execution: RunId,
    /// In ms since 1970.
    #[prost(int64, tag = "9")]
    pub created_at: i64,
    /// In ms since 1970.
    #[prost(int64, tag = "10")]
    pub updated_at: i64,
    /// In ms since 1970; 0 if it has not ended.
    #[prost(int64, tag = "11")]
    pub completed_at: i64,
    /// Not to begin before, in ms since 1970; 0 if at once.
    #[prost(int64, tag = "12")]
    pub start_at: i64,
    /// Parents that wait for its end; the first is the one that started it.
    #[prost(message, repeated, tag = "13")]
    pub parents: Vec<ParentLink>,
    /// Tags.
    #[prost(btree_map = "string, string", tag = "14")]
    pub tags: Tags,
    /// Starts that were answered, oldest first.
    #[prost(message, repeated, tag = "15")]
    pub starts: Vec<AnsweredStart>,
    /// What its code says of itself.
    #[prost(bytes = "bytes", optional, tag = "16")]
    pub custom_status: Option<Bytes>,
    /// What it returned.
    #[prost(bytes = "bytes", optional, tag = "17")]
    pub output: Option<Bytes>,
    /// Why it failed.
    #[prost(message, optional, boxed, tag = "18")]
    pub failure: Option<Box<Failure>>,
    /// Why it is suspended; absent if it is not.
    #[prost(string, optional, tag = "19")]
    pub suspended: Option<String>,
    /// Why it was asked to cancel; absent if it was not.
    #[prost(string, optional, tag = "20")]
    pub cancel_requested: Option<String>,
    /// Why it cannot go on.
    #[prost(message, optional, boxed, tag = "21")]
    pub block: Option<Box<Block>>,
    /// Activities that are not finished.
    #[prost(message, repeated, tag = "22")]
    pub tasks: Vec<TaskRecord>,
    /// Timers that have not fired.
    #[prost(message, repeated, tag = "23")]
    pub timers: Vec<TimerRecord>,
    /// Children that have not answered.
    #[prost(message, repeated, tag = "24")]
    pub children: Vec<ChildRecord>,
    /// Events that no turn has taken yet, sealed like history.
    #[prost(bytes = "bytes", optional, tag = "25")]
    pub inbox: Option<Bytes>,
    /// The generation that the last start (not continue-as-new) began.
    #[prost(uint32, tag = "26")]
    pub start_generation: u32,
    /// The execution that the last start began, 16 bytes: what it started, however often that has continued as new
    /// since. Empty in rows of older versions.
    #[prost(message, required, tag = "27")]
    pub run: RunId,
    /// The trace contexts it carries.
    #[prost(message, optional, boxed, tag = "33")]
    pub traces: Option<Box<Traces>>,
    /// What an entity has; absent in an orchestration.
    #[prost(message, optional, boxed, tag = "30")]
    pub entity: Option<Box<EntityRecord>>,
    /// Calls of entities whose results have not come.
    #[prost(message, repeated, tag = "31")]
    pub calls: Vec<CallRecord>,
    /// Its critical section.
    #[prost(message, optional, boxed, tag = "32")]
    pub section: Option<Box<SectionRecord>>,
    /// What it keeps for and of its rewinds.
    #[prost(message, optional, boxed, tag = "40")]
    pub rewinds: Option<Box<Rewinds>>,
    /// It is suspended because nobody knows the outcome of an activity, not because somebody asked for it.
    #[prost(bool, tag = "60")]
    pub suspended_in_doubt: bool,
    /// Activities of this execution that have failed, the last ones: some SDKs retry under the number of the first try, and
    /// its counts go on.
    #[prost(message, repeated, tag = "61")]
    pub failed: Vec<FailedTask>,
    /// What was done under idempotency keys since it was started, over all continue-as-new.
    #[prost(message, optional, boxed, tag = "62")]
    pub keys: Option<Box<Keys>>,
    /// Its code waits for an external event, perhaps among other things, since its last turn. Of code that does not say so
    /// it is assumed while it is in a critical section.
    #[prost(bool, tag = "63")]
    pub awaits_event: bool,
    /// Its code has not said since its last turn, or its last rewind, whether it waits for one.
    #[prost(bool, tag = "64")]
    pub awaits_untold: bool,
    /// Its tasks, timers, children and calls that its code does not wait for any more.
    #[prost(uint32, repeated, tag = "65")]
    pub given_up: Vec<u32>,
    /// Processes or workers that were lost in its present turn.
    #[prost(message, optional, boxed, tag = "70")]
    pub trial: Option<Box<Trial>>,
    /// The SHA-256 of the input for which its parent last had it begin anew; empty if none has.
    #[prost(bytes = "bytes", tag = "71")]
    pub made_for: Bytes,
}

/// What is known of a turn that may end whoever runs it.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Trial {
    /// Those that were lost one after another.
    #[prost(uint32, tag = "1")]
    pub lost: u32,
    /// The turn is about to run in the process of the engine.
    #[prost(bool, tag = "2")]
    pub announced: bool,
    /// There were too many: the instance is suspended until somebody resumes it.
    #[prost(bool, tag = "3")]
    pub dead: bool,
}

impl InstanceRecord {
    /// Why it is a dead letter, if it is one: its turn, or an activity that nobody caught, has cost too many workers.
    #[must_use]
    pub fn dead_letter(&self) -> Option<&str> {
        let is_dead = self.trial.as_ref().is_some_and(|trial| trial.dead);
        let suspended = self.suspended.as_deref().filter(|_| is_dead);
        let failed = self.failure.as_ref().filter(|failure| failure.kind == kind::WORKER_LOST);
        suspended.or_else(|| failed.map(|failure| failure.message.as_str()))
    }
}

/// A call under an idempotency key that is under way.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KeyUse {
    /// The key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The activity.
    #[prost(string, tag = "2")]
    pub name: String,
    /// SHA-256 of its input.
    #[prost(bytes = "bytes", tag = "6")]
    pub input: Bytes,
    /// The task whose result it waits for; absent if it runs itself.
    #[prost(uint32, optional, tag = "5")]
    pub follows: Option<u32>,
    /// The call under this key that it goes on with, which nobody waited for any more.
    #[prost(message, optional, boxed, tag = "7")]
    pub took: Option<Box<KeyLeft>>,
}

/// A call under an idempotency key that was handed out, and that nobody waits for any more: its execution has continued as
/// new, was canceled, has ended, or has given it up. The next call under the key is the same step.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KeyLeft {
    /// The key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The activity.
    #[prost(string, tag = "2")]
    pub name: String,
    /// SHA-256 of its input.
    #[prost(bytes = "bytes", tag = "3")]
    pub input: Bytes,
    /// What outside systems know the step by.
    #[prost(string, tag = "4")]
    pub step: String,
    /// The run of its last attempt.
    #[prost(message, required, tag = "5")]
    pub execution: RunId,
    /// The generation of that.
    #[prost(uint32, tag = "6")]
    pub generation: u32,
    /// The branch of that.
    #[prost(uint32, tag = "7")]
    pub branch: u32,
    /// The number of the task in that.
    #[prost(uint32, tag = "8")]
    pub task: u32,
    /// Hand-overs so far.
    #[prost(uint32, tag = "9")]
    pub delivery: u32,
    /// Nobody knows how the last attempt ended, and it runs at most once.
    #[prost(bool, tag = "10")]
    pub in_doubt: bool,
    /// It has failed because of that.
    #[prost(bool, tag = "11")]
    pub has_failed: bool,
    /// The generation of the call that was the last to wait for it.
    #[prost(uint32, tag = "12")]
    pub called_in: u32,
    /// The number of the `TaskScheduled` event of that call.
    #[prost(uint64, tag = "13")]
    pub event: u64,
}

/// What was done under idempotency keys.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Keys {
    /// Results of calls, oldest first.
    #[prost(message, repeated, tag = "1")]
    pub known: Vec<KeyRecord>,
    /// Ids of external events that have come, oldest first.
    #[prost(string, repeated, tag = "2")]
    pub events: Vec<String>,
    /// CRC-32 of what each of these was; 0 if it is not known.
    #[prost(uint32, repeated, tag = "3")]
    pub event_contents: Vec<u32>,
    /// Calls that nobody waits for any more, oldest first.
    #[prost(message, repeated, tag = "4")]
    pub left: Vec<KeyLeft>,
}

/// The result of a call under an idempotency key.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KeyRecord {
    /// The key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The activity.
    #[prost(string, tag = "2")]
    pub name: String,
    /// SHA-256 of its input.
    #[prost(bytes = "bytes", tag = "7")]
    pub input: Bytes,
    /// What it returned.
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub output: Option<Bytes>,
    /// When, in ms since 1970.
    #[prost(int64, tag = "6")]
    pub at: i64,
    /// Bytes of the result, if that was not kept: there was no room for it beside later ones.
    #[prost(uint64, tag = "8")]
    pub dropped: u64,
}

/// An activity that has failed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FailedTask {
    /// Its number.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// Attempts so far.
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
    /// Hand-overs to a worker so far.
    #[prost(uint32, tag = "3")]
    pub delivery: u32,
    /// The last word on it, if nobody knows whether it ran, or somebody has said that it failed: then it is not tried again.
    #[prost(message, optional, tag = "4")]
    pub last_word: Option<Failure>,
}

/// The trace contexts of an instance. A record of their own: most have none, and an instance that waits is to be small.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Traces {
    /// That of whoever started it.
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub start: Option<Bytes>,
    /// What the last turn of this execution gave back, for the next one.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub turn: Option<Bytes>,
}

impl InstanceRecord {
    /// The trace context of whoever started it.
    #[must_use]
    pub fn start_trace(&self) -> Option<Bytes> {
        self.traces.as_ref().and_then(|traces| traces.start.clone())
    }

    /// The trace context that the last turn gave back.
    #[must_use]
    pub fn turn_trace(&self) -> Option<Bytes> {
        self.traces.as_ref().and_then(|traces| traces.turn.clone())
    }

    /// The record of a stored row.
    pub fn open(stored: Bytes) -> Result<InstanceRecord, Damaged> {
        let record: InstanceRecord = open_record("instance", stored)?;
        record.status()?;
        Ok(record)
    }

    /// The stored form.
    #[must_use]
    pub fn seal(&self) -> Bytes {
        seal_record(self)
    }

    /// Its status.
    pub fn status(&self) -> Result<Status, Damaged> {
        u8::try_from(self.status)
            .ok()
            .and_then(Status::from_number)
            .ok_or_else(|| Damaged::undecodable("instance", format!("status {}", self.status)))
    }

    /// Its id.
    #[must_use]
    pub fn instance_id(&self) -> InstanceId {
        InstanceId::recorded(&self.id)
    }

    /// Whether an execution belongs to the present run: it is the one that the last start began, or the present one.
    #[must_use]
    pub fn is_of_run(&self, execution: ExecutionId) -> bool {
        self.run == RunId::default() || self.run.id() == execution || self.execution.id() == execution
    }

    /// Events that no turn has taken yet.
    pub fn inbox_events(&self) -> Result<Vec<Event>, Damaged> {
        self.inbox.clone().map_or(Ok(Vec::new()), decode_events)
    }

    pub(crate) fn set_inbox_events(&mut self, events: Vec<Event>) {
        self.inbox = (!events.is_empty()).then(|| encode_events(events));
    }
}

/// A row of the instance table. The columns beside the record exist for the store's indexes; the record decides.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceRow {
    /// The integer that stands for the id.
    pub key: InstanceKey,
    /// The instance id.
    pub id: InstanceId,
    /// The orchestration's name.
    pub name: String,
    /// Its status.
    pub status: Status,
    /// When its first execution was accepted.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// Its generation.
    pub generation: u32,
    /// The branch that counts.
    pub branch: u32,
    /// Events in the history of this generation and branch.
    pub tail: u64,
    /// A sealed [`InstanceRecord`].
    pub record: Bytes,
    /// What is wrong with the columns, if some of them cannot be read: then they are empty here, and the row is damaged.
    pub damage: Option<String>,
}

impl InstanceRow {
    /// The row of a record.
    pub fn new(key: InstanceKey, record: &InstanceRecord) -> Result<InstanceRow, Damaged> {
        Ok(InstanceRow {
            key,
            id: record.instance_id(),
            name: record.name.clone(),
            status: record.status()?,
            created_at: Timestamp(record.created_at),
            updated_at: Timestamp(record.updated_at),
            completed_at: (record.completed_at != 0).then_some(Timestamp(record.completed_at)),
            generation: record.generation,
            branch: record.branch,
            tail: record.tail,
            record: record.seal(),
            damage: None,
        })
    }

    /// Checks the row and gives its record. A column that contradicts the record is damage.
    pub fn open(&self) -> Result<InstanceRecord, Damaged> {
        if let Some(damage) = &self.damage {
            return Err(Damaged::Contradiction(damage.clone()));
        }
        let record = InstanceRecord::open(self.record.clone())?;
        let expected = InstanceRow::new(self.key, &record)?;
        let same = (
            &expected.id,
            &expected.name,
            expected.status,
            expected.generation,
            expected.branch,
            expected.tail,
        ) == (&self.id, &self.name, self.status, self.generation, self.branch, self.tail);
        if same {
            Ok(record)
        } else {
            Err(Damaged::Contradiction("columns and record of an instance differ".into()))
        }
    }
}
