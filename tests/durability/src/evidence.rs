//! What activities leave behind outside of the hub: a line for each attempt that ran. The file knows nothing of the
//! engine, so it can contradict it.

use perdura::ActivityContext;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// An attempt that began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The instance.
    pub instance: String,
    /// Its run.
    pub execution: String,
    /// The task.
    pub task: u32,
    /// The attempt of the retry policy.
    pub attempt: u32,
    /// The delivery.
    pub delivery: u32,
}

impl Line {
    /// The line of an attempt.
    #[must_use]
    pub fn of(ctx: &ActivityContext) -> Line {
        Line {
            instance: ctx.instance_id().to_string(),
            execution: ctx.execution_id().to_string(),
            task: ctx.task_id(),
            attempt: ctx.attempt(),
            delivery: ctx.delivery(),
        }
    }
}

/// The file, open to be written.
#[derive(Debug)]
pub struct Evidence(File);

impl Evidence {
    /// Opens the file, and makes it if there is none.
    pub fn open(path: &Path) -> std::io::Result<Evidence> {
        Ok(Evidence(OpenOptions::new().append(true).create(true).open(path)?))
    }

    /// Adds a line by a single write, so that a kill leaves all of it or nothing.
    pub fn add(&self, line: &Line) -> std::io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let written = (&self.0).write(&text)?;
        if written == text.len() { Ok(()) } else { Err(std::io::ErrorKind::WriteZero.into()) }
    }
}

impl Evidence {
    /// Adds a line, and waits until it is on the disk.
    pub fn add_durably(&self, line: &Line) -> std::io::Result<()> {
        self.add(line)?;
        self.0.sync_data()
    }
}

/// All lines, in the order in which the attempts began. No file is no lines.
pub fn read_evidence(path: &Path) -> std::io::Result<Vec<Line>> {
    match std::fs::read_to_string(path) {
        Ok(text) => text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
