//! The branches of a history: which one came from which, and how to read one.

use super::reuse::ReuseState;
use super::spec::RewindOrder;
use crate::history::{Damaged, Event, Step, decode_events};
use crate::partition::{
    CallRecord, HistoryRow, InstanceRecord, LeftCall, OperationEnded, TaskName, TaskRecord,
};
use bytes::Bytes;
use std::collections::BTreeSet;

/// A branch that a rewind opened. Branch 0 is there from the beginning.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BranchRecord {
    /// Its number.
    #[prost(uint32, tag = "1")]
    pub branch: u32,
    /// The branch that it begins with.
    #[prost(uint32, tag = "2")]
    pub parent: u32,
    /// How many events it shares with that one, from the first on.
    #[prost(uint64, tag = "3")]
    pub cut: u64,
    /// When, in ms since 1970.
    #[prost(int64, tag = "4")]
    pub at: i64,
    /// Who rewound.
    #[prost(string, tag = "5")]
    pub by: String,
    /// Why.
    #[prost(string, tag = "6")]
    pub reason: String,
    /// The request id of the rewind; empty if it had none.
    #[prost(string, tag = "7")]
    pub request_id: String,
    /// The number of the status that the instance had before.
    #[prost(uint32, tag = "8")]
    pub status: u32,
    /// Events that had arrived on the branch that was left, but were in no turn yet; sealed like history.
    #[prost(bytes = "bytes", optional, tag = "9")]
    pub untaken: Option<Bytes>,
    /// The branch that was left, if it is not the parent.
    #[prost(uint32, optional, tag = "10")]
    pub left: Option<u32>,
}

/// A task that the engine stopped waiting for: a later attempt must not have the number of one of its attempts.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LeftTask {
    /// Its number.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// Hand-overs to a worker.
    #[prost(uint32, tag = "2")]
    pub delivery: u32,
    /// The number of its `TaskScheduled` event.
    #[prost(uint64, tag = "3")]
    pub event: u64,
    /// The branch on which that event was recorded.
    #[prost(uint32, tag = "4")]
    pub branch: u32,
    /// It runs at most once, and nobody knows how its last attempt ended.
    #[prost(bool, tag = "60")]
    pub in_doubt: bool,
    /// By what the worker of that attempt proves that it has it; empty if by nothing.
    #[prost(bytes = "bytes", tag = "61")]
    pub token: Bytes,
    /// The step of an older branch that it went on with, if it is not one of its own.
    #[prost(message, optional, tag = "62")]
    pub step: Option<Step>,
}

impl LeftTask {
    /// A step of an older branch, with which another one has gone on.
    pub(crate) fn of_step(step: Step, delivery: u32) -> LeftTask {
        let Step { branch, event, task: id } = step;
        LeftTask { id, delivery, event, branch, in_doubt: true, ..LeftTask::default() }
    }
}

/// Work that ended well on another branch: it is not done again if it is open on this one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DoneElsewhere {
    /// The branch on which its scheduling event was recorded.
    #[prost(uint32, tag = "1")]
    pub branch: u32,
    /// The number of that event.
    #[prost(uint64, tag = "2")]
    pub event: u64,
    /// The branch that has its end.
    #[prost(uint32, tag = "3")]
    pub holder: u32,
    /// The number of that event there.
    #[prost(uint64, tag = "4")]
    pub end: u64,
    /// Its name.
    #[prost(string, tag = "5")]
    pub name: String,
    /// The branch whose rewind gave it the input with which it was done; 0 if it has that of the code.
    #[prost(uint32, tag = "6")]
    pub given: u32,
}

/// A return to the end of an older branch that had ended: it opens no branch.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ReturnRecord {
    /// The branch.
    #[prost(uint32, tag = "1")]
    pub branch: u32,
    /// When, in ms since 1970.
    #[prost(int64, tag = "2")]
    pub at: i64,
    /// Who.
    #[prost(string, tag = "3")]
    pub by: String,
    /// Why.
    #[prost(string, tag = "4")]
    pub reason: String,
    /// The request id; empty if it had none.
    #[prost(string, tag = "5")]
    pub request_id: String,
    /// The branch that was left.
    #[prost(uint32, tag = "6")]
    pub from: u32,
    /// Events that had arrived on that one, but were in no turn yet; sealed like history.
    #[prost(bytes = "bytes", optional, tag = "7")]
    pub untaken: Option<Bytes>,
}

