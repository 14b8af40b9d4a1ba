//! Retry policies: how often, how far apart, for how long. The engine keeps them as state of the task, not as timers
//! in the history.

use crate::failure::Failure;
use crate::time::Timestamp;

/// When a failed attempt is followed by another. The default never retries.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RetryPolicy {
    /// Attempts in all, the first one included; 0 and 1 mean a single attempt.
    #[prost(uint32, tag = "1")]
    pub attempts_max: u32,
    /// Wait before the second attempt, in milliseconds.
    #[prost(uint64, tag = "2")]
    pub backoff_ms: u64,
    /// Each further wait is this many times the last one; values below 1 count as 1.
    #[prost(double, tag = "3")]
    pub backoff_factor: f64,
    /// Longest wait, in milliseconds; 0 means no bound.
    #[prost(uint64, tag = "4")]
    pub backoff_ms_max: u64,
    /// Share of the wait that is drawn at random on top of it, 0 to 1, so that retries spread out.
    #[prost(double, tag = "5")]
    pub jitter: f64,
    /// Failures of these kinds are final.
    #[prost(string, repeated, tag = "6")]
    pub non_retryable_kinds: Vec<String>,
}

/// A retry policy or a time limit that makes no sense, by field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("retry policy: {field} {problem}")]
pub struct InvalidPolicy {
    /// Which field.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl RetryPolicy {
    /// Checks that the numbers make sense.
    pub fn check(&self) -> Result<(), InvalidPolicy> {
        let bad = |field, problem| Err(InvalidPolicy { field, problem });
        if self.attempts_max == 0 {
            return bad("attempts_max", "must be at least 1");
        }
        if !self.backoff_factor.is_finite() || self.backoff_factor < 1.0 || self.backoff_factor > 1000.0 {
            return bad("backoff_factor", "must be a number from 1 to 1000");
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return bad("jitter", "must be a number from 0 to 1");
        }
        if self.backoff_ms_max != 0 && self.backoff_ms_max < self.backoff_ms {
            return bad("backoff_ms_max", "must not be less than backoff_ms");
        }
        Ok(())
    }

    /// When to try again after attempt number `attempt` (the first is 1) failed with `failure`; `None` if that was
    /// the last. `dice` is a random number from 0 to 1; `give_up_at` is when the task's time as a whole is over.
    #[must_use]
    pub fn next_attempt(
        &self,
        attempt: u32,
        failure: &Failure,
        now: Timestamp,
        give_up_at: Timestamp,
        dice: f64,
    ) -> Option<Timestamp> {
        let last = attempt >= self.attempts_max.max(1);
        if last || failure.non_retryable || self.non_retryable_kinds.contains(&failure.kind) {
            return None;
        }
        let bound = if self.backoff_ms_max == 0 { u64::MAX } else { self.backoff_ms_max } as f64;
        let times = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        // Kept a number, so that no wait stays none.
        let factor = self.backoff_factor.max(1.0).powi(times).min(f64::MAX);
        let wait = (self.backoff_ms as f64 * factor).min(bound);
        let wait = (wait + wait * self.jitter * dice).min(crate::limits::DELAY_MS_MAX as f64);
        let at = Timestamp(now.0.saturating_add(wait.ceil() as i64));
        (at < give_up_at).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            attempts_max: 4,
            backoff_ms: 100,
            backoff_factor: 2.0,
            backoff_ms_max: 300,
            ..Default::default()
        }
    }

    fn waits(policy: &RetryPolicy, dice: f64) -> Vec<Option<i64>> {
        let failure = Failure::new("E", "e");
        (1..=4)
            .map(|n| policy.next_attempt(n, &failure, Timestamp(0), Timestamp::MAX, dice).map(|at| at.0))
            .collect()
    }

    #[test]
    fn waits_grow_to_the_bound_and_end_with_the_attempts() {
        assert_eq!(waits(&policy(), 0.0), [Some(100), Some(200), Some(300), None]);
    }

    #[test]
    fn without_a_backoff_there_is_no_wait_however_often_it_failed() {
        let policy = RetryPolicy { attempts_max: u32::MAX, backoff_ms: 0, backoff_ms_max: 0, ..policy() };
        for attempt in [1, 1024, 1025, 1026, u32::MAX - 1] {
            let next =
                policy.next_attempt(attempt, &Failure::new("E", "e"), Timestamp(7), Timestamp::MAX, 0.5);
            assert_eq!(next, Some(Timestamp(7)), "{attempt}");
        }
    }

    #[test]
    fn jitter_only_makes_a_wait_longer() {
        let policy = RetryPolicy { jitter: 0.5, ..policy() };
        assert_eq!(waits(&policy, 0.0), [Some(100), Some(200), Some(300), None]);
        assert_eq!(waits(&policy, 1.0), [Some(150), Some(300), Some(450), None]);
    }

    #[test]
    fn a_failure_that_is_final_or_out_of_time_is_not_retried() {
        let policy = RetryPolicy { non_retryable_kinds: vec!["Bad".into()], ..policy() };
        let next = |f: &Failure, end| policy.next_attempt(1, f, Timestamp(0), Timestamp(end), 0.0);
        assert_eq!(next(&Failure::new("Bad", ""), 1000), None);
        assert_eq!(next(&Failure::new("E", "").non_retryable(), 1000), None);
        assert_eq!(next(&Failure::new("E", ""), 100), None);
        assert_eq!(next(&Failure::new("E", ""), 101), Some(Timestamp(100)));
    }

    #[test]
    fn a_policy_that_makes_no_sense_names_its_field() {
        let field = |p: RetryPolicy| p.check().unwrap_err().field;
        assert_eq!(field(RetryPolicy { attempts_max: 0, ..policy() }), "attempts_max");
        for factor in [0.0, f64::NAN, 1e9] {
            assert_eq!(field(RetryPolicy { backoff_factor: factor, ..policy() }), "backoff_factor");
        }
        assert_eq!(field(RetryPolicy { backoff_ms_max: 1, ..policy() }), "backoff_ms_max");
        assert_eq!(field(RetryPolicy { jitter: 2.0, ..policy() }), "jitter");
    }
}
