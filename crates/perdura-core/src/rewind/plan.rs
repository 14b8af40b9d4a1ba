//! What a rewind will do, as a value.

use super::cut::Because;
use super::error::RewindError;
use super::opening::draw_up;
use super::spec::{Head, RewindSpec};
use super::timeline::WorkKind;
use crate::history::Event;
use crate::partition::InstanceRecord;
use crate::status::Status;
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// What is rewound, as it is now.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The whole record.
    pub record: &'a InstanceRecord,
    /// The history of the branch that is rewound, all of it.
    pub history: &'a [Event],
    /// Events that no turn has taken: the record's inbox.
    pub pending: &'a [Event],
    /// The history of the present branch, if it is another one that is rewound.
    pub present: &'a [Event],
    /// The histories of [`InstanceRecord::branches_to_use`], by branch, if it is another one that is rewound.
    pub others: &'a BTreeMap<u32, Vec<Event>>,
}

/// A piece of work in a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkRef {
    /// The event that scheduled it.
    pub event: u64,
    /// Its number as a task.
    pub task: u32,
    /// What it is.
    pub kind: WorkKind,
    /// Its name; empty for a timer.
    pub name: String,
}

/// A timer that is pending at the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerPlan {
    /// The event that created it.
    pub event: u64,
    /// Its number.
    pub timer: u32,
    /// When it was due.
    pub was: Timestamp,
    /// When it is due.
    pub due: Timestamp,
}

/// A child that is waited for at the cut. It is rewound if it ended without success, waited for if it runs, asked for its
/// result if it has one, and created again if it was purged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildPlan {
    /// The event that scheduled it.
    pub event: u64,
    /// Its number as a task.
    pub task: u32,
    /// The child.
    pub instance: String,
}

/// What a rewind will do. Numbers are events of the branch that is left; those from its length on have arrived but were
/// in no turn yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewindPlan {
    /// Where the history ends now. Applying the plan to another head is refused.
    pub head: Head,
    /// The instance's status.
    pub status: Status,
    /// The branch that is rewound.
    pub from_branch: u32,
    /// The branch that is opened.
    pub branch: u32,
    /// How many events are kept, from the first on.
    pub cut: u64,
    /// Why there.
    pub because: Because,
    /// Turns that are kept.
    pub turns_kept: u32,
    /// Parents that failed with it and come along, the nearest first; filled in by whoever can look at them.
    pub parents: Vec<String>,
    /// Events after the cut that are delivered again.
    pub carried: Vec<u64>,
    /// Work that runs again: scheduled before the cut; and what succeeded after it and is not to be used again, if the code
    /// asks for the same.
    pub rerun: Vec<WorkRef>,
    /// Activities scheduled before the cut that run at most once, and of which nobody knows whether they ran: their policies
    /// decide what follows.
    pub in_doubt: Vec<WorkRef>,
    /// Work after the cut whose results are used again if the code asks for the same; of calls of entities that are under
    /// way, when they come. Also work of before the cut that is open or had failed, and that another call or branch has done.
    pub reused: Vec<WorkRef>,
    /// Events after the cut that are not delivered again.
    pub dropped: Vec<u64>,
    /// Timers.
    pub timers: Vec<TimerPlan>,
    /// When it starts, if it was stopped before its start.
    pub starts: Option<Timestamp>,
    /// Children.
    pub children: Vec<ChildPlan>,
    /// Children of the dropped part that had not ended well. If the code asks for the same again, they are rewound or waited for
    /// like those above; whether it does nobody knows before it runs.
    pub children_asked_again: Vec<ChildPlan>,
    /// What of the dropped part the world has seen: activities that ran, children, events sent.
    pub visible: Vec<u64>,
}

/// What a rewind would do at the time `now`. Nothing is changed.
pub fn plan(subject: Subject<'_>, spec: &RewindSpec, now: Timestamp) -> Result<RewindPlan, RewindError> {
    draw_up(subject, spec, now).map(|(plan, _)| plan)
}
