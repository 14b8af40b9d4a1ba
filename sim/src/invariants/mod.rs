//! What must hold, whatever fails. One file per group; the numbers are those of the project's list of invariants.
//!
//! [`Checker`] watches: every commit that a store performs ([`Checker::committed`]), every answer that leaves
//! ([`Checker::replied`]), every attempt that begins ([`Checker::task_started`]), and the end. It keeps its own picture of
//! the store, made from batches alone, and uses neither the guards of the store nor the processor's state.

mod activities;
mod children;
mod entities;
mod events;
mod history;
mod keys;
mod liveness;
mod mirror;
mod ownership;
mod replay;
mod replies;
mod rewinds;
mod starts;
mod storage;
mod timers;

pub use mirror::{Mirror, Seen};
pub use replies::Asked;
pub use storage::keys_of;

use crate::plan::Plan;
use crate::program::Programs;
use perdura_core::{InstanceId, InstanceKey, Limits, PartitionId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// A group of invariants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Group {
    /// I1 to I4: starts.
    Starts,
    /// I6 to I9, I11 to I13: histories.
    History,
    /// I10: replay.
    Replay,
    /// I14 to I19: activities.
    Activities,
    /// I20 to I23: time.
    Timers,
    /// I5, I25 to I27: events and suspension.
    Events,
    /// I29: parents and children.
    Children,
    /// I28: rewinds.
    Rewinds,
    /// I30 to I32: entities.
    Entities,
    /// I33, I34: ownership, and that no owner contradicts its store.
    Ownership,
    /// I38: answers.
    Replies,
    /// I39, I41, I42: storage.
    Storage,
    /// I21, I37: everything ends once faults have ended.
    Liveness,
    /// Results are among the legal ones.
    Results,
    /// Nothing panics.
    Panic,
}

impl Group {
    /// All of them.
    pub const ALL: [Group; 15] = [
        Group::Starts,
        Group::History,
        Group::Replay,
        Group::Activities,
        Group::Timers,
        Group::Events,
        Group::Children,
        Group::Rewinds,
        Group::Entities,
        Group::Ownership,
        Group::Replies,
        Group::Storage,
        Group::Liveness,
        Group::Results,
        Group::Panic,
    ];

    /// Its name and its numbers in the list of invariants.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Group::Starts => "starts (I1-I4)",
            Group::History => "history (I6-I9, I11-I13)",
            Group::Replay => "replay (I10)",
            Group::Activities => "activities (I14-I19)",
            Group::Timers => "time (I20-I23)",
            Group::Events => "events (I5, I25-I27)",
            Group::Children => "children (I29)",
            Group::Rewinds => "rewinds (I28)",
            Group::Entities => "entities (I30-I32)",
            Group::Ownership => "ownership (I33, I34)",
            Group::Replies => "replies (I38)",
            Group::Storage => "storage (I39, I41, I42)",
            Group::Liveness => "liveness (I21, I37)",
            Group::Results => "legal results",
            Group::Panic => "no panic",
        }
    }
}

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Of which group.
    pub group: Group,
    /// What was seen.
    pub what: String,
}

/// How much of what is seen may be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// All of it.
    Everything,
    /// Acknowledged facts may have been lost by a fail-over: consistency only.
    Consistency,
    /// Two histories of the store have met: who commits, and that batches are whole.
    Ownership,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Checker {
    /// The store as it must be.
    pub mirror: Mirror,
    /// How much may be judged.
    pub judged: Judged,
    /// Stored rows were damaged on purpose, these keys.
    pub damaged: BTreeSet<InstanceKey>,
    /// Executions in which an operator has asked for work to run again, or has given it another input.
    pub by_hand: BTreeSet<bytes::Bytes>,
    /// How often each group was checked.
    pub counts: [u64; Group::ALL.len()],
    /// The first broken invariant.
    pub violation: Option<Violation>,
    programs: Rc<Programs>,
    limits: Limits,
    partitions: u16,
    may_cancel: bool,
    may_rewind: bool,
    /// How far two readings of the store's clock by nodes may lie apart, in ms.
    clock_error: i64,
    starts: starts::Starts,
    attempts: BTreeMap<activities::TaskKey, activities::Attempts>,
    /// Numbers of deliveries, on whatever branch; named by the branch on which the activity was scheduled.
    deliveries: BTreeMap<activities::TaskKey, BTreeSet<u32>>,
    /// How often somebody has said of a task in doubt that it may run once more.
    permissions: BTreeMap<(InstanceId, u32), usize>,
    entities: entities::Entities,
    rewinds: rewinds::Rewinds,
    /// Executions of which a rewind was to drop external events.
    dropped: BTreeSet<bytes::Bytes>,
    /// Activities that have succeeded, by execution and input: on which branch.
    successes: BTreeMap<(bytes::Bytes, bytes::Bytes), u32>,
    keyed: keys::Keyed,
    /// Executions that have ended, durably, by branch.
    ended: BTreeMap<(bytes::Bytes, u32), perdura_core::partition::InstanceRecord>,
    nonces: BTreeSet<u128>,
    latest: Vec<u128>,
}

