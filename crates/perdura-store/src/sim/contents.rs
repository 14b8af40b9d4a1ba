//! Everything that a simulated hub holds, open to invariant checkers.

use perdura_core::partition::{Envelope, EnvelopeId, HistoryRow, InstanceRow};
use perdura_core::{InstanceId, InstanceKey, PartitionId, Timestamp};
use std::collections::BTreeMap;

/// One branch of the history of one generation of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HistoryKey {
    /// The instance.
    pub key: InstanceKey,
    /// The generation.
    pub generation: u32,
    /// The branch.
    pub branch: u32,
}

/// What a partition remembers besides its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// The epoch of the latest grant; 0 before the first.
    pub epoch: u64,
    /// The nonce of the latest grant.
    pub nonce: u128,
    /// See [`Grant::next_key`](crate::Grant::next_key).
    pub next_key: u64,
    /// See [`Grant::next_envelope`](crate::Grant::next_envelope).
    pub next_envelope: u64,
}

/// The rows of a simulated hub.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    /// By number.
    pub partitions: Vec<PartitionState>,
    /// Instances.
    pub instances: BTreeMap<InstanceKey, InstanceRow>,
    /// The key of each id.
    pub keys: BTreeMap<InstanceId, InstanceKey>,
    /// History rows, by the number of their first event.
    pub histories: BTreeMap<HistoryKey, BTreeMap<u64, HistoryRow>>,
    /// Messages that are not consumed, by receiver.
    pub envelopes: BTreeMap<(PartitionId, EnvelopeId), Envelope>,
    /// The highest time that a committed batch carried.
    pub clock: Timestamp,
}

impl Contents {
    pub(super) fn new(partitions: u16) -> Contents {
        let fresh = PartitionState { epoch: 0, nonce: 0, next_key: 1, next_envelope: 1 };
        Contents {
            partitions: vec![fresh; usize::from(partitions)],
            instances: BTreeMap::new(),
            keys: BTreeMap::new(),
            histories: BTreeMap::new(),
            envelopes: BTreeMap::new(),
            clock: Timestamp::default(),
        }
    }

    /// The histories of an instance, all generations and branches.
    pub fn histories_of(
        &self,
        key: InstanceKey,
    ) -> impl Iterator<Item = (&HistoryKey, &BTreeMap<u64, HistoryRow>)> {
        let from = HistoryKey { key, generation: 0, branch: 0 };
        let to = HistoryKey { key, generation: u32::MAX, branch: u32::MAX };
        self.histories.range(from..=to)
    }

    /// Where a history ends, if it has a row.
    #[must_use]
    pub fn history_end(&self, history: HistoryKey) -> Option<u64> {
        let (first, row) = self.histories.get(&history)?.last_key_value()?;
        Some(first + u64::from(row.count))
    }
}
