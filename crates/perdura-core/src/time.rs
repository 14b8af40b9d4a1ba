//! Points and spans of time. The core never reads a clock: `now` is always an argument.

use std::fmt;
use std::time::{Duration, SystemTime};

const LAST_OF_9999: u64 = 253_402_300_799_999;

/// Milliseconds since 1970-01-01 UTC, by the store's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Later than every time that can be asked for.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// This time plus `span`, rounded up to a whole millisecond so that nothing ever fires early.
    ///
    /// ```
    /// use perdura_core::Timestamp;
    /// use std::time::Duration;
    /// assert_eq!(Timestamp(10).after(Duration::from_micros(400)), Timestamp(11));
    /// ```
    #[must_use]
    pub fn after(self, span: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(millis_rounded_up(span)))
    }

    /// How long until `later`; zero if it has passed.
    #[must_use]
    pub fn until(self, later: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

impl From<SystemTime> for Timestamp {
    /// Rounded up to a whole millisecond.
    ///
    /// ```
    /// use perdura_core::Timestamp;
    /// use std::time::{Duration, SystemTime};
    /// let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_500);
    /// assert_eq!(Timestamp::from(time), Timestamp(2));
    /// assert_eq!(SystemTime::from(Timestamp(2)), SystemTime::UNIX_EPOCH + Duration::from_millis(2));
    /// ```
    fn from(time: SystemTime) -> Timestamp {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Timestamp(millis_rounded_up(after)),
            Err(before) => {
                let whole = before.duration().as_millis();
                Timestamp(i64::try_from(whole).map_or(i64::MIN, |ms| -ms))
            }
        }
    }
}

impl From<Timestamp> for SystemTime {
    /// A time that the platform cannot hold becomes the last millisecond of the year 9999, or the first of 1970.
    fn from(at: Timestamp) -> SystemTime {
        let span = Duration::from_millis(at.0.unsigned_abs());
        let (time, limit) = match at.0 >= 0 {
            true => (SystemTime::UNIX_EPOCH.checked_add(span), Duration::from_millis(LAST_OF_9999)),
            false => (SystemTime::UNIX_EPOCH.checked_sub(span), Duration::ZERO),
        };
        time.unwrap_or_else(|| SystemTime::UNIX_EPOCH + limit)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, to the millisecond.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, ms) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000));
        let (year, month, day) = civil_from_days(days);
        let (h, m, s, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z")
    }
}

/// `span` in milliseconds, rounded up, saturating.
pub(crate) fn millis_rounded_up(span: Duration) -> i64 {
    let up = span.as_nanos().div_ceil(1_000_000);
    i64::try_from(up).unwrap_or(i64::MAX)
}

/// Days since 1970-01-01 to (year, month, day). Howard Hinnant, "chrono-compatible low-level date algorithms".
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days.saturating_add(719_468);
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_prints_as_rfc_3339() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp(1_795_226_521_007).to_string(), "2026-11-21T02:02:01.007Z");
        assert_eq!(Timestamp(951_782_400_000).to_string(), "2000-02-29T00:00:00.000Z");
        assert_eq!(Timestamp(-1).to_string(), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn system_times_convert_both_ways_and_never_to_an_earlier_millisecond() {
        for ms in [0, 1, -1, -62_135_596_800_000, 1_795_226_521_007] {
            assert_eq!(Timestamp::from(SystemTime::from(Timestamp(ms))), Timestamp(ms));
        }
        let before = SystemTime::UNIX_EPOCH - Duration::from_micros(1_500);
        assert_eq!(Timestamp::from(before), Timestamp(-1));
        let _does_not_overflow = (SystemTime::from(Timestamp::MAX), SystemTime::from(Timestamp(i64::MIN)));
    }

    #[test]
    fn spans_round_up_and_saturate() {
        assert_eq!(Timestamp(0).after(Duration::from_nanos(1)), Timestamp(1));
        assert_eq!(Timestamp(5).after(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp(5).until(Timestamp(3)), Duration::ZERO);
    }
}
