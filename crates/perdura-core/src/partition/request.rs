//! What clients ask of a processor, and what it answers.

use super::entities::Stamp;
use super::record::InstanceRecord;
use crate::delivery::{Answer, RESOLVE_EVENT};
use crate::entity::EntityId;
use crate::failure::Failure;
use crate::id::{ExecutionId, InstanceId, InvalidText, Tags};
use crate::rewind::{RewindError, RewindSpec};
use crate::status::{ReusePolicy, Status};
use crate::time::Timestamp;
use bytes::Bytes;

/// Names the caller that waits for an answer. Numbers are the driver's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyToken(pub u64);

/// What a client asks.
#[derive(Clone, Debug)]
pub enum Request {
    /// Begin an instance.
    Start(StartRequest),
    /// Send it an external event.
    Raise {
        /// To whom.
        id: InstanceId,
        /// The event's name.
        name: String,
        /// What it carries.
        input: Option<Bytes>,
        /// The same event has come already, if one of the last 128 had the same text here. Empty: none.
        event_id: String,
    },
    /// Stop it until further notice; everything that arrives is kept.
    Suspend {
        /// Whom.
        id: InstanceId,
        /// Why.
        reason: String,
    },
    /// Let it go on.
    Resume {
        /// Whom.
        id: InstanceId,
        /// Why.
        reason: String,
    },
    /// Ask it to end by its own code.
    Cancel {
        /// Whom.
        id: InstanceId,
        /// Why.
        reason: String,
    },
    /// End it by force.
    Terminate {
        /// Whom.
        id: InstanceId,
        /// Why.
        reason: String,
        /// Its children too.
        recurse: bool,
    },
    /// Remove it with its history; only if it has ended.
    Purge {
        /// Whom.
        id: InstanceId,
        /// It is asked once more, since nobody knows what became of the first time: that nothing is there is then as
        /// good as having removed it.
        again: bool,
    },
    /// Answer when its first turn is recorded, or it has ended without one.
    WaitBegun {
        /// For whom.
        id: InstanceId,
    },
    /// Send an entity a signal.
    Signal(SignalRequest),
    /// Take an entity's state away.
    DeleteEntity {
        /// Which.
        entity: EntityId,
    },
    /// Go back to an earlier point of its history, and on from there.
    Rewind {
        /// Whom.
        id: InstanceId,
        /// Where to, and how.
        spec: Box<RewindSpec>,
    },
    /// Say what follows for an activity of which nobody knows the outcome.
    Resolve {
        /// Whose.
        id: InstanceId,
        /// Which task; `None` if there is only one.
        task: Option<u32>,
        /// What follows.
        answer: Answer,
        /// Who says so, and why.
        by: String,
    },
    /// Bring the result of an attempt that an earlier life of the processor handed over. That of the very attempt in doubt
    /// settles the doubt; one of an older attempt is noted.
    Bring {
        /// To whom.
        id: InstanceId,
        /// What.
        brought: Brought,
    },
    /// Answer when it has ended.
    Wait {
        /// For whom.
        id: InstanceId,
        /// The execution that a start answered. It may continue as new; but if it was replaced, or purged and started
        /// anew, the answer is an error. `None` waits for whatever has this id.
        execution: Option<ExecutionId>,
    },
}

impl Request {
    /// Which instance it concerns.
    #[must_use]
    pub fn id(&self) -> &InstanceId {
        match self {
            Request::Start(start) => &start.id,
            Request::Signal(signal) => signal.to.instance(),
            Request::DeleteEntity { entity } => entity.instance(),
            Request::Raise { id, .. }
            | Request::Suspend { id, .. }
            | Request::Resume { id, .. }
            | Request::Cancel { id, .. }
            | Request::Terminate { id, .. }
            | Request::Purge { id, .. }
            | Request::Rewind { id, .. }
            | Request::Resolve { id, .. }
            | Request::Bring { id, .. }
            | Request::WaitBegun { id }
            | Request::Wait { id, .. } => id,
        }
    }

    /// The request as it is asked again when nobody knows what became of it: what was new need not be new any more, and
    /// what was to be removed need not be there.
    #[must_use]
    pub fn for_another_life(mut self) -> Request {
        match &mut self {
            Request::Start(start) => start.fresh = false,
            Request::Purge { again, .. } => *again = true,
            _ => {}
        }
        self
    }

    /// Whether it is answered only when something has happened to the instance.
    #[must_use]
    pub fn waits(&self) -> bool {
        matches!(self, Request::Wait { .. } | Request::WaitBegun { .. })
    }

    /// Whether asking twice has the effect of asking once, even if another owner of the partition has dealt with it in
    /// between: the entity of a signal may be gone by then, and with it what it knew of the signal.
    #[must_use]
    pub fn outlasts_another_owner(&self) -> bool {
        match self {
            Request::Signal(signal) => !signal.request_id.is_empty(),
            other => other.is_idempotent(),
        }
    }

