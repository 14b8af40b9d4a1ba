//! How a batch that fails half-way is taken back: each change notes what was there before.

use super::contents::{Contents, HistoryKey, PartitionState};
use perdura_core::partition::{Envelope, EnvelopeId, HistoryRow, InstanceRow};
use perdura_core::{InstanceId, InstanceKey, PartitionId};

enum Was {
    Instance(InstanceKey, Option<InstanceRow>),
    Key(InstanceId, Option<InstanceKey>),
    History(HistoryKey, u64, Option<HistoryRow>),
    Envelope((PartitionId, EnvelopeId), Option<Envelope>),
    Partition(usize, PartitionState),
}

/// Changes contents and remembers what they were.
pub(super) struct Undo<'a> {
    pub(super) contents: &'a mut Contents,
    log: Vec<Was>,
}

impl<'a> Undo<'a> {
    pub(super) fn new(contents: &'a mut Contents) -> Undo<'a> {
        Undo { contents, log: Vec::new() }
    }

    /// How many changes were made so far.
    pub(super) fn changes(&self) -> usize {
        self.log.len()
    }

    pub(super) fn set_instance(&mut self, key: InstanceKey, row: Option<InstanceRow>) {
        let was = match row {
            Some(row) => self.contents.instances.insert(key, row),
            None => self.contents.instances.remove(&key),
        };
        self.log.push(Was::Instance(key, was));
    }

    pub(super) fn set_key(&mut self, id: InstanceId, key: Option<InstanceKey>) {
        let was = match key {
            Some(key) => self.contents.keys.insert(id.clone(), key),
            None => self.contents.keys.remove(&id),
        };
        self.log.push(Was::Key(id, was));
    }

    pub(super) fn set_history(&mut self, history: HistoryKey, first: u64, row: Option<HistoryRow>) {
        let rows = self.contents.histories.entry(history).or_default();
        let was = match row {
            Some(row) => rows.insert(first, row),
            None => rows.remove(&first),
        };
        if rows.is_empty() {
            self.contents.histories.remove(&history);
        }
        self.log.push(Was::History(history, first, was));
    }

    pub(super) fn set_envelope(&mut self, at: (PartitionId, EnvelopeId), envelope: Option<Envelope>) {
        let was = match envelope {
            Some(envelope) => self.contents.envelopes.insert(at, envelope),
            None => self.contents.envelopes.remove(&at),
        };
        self.log.push(Was::Envelope(at, was));
    }

    pub(super) fn set_partition(&mut self, index: usize, state: PartitionState) {
        let was = std::mem::replace(&mut self.contents.partitions[index], state);
        self.log.push(Was::Partition(index, was));
    }

    /// Takes back every change but the first `keep`.
    pub(super) fn roll_back(mut self, keep: usize) {
        while self.log.len() > keep {
            match self.log.pop() {
                Some(Was::Instance(key, row)) => self.set_instance(key, row),
                Some(Was::Key(id, key)) => self.set_key(id, key),
                Some(Was::History(history, first, row)) => self.set_history(history, first, row),
                Some(Was::Envelope(at, envelope)) => self.set_envelope(at, envelope),
                Some(Was::Partition(index, state)) => self.set_partition(index, state),
                None => return,
            }
            // The setters log the way back of the way back; it is not wanted.
            self.log.pop();
        }
    }
}
