//! History events. They are past-tense facts, never changed once committed. Field numbers are stored: never reuse one.

use super::rewound::ExecutionRewound;
use super::task::{TaskCompleted, TaskFailed, TaskResultLate, TaskScheduled};
use crate::failure::Failure;
use crate::id::Tags;
use crate::limits::Limits;
use crate::retry::RetryPolicy;
use crate::status::Status;
use crate::time::Timestamp;
use bytes::Bytes;

/// A fact in the history of an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When it was recorded, by the store's clock.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
}

impl Event {
    /// A fact at a time.
    #[must_use]
    pub fn new(at: Timestamp, kind: impl Into<EventKind>) -> Event {
        Event { at, kind: kind.into() }
    }
}

macro_rules! event_kinds {
    ($($(#[$doc:meta])* $name:ident = $tag:literal,)*) => {
        /// What happened.
        #[derive(Clone, PartialEq, prost::Oneof)]
        pub enum EventKind {
            $($(#[$doc])* #[prost(message, tag = $tag)] $name($name),)*
        }
        $(impl From<$name> for EventKind {
            fn from(event: $name) -> EventKind { EventKind::$name(event) }
        })*
        impl EventKind {
            /// The name of the kind.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(EventKind::$name(_) => stringify!($name),)* }
            }
        }
    };
}

event_kinds! {
    /// A turn began; its time is what the orchestration sees as now.
    TurnStarted = "2",
    /// The execution began.
    ExecutionStarted = "3",
    /// The execution ended. Always the last event.
    ExecutionCompleted = "4",
    /// It was asked to end by force.
    ExecutionTerminated = "5",
    /// An activity was scheduled.
    TaskScheduled = "6",
    /// An activity ended well.
    TaskCompleted = "7",
    /// An activity failed for good.
    TaskFailed = "8",
    /// A child was scheduled.
    SubOrchestrationScheduled = "9",
    /// A child ended well.
    SubOrchestrationCompleted = "10",
    /// A child failed for good.
    SubOrchestrationFailed = "11",
    /// A timer was set.
    TimerCreated = "12",
    /// A timer came due.
    TimerFired = "13",
    /// An event was sent to another instance.
    EventSent = "14",
    /// An external event arrived.
    EventRaised = "15",
    /// The instance was stopped until further notice.
    ExecutionSuspended = "16",
    /// The instance goes on.
    ExecutionResumed = "17",
    /// It was asked to end by its own code.
    CancelRequested = "18",
    /// An event that was sent to another instance was refused by it.
    EventRefused = "19",
    /// An operation of an entity was called.
    EntityOperationCalled = "30",
    /// A signal was sent to an entity.
    EntityOperationSignaled = "31",
    /// An operation that was called ended well.
    EntityOperationCompleted = "32",
    /// An operation that was called failed.
    EntityOperationFailed = "33",
    /// Entities were asked for, to be held together.
    EntityLockRequested = "34",
    /// All of them are held.
    EntityLockGranted = "35",
    /// They were given up.
    EntityUnlockSent = "36",
    /// An operator went back to an earlier point: a new branch of the history begins.
    ExecutionRewound = "40",
    /// A result of an earlier hand-over of an activity came when it did not count any more.
    TaskResultLate = "60",
}

/// Who waits for the end of a child: which task of which run.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ParentLink {
    /// The parent's instance id.
    #[prost(string, tag = "1")]
    pub instance: String,
    /// The parent's generation; an answer to another generation is dropped.
    #[prost(uint32, tag = "2")]
    pub generation: u32,
    /// The task in the parent's history.
    #[prost(uint32, tag = "3")]
    pub task: u32,
    /// The parent's branch; an answer to a branch that a rewind has left is dropped.
    #[prost(uint32, tag = "4")]
    pub branch: u32,
    /// Which attempt of the task this is; an answer to an earlier attempt is dropped.
    #[prost(uint32, tag = "5")]
    pub attempt: u32,
    /// The parent's run, 16 bytes: generations begin again when an id is purged and used again, runs do not.
    #[prost(bytes = "bytes", tag = "6")]
    pub execution: Bytes,
    /// It only waits: the child was there before it and does not end with it.
    #[prost(bool, tag = "7")]
    pub attached: bool,
    /// The parent's orchestration.
    #[prost(string, tag = "8")]
    pub name: String,
    /// Its version; empty if it has none.
    #[prost(string, tag = "9")]
    pub version: String,
}

impl ParentLink {
    /// Whether both are of the same run of a parent, on whatever branches and for whatever tasks.
    #[must_use]
    pub fn is_same_run(&self, other: &ParentLink) -> bool {
        (&self.instance, self.generation, &self.execution)
            == (&other.instance, other.generation, &other.execution)
    }
}

/// See [`EventKind::TurnStarted`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct TurnStarted {
    /// The limits under which the code ran, if it met one of them in this turn: a replay refuses what was refused, and
    /// nothing else, whatever the limits are by then.
    #[prost(message, optional, tag = "1")]
    pub limits: Option<TurnLimits>,
}

/// Limits that code can meet.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct TurnLimits {
    /// See [`Limits::payload_bytes_max`](crate::Limits::payload_bytes_max).
    #[prost(uint64, tag = "1")]
    pub payload_bytes: u64,
    /// See [`Limits::history_events_max`](crate::Limits::history_events_max).
    #[prost(uint64, tag = "2")]
    pub history_events: u64,
    /// See [`Limits::decisions_per_turn_max`](crate::Limits::decisions_per_turn_max).
    #[prost(uint64, tag = "3")]
    pub decisions_per_turn: u64,
    /// See [`Limits::turn_bytes_max`](crate::Limits::turn_bytes_max).
    #[prost(uint64, tag = "4")]
    pub turn_bytes: u64,
    /// See [`Limits::inbox_bytes_max`](crate::Limits::inbox_bytes_max).
    #[prost(uint64, tag = "5")]
    pub inbox_bytes: u64,
}

