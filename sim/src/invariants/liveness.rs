//! The end (I21, I37): once faults have ended everything comes to its end, and nothing is left over.

use super::{Checker, Group, Seen};
use perdura_core::InstanceId;
use perdura_store::sim::SimStore;

impl Checker {
    /// Whether nothing is left to be done.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.mirror.has_no_envelopes() && self.mirror.instances().all(|seen| seen.row.status.is_terminal())
    }

    /// An instance that waits, through its children, for itself.
    #[must_use]
    pub fn waits_in_a_cycle(&self) -> Option<InstanceId> {
        self.mirror.instances().find(|seen| self.waits_for_itself(seen)).map(|seen| seen.row.id.clone())
    }

    fn waits_for_itself(&self, seen: &Seen) -> bool {
        let mut waited_for: Vec<&str> = vec![];
        let mut at = vec![seen];
        while let Some(waiting) = at.pop() {
            for child in &waiting.record.children {
                let child = child.instance.as_str();
                if child == seen.row.id.as_str() {
                    return true;
                }
                if !waited_for.contains(&child) {
                    waited_for.push(child);
                    at.extend(self.mirror.instances().find(|other| other.row.id.as_str() == child));
                }
            }
        }
        false
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
