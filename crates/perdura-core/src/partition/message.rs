//! What instances say to each other. A message is applied in the same commit that removes it, so it takes effect
//! exactly once. Field numbers are stored: never reuse one.

use super::entities::{FindCircle, LockGranted, LockRequest, Operation, OperationEnded, Unlock};
use crate::failure::Failure;
use crate::history::{Damaged, ParentLink, open_record, seal_record};
use crate::id::{InstanceId, Tags};
use crate::rewind::RewindOrder;
use bytes::Bytes;

/// A message to an instance.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Message {
    /// The receiver's instance id.
    #[prost(string, tag = "1")]
    pub to: String,
    /// What it says.
    #[prost(oneof = "Body", tags = "2, 3, 4, 5, 6, 7, 8, 30, 31, 32, 33, 34, 35, 40, 41")]
    pub body: Option<Body>,
}

/// What a message says.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Body {
    /// Begin, as the child of somebody.
    #[prost(message, tag = "2")]
    StartChild(StartChild),
    /// A child has ended.
    #[prost(message, tag = "3")]
    ChildEnded(ChildEnded),
    /// An external event.
    #[prost(message, tag = "4")]
    Raise(Raise),
    /// End by force.
    #[prost(message, tag = "5")]
    Terminate(Terminate),
    /// End by your own code.
    #[prost(message, tag = "6")]
    Cancel(Cancel),
    /// An event that you sent was refused.
    #[prost(message, tag = "8")]
    RaiseRefused(RaiseRefused),
    /// To an entity: an operation.
    #[prost(message, tag = "30")]
    Operation(Operation),
    /// To an orchestration: an operation that it called has ended.
    #[prost(message, tag = "31")]
    OperationEnded(OperationEnded),
    /// To an entity: somebody wants the lock.
    #[prost(message, tag = "32")]
    Lock(LockRequest),
    /// To an orchestration: all entities of its critical section are held.
    #[prost(message, tag = "33")]
    LockGranted(LockGranted),
    /// To an entity: a critical section is over.
    #[prost(message, tag = "34")]
    Unlock(Unlock),
    /// Somebody waits for a locked entity: find out whether its holder waits for that.
    #[prost(message, boxed, tag = "35")]
    FindCircle(Box<FindCircle>),
    /// Somebody has begun to wait for an instance that was there: find out whether it waits for itself.
    #[prost(message, boxed, tag = "7")]
    FindCycle(Box<FindCycle>),
    /// Your parent was rewound, and waits for you again.
    #[prost(message, boxed, tag = "40")]
    RewindChild(Box<RewindChild>),
    /// Your child was rewound: come along if you failed with it.
    #[prost(message, boxed, tag = "41")]
    RewindParent(Box<RewindParent>),
}

/// See [`Body::StartChild`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct StartChild {
    /// The orchestration's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version; empty if none.
    #[prost(string, tag = "2")]
    pub version: String,
    /// Its input.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub input: Option<Bytes>,
    /// Who waits for it.
    #[prost(message, optional, tag = "4")]
    pub parent: Option<ParentLink>,
    /// Nobody waits for it.
    #[prost(bool, tag = "5")]
    pub detached: bool,
    /// What to do when the id is taken; the bits of a [`ReusePolicy`](crate::ReusePolicy).
    #[prost(uint32, tag = "6")]
    pub reuse: u32,
    /// Tags.
    #[prost(btree_map = "string, string", tag = "7")]
    pub tags: Tags,
    /// The trace context of its parent.
    #[prost(bytes = "bytes", optional, tag = "8")]
    pub trace: Option<Bytes>,
    /// Not before, in ms since 1970.
    #[prost(int64, optional, tag = "30")]
    pub start_at: Option<i64>,
    /// How its parent was rewound last: a child that it had on a branch which it has left begins anew by this.
    #[prost(message, optional, tag = "31")]
    pub order: Option<RewindOrder>,
}

