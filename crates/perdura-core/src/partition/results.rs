//! Results of other branches, used again by an instance that was rewound. They are read when the instance is about to go
//! on, and looked at when its code asks for work.

use super::effect::Need;
use super::instance::Instance;
use super::{Bug, HistoryName, Partition};
use crate::history::Event;
use crate::id::InstanceKey;
use crate::rewind::{Found, ReuseTable, Sort};
use std::collections::BTreeMap;

/// The results of other branches in memory.
#[derive(Debug)]
pub(super) enum Reuse {
    /// The histories of the branches that have them, as far as they are read.
    Reading(BTreeMap<u32, Option<Vec<Event>>>),
    /// All there is.
    Ready(ReuseTable),
}

impl Instance {
    /// Whether results of other branches come before its next turn.
    pub(super) fn awaits_results(&self) -> bool {
        let reuse = self.record.rewinds.as_ref().and_then(|rewinds| rewinds.reuse.as_ref());
        reuse.is_some_and(|reuse| !reuse.due.is_empty())
    }
}

impl Partition {
    /// Whether an instance must not take a turn before results of other branches are read; if so, they are asked for.
    pub(super) fn lacks_results(&mut self, key: InstanceKey) -> bool {
        let Some(instance) = self.instances.get_mut(&key) else { return false };
        let state = instance.record.rewinds.as_ref().and_then(|rewinds| rewinds.reuse.as_ref());
        let Some(state) = state else { return false };
        match instance.reuse.as_deref() {
            Some(Reuse::Ready(_)) => return false,
            Some(Reuse::Reading(_)) => return true,
            None => {}
        }
        let (generation, branches) = (instance.record.generation, state.branches());
        for branch in branches.iter().copied() {
            let parts = instance.record.history_parts(branch).unwrap_or_default();
            self.needs.push(Need::History { key, generation, branch, parts });
        }
        let reading = branches.into_iter().map(|branch| (branch, None)).collect();
        instance.reuse = Some(Box::new(Reuse::Reading(reading)));
        true
    }

    pub(super) fn waits_for_results(&self, (key, generation, branch): HistoryName) -> bool {
        let Some(instance) = self.instances.get(&key) else { return false };
        let state = instance.record.rewinds.as_ref().and_then(|rewinds| rewinds.reuse.as_ref());
        instance.record.generation == generation
            && matches!(instance.reuse.as_deref(), Some(Reuse::Reading(reading)) if reading.contains_key(&branch))
            && state.is_some()
    }

    /// Takes the history of a branch whose results an instance waits for.
    pub(super) fn results_read(&mut self, name: HistoryName, history: &[Event]) {
        if !self.waits_for_results(name) {
            return;
        }
        let ((key, _, branch), now) = (name, self.now);
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let state = instance.record.rewinds.as_mut().and_then(|rewinds| rewinds.reuse.as_mut());
        let (Some(state), Some(Reuse::Reading(read))) = (state, instance.reuse.as_deref_mut()) else {
            return;
        };
        read.insert(branch, Some(history.to_vec()));
        if read.values().any(Option::is_none) {
            return;
        }
        let histories = std::mem::take(read).into_iter();
        let histories: BTreeMap<_, _> =
            histories.filter_map(|(branch, read)| Some((branch, read?))).collect();
        instance.reuse = Some(Box::new(Reuse::Ready(ReuseTable::new(state, &histories))));
        let due = std::mem::take(&mut state.due);
        let gets_results = !due.is_empty();
        for result in due {
            if let Some(end) = histories.get(&result.holder).and_then(|read| read.get(result.end as usize)) {
                instance.inbox.push(result.event(now, end));
            }
        }
        if gets_results {
            self.mark_dirty(key);
        }
        self.enqueue(key);
    }

    /// What another branch has of the work that the code asks for now. It is used by this.
    pub(super) fn reused(&mut self, key: InstanceKey, sort: impl FnOnce() -> Sort) -> Option<Found> {
        let instance = self.instances.get_mut(&key)?;
        let Some(Reuse::Ready(table)) = instance.reuse.as_deref_mut() else { return None };
        let (entry, found) = table.take(&sort())?;
        instance.record.rewinds.as_mut()?.reuse.as_mut()?.mark_used(entry);
        Some(found).filter(|found| *found != Found::Sent || !self.planted(Bug::RewindSendsTwice))
    }
}
