//! How a load is run.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The only argument of the load's process, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoadOptions {
    /// The hub's file.
    pub hub: PathBuf,
    /// Where activities write that they ran.
    pub evidence: PathBuf,
    /// Partitions of a new hub.
    pub partitions: u16,
    /// Instances held in memory.
    pub resident_instances_max: usize,
    /// The file does not grow beyond this.
    pub file_bytes_max: Option<u64>,
    /// How long a shutdown waits for activities.
    pub drain_ms: u64,
    /// Processes that may end in one attempt or turn.
    pub lost_workers_max: u32,
}

impl LoadOptions {
    /// A load in a directory.
    #[must_use]
    pub fn new(directory: &Path) -> LoadOptions {
        LoadOptions {
            hub: directory.join("hub.db"),
            evidence: directory.join("evidence"),
            partitions: 2,
            resident_instances_max: 50_000,
            file_bytes_max: None,
            drain_ms: 30_000,
            // The tests kill the process at random and quickly: ten times within one attempt is no fault of the activity.
            lost_workers_max: u32::MAX,
        }
    }
}
