//! What orchestrations and activities are given, and what they give back: about 100 bytes that carry a number.

use crate::Outcome;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// A time is noted each time that so many activities have run.
pub(crate) const MARK_EVERY: u64 = 500;

static ACTIVITIES: AtomicU64 = AtomicU64::new(0);
static WAITING: AtomicU64 = AtomicU64::new(0);
static MARKS: Mutex<Vec<Instant>> = Mutex::new(Vec::new());

/// About 100 bytes of JSON that carry a number.
#[must_use]
pub fn payload(n: u64) -> String {
    format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(82))
}

/// The number that a payload carries; `u64::MAX` if it carries none.
#[must_use]
pub fn number(payload: &str) -> u64 {
    let digits =
        payload.split("\"n\":").nth(1).and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(u64::MAX)
}

/// The activity of all workloads: it counts itself and returns a payload with the number of its input.
#[must_use]
pub fn activity(input: &str) -> String {
    if (ACTIVITIES.fetch_add(1, Relaxed) + 1).is_multiple_of(MARK_EVERY) {
        lock(&MARKS).push(Instant::now());
    }
    payload(number(input))
}

/// Called by an orchestration when it begins to wait for an event.
pub fn note_waiting() {
    WAITING.fetch_add(1, Relaxed);
}

/// How many activities have run in this process.
#[must_use]
pub fn activities_run() -> u64 {
    ACTIVITIES.load(Relaxed)
}

pub(crate) fn waiting() -> u64 {
    WAITING.load(Relaxed)
}

pub(crate) fn reset_marks() {
    ACTIVITIES.store(0, Relaxed);
    lock(&MARKS).clear();
}

pub(crate) fn marks() -> Vec<Instant> {
    lock(&MARKS).clone()
}

/// An output that does not carry the number that it should is an error.
pub fn check(output: &str, want: u64) -> Outcome<()> {
    if number(output) == want { Ok(()) } else { Err(format!("a wrong result: {output}, not {want}")) }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