impl TurnLimits {
    /// None at all.
    pub const NONE: TurnLimits = TurnLimits {
        payload_bytes: u64::MAX,
        history_events: u64::MAX,
        decisions_per_turn: u64::MAX,
        turn_bytes: u64::MAX,
        inbox_bytes: u64::MAX,
    };

    /// Those of the configuration.
    #[must_use]
    pub fn of(limits: &Limits) -> TurnLimits {
        TurnLimits {
            payload_bytes: limits.payload_bytes_max as u64,
            history_events: limits.history_events_max,
            decisions_per_turn: limits.decisions_per_turn_max as u64,
            turn_bytes: limits.turn_bytes_max as u64,
            inbox_bytes: limits.inbox_bytes_max as u64,
        }
    }
}

/// See [`EventKind::ExecutionStarted`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExecutionStarted {
    /// The orchestration's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version; empty if it has none.
    #[prost(string, tag = "2")]
    pub version: String,
    /// Its input.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub input: Option<Bytes>,
    /// The run's id, 16 bytes, big-endian.
    #[prost(bytes = "bytes", tag = "4")]
    pub execution: Bytes,
    /// Not before this time, in ms since 1970.
    #[prost(int64, optional, tag = "5")]
    pub start_at: Option<i64>,
    /// The parent, if it is a child.
    #[prost(message, optional, tag = "6")]
    pub parent: Option<ParentLink>,
    /// Tags.
    #[prost(btree_map = "string, string", tag = "7")]
    pub tags: Tags,
    /// The trace context of whoever started it. The engine only hands it on.
    #[prost(bytes = "bytes", optional, tag = "8")]
    pub trace: Option<Bytes>,
}

/// See [`EventKind::ExecutionCompleted`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExecutionCompleted {
    /// The number of a [`Status`]; 2 is the protocol's «continued as new».
    #[prost(uint32, tag = "1")]
    pub status: u32,
    /// What it returned.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub output: Option<Bytes>,
    /// Why it failed.
    #[prost(message, optional, tag = "3")]
    pub failure: Option<Failure>,
}

impl ExecutionCompleted {
    /// The end in `status`.
    #[must_use]
    pub fn new(status: Status, output: Option<Bytes>, failure: Option<Failure>) -> Self {
        ExecutionCompleted { status: u32::from(status as u8), output, failure }
    }

    /// The status it ended in.
    #[must_use]
    pub fn final_status(&self) -> Option<Status> {
        u8::try_from(self.status).ok().and_then(Status::from_number)
    }
}

/// See [`EventKind::ExecutionTerminated`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ExecutionTerminated {
    /// Why, by whoever asked.
    #[prost(string, tag = "1")]
    pub reason: String,
    /// Its children too.
    #[prost(bool, tag = "2")]
    pub recurse: bool,
    /// How many of the events right before this one had arrived, but were in no turn yet.
    #[prost(uint32, tag = "3")]
    pub untaken: u32,
}

/// Time limits of an activity, in milliseconds; 0 means none.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct TimeLimits {
    /// Of each attempt.
    #[prost(uint64, tag = "1")]
    pub attempt_ms: u64,
    /// Of all attempts and the waits between them, from the moment it was scheduled.
    #[prost(uint64, tag = "2")]
    pub total_ms: u64,
    /// Between two heartbeats.
    #[prost(uint64, tag = "3")]
    pub heartbeat_ms: u64,
}

/// See [`EventKind::SubOrchestrationScheduled`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct SubOrchestrationScheduled {
    /// The task's number in this execution.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// The child's instance id; empty in a decision that leaves it to the engine, never empty in history.
    #[prost(string, tag = "2")]
    pub instance: String,
    /// The orchestration's name.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Its version; empty if it has none.
    #[prost(string, tag = "4")]
    pub version: String,
    /// Its input.
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub input: Option<Bytes>,
    /// How it is retried.
    #[prost(message, optional, tag = "6")]
    pub retry: Option<RetryPolicy>,
    /// What to do when the id is taken; the bits of a [`ReusePolicy`](crate::ReusePolicy).
    #[prost(uint32, tag = "7")]
    pub reuse: u32,
    /// Tags.
    #[prost(btree_map = "string, string", tag = "8")]
    pub tags: Tags,
    /// Nobody waits for it: no answer comes, and its parent's end does not reach it.
    #[prost(bool, tag = "9")]
    pub detached: bool,
    /// The trace context for the child. The engine only hands it on.
    #[prost(bytes = "bytes", optional, tag = "10")]
    pub trace: Option<Bytes>,
}

