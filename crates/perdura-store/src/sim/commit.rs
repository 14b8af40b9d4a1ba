//! A commit in the simulated store: what is checked, in which order, and what changes.

use super::bug::{Planted, StoreBug};
use super::contents::{Contents, HistoryKey};
use super::undo::Undo;
use crate::{CommitOutcome, Grant, Rejection};
use perdura_core::partition::{Batch, Envelope, EnvelopeId, HistoryRow, InstanceWrite};
use perdura_core::{InstanceId, InstanceKey, PartitionId, Timestamp};

pub(super) fn commit(
    contents: &mut Contents,
    planted: Planted,
    clock: Timestamp,
    grant: &Grant,
    batch: Batch,
) -> CommitOutcome {
    if !is_latest(contents, planted, grant) {
        return CommitOutcome::Fenced;
    }
    let now = clock.max(contents.clock);
    if let Some(needed) = batch.not_before.filter(|needed| *needed > now) {
        return CommitOutcome::Rejected(Rejection::TooEarly { now, needed });
    }
    let batch_now = batch.now;
    let mut writer =
        Writer { undo: Undo::new(contents), partition: grant.partition, planted, changes_of_first_write: 0 };
    match writer.apply(batch) {
        Ok(()) => {
            contents.clock = contents.clock.max(batch_now);
            CommitOutcome::Committed
        }
        Err((instance, what)) => {
            let torn = if planted.has(StoreBug::TornBatch) { writer.changes_of_first_write } else { 0 };
            writer.undo.roll_back(torn);
            CommitOutcome::Rejected(Rejection::Conflict { instance, what })
        }
    }
}

fn is_latest(contents: &Contents, planted: Planted, grant: &Grant) -> bool {
    contents.partitions.get(usize::from(grant.partition.0)).is_some_and(|partition| {
        let epoch = partition.epoch == grant.epoch || planted.has(StoreBug::NoFence);
        let nonce = partition.nonce == grant.nonce
            || planted.has(StoreBug::NoFence)
            || planted.has(StoreBug::NonceIgnored);
        epoch && nonce
    })
}

struct Writer<'a> {
    undo: Undo<'a>,
    partition: PartitionId,
    planted: Planted,
    changes_of_first_write: usize,
}

