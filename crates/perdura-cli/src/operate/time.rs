//! Times as people write them: `2026-11-21T03:00:00Z`, or `90m` for that long ago.

use perdura_core::Timestamp;
use prost_types::Timestamp as WireTime;
use std::time::{Duration, SystemTime};

/// A point of time, or how long ago it was.
pub fn time(text: &str) -> Result<WireTime, String> {
    let wrong = || {
        format!(
            "{text:?} is no time; write it like 2026-11-21T03:00:00Z, or like 90s, 15m, 2h or 7d for that long ago"
        )
    };
    if let Ok(ago) = span(text) {
        let at = SystemTime::now().checked_sub(ago).ok_or_else(wrong)?;
        let at = Timestamp::from(at).0;
        return Ok(WireTime {
            seconds: at.div_euclid(1000),
            nanos: (at.rem_euclid(1000) * 1_000_000) as i32,
        });
    }
    text.parse().map_err(|_| wrong())
}

/// A span of time: `90s`, `15m`, `2h`, `7d`.
pub fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no span of time; write it like 90s, 15m, 2h or 7d");
    let seconds = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

/// For people and programs to read.
pub fn shown(at: Option<&WireTime>) -> String {
    let at = at.copied().unwrap_or_default();
    Timestamp(at.seconds.saturating_mul(1000).saturating_add(i64::from(at.nanos / 1_000_000))).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_points_or_spans_before_now_and_nonsense_is_refused() {
        let at = time("2026-11-21T02:02:01.007Z").unwrap();
        assert_eq!(shown(Some(&at)), "2026-11-21T02:02:01.007Z");
        let ago = time("2h").unwrap().seconds;
        let now = Timestamp::from(SystemTime::now()).0 / 1000;
        assert!((now - 7200 - ago).abs() < 60);
        assert_eq!(span("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "h", "-1h", "3", "yesterday", "2026-13-01T00:00:00Z", "99999999999999999999d", "1ü"]
        {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
