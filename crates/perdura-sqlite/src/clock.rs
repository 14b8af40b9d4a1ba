//! The store's time: the wall clock, but it never runs back and never stands still.
//!
//! A wall clock that is set back must not stop timers, so time then goes on by the monotonic clock from the latest time
//! that was told. One that is set forward takes the store's time along, for good: what is past cannot be future again.

use perdura_core::Timestamp;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A difference between the clocks that is worth a warning, in milliseconds.
const JUMP_MS: i64 = 60_000;

#[derive(Debug)]
pub(crate) struct Clock {
    began: Instant,
    /// The store's time when `began` was; it only grows.
    origin: AtomicI64,
    warned_of_lag: AtomicBool,
}

impl Clock {
    /// A clock that is not behind what was committed.
    pub(crate) fn new(committed: Timestamp) -> Clock {
        Clock {
            began: Instant::now(),
            origin: AtomicI64::new(wall().max(committed.0)),
            warned_of_lag: AtomicBool::new(false),
        }
    }

    pub(crate) fn committed(&self, at: Timestamp) {
        self.origin.fetch_max(at.0.saturating_sub(self.elapsed()), Ordering::AcqRel);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.at(wall(), self.elapsed())
    }

    fn elapsed(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    fn at(&self, wall: i64, elapsed: i64) -> Timestamp {
        let told = self.origin.load(Ordering::Acquire).saturating_add(elapsed);
        if wall > told {
            if wall - told > JUMP_MS {
                tracing::warn!(
                    seconds = (wall - told) / 1000,
                    "the clock has jumped forward, or the machine slept"
                );
            }
            self.origin.fetch_max(wall - elapsed, Ordering::AcqRel);
        } else if told - wall > JUMP_MS && !self.warned_of_lag.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                seconds = (told - wall) / 1000,
                "the wall clock is behind the hub's time, which goes on"
            );
        }
        Timestamp(wall.max(told))
    }
}

/// Milliseconds since 1970; 0 for a wall clock that was never set.
fn wall() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    i64::try_from(since).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(origin: i64) -> Clock {
        let clock = Clock::new(Timestamp(0));
        clock.origin.store(origin, Ordering::Release);
        clock
    }

    #[test]
    fn a_wall_clock_that_is_set_back_neither_turns_time_back_nor_stops_it() {
        let clock = clock(1_000_000);
        assert_eq!(clock.at(1_000_010, 10), Timestamp(1_000_010));
        assert_eq!(clock.at(500_000, 20), Timestamp(1_000_020));
        assert_eq!(clock.at(500_500, 520), Timestamp(1_000_520));
    }

    #[test]
    fn a_wall_clock_that_is_set_forward_takes_time_along_for_good() {
        let clock = clock(1_000_000);
        assert_eq!(clock.at(9_000_000, 10), Timestamp(9_000_000));
        assert_eq!(clock.at(1_000_020, 20), Timestamp(9_000_010));
    }

    #[test]
    fn time_begins_no_earlier_than_what_was_committed() {
        let ahead = wall() + 3_600_000;
        let clock = Clock::new(Timestamp(ahead));
        assert!(clock.now().0 >= ahead);
        clock.committed(Timestamp(ahead + 1_000_000));
        assert!(clock.now().0 >= ahead + 1_000_000);
    }
}
