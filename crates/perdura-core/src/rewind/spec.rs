//! What an operator asks for.

use crate::id::{ExecutionId, InstanceId, check_name, check_text};
use crate::partition::RequestError;
use crate::time::Timestamp;
use bytes::Bytes;

/// Where to go back to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RewindTo {
    /// By the status. Failed: before the delivery of the failure that ended it, and if that was the last of several
    /// tries, before the first one's; a failure that no task had is the code's own, and the last turn is undone.
    /// Terminated or cancelled: before that. Completed or still running: the last turn is undone.
    #[default]
    Auto,
    /// Before the turn of this event.
    Event(u64),
    /// Before this turn; the first is 1.
    Turn(u32),
    /// Before the first turn that began at this time or later.
    Time(Timestamp),
    /// Before the turn that first called this activity or sub-orchestration.
    Call(String),
    /// Before the delivery of the failure of this task's child.
    Child(u32),
    /// To the beginning: the same input again, or another one.
    Beginning,
    /// To the end of a branch: an undone rewind.
    Head,
}

/// What becomes of timers that were pending at the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Timers {
    /// They get as much time as was left at the cut. One that had run out there begins anew.
    Extend = 0,
    /// They keep their deadline.
    Keep = 1,
    /// They begin anew.
    Restart = 2,
}

/// Who rewinds, why, and what is done on the way: as much of a rewind as also goes to children and parents.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RewindOrder {
    /// Who.
    #[prost(string, tag = "1")]
    pub by: String,
    /// Why.
    #[prost(string, tag = "2")]
    pub reason: String,
    /// A retry of this rewind carries the same text here, any other rewind another one.
    #[prost(string, tag = "3")]
    pub request_id: String,
    /// What becomes of timers.
    #[prost(enumeration = "Timers", tag = "4")]
    pub timers: i32,
    /// Results of the part that is dropped are not used again; what was sent is not sent again all the same.
    #[prost(bool, tag = "5")]
    pub no_reuse: bool,
    /// Results of activities and children with these names are neither delivered nor used again.
    #[prost(string, repeated, tag = "6")]
    pub rerun: Vec<String>,
    /// External events that came after the cut are not delivered again.
    #[prost(bool, tag = "7")]
    pub drop_events: bool,
    /// Parents that failed with it are rewound too.
    #[prost(bool, tag = "8")]
    pub with_parents: bool,
}

/// A payload that the operator puts in the place of another.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Replaced {
    /// The number of the event that scheduled the work.
    #[prost(uint64, tag = "1")]
    pub event: u64,
    /// The payload.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub payload: Option<Bytes>,
}

/// When a timer is due on a new branch.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct TimerDue {
    /// The number of the event that created it.
    #[prost(uint64, tag = "1")]
    pub event: u64,
    /// When, in ms since 1970.
    #[prost(int64, tag = "2")]
    pub at: i64,
}

/// Where a history ended when somebody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The execution: an id may have been purged and started again since.
    pub execution: ExecutionId,
    /// The generation.
    pub generation: u32,
    /// The branch.
    pub branch: u32,
    /// Its events.
    pub events: u64,
}

/// A rewind. The default undoes what ended the instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RewindSpec {
    /// Who, why and how.
    pub order: RewindOrder,
    /// Where to.
    pub to: RewindTo,
    /// On which branch; `None`: the present one.
    pub branch: Option<u32>,
    /// An instance that has not ended is stopped and rewound; a child whose parent went on without it goes on for nobody.
    pub force: bool,
    /// New inputs of activities that run again, by an event of theirs.
    pub inputs: Vec<Replaced>,
    /// Results in the place of those that activities and children had, or would have, by an event of theirs.
    pub results: Vec<Replaced>,
    /// A new input of the instance; `Some(None)`: it has none. Only to the beginning.
    pub input: Option<Option<Bytes>>,
    /// The history must end here, or nothing is done.
    pub head: Option<Head>,
}

impl RewindSpec {
    /// Everything that can be refused without looking at the instance.
    ///
    /// # Errors
    ///
    /// A text is too long or has control characters, a name is empty, or a payload has more than `payload_bytes_max` bytes.
    pub fn check(&self, id: &InstanceId, payload_bytes_max: usize) -> Result<(), RequestError> {
        check_text("who rewinds", &self.order.by)?;
        check_text("reason", &self.order.reason)?;
        check_text("request id", &self.order.request_id)?;
        self.order.rerun.iter().try_for_each(|name| check_name("name of what runs again", name))?;
        let replaced = self.inputs.iter().chain(&self.results).map(|replaced| &replaced.payload);
        let replaced = replaced.map(|payload| ("replaced payload", payload));
        let input = self.input.iter().map(|input| ("input", input));
        for (field, payload) in replaced.chain(input) {
            let bytes = payload.as_ref().map_or(0, Bytes::len);
            if bytes > payload_bytes_max {
                let limit = payload_bytes_max;
                return Err(RequestError::TooLarge { id: id.clone(), field, bytes, limit });
            }
        }
        Ok(())
    }

    /// Whether it brings payloads.
    #[must_use]
    pub fn has_payloads(&self) -> bool {
        !self.inputs.is_empty() || !self.results.is_empty() || self.input.is_some()
    }
}
