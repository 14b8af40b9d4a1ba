//! The report of a replay that disagrees with the history.

use std::fmt;

/// Where code and history part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The number of the event in the history.
    pub event: u64,
    /// What the history has there.
    pub expected: String,
    /// What the code did.
    pub actual: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the code does not follow the history at event {}: expected {}, got {}. Deploy code that does, and it goes on",
            self.event, self.expected, self.actual
        )
    }
}

impl std::error::Error for Mismatch {}