    /// Whether asking twice has the effect of asking once.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        match self {
            Request::Raise { event_id, .. } => !event_id.is_empty(),
            Request::Resolve { .. } | Request::Bring { .. } => false,
            Request::Rewind { spec, .. } => !spec.order.request_id.is_empty(),
            Request::Signal(signal) => signal.stamp.is_some() || !signal.request_id.is_empty(),
            _ => true,
        }
    }
}

/// See [`Request::Bring`].
#[derive(Clone, Debug)]
pub struct Brought {
    /// The task's number.
    pub task: u32,
    /// What [`task_taken_by`](super::Partition::task_taken_by) was told.
    pub token: Bytes,
    /// How the attempt ended.
    pub result: Result<Option<Bytes>, Failure>,
}

/// See [`Request::Start`].
#[derive(Clone, Debug)]
pub struct StartRequest {
    /// The id.
    pub id: InstanceId,
    /// The id was drawn at random just now: it cannot exist, nobody needs to look.
    pub fresh: bool,
    /// The orchestration's name.
    pub name: String,
    /// Its version; empty if it has none.
    pub version: String,
    /// Its input.
    pub input: Option<Bytes>,
    /// Tags.
    pub tags: Tags,
    /// Not before this time.
    pub start_at: Option<Timestamp>,
    /// What to do when the id is taken.
    pub reuse: ReusePolicy,
    /// A retry of this start carries the same text here, any other start another one.
    pub request_id: String,
    /// The id of the run, if the caller has drawn one; it must be new. That of the run before is not taken twice: then, and
    /// without one, the engine draws it.
    pub execution: Option<ExecutionId>,
    /// The trace context of whoever starts it. The engine only hands it on.
    pub trace: Option<Bytes>,
}

/// See [`Request::Signal`].
#[derive(Clone, Debug)]
pub struct SignalRequest {
    /// To which entity.
    pub to: EntityId,
    /// The operation.
    pub operation: String,
    /// Its input.
    pub input: Option<Bytes>,
    /// Not before this time.
    pub at: Option<Timestamp>,
    /// A retry of this signal carries the same text here, any other signal to the entity another one. Empty: none. It is
    /// recognised as long as the entity exists: one that has neither state nor anything to do is forgotten. With another
    /// operation or input it is refused.
    pub request_id: String,
    /// Set by the driver that asks again after a doubtful commit. Numbers of one door come in rising order, also when they
    /// are asked again: a lower one than the last counts as taken.
    pub stamp: Option<Stamp>,
}

/// What a start did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum StartOutcome {
    /// It made the instance.
    Created = 0,
    /// The instance was there and was left alone.
    Existing = 1,
    /// It ended the instance that was there and began a new execution.
    Replaced = 2,
}

impl std::fmt::Display for StartOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            StartOutcome::Created => "created",
            StartOutcome::Existing => "existing",
            StartOutcome::Replaced => "replaced",
        })
    }
}

/// The answer to a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// What it did.
    pub outcome: StartOutcome,
    /// The instance.
    pub id: InstanceId,
    /// The run that now has the id, named by its first execution: it keeps this name when it continues as new.
    pub execution: ExecutionId,
    /// Its generation.
    pub generation: u32,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// To a start.
    Started(Started),
    /// It is done, and durable.
    Done,
    /// To a rewind.
    Rewound {
        /// The branch that counts now.
        branch: u32,
        /// How many events were kept.
        cut: u64,
    },
    /// To a wait for the beginning: the instance has taken a turn, or has ended.
    Begun(Box<InstanceRecord>),
    /// To a wait: the instance has ended.
    Ended(Box<InstanceRecord>),
}

