//! Results of other branches, used again by an instance that was rewound. They are read when the instance is about to go
//! on, and looked at when its code asks for work.

use super::effect::Need;
use super::{Bug, HistoryName, Partition};
use crate::history::Event;
use crate::id::InstanceKey;
use crate::rewind::{Found, ReuseTable, Sort};

/// The results of other branches in memory.
#[derive(Debug)]
pub(super) enum Reuse {
    /// The histories of the sources, as far as they are read.
    Reading(Vec<Option<Vec<Event>>>),
    /// All there is.
    Ready(ReuseTable),
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
        let generation = instance.record.generation;
        for source in &state.sources {
            let (branch, parts) = (source.branch, instance.record.history_parts(source.branch));
            let parts = parts.unwrap_or_default();
            self.needs.push(Need::History { key, generation, branch, parts });
        }
        instance.reuse = Some(Box::new(Reuse::Reading(vec![None; state.sources.len()])));
        true
    }

    pub(super) fn waits_for_results(&self, (key, generation, branch): HistoryName) -> bool {
        let Some(instance) = self.instances.get(&key) else { return false };
        let state = instance.record.rewinds.as_ref().and_then(|rewinds| rewinds.reuse.as_ref());
        instance.record.generation == generation
            && matches!(instance.reuse.as_deref(), Some(Reuse::Reading(_)))
            && state.is_some_and(|state| state.sources.iter().any(|source| source.branch == branch))
    }

    /// Takes the history of a branch whose results an instance waits for.
    pub(super) fn results_read(&mut self, name: HistoryName, history: &[Event]) {
        if !self.waits_for_results(name) {
            return;
        }
        let (key, _, branch) = name;
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let state = instance.record.rewinds.as_ref().and_then(|rewinds| rewinds.reuse.as_ref());
        let (Some(state), Some(Reuse::Reading(read))) = (state, instance.reuse.as_deref_mut()) else {
            return;
        };
        for (source, read) in state.sources.iter().zip(read.iter_mut()) {
            if source.branch == branch {
                *read = Some(history.to_vec());
            }
        }
        if read.iter().all(Option::is_some) {
            let histories: Vec<_> = read.drain(..).flatten().collect();
            instance.reuse = Some(Box::new(Reuse::Ready(ReuseTable::new(state, &histories))));
            self.enqueue(key);
        }
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