/// What an instance keeps for and of its rewinds.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Rewinds {
    /// The branches after the first, by rising number.
    #[prost(message, repeated, tag = "1")]
    pub branches: Vec<BranchRecord>,
    /// Results of other branches that may be used again.
    #[prost(message, optional, tag = "2")]
    pub reuse: Option<ReuseState>,
    /// Tasks that were handed out and that nobody waits for any more, of all branches: any of them may be gone back to.
    #[prost(message, repeated, tag = "3")]
    pub left: Vec<LeftTask>,
    /// Returns to older branches, oldest first.
    #[prost(message, repeated, tag = "4")]
    pub returns: Vec<ReturnRecord>,
    /// The last rewind's: children that it meets later are rewound alike.
    #[prost(message, optional, tag = "5")]
    pub order: Option<RewindOrder>,
    /// Calls of entities that were under way when nobody waited for them any more: a branch had ended, or was left.
    #[prost(message, repeated, tag = "30")]
    pub calls: Vec<LeftCall>,
    /// Work of older branches that others have done.
    #[prost(message, repeated, tag = "31")]
    pub done: Vec<DoneElsewhere>,
}

impl Rewinds {
    /// Notes that a call of an entity is under way, or has ended too late, on a branch that is left.
    pub(crate) fn leave_call(&mut self, call: &CallRecord, branch: u32) {
        let (sent, name) = (call.sent_as(branch), TaskName { branch, task: call.id });
        match self.sent_call(sent) {
            Some(left) if left.names.contains(&name) => {}
            Some(left) => left.names.push(name),
            None => self.calls.push(LeftCall { names: vec![name], ..LeftCall::default() }),
        }
    }

    /// A call that was left has ended; says whether it was one. One that failed has left no trace, and may run again.
    pub(crate) fn left_call_ended(&mut self, sent: TaskName, ended: &OperationEnded) -> bool {
        let Some(left) = self.sent_call(sent) else { return false };
        (left.ended, left.output) = (true, ended.output.clone());
        if ended.failure.is_some() {
            self.calls.retain(|left| left.names.first() != Some(&sent));
        }
        true
    }

    fn sent_call(&mut self, sent: TaskName) -> Option<&mut LeftCall> {
        self.calls.iter_mut().find(|left| left.names.first() == Some(&sent))
    }

    /// Notes that nobody waits for a task any more that was handed out.
    pub(crate) fn leave(&mut self, task: LeftTask) {
        match self.left.iter_mut().find(|left| (left.branch, left.event) == (task.branch, task.event)) {
            Some(left) => {
                if task.delivery >= left.delivery && !task.token.is_empty() {
                    left.token = task.token;
                }
                left.delivery = left.delivery.max(task.delivery);
                left.in_doubt = task.in_doubt;
                left.step = left.step.or(task.step);
            }
            None => self.left.push(task),
        }
    }
}

/// A piece of a history: events `from` to `until` are rows of this branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryPart {
    /// Whose rows.
    pub branch: u32,
    /// The first event.
    pub from: u64,
    /// The event after the last; `u64::MAX` if the piece has no end.
    pub until: u64,
}

impl InstanceRecord {
    /// Whether a call of an entity is under way, or has ended since its branch was left. Of a whole record.
    pub(crate) fn has_call_under_way(&self, name: TaskName) -> bool {
        let here = |call: &CallRecord| TaskName { branch: self.branch, task: call.id } == name;
        let left = self.rewinds.iter().flat_map(|rewinds| &rewinds.calls);
        self.calls.iter().any(here) || left.into_iter().any(|left| left.names.contains(&name))
    }

    /// The branches after the first.
    #[must_use]
    pub fn branches(&self) -> &[BranchRecord] {
        self.rewinds.as_ref().map_or(&[], |rewinds| &rewinds.branches)
    }

    /// The branches of which the present one may still use results, without itself and one that is rewound.
    #[must_use]
    pub fn branches_to_use(&self, rewound: u32) -> BTreeSet<u32> {
        let reuse = self.rewinds.iter().flat_map(|rewinds| &rewinds.reuse);
        let branches = reuse.flat_map(|reuse| &reuse.sources).map(|source| source.branch);
        branches.filter(|branch| *branch != rewound && *branch != self.branch).collect()
    }

