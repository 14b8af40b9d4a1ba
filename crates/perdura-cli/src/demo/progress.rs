//! What the pipeline's process tells its supervisor, a line of JSON each, and how a person sees it.

use super::pipeline::Summary;
use serde::{Deserialize, Serialize};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// A line on the standard output of the pipeline's process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// Files done by this process so far.
    Done(u64),
    /// As many files as it was told are done; it begins no more.
    HalfWay,
    /// All is over.
    Finished(Box<Summary>),
}

impl Line {
    pub fn print(&self) {
        if let Ok(text) = serde_json::to_string(self) {
            // Nobody reads any more: the supervisor is gone, and the work goes on.
            let _ = writeln!(std::io::stdout().lock(), "{text}");
        }
    }
}

/// A bar on a terminal, a line now and then elsewhere.
pub struct Bar {
    total: u64,
    terminal: bool,
    last: Option<Instant>,
    complete: bool,
}

impl Bar {
    const WIDTH: u64 = 40;

    pub fn new(total: u64) -> Bar {
        Bar { total, terminal: std::io::stderr().is_terminal(), last: None, complete: false }
    }

    pub fn show(&mut self, done: u64) {
        let pause = if self.terminal { Duration::from_millis(50) } else { Duration::from_secs(1) };
        let completes = done >= self.total && !std::mem::replace(&mut self.complete, done >= self.total);
        if !completes && self.last.is_some_and(|last| last.elapsed() < pause) {
            return;
        }
        self.last = Some(Instant::now());
        let filled = (done * Self::WIDTH).checked_div(self.total).unwrap_or(Self::WIDTH).min(Self::WIDTH);
        let bar: String = (0..Self::WIDTH).map(|i| if i < filled { '#' } else { '.' }).collect();
        let (start, end) = if self.terminal { ("\r", "") } else { ("", "\n") };
        eprint!("{start}[{bar}] {done} of {} files{end}", self.total);
    }

    pub fn end(&self) {
        if self.terminal {
            eprintln!();
        }
    }
}
