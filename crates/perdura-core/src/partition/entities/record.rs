//! What a store keeps of an entity, and of the orchestrations that wait for entities. Field numbers are stored: never
//! reuse one.

use crate::history::ParentLink;
use crate::id::InstanceId;
use bytes::Bytes;

/// The part of an instance row that only entities have.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EntityRecord {
    /// Its state; absent if it has none.
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub state: Option<Bytes>,
    /// Operations and lock requests that wait, in order. Those that were handed out come first.
    #[prost(message, repeated, tag = "2")]
    pub queue: Vec<Queued>,
    /// Who holds it.
    #[prost(message, optional, tag = "3")]
    pub lock: Option<LockRecord>,
    /// Signals whose time has not come.
    #[prost(message, repeated, tag = "4")]
    pub delayed: Vec<DelayedSignal>,
    /// The number for the next delayed signal.
    #[prost(uint64, tag = "5")]
    pub next_delayed: u64,
    /// The last signal taken from each door, so that one that is asked again after a doubtful commit is not taken twice.
    #[prost(message, repeated, tag = "6")]
    pub doors: Vec<Stamp>,
    /// Request ids of clients' signals that were taken, oldest first.
    #[prost(string, repeated, tag = "7")]
    pub requests: Vec<String>,
    /// So many operations, the first of the queue, are handed out; one of them runs.
    #[prost(uint32, tag = "8")]
    pub running: u32,
    /// When they were handed out, in ms since 1970.
    #[prost(int64, tag = "9")]
    pub running_since: i64,
    /// CRC-32 of what each of `requests` asked for; 0 if it is not known.
    #[prost(uint32, repeated, tag = "10")]
    pub contents: Vec<u32>,
    /// Workers, or processes of the engine, that were lost one after another while they ran the operations at the head of
    /// the queue.
    #[prost(uint32, tag = "11")]
    pub lost: u32,
    /// Too many processes were: the entity is blocked, over starts too, until somebody resumes it or deletes its state.
    #[prost(bool, tag = "12")]
    pub dead: bool,
}

/// Something in the queue of an entity.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Queued {
    /// What.
    #[prost(oneof = "Wanted", tags = "1, 2")]
    pub wanted: Option<Wanted>,
    /// How many times it was handed out.
    #[prost(uint32, tag = "3")]
    pub delivery: u32,
}

/// See [`Queued`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Wanted {
    /// An operation.
    #[prost(message, tag = "1")]
    Operation(Operation),
    /// The lock.
    #[prost(message, tag = "2")]
    Lock(LockRequest),
}

/// An operation on an entity, as a message and in its queue.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Operation {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its input.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub input: Option<Bytes>,
    /// Who waits for the result; absent: a signal.
    #[prost(message, optional, tag = "3")]
    pub caller: Option<ParentLink>,
    /// Not before, in ms since 1970; 0 for at once.
    #[prost(int64, tag = "4")]
    pub at: i64,
    /// The sender's name for it; may be empty.
    #[prost(string, tag = "5")]
    pub request: String,
}

/// A request for a lock. It goes from entity to entity of the set, in order.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LockRequest {
    /// Who wants it: the task is the critical section.
    #[prost(message, optional, tag = "1")]
    pub holder: Option<ParentLink>,
    /// The entities, sorted, each once.
    #[prost(string, repeated, tag = "2")]
    pub set: Vec<String>,
    /// Which of them this request is for.
    #[prost(uint32, tag = "3")]
    pub position: u32,
    /// The holder's name for the section; may be empty.
    #[prost(string, tag = "4")]
    pub request: String,
}

/// Who holds an entity.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LockRecord {
    /// The orchestration; the task is the critical section.
    #[prost(message, optional, tag = "1")]
    pub holder: Option<ParentLink>,
    /// Since when, in ms since 1970.
    #[prost(int64, tag = "2")]
    pub since: i64,
    /// All entities of the section.
    #[prost(string, repeated, tag = "3")]
    pub set: Vec<String>,
    /// The holder's name for the section; may be empty.
    #[prost(string, tag = "4")]
    pub request: String,
}

/// A signal whose time has not come.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DelayedSignal {
    /// Distinguishes it from the others of this entity.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// The signal.
    #[prost(message, optional, tag = "2")]
    pub operation: Option<Operation>,
}

/// Names a client's signal: the door through which it came, and its number there. Numbers of one door rise.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Stamp {
    /// The door, drawn at random.
    #[prost(uint64, tag = "1")]
    pub door: u64,
    /// The number.
    #[prost(uint64, tag = "2")]
    pub number: u64,
}

/// A call whose result has not come, in the row of the caller.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CallRecord {
    /// The task's number.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// The number of its `EntityOperationCalled` event in the history.
    #[prost(uint64, tag = "2")]
    pub event: u64,
    /// The entity.
    #[prost(string, tag = "3")]
    pub entity: String,
    /// How the operation was sent that it waits for, if that was on another branch.
    #[prost(message, optional, tag = "4")]
    pub sent_as: Option<TaskName>,
    /// The caller's name for this call, if the operation was sent under another one; may be empty.
    #[prost(string, tag = "5")]
    pub request: String,
}

/// A task of an execution.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct TaskName {
    /// On which branch of its history.
    #[prost(uint32, tag = "1")]
    pub branch: u32,
    /// Its number.
    #[prost(uint32, tag = "2")]
    pub task: u32,
}

/// A call that was under way when its caller was rewound: the code that asks for it again gets its result.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LeftCall {
    /// The calls that stand for it, each on another branch; the first is the one that was sent.
    #[prost(message, repeated, tag = "1")]
    pub names: Vec<TaskName>,
    /// It has ended well.
    #[prost(bool, tag = "2")]
    pub ended: bool,
    /// With this.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub output: Option<Bytes>,
}

impl CallRecord {
    /// How the operation was sent, by a caller that is on `branch` now.
    pub(crate) fn sent_as(&self, branch: u32) -> TaskName {
        self.sent_as.unwrap_or(TaskName { branch, task: self.id })
    }
}

/// The critical section of an orchestration, in its row.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SectionRecord {
    /// The task's number.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// The entities, sorted, each once.
    #[prost(string, repeated, tag = "2")]
    pub set: Vec<String>,
    /// Whether all of them are held.
    #[prost(bool, tag = "3")]
    pub granted: bool,
    /// When it was asked for, in ms since 1970.
    #[prost(int64, tag = "4")]
    pub since: i64,
}

impl LockRequest {
    /// The entity that this request is for.
    pub(super) fn entity(&self) -> Option<InstanceId> {
        self.set.get(self.position as usize).map(|id| InstanceId::recorded(id))
    }
}
