//! What can be chosen when a hub is opened.

/// How a file is opened. The default suits a program of its own; all sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// How many partitions a new hub gets. One that exists keeps its number.
    pub partitions: u16,
    /// Memory for pages of the writer. Each of the few readers may use a quarter of it.
    pub cache_bytes: u32,
    /// From this size of the log on, it is moved into the file in the background. A longer log gathers more changes of
    /// the same page before it is moved.
    pub log_bytes: u32,
    /// The file does not grow beyond this; commits that need more are rejected as if the disk were full.
    pub file_bytes_max: Option<u64>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        SqliteOptions { partitions: 1, cache_bytes: 64 << 20, log_bytes: 32 << 20, file_bytes_max: None }
    }
}
