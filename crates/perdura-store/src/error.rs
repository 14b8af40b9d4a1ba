//! What can go wrong with a store, other than in a commit.

/// A store that cannot be opened or read. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open for writing.
    #[error("{store} is in use by {holder}; stop that process, or open another file")]
    InUse {
        /// Which store.
        store: String,
        /// Who has it, as far as known.
        holder: String,
    },
    /// It was made by a later version.
    #[error(
        "{store} has schema {found}; this version knows up to {known}: use a newer version of the program"
    )]
    Newer {
        /// Which store.
        store: String,
        /// Its schema.
        found: u32,
        /// The newest schema that is known.
        known: u32,
    },
    /// It is something else.
    #[error("{store} is not a Perdura hub: {why}")]
    Foreign {
        /// Which store.
        store: String,
        /// How it shows.
        why: String,
    },
    /// It has no such partition.
    #[error("the hub has {partitions} partitions, there is no partition {asked}")]
    NoSuchPartition {
        /// How many it has.
        partitions: u16,
        /// Which was asked for.
        asked: u16,
    },
    /// What is stored cannot be trusted.
    #[error("{store} is damaged: {what}; restore it from a backup")]
    Damaged {
        /// Which store.
        store: String,
        /// Where and how.
        what: String,
    },
    /// No room left.
    #[error("{store}: storage is full; free some space, the engine goes on by itself")]
    Full {
        /// Which store.
        store: String,
    },
    /// It cannot be reached or written at present.
    #[error("{store} is not available: {why}")]
    Unavailable {
        /// Which store.
        store: String,
        /// Why.
        why: String,
    },
}