/// See [`EventKind::SubOrchestrationCompleted`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SubOrchestrationCompleted {
    /// The task.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// What the child returned.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub output: Option<Bytes>,
}

/// See [`EventKind::SubOrchestrationFailed`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SubOrchestrationFailed {
    /// The task.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// Why.
    #[prost(message, optional, tag = "2")]
    pub failure: Option<Failure>,
}

/// See [`EventKind::TimerCreated`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct TimerCreated {
    /// The timer's number in this execution.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// Not before this time, in ms since 1970.
    #[prost(int64, tag = "2")]
    pub fire_at: i64,
}

/// See [`EventKind::TimerFired`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct TimerFired {
    /// The timer.
    #[prost(uint32, tag = "1")]
    pub id: u32,
}

/// See [`EventKind::EventSent`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EventSent {
    /// The number of the sending in this execution.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// To which instance.
    #[prost(string, tag = "2")]
    pub instance: String,
    /// The event's name.
    #[prost(string, tag = "3")]
    pub name: String,
    /// What it carries.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub input: Option<Bytes>,
}

/// See [`EventKind::EventRefused`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EventRefused {
    /// The number of the sending in this execution.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// Why.
    #[prost(message, optional, tag = "2")]
    pub failure: Option<Failure>,
}

/// See [`EventKind::EventRaised`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EventRaised {
    /// The event's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What it carries.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub input: Option<Bytes>,
}

/// See [`EventKind::ExecutionSuspended`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ExecutionSuspended {
    /// Why.
    #[prost(string, tag = "1")]
    pub reason: String,
}

/// See [`EventKind::ExecutionResumed`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ExecutionResumed {
    /// Why.
    #[prost(string, tag = "1")]
    pub reason: String,
}

/// See [`EventKind::CancelRequested`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CancelRequested {
    /// Why.
    #[prost(string, tag = "1")]
    pub reason: String,
}

/// See [`EventKind::EntityOperationCalled`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EntityOperationCalled {
    /// The task's number in this execution.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// The entity, as `@name@key`.
    #[prost(string, tag = "2")]
    pub entity: String,
    /// The operation.
    #[prost(string, tag = "3")]
    pub operation: String,
    /// Its input.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub input: Option<Bytes>,
    /// The caller's name for it; may be empty.
    #[prost(string, tag = "5")]
    pub request: String,
}

/// See [`EventKind::EntityOperationSignaled`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EntityOperationSignaled {
    /// The number of the sending in this execution.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// The entity, as `@name@key`.
    #[prost(string, tag = "2")]
    pub entity: String,
    /// The operation.
    #[prost(string, tag = "3")]
    pub operation: String,
    /// Its input.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub input: Option<Bytes>,
    /// Not before, in ms since 1970; 0 for at once.
    #[prost(int64, tag = "5")]
    pub at: i64,
    /// The sender's name for it; may be empty.
    #[prost(string, tag = "6")]
    pub request: String,
}

/// See [`EventKind::EntityOperationCompleted`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EntityOperationCompleted {
    /// The task.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// What the operation returned.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub output: Option<Bytes>,
    /// The caller's name for it; may be empty.
    #[prost(string, tag = "3")]
    pub request: String,
}

/// See [`EventKind::EntityOperationFailed`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EntityOperationFailed {
    /// The task.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// Why.
    #[prost(message, optional, tag = "2")]
    pub failure: Option<Failure>,
    /// The caller's name for it; may be empty.
    #[prost(string, tag = "3")]
    pub request: String,
}

/// See [`EventKind::EntityLockRequested`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EntityLockRequested {
    /// The task's number in this execution; it names the critical section.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// The entities, as `@name@key`.
    #[prost(string, repeated, tag = "2")]
    pub set: Vec<String>,
    /// The holder's name for the section; may be empty.
    #[prost(string, tag = "3")]
    pub request: String,
}

/// See [`EventKind::EntityLockGranted`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EntityLockGranted {
    /// The task.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// The holder's name for the section; may be empty.
    #[prost(string, tag = "2")]
    pub request: String,
}

/// See [`EventKind::EntityUnlockSent`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EntityUnlockSent {
    /// The number of the sending in this execution.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// The entities that are given up; empty for all of the section.
    #[prost(string, repeated, tag = "2")]
    pub entities: Vec<String>,
    /// The holder's name for the section; may be empty.
    #[prost(string, tag = "3")]
    pub request: String,
}