impl Checker {
    /// A checker of an empty store.
    #[must_use]
    pub fn new(plan: &Plan, programs: Rc<Programs>) -> Checker {
        Checker {
            mirror: Mirror::default(),
            judged: Judged::Everything,
            damaged: BTreeSet::new(),
            by_hand: BTreeSet::new(),
            counts: [0; Group::ALL.len()],
            violation: None,
            programs,
            limits: plan.limits.clone(),
            partitions: plan.partitions,
            may_cancel: plan.requests_mix.cancel > 0,
            may_rewind: plan.requests_mix.rewind > 0,
            clock_error: 2 * i64::from(plan.faults.clock_skew),
            starts: starts::Starts::default(),
            attempts: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            permissions: BTreeMap::new(),
            successes: BTreeMap::new(),
            keyed: keys::Keyed::default(),
            entities: entities::Entities::default(),
            rewinds: rewinds::Rewinds::default(),
            dropped: BTreeSet::new(),
            ended: BTreeMap::new(),
            nonces: BTreeSet::new(),
            latest: vec![0; usize::from(plan.partitions)],
        }
    }

    /// Takes the result of a check.
    pub fn check(&mut self, group: Group, result: Result<(), String>) {
        let ownership_only = self.judged == Judged::Ownership;
        if ownership_only && !matches!(group, Group::Ownership | Group::Storage | Group::Panic) {
            return;
        }
        // Delivery counts and keys of a lost timeline are given again.
        if self.judged == Judged::Consistency && group == Group::Activities {
            return;
        }
        self.counts[group as usize] += 1;
        if let Err(what) = result
            && self.violation.is_none()
        {
            self.violation = Some(Violation { group, what });
        }
    }

    /// The instance of an id, as it must be stored.
    #[must_use]
    pub fn instance(&self, id: &InstanceId) -> Option<&Seen> {
        self.mirror.by_id(id)
    }

    fn partition_of(&self, id: &str) -> PartitionId {
        InstanceId::new(id).map(|id| id.partition(self.partitions)).unwrap_or_default()
    }

    fn judges_everything(&self) -> bool {
        self.judged == Judged::Everything
    }
}

/// A change of an instance by a commit, as the checks see it.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    pub(crate) before: Option<&'a Seen>,
    pub(crate) after: &'a Seen,
    /// Events that the commit appended to the history.
    pub(crate) appended: &'a [perdura_core::history::Event],
    /// The store's time.
    pub(crate) now: Timestamp,
}

impl Change<'_> {
    /// The instance before, if it was in the same generation.
    pub(crate) fn same_generation(&self) -> Option<&Seen> {
        self.before.filter(|before| before.record.generation == self.after.record.generation)
    }

    /// Whether the change is a rewind.
    pub(crate) fn is_rewound(&self) -> bool {
        self.same_generation().is_some_and(|before| before.record.branch != self.after.record.branch)
    }

    /// The instance before, if it came from the same start.
    pub(crate) fn same_start(&self) -> Option<&Seen> {
        self.before.filter(|before| before.record.start_generation == self.after.record.start_generation)
    }

    /// Events that are new in this change, in history or inbox.
    pub(crate) fn arrived(&self) -> impl Iterator<Item = &perdura_core::history::Event> {
        let before = self.same_generation();
        let rewound = self.is_rewound();
        // What a rewind delivers again has arrived before.
        let known = move |event: &perdura_core::history::Event| {
            before.is_some_and(|before| before.inbox.contains(event) || rewound && before.has_recorded(event))
        };
        self.appended.iter().chain(&self.after.inbox).filter(move |event| !known(event))
    }
}
