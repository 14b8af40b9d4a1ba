//! Times: milliseconds in the core, seconds and nanoseconds on the wire.

use perdura_core::Timestamp;

/// A time of the wire that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {seconds} s and {nanos} ns since 1970 is not a time between the years 1 and 9999")]
pub(crate) struct InvalidTime {
    field: &'static str,
    seconds: i64,
    nanos: i32,
}

/// The first second of the year 1, and that after the year 9999.
const SECONDS: std::ops::Range<i64> = -62_135_596_800..253_402_300_800;

pub(crate) fn time_out(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.0.div_euclid(1000),
        nanos: (at.0.rem_euclid(1000) * 1_000_000) as i32,
    }
}

/// A time, rounded up to the next millisecond: nothing may happen too early.
pub(crate) fn time_in(field: &'static str, at: &prost_types::Timestamp) -> Result<Timestamp, InvalidTime> {
    let (seconds, nanos) = (at.seconds, at.nanos);
    if !SECONDS.contains(&seconds) || !(0..1_000_000_000).contains(&nanos) {
        return Err(InvalidTime { field, seconds, nanos });
    }
    Ok(Timestamp(seconds * 1000 + (i64::from(nanos) + 999_999) / 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(seconds: i64, nanos: i32) -> prost_types::Timestamp {
        prost_types::Timestamp { seconds, nanos }
    }

    #[test]
    fn times_are_rounded_up_and_survive_the_wire() {
        for ms in [0, 1, 999, 1000, -1, -1001, 1_764_000_000_123] {
            assert_eq!(time_in("t", &time_out(Timestamp(ms))), Ok(Timestamp(ms)));
        }
        assert_eq!(time_in("t", &wire(1, 1)), Ok(Timestamp(1001)));
        assert_eq!(time_in("t", &wire(-1, 999_999_999)), Ok(Timestamp(0)));
    }

    #[test]
    fn times_that_do_not_exist_are_refused() {
        for (seconds, nanos) in [(i64::MIN, 0), (i64::MAX, 0), (0, -1), (0, i32::MAX), (SECONDS.end, 0)] {
            let message = time_in("fire at", &wire(seconds, nanos)).unwrap_err().to_string();
            assert!(message.starts_with("fire at: "), "{message}");
        }
    }
}