impl Writer<'_> {
    fn apply(&mut self, batch: Batch) -> Result<(), (Option<InstanceId>, String)> {
        let of_nobody = |what| (None, what);
        for key in batch.purge {
            self.purge(key).map_err(of_nobody)?;
        }
        for write in batch.writes {
            let id = write.row.id.clone();
            self.write(write).map_err(|what| (Some(id), what))?;
            if self.changes_of_first_write == 0 {
                self.changes_of_first_write = self.undo.changes();
            }
        }
        for message in batch.consumed {
            self.consume(message).map_err(of_nobody)?;
        }
        batch.outgoing.into_iter().try_for_each(|envelope| self.send(envelope)).map_err(of_nobody)
    }

    fn check_owner(&self, key: InstanceKey) -> Result<(), String> {
        if key.partition() == self.partition {
            Ok(())
        } else {
            Err(format!("key {} is not one of partition {}", key.0, self.partition.0))
        }
    }

    fn purge(&mut self, key: InstanceKey) -> Result<(), String> {
        self.check_owner(key)?;
        if let Some(row) = self.undo.contents.instances.get(&key) {
            let id = row.id.clone();
            self.undo.set_key(id, None);
            self.undo.set_instance(key, None);
        }
        self.drop_history(key, |_| true);
        Ok(())
    }

    fn drop_history(&mut self, key: InstanceKey, which: impl Fn(&HistoryKey) -> bool) {
        let rows: Vec<_> = self
            .undo
            .contents
            .histories_of(key)
            .filter(|(history, _)| which(history))
            .flat_map(|(history, rows)| rows.keys().map(|first| (*history, *first)))
            .collect();
        for (history, first) in rows {
            self.undo.set_history(history, first, None);
        }
    }

    fn write(&mut self, write: InstanceWrite) -> Result<(), String> {
        let key = write.row.key;
        self.check_owner(key)?;
        self.check_tail(&write)?;
        if write.expected.is_none() {
            self.undo.set_key(write.row.id.clone(), Some(key));
            let index = usize::from(self.partition.0);
            let mut state = self.undo.contents.partitions[index];
            state.next_key = state.next_key.max(key.number() + 1);
            self.undo.set_partition(index, state);
        }
        self.undo.set_instance(key, Some(write.row));
        if let Some(row) = write.history {
            self.append(key, row)?;
        }
        if let Some(generation) = write.drop_generations_before {
            self.drop_history(key, |history| history.generation < generation);
        }
        Ok(())
    }

    fn check_tail(&self, write: &InstanceWrite) -> Result<(), String> {
        let row = &write.row;
        let stored = self.undo.contents.instances.get(&row.key);
        match (write.expected, stored) {
            (None, None) if self.undo.contents.keys.contains_key(&row.id) => {
                Err(format!("there is an instance {} already", row.id))
            }
            (None, None) => Ok(()),
            (None, Some(_)) => Err(format!("there is an instance with key {} already", row.key.0)),
            (Some(_), None) => Err(format!("there is no instance with key {}", row.key.0)),
            (Some(_), Some(_)) if self.planted.has(StoreBug::NoTailCheck) => Ok(()),
            (Some(expected), Some(stored)) => {
                let same = stored.id == row.id
                    && (stored.generation, stored.branch, stored.tail)
                        == (expected.generation, expected.branch, expected.events);
                if same { Ok(()) } else { Err(format!("instance {} is not where {expected:?} says", row.id)) }
            }
        }
    }

    fn append(&mut self, key: InstanceKey, row: HistoryRow) -> Result<(), String> {
        let history = HistoryKey { key, generation: row.generation, branch: row.branch };
        let expected = match self.undo.contents.history_end(history) {
            Some(end) => end,
            // A rewind begins its branch at the cut; what lies before is in another branch.
            None if row.branch > 0 => row.first,
            None => 0,
        };
        if row.count == 0 {
            return Err(format!("an empty history row for key {}", key.0));
        }
        if row.first != expected && !self.planted.has(StoreBug::NoTailCheck) {
            return Err(format!(
                "the history of key {} ends at {expected}, a row begins at {}",
                key.0, row.first
            ));
        }
        self.undo.set_history(history, row.first, Some(row));
        Ok(())
    }

    fn consume(&mut self, message: EnvelopeId) -> Result<(), String> {
        if self.planted.has(StoreBug::InboxConsumedTwice) {
            return Ok(());
        }
        let at = (self.partition, message);
        if !self.undo.contents.envelopes.contains_key(&at) {
            return Err(format!("there is no message {} from partition {}", message.number, message.from.0));
        }
        self.undo.set_envelope(at, None);
        Ok(())
    }

    fn send(&mut self, envelope: Envelope) -> Result<(), String> {
        if envelope.from != self.partition {
            return Err(format!("partition {} sends as {}", self.partition.0, envelope.from.0));
        }
        if usize::from(envelope.to.0) >= self.undo.contents.partitions.len() {
            return Err(format!("there is no partition {} to send to", envelope.to.0));
        }
        let at = (envelope.to, EnvelopeId { from: envelope.from, number: envelope.number });
        if self.undo.contents.envelopes.contains_key(&at) {
            return Err(format!("message {} was sent before", envelope.number));
        }
        let index = usize::from(self.partition.0);
        let mut state = self.undo.contents.partitions[index];
        state.next_envelope = state.next_envelope.max(envelope.number.saturating_add(1));
        self.undo.set_partition(index, state);
        self.undo.set_envelope(at, Some(envelope));
        Ok(())
    }
}
