//! Ownership (I33, I34): only the latest grant commits, no nonce comes twice, and what an owner believes is what its
//! store holds.

use super::{Checker, Group, Judged};
use perdura_core::PartitionId;
use perdura_store::sim::SimStore;
use perdura_store::{CommitOutcome, Grant, Rejection};

impl Checker {
    /// A store gave a grant.
    pub fn granted(&mut self, grant: &Grant) {
        self.latest[usize::from(grant.partition.0)] = grant.nonce;
        let new = self.nonces.insert(grant.nonce);
        self.check(Group::Ownership, new.then_some(()).ok_or_else(|| "a nonce came twice".into()));
    }

    /// Takes a grant that nobody uses, so that every one before it is void.
    pub fn expect_new_grant(&mut self, partition: PartitionId, store: &SimStore, nonce: u128) {
        if let Ok(grant) = store.acquire_now(partition, nonce) {
            self.granted(&grant);
        }
    }

    /// Whether this is the latest grant of its partition.
    #[must_use]
    pub fn is_latest(&self, partition: PartitionId, nonce: u128) -> bool {
        self.latest[usize::from(partition.0)] == nonce
    }

    /// A store performed a commit, whatever the writer heard of it.
    pub fn commit_performed(&mut self, grant: &Grant, outcome: &CommitOutcome, clocks_agree: bool) {
        let latest = self.is_latest(grant.partition, grant.nonce);
        let result = match outcome {
            CommitOutcome::Committed if !latest => Err(format!(
                "epoch {} of partition {} committed after a takeover",
                grant.epoch, grant.partition.0
            )),
            CommitOutcome::Fenced if latest => {
                Err(format!("partition {}: the latest grant was fenced", grant.partition.0))
            }
            CommitOutcome::Rejected(Rejection::Conflict { what, .. })
                if self.judged == Judged::Everything && self.damaged.is_empty() =>
            {
                Err(format!("partition {}: the owner contradicts the store: {what}", grant.partition.0))
            }
            CommitOutcome::Rejected(Rejection::TooEarly { now, needed }) if clocks_agree => {
                Err(format!("partition {}: relied on {needed:?} at {now:?}", grant.partition.0))
            }
            _ => Ok(()),
        };
        self.check(Group::Ownership, result);
    }
}
