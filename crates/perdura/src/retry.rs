//! How the retries of a call are written.

use perdura_core::RetryPolicy;
use std::time::Duration;

/// When a failed attempt is followed by another. The engine keeps the count and the waits; the orchestration sees only
/// the last result.
///
/// Unless told otherwise the first wait is one second, each further one twice as long up to a minute, and up to a tenth
/// is drawn at random on top so that retries spread out.
///
/// ```
/// use perdura::Retry;
/// use std::time::Duration;
///
/// let retry = Retry::attempts(5).backoff(Duration::from_millis(200)).factor(3.0).non_retryable("CardDeclined");
/// # let _ = retry;
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Retry(RetryPolicy);

impl Retry {
    /// At most so many attempts, the first one included.
    #[must_use]
    pub fn attempts(max: u32) -> Retry {
        Retry(RetryPolicy {
            attempts_max: max,
            backoff_ms: 1000,
            backoff_factor: 2.0,
            backoff_ms_max: 60_000,
            jitter: 0.1,
            non_retryable_kinds: Vec::new(),
        })
    }

    /// The wait before the second attempt.
    #[must_use]
    pub fn backoff(mut self, wait: Duration) -> Self {
        self.0.backoff_ms = millis(wait);
        self.0.backoff_ms_max = self.0.backoff_ms_max.max(self.0.backoff_ms);
        self
    }

    /// Each further wait is this many times the last one; 1 keeps them equal.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> Self {
        self.0.backoff_factor = factor;
        self
    }

    /// The longest wait.
    #[must_use]
    pub fn max_backoff(mut self, wait: Duration) -> Self {
        self.0.backoff_ms_max = millis(wait);
        self
    }

    /// The share of a wait, 0 to 1, that is drawn at random and added to it.
    #[must_use]
    pub fn jitter(mut self, share: f64) -> Self {
        self.0.jitter = share;
        self
    }

    /// Errors of this [kind](crate::Error::kind) are final. May be given several times.
    #[must_use]
    pub fn non_retryable(mut self, kind: impl Into<String>) -> Self {
        self.0.non_retryable_kinds.push(kind.into());
        self
    }

    pub(crate) fn into_policy(self) -> RetryPolicy {
        self.0
    }
}

/// In milliseconds, rounded up, so that a limit that was set never becomes none.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