/// See [`Body::ChildEnded`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChildEnded {
    /// Which task of the receiver this answers.
    #[prost(message, optional, tag = "1")]
    pub parent: Option<ParentLink>,
    /// What the child returned, if it ended well.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub output: Option<Bytes>,
    /// Why it failed; absent if it ended well.
    #[prost(message, optional, tag = "3")]
    pub failure: Option<Failure>,
}

/// See [`Body::Raise`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Raise {
    /// The event's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What it carries.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub input: Option<Bytes>,
    /// Which sending of which run this is.
    #[prost(message, optional, tag = "3")]
    pub from: Option<ParentLink>,
}

/// See [`Body::RaiseRefused`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RaiseRefused {
    /// Which sending of the receiver this answers.
    #[prost(message, optional, tag = "1")]
    pub from: Option<ParentLink>,
    /// Why.
    #[prost(message, optional, tag = "2")]
    pub failure: Option<Failure>,
}

/// See [`Body::Terminate`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Terminate {
    /// Why.
    #[prost(string, tag = "1")]
    pub reason: String,
    /// Its children too.
    #[prost(bool, tag = "2")]
    pub recurse: bool,
    /// Only if it is (still) the child of this task; a child that was replaced is left alone.
    #[prost(message, optional, tag = "3")]
    pub parent: Option<ParentLink>,
}

/// See [`Body::Cancel`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Cancel {
    /// Why.
    #[prost(string, tag = "1")]
    pub reason: String,
    /// Only if it is (still) the child of this task.
    #[prost(message, optional, tag = "2")]
    pub parent: Option<ParentLink>,
}

/// See [`Body::FindCycle`]. It goes from child to parent.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FindCycle {
    /// The wait that began.
    #[prost(message, optional, tag = "1")]
    pub link: Option<ParentLink>,
    /// What it is for.
    #[prost(message, optional, tag = "2")]
    pub awaited: Option<Awaited>,
    /// Parents that it has been to, or will come to.
    #[prost(string, repeated, tag = "3")]
    pub seen: Vec<String>,
    /// Parents that it will come to.
    #[prost(string, repeated, tag = "4")]
    pub ahead: Vec<String>,
}

/// A run that somebody waits for.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Awaited {
    /// Its instance id.
    #[prost(string, tag = "1")]
    pub instance: String,
    /// The run, 16 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub execution: Bytes,
}

/// See [`Body::RewindChild`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct RewindChild {
    /// How to begin, if there is no such child any more; and who waits now.
    #[prost(message, optional, tag = "1")]
    pub start: Option<StartChild>,
    /// Who rewinds, why and how.
    #[prost(message, optional, tag = "2")]
    pub order: Option<RewindOrder>,
    /// It runs again although it has ended well.
    #[prost(bool, tag = "3")]
    pub again: bool,
}

/// See [`Body::RewindParent`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct RewindParent {
    /// Which task of the receiver the child was.
    #[prost(message, optional, tag = "1")]
    pub link: Option<ParentLink>,
    /// Who rewinds, why and how.
    #[prost(message, optional, tag = "2")]
    pub order: Option<RewindOrder>,
}

impl Message {
    /// A message to an instance.
    #[must_use]
    pub fn new(to: &InstanceId, body: Body) -> Message {
        Message { to: to.as_str().to_owned(), body: Some(body) }
    }

    /// The stored form.
    #[must_use]
    pub fn seal(&self) -> Bytes {
        seal_record(self)
    }

    /// The message of a stored form.
    pub fn open(stored: Bytes) -> Result<Message, Damaged> {
        let message: Message = open_record("message", stored)?;
        match message.body {
            Some(_) => Ok(message),
            None => Err(Damaged::undecodable("message", "a kind that this version does not know")),
        }
    }

    /// The receiver.
    #[must_use]
    pub fn receiver(&self) -> InstanceId {
        InstanceId::recorded(&self.to)
    }

    /// Whether it enters the queue of an entity at once.
    pub(super) fn is_for_the_queue(&self) -> bool {
        match &self.body {
            Some(Body::Operation(operation)) => operation.at == 0,
            body => matches!(body, Some(Body::Lock(_))),
        }
    }
}
