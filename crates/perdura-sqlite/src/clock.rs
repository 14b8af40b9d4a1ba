//! The store's time: the wall clock, but never behind what was committed.

use perdura_core::Timestamp;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug)]
pub(crate) struct Clock {
    committed: AtomicI64,
}

impl Clock {
    pub(crate) fn new(committed: Timestamp) -> Clock {
        Clock { committed: AtomicI64::new(committed.0) }
    }

    pub(crate) fn committed(&self, at: Timestamp) {
        self.committed.fetch_max(at.0, Ordering::AcqRel);
    }

    pub(crate) fn now(&self) -> Timestamp {
        // A wall clock before 1970 is one that was never set: the committed time is better.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
        let wall = i64::try_from(wall).unwrap_or(i64::MAX);
        Timestamp(wall.max(self.committed.load(Ordering::Acquire)))
    }
}