    /// The branch on which an event of the present one was recorded.
    #[must_use]
    pub fn origin(&self, event: u64) -> u32 {
        self.origin_on(self.branch, event)
    }

    /// The step that an activity of the present branch is.
    pub(crate) fn own_step(&self, task: &TaskRecord) -> Step {
        let own = Step { branch: self.origin(task.event), event: task.event, task: task.id };
        task.step.as_deref().copied().unwrap_or(own)
    }

    /// The branch on which an event of a branch was recorded.
    pub(crate) fn origin_on(&self, branch: u32, event: u64) -> u32 {
        let mut at = branch;
        while let Some(opened) =
            self.branches().iter().find(|opened| opened.branch == at && event < opened.cut)
        {
            at = opened.parent;
        }
        at
    }

    /// Events that had arrived when a branch was last left, but were in no turn of it yet.
    pub(crate) fn untaken(&self, branch: u32) -> Result<Vec<Event>, Damaged> {
        let left = self.branches().iter().rev();
        let left = left.filter(|record| record.left.unwrap_or(record.parent) == branch);
        let returns = self.rewinds.iter().flat_map(|rewinds| rewinds.returns.iter().rev());
        let returned = returns.filter(|record| record.from == branch);
        // A branch that has not ended is left once, by the one way or by the other.
        let untaken = left.filter_map(|record| record.untaken.clone()).next();
        let untaken = untaken.or_else(|| returned.filter_map(|record| record.untaken.clone()).next());
        untaken.map_or(Ok(Vec::new()), decode_events)
    }

    /// The pieces that make up the history of a branch, in order; `None` if there is no such branch.
    #[must_use]
    pub fn history_parts(&self, branch: u32) -> Option<Vec<HistoryPart>> {
        let mut parts = Vec::new();
        let (mut at, mut until) = (branch, u64::MAX);
        while at != 0 {
            let record = self.branches().iter().find(|record| record.branch == at && record.parent < at)?;
            if record.cut < until {
                parts.push(HistoryPart { branch: at, from: record.cut, until });
            }
            until = until.min(record.cut);
            at = record.parent;
        }
        if until > 0 {
            parts.push(HistoryPart { branch: 0, from: 0, until });
        }
        parts.reverse();
        Some(parts)
    }
}

/// The events of a history from the rows of its parts, checked to be without a gap. A part's rows begin with the one that
/// holds its first event; what lies outside the part is left out.
pub fn assemble(parts: &[(HistoryPart, Vec<HistoryRow>)]) -> Result<Vec<Event>, Damaged> {
    let mut events: Vec<Event> = Vec::new();
    for (part, rows) in parts {
        let mut next: Option<u64> = None;
        for row in rows.iter().take_while(|row| row.first < part.until) {
            let expected = next.unwrap_or(part.from);
            if row.first > expected || next.is_some_and(|next| row.first != next) {
                return Err(Damaged::Contradiction(format!("event {} follows event {expected}", row.first)));
            }
            next = Some(row.first + u64::from(row.count));
            let numbered = (row.first..).zip(row.open()?);
            let inside = numbered.filter(|(number, _)| (part.from..part.until).contains(number));
            events.extend(inside.map(|(_, event)| event));
        }
        if part.until != u64::MAX && events.len() as u64 != part.until {
            return Err(Damaged::Contradiction(format!(
                "branch {} has {} events where {} were kept",
                part.branch,
                events.len(),
                part.until
            )));
        }
    }
    Ok(events)
}

/// How two branches differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Events that both begin with.
    pub common: u64,
    /// Events that only the first one has.
    pub left: u64,
    /// Events that only the second one has.
    pub right: u64,
}

/// How two histories differ: they are equal up to a point, and apart from there.
#[must_use]
pub fn difference(left: &[Event], right: &[Event]) -> Difference {
    let common = left.iter().zip(right).take_while(|(left, right)| left == right).count();
    Difference {
        common: common as u64,
        left: (left.len() - common) as u64,
        right: (right.len() - common) as u64,
    }
}
