//! Items that may end whoever runs them. A worker that is lost leaves no word of which of its items it was, so all of them
//! count as lost. One that was lost often has a *trial*: it is handed out while no other such item has one. A trial ends with
//! the item's stay at a worker or when its time is up, so that neither an item that nobody takes nor a worker that hangs holds
//! the others up. Those that were lost less often come first: what is innocent leaves, and what is not comes last, so that it
//! is the last that its worker was given, which is the one that counts then.

use super::ItemId;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// From so many losses in a row on, an item has a trial.
const TRIAL_FROM: u32 = 3;
/// How long the first trial is; each that follows is twice as long, for what takes long to end its worker.
const TRIAL_FIRST: Duration = Duration::from_secs(30);
const TRIAL_MAX: Duration = Duration::from_secs(240);

/// Whether an item that was lost so often in a row has a trial.
pub(super) fn is_suspect(lost: u32) -> bool {
    lost >= TRIAL_FROM
}

/// See the module.
#[derive(Default)]
pub(super) struct Suspects {
    /// By how often they were lost, and by age.
    waiting: BTreeSet<(u32, ItemId)>,
    /// Which, and until when.
    on_trial: Option<(ItemId, Instant)>,
}

impl Suspects {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = ItemId> {
        self.waiting.iter().map(|(_, id)| *id)
    }

    pub(super) fn add(&mut self, lost: u32, id: ItemId) {
        self.waiting.insert((lost, id));
    }

    pub(super) fn remove(&mut self, lost: u32, id: ItemId) {
        self.waiting.remove(&(lost, id));
    }

    pub(super) fn begin_trial(&mut self, id: ItemId, lost: u32, now: Instant) {
        let time = TRIAL_FIRST.saturating_mul(1 << lost.saturating_sub(TRIAL_FROM).min(16)).min(TRIAL_MAX);
        self.on_trial = Some((id, now + time));
    }

    /// The item leaves its worker. Says whether it had its trial.
    pub(super) fn end_trial(&mut self, id: ItemId) -> bool {
        self.on_trial.take_if(|(on_trial, _)| *on_trial == id).is_some()
    }

    pub(super) fn is_trial(&self, now: Instant) -> bool {
        self.on_trial.is_some_and(|(_, until)| now < until)
    }

    /// When the trial ends that others wait for.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        self.on_trial.map(|(_, until)| until).filter(|until| now < *until && !self.waiting.is_empty())
    }
}
