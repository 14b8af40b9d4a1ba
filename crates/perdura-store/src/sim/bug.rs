//! Bugs that can be planted in the simulated store. The simulation must find each of them.

/// A way in which a store can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreBug {
    /// The grant is not checked at all.
    NoFence,
    /// Only the epoch of the grant is checked. Shows after a fail-over that loses a grant: its epoch is given again.
    NonceIgnored,
    /// A rejected batch leaves its first write behind.
    TornBatch,
    /// Neither the expected tail of a write nor the place of its history row is checked.
    NoTailCheck,
    /// Consumed messages are neither checked nor removed.
    InboxConsumedTwice,
}

impl StoreBug {
    /// All of them.
    pub const ALL: [StoreBug; 5] = [
        StoreBug::NoFence,
        StoreBug::NonceIgnored,
        StoreBug::TornBatch,
        StoreBug::NoTailCheck,
        StoreBug::InboxConsumedTwice,
    ];
}

/// Which bugs a store has. Without the feature `planted-bugs` there is no way to add one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Planted(u8);

impl Planted {
    #[cfg(feature = "planted-bugs")]
    pub(super) fn add(&mut self, bug: StoreBug) {
        self.0 |= 1 << bug as u8;
    }

    pub(super) fn has(self, bug: StoreBug) -> bool {
        cfg!(feature = "planted-bugs") && self.0 & 1 << bug as u8 != 0
    }
}
