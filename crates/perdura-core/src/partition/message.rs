//! What instances say to each other. A message is applied in the same commit that removes it, so it takes effect
//! exactly once. Field numbers are stored: never reuse one.

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
    #[prost(oneof = "Body", tags = "2, 3, 4, 5, 6, 40, 41")]
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
    /// Your parent was rewound, and waits for you again.
    #[prost(message, tag = "40")]
    RewindChild(RewindChild),
    /// Your child was rewound: come along if you failed with it.
    #[prost(message, tag = "41")]
    RewindParent(RewindParent),
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

/// See [`Body::RewindChild`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct RewindChild {
    /// How to begin, if there is no such child any more; and who waits now.
    #[prost(message, optional, tag = "1")]
    pub start: Option<StartChild>,
    /// Who rewinds, why and how.
    #[prost(message, optional, tag = "2")]
    pub order: Option<RewindOrder>,
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
}
