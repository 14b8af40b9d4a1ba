//! The end (I21, I37): once faults have ended everything comes to its end, and nothing is left over.

use super::{Checker, Group};
use perdura_store::sim::SimStore;

impl Checker {
    /// Whether nothing is left to be done.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.mirror.has_no_envelopes() && self.mirror.instances().all(|seen| seen.row.status.is_terminal())
    }

    /// The time is over. `owned` says whether each partition has an owner that has nothing left to write.
    pub fn finish(&mut self, store: &SimStore, owned: bool) {
        self.compare_all(store);
        if !self.damaged.is_empty() || self.judged == super::Judged::Ownership {
            return;
        }
        let unfinished: Vec<_> =
            self.mirror.instances().filter(|seen| !seen.row.status.is_terminal()).collect();
        let result = if let Some(seen) = unfinished.first() {
            let record = &seen.record;
            Err(format!(
                "{} instances never end: {seen:?}, tasks {:?}, timers {:?}, children {:?}, inbox {:?}",
                unfinished.len(),
                record.tasks,
                record.timers,
                record.children,
                seen.inbox
            ))
        } else if !self.mirror.has_no_envelopes() {
            Err(format!("messages are never taken: {:?}", self.mirror.envelopes))
        } else if !owned {
            Err("a partition has no owner that is done".into())
        } else {
            Ok(())
        };
        self.check(Group::Liveness, result);
        self.entities_at_rest();
    }
}
