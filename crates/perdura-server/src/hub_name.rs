//! Names of task hubs.

use std::fmt;

/// Longest name of a task hub, in bytes.
pub const HUB_NAME_BYTES_MAX: usize = 64;

/// The name of a task hub: letters, digits, `-` and `_`. Names are not told apart by case, since they become file names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HubName(String);

/// A text that cannot name a task hub.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("task hub name: 1 to {HUB_NAME_BYTES_MAX} letters, digits, '-' or '_', but {0}")]
pub struct InvalidHubName(String);

impl HubName {
    /// Takes a name from outside.
    pub fn new(name: &str) -> Result<HubName, InvalidHubName> {
        if name.is_empty() || name.len() > HUB_NAME_BYTES_MAX {
            return Err(InvalidHubName(format!("this one has {} bytes", name.len())));
        }
        match name.bytes().position(|b| !(b.is_ascii_alphanumeric() || b == b'-' || b == b'_')) {
            Some(at) => Err(InvalidHubName(format!("byte {at} is something else"))),
            None => Ok(HubName(name.to_ascii_lowercase())),
        }
    }

    /// The name as text, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for HubName {
    /// The hub of clients that name none.
    fn default() -> Self {
        HubName("default".to_owned())
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_the_directory_or_mean_two_hubs() {
        for bad in ["", "../x", "a/b", "a.db", "a b", "hüb", "a\0", &"x".repeat(65)] {
            assert!(HubName::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(HubName::new("My-Hub_1").unwrap(), HubName::new("my-hub_1").unwrap());
        assert_eq!(HubName::new("default").unwrap(), HubName::default());
    }
}