/// Why a request was refused. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// There is no such instance.
    #[error("there is no {}", named(.id))]
    NotFound {
        /// Which.
        id: InstanceId,
    },
    /// The id is taken.
    #[error(
        "instance {id:?} already exists: {status} since {created_at}; choose another id, or say what to do with the existing one (reuse policy)"
    )]
    AlreadyExists {
        /// Which.
        id: InstanceId,
        /// Its status.
        status: Status,
        /// When it was started.
        created_at: Timestamp,
    },
    /// A request id came again with something else.
    #[error(
        "{} {id:?}: request id {request_id:?} was used for a different one; use a new request id",
        if is_entity(.id) { "signal to" } else { "start of" }
    )]
    RequestIdReused {
        /// Which instance.
        id: InstanceId,
        /// The request id.
        request_id: String,
    },
    /// An event id came again with something else.
    #[error("instance {id:?}: event id {event_id:?} was used for a different event; use a new event id")]
    EventIdReused {
        /// Which instance.
        id: InstanceId,
        /// The event id.
        event_id: String,
    },
    /// It has ended and takes nothing any more.
    #[error("instance {id:?} is {status}; it takes no more events or requests")]
    Ended {
        /// Which.
        id: InstanceId,
        /// Its status.
        status: Status,
    },
    /// It has not ended.
    #[error("instance {id:?} is {status}; terminate it first")]
    NotEnded {
        /// Which.
        id: InstanceId,
        /// Its status.
        status: Status,
    },
    /// The run that was waited for is gone: somebody replaced it, or purged it and started the id anew.
    #[error(
        "the run of instance {id:?} that was waited for was replaced by a new start; wait for the id to see how the new one ends"
    )]
    Replaced {
        /// Which.
        id: InstanceId,
    },
    /// A text breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidText),
    /// A payload is too large.
    #[error("{}, {field}: {bytes} bytes, limit {limit}", named(.id))]
    TooLarge {
        /// Which instance or entity.
        id: InstanceId,
        /// Which payload.
        field: &'static str,
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A start or a signal lies too far ahead.
    #[error(
        "{}, {} at {at}: more than ten years ahead", named(.id), if is_entity(.id) { "signal" } else { "start" }
    )]
    TooFarAhead {
        /// Which instance or entity.
        id: InstanceId,
        /// The time asked for.
        at: Timestamp,
    },
    /// Too many events or operations wait for it already.
    #[error("{}: {limit} {} wait for it already; let it take some first", named(.id), taken(.id))]
    InboxFull {
        /// Which.
        id: InstanceId,
        /// The limit.
        limit: usize,
    },
    /// Too much waits for it already.
    #[error(
        "{}: {bytes} bytes of {} would wait for it with this one, limit {limit}; let it take some first",
        named(.id), taken(.id)
    )]
    InboxTooLarge {
        /// Which.
        id: InstanceId,
        /// How much would wait.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Its history has little room left, which its own code needs to end or to continue as new.
    #[error(
        "instance {id:?}: its history has {events} events of {limit}; it takes no more from outside until it continues as new"
    )]
    HistoryFull {
        /// Which.
        id: InstanceId,
        /// Events so far.
        events: u64,
        /// The limit.
        limit: u64,
    },
    /// It is suspended until somebody says what follows for these tasks.
    #[error(
        "instance {id:?}: nobody knows whether the activities of these tasks ran: {tasks:?}; say for each what follows (resolve), and it goes on"
    )]
    InDoubt {
        /// Which.
        id: InstanceId,
        /// The tasks.
        tasks: Vec<u32>,
    },
    /// The outcome of this task is not in doubt.
    #[error("instance {id:?}: it has no {}whose outcome is unknown", task.map_or("task ".to_owned(), |task| format!("task {task} ")))]
    NotInDoubt {
        /// Which.
        id: InstanceId,
        /// The task that was named.
        task: Option<u32>,
    },
    /// What was said of a task in doubt by an event cannot be understood.
    #[error("instance {id:?}: event {RESOLVE_EVENT:?}: {why}")]
    NoResolution {
        /// Which.
        id: InstanceId,
        /// What is wrong with it.
        why: String,
    },
    /// It was not said which task is meant.
    #[error("instance {id:?}: the outcomes of several tasks are unknown: {tasks:?}; say which one is meant")]
    SeveralInDoubt {
        /// Which.
        id: InstanceId,
        /// The tasks.
        tasks: Vec<u32>,
    },
    /// It cannot be rewound as asked.
    #[error("instance {id:?} cannot be rewound: {error}")]
    Rewind {
        /// Which.
        id: InstanceId,
        /// Why not.
        error: Box<RewindError>,
    },
    /// The store refuses to write it; it is left alone.
    #[error(
        "{} is set aside, the store refuses to write it: {why}; terminate it, or restart the engine to try again",
        named(.id)
    )]
    SetAside {
        /// Which.
        id: InstanceId,
        /// Why.
        why: String,
    },
    /// Somebody holds the entity.
    #[error("entity {id:?} is held by {holder:?}; wait for its critical section to end")]
    EntityLocked {
        /// Which.
        id: InstanceId,
        /// By whom.
        holder: String,
    },
    /// The entity runs operations.
    #[error("entity {id:?} runs operations; try again")]
    EntityBusy {
        /// Which.
        id: InstanceId,
    },
    /// Its record cannot be trusted; it is left alone.
    #[error(
        "{} is damaged and not run: {what}; restore the hub from a backup, or purge it", named(.id)
    )]
    Damaged {
        /// Which.
        id: InstanceId,
        /// What is wrong.
        what: String,
    },
}

fn is_entity(id: &InstanceId) -> bool {
    EntityId::of_instance(id).is_some()
}

fn named(id: &InstanceId) -> String {
    format!("{} {id:?}", if is_entity(id) { "entity" } else { "instance" })
}

/// What it takes.
fn taken(id: &InstanceId) -> &'static str {
    if is_entity(id) { "operations" } else { "events" }
}
