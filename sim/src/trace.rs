//! What happened in a run: always as a hash, as text when it is to be read.

use std::fmt::Write as _;

/// A record of a run.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// An empty one, with or without text.
    #[must_use]
    pub fn new(with_text: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, lines: with_text.then(Vec::new) }
    }

    /// Notes numbers that tell what happens.
    pub fn mix(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
    }

    /// Notes what happens, in words, if somebody is to read it.
    pub fn say(&mut self, now: u64, what: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let mut line = String::new();
            let _ = write!(line, "{now:>8} ms  {}", what());
            lines.push(line);
        }
    }

    /// A number that differs when anything that happened differs.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The text.
    #[must_use]
    pub fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
