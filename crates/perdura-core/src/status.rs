//! The states of an instance, and what a start does when its id is taken.

use std::fmt;

/// The status of an instance. The numbers are those of the DurableTask protocol and are stored: never reuse one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Status {
    /// Has begun and is not finished.
    Running = 0,
    /// Ended with an output.
    Completed = 1,
    /// Ended with an error.
    Failed = 3,
    /// Ended because it was asked to, by its own code.
    Canceled = 4,
    /// Ended by force.
    Terminated = 5,
    /// Accepted, no turn has run yet.
    #[default]
    Pending = 6,
    /// Stopped until it is resumed.
    Suspended = 7,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 7] = [
        Status::Pending,
        Status::Running,
        Status::Suspended,
        Status::Completed,
        Status::Failed,
        Status::Canceled,
        Status::Terminated,
    ];

    /// Whether the instance has ended.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Status::Completed | Status::Failed | Status::Canceled | Status::Terminated)
    }

    /// The status with this stored number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Status> {
        Status::ALL.into_iter().find(|status| *status as u8 == number)
    }

    /// Its name, as the field writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Status::Running => "Running",
            Status::Completed => "Completed",
            Status::Failed => "Failed",
            Status::Canceled => "Canceled",
            Status::Terminated => "Terminated",
            Status::Pending => "Pending",
            Status::Suspended => "Suspended",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a start does when an instance with its id exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExisting {
    /// Answer with an error that tells the status.
    #[default]
    Fail,
    /// Leave it alone and answer `existing`.
    UseExisting,
    /// End it if it runs (its children too), begin a new execution under the same id and answer `replaced`.
    Replace,
}

/// By status of the existing instance, what a start does. The default fails whatever the status.
///
/// ```
/// use perdura_core::{OnExisting, ReusePolicy, Status};
/// let policy = ReusePolicy::FAIL.when_terminal(OnExisting::Replace);
/// assert_eq!(policy.on(Status::Running), OnExisting::Fail);
/// assert_eq!(policy.on(Status::Failed), OnExisting::Replace);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReusePolicy([OnExisting; 8]);

impl ReusePolicy {
    /// An existing instance is an error.
    pub const FAIL: ReusePolicy = ReusePolicy([OnExisting::Fail; 8]);
    /// An existing instance is taken as it is.
    pub const USE_EXISTING: ReusePolicy = ReusePolicy([OnExisting::UseExisting; 8]);
    /// An existing instance is ended and replaced.
    pub const REPLACE: ReusePolicy = ReusePolicy([OnExisting::Replace; 8]);

    /// The same policy, but `action` for an instance in `status`.
    #[must_use]
    pub fn when(mut self, status: Status, action: OnExisting) -> Self {
        self.0[status as usize] = action;
        self
    }

    /// The same policy, but `action` for every instance that has ended.
    #[must_use]
    pub fn when_terminal(self, action: OnExisting) -> Self {
        Status::ALL
            .into_iter()
            .filter(|s| s.is_terminal())
            .fold(self, |policy, status| policy.when(status, action))
    }

    /// The same policy, but `action` for every instance that has not ended.
    #[must_use]
    pub fn when_active(self, action: OnExisting) -> Self {
        Status::ALL
            .into_iter()
            .filter(|s| !s.is_terminal())
            .fold(self, |policy, status| policy.when(status, action))
    }

    /// What to do when the existing instance is in `status`.
    #[must_use]
    pub fn on(&self, status: Status) -> OnExisting {
        self.0[status as usize]
    }

    /// The policy as one number, two bits per status.
    #[must_use]
    pub fn to_bits(self) -> u32 {
        self.0.iter().enumerate().fold(0, |bits, (i, action)| bits | (*action as u32) << (2 * i))
    }

    /// The policy of a number that [`to_bits`](Self::to_bits) made; an action of a later version reads as `Fail`.
    #[must_use]
    pub fn from_bits(bits: u32) -> Self {
        let mut policy = ReusePolicy::FAIL;
        for (i, action) in policy.0.iter_mut().enumerate() {
            *action = match bits >> (2 * i) & 3 {
                1 => OnExisting::UseExisting,
                2 => OnExisting::Replace,
                _ => OnExisting::Fail,
            };
        }
        policy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_survives_its_number() {
        let policy = ReusePolicy::FAIL
            .when_active(OnExisting::UseExisting)
            .when(Status::Failed, OnExisting::Replace)
            .when(Status::Suspended, OnExisting::Fail);
        assert_eq!(ReusePolicy::from_bits(policy.to_bits()), policy);
    }

    #[test]
    fn status_numbers_are_those_of_the_protocol() {
        let numbers: Vec<u8> = Status::ALL.iter().map(|s| *s as u8).collect();
        assert_eq!(numbers, [6, 0, 7, 1, 3, 4, 5]);
        assert!(Status::ALL.iter().all(|s| Status::from_number(*s as u8) == Some(*s)));
        assert_eq!(Status::from_number(2), None);
    }
}
