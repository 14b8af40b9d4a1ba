//! What a processor asks its store to write, all or nothing.

use super::message::Message;
use super::record::InstanceRow;
use crate::history::{Damaged, Event, decode_events};
use crate::id::{InstanceKey, PartitionId};
use crate::time::Timestamp;
use bytes::Bytes;

/// Events of one instance that were recorded together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// Which generation of the instance.
    pub generation: u32,
    /// Which branch of its history.
    pub branch: u32,
    /// The number of the first event; the events of a generation and branch are numbered from 0 without a gap.
    pub first: u64,
    /// How many events.
    pub count: u32,
    /// The events, sealed.
    pub events: Bytes,
}

impl HistoryRow {
    /// Checks the row and gives its events.
    pub fn open(&self) -> Result<Vec<Event>, Damaged> {
        let events = decode_events(self.events.clone())?;
        if events.len() == self.count as usize {
            Ok(events)
        } else {
            Err(Damaged::Contradiction(format!("{} events in a row of {}", events.len(), self.count)))
        }
    }
}

/// Where the history of an instance ended when the writer last knew it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Generation.
    pub generation: u32,
    /// Branch.
    pub branch: u32,
    /// Events in it.
    pub events: u64,
}

/// New contents of one instance.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceWrite {
    /// `None`: the instance must not exist. Otherwise it must exist and its history must end here; if not, the
    /// whole batch is rejected.
    pub expected: Option<Tail>,
    /// The row as it shall be.
    pub row: InstanceRow,
    /// Events to append, if any.
    pub history: Option<HistoryRow>,
    /// Histories of generations before this one are to be deleted.
    pub drop_generations_before: Option<u32>,
}

/// A message between partitions, numbered by its sender without reuse.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// Who sent it.
    pub from: PartitionId,
    /// Who shall have it.
    pub to: PartitionId,
    /// The sender's number for it, rising.
    pub number: u64,
    /// A sealed [`Message`].
    pub message: Bytes,
}

impl Envelope {
    /// Checks the envelope and gives what is inside.
    pub fn open(&self) -> Result<Message, Damaged> {
        Message::open(self.message.clone())
    }
}

/// Identifies a message to its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EnvelopeId {
    /// Who sent it.
    pub from: PartitionId,
    /// The sender's number for it.
    pub number: u64,
}

/// One commit. The order of work in the store: purge, write, consume, send.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The writer's time. A store that has no better clock keeps the highest one it saw, so that time never runs back.
    pub now: Timestamp,
    /// The latest deadline that this batch treats as past. A store whose clock has not reached it rejects the batch.
    pub not_before: Option<Timestamp>,
    /// Instances to remove with everything that belongs to them.
    pub purge: Vec<InstanceKey>,
    /// Instances to insert or update.
    pub writes: Vec<InstanceWrite>,
    /// Messages that this batch has dealt with; they must exist.
    pub consumed: Vec<EnvelopeId>,
    /// Messages to other partitions, or to this one for later.
    pub outgoing: Vec<Envelope>,
}

impl Batch {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.purge.is_empty()
            && self.writes.is_empty()
            && self.consumed.is_empty()
            && self.outgoing.is_empty()
    }
}
