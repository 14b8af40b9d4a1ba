//! Storage (I39, I41, I42): a batch is all or nothing, and what is stored is exactly what was committed.

use super::mirror::stored_history;
use super::{Checker, Group, Judged};
use perdura_core::InstanceKey;
use perdura_core::partition::Batch;
use perdura_store::sim::{Contents, HistoryKey, SimStore};

impl Checker {
    /// Compares what a batch was about with the store, after a commit of any outcome.
    pub fn compare_batch(&mut self, batch_keys: &[InstanceKey], store: &SimStore) {
        if self.judged == Judged::Ownership {
            return;
        }
        let result = store
            .with_contents(|contents| batch_keys.iter().try_for_each(|key| self.compare(*key, contents)));
        self.check(Group::Storage, result);
    }

    /// Compares everything with the store.
    pub fn compare_all(&mut self, store: &SimStore) {
        if self.judged == Judged::Ownership {
            return;
        }
        let result = store.with_contents(|contents| {
            for key in self.mirror.instances.keys().chain(contents.instances.keys()) {
                self.compare(*key, contents)?;
            }
            if let Some(history) =
                contents.histories.keys().find(|h| !contents.instances.contains_key(&h.key))
            {
                return Err(format!("{history:?} belongs to no instance"));
            }
            let stored: Vec<_> = contents.envelopes.keys().copied().collect();
            if stored.iter().ne(self.mirror.envelopes.iter()) {
                return Err(format!("messages {stored:?}, expected {:?}", self.mirror.envelopes));
            }
            if contents.keys.len() != contents.instances.len() {
                return Err("ids and instances differ".into());
            }
            Ok(())
        });
        self.check(Group::Storage, result);
    }

    fn compare(&self, key: InstanceKey, contents: &Contents) -> Result<(), String> {
        let (seen, stored) = (self.mirror.instances.get(&key), contents.instances.get(&key));
        if seen.map(|seen| &seen.row) != stored {
            return Err(format!("{key:?}: stored is {stored:?}, committed was {seen:?}"));
        }
        let Some(seen) = seen else { return Ok(()) };
        let history = HistoryKey { key, generation: seen.row.generation, branch: seen.row.branch };
        let kept = seen.record.branches().iter().find(|opened| opened.branch == seen.row.branch);
        let end = contents.history_end(history).unwrap_or(kept.map_or(0, |opened| opened.cut));
        if end != seen.history.len() as u64 {
            return Err(format!(
                "{seen:?}: the history has {end} events, committed were {}",
                seen.history.len()
            ));
        }
        for (branch, left) in &seen.left {
            if stored_history(contents, seen, *branch).as_ref() != Some(left) {
                return Err(format!("{seen:?}: branch {branch}, which was left, has changed"));
            }
        }
        let known = |stored: &HistoryKey| {
            let is_left = seen.left.contains_key(&stored.branch) && stored.generation == history.generation;
            *stored == history || is_left
        };
        match contents.histories_of(key).find(|(stored, _)| !known(stored)) {
            Some((other, _)) => Err(format!("{seen:?}: there is also {other:?}")),
            None => Ok(()),
        }
    }
}

/// The instances that a batch is about.
#[must_use]
pub fn keys_of(batch: &Batch) -> Vec<InstanceKey> {
    batch.purge.iter().copied().chain(batch.writes.iter().map(|write| write.row.key)).collect()
}
