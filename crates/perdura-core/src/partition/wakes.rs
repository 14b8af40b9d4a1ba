//! Deadlines, soonest first. An entry is a hint: whoever it wakes looks at its own state to see what is due. What is not
//! waited for any more is taken out, or an instance that ends early would leave its time limits behind for days.

use crate::id::InstanceKey;
use crate::time::Timestamp;
use std::collections::BTreeSet;

/// Why an instance is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wake {
    /// Its scheduled start.
    Start,
    /// A timer.
    Timer(u32),
    /// The next attempt of an activity.
    Retry(u32),
    /// The time limit of an activity as a whole.
    TaskLimit(u32),
    /// A time limit of the present attempt of an activity.
    AttemptLimit(u32),
    /// The next attempt of a child.
    ChildRetry(u32),
    /// A signal to an entity whose time has come.
    Signal(u64),
    /// Operations of an entity that were lost, and are handed out again.
    Operations,
    /// Somebody has waited for a locked entity for some time.
    Circle,
}

#[derive(Debug, Default)]
pub(super) struct Wakes(BTreeSet<(Timestamp, InstanceKey, Wake)>);

impl Wakes {
    pub(super) fn add(&mut self, at: Timestamp, key: InstanceKey, wake: Wake) {
        self.0.insert((at, key, wake));
    }

    pub(super) fn remove(&mut self, at: Timestamp, key: InstanceKey, wake: Wake) {
        self.0.remove(&(at, key, wake));
    }

    /// The soonest deadline.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.0.first().map(|(at, ..)| *at)
    }

    /// The next entry that is due.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<(Timestamp, InstanceKey, Wake)> {
        (self.next()? <= now).then(|| self.0.pop_first()).flatten()
    }
}
