//! The disk's own commit rate: what no engine that commits durably can beat.

use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// What a small commit appends.
const RECORD_BYTES: usize = 600;

/// How long the disk takes to append a small record and sync it.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    /// The median.
    pub p50_us: f64,
    /// The slowest of a hundred.
    pub p99_us: f64,
    /// Appends per second.
    pub per_second: f64,
}

impl Floor {
    /// As part of a result.
    #[must_use]
    pub fn to_json(self) -> Value {
        let [p50, p99, rate] = [self.p50_us, self.p99_us, self.per_second].map(crate::round);
        json!({ "fdatasync_p50_us": p50, "fdatasync_p99_us": p99, "fdatasync_per_s": rate })
    }
}

/// Appends to a growing file in `dir` and syncs each append, one after the other, for a while.
pub fn measure_floor(dir: &Path, duration: Duration) -> io::Result<Floor> {
    let path = dir.join(format!("fdatasync.{}.tmp", std::process::id()));
    let mut file = File::options().create_new(true).append(true).open(&path)?;
    let timed = time_appends(&mut file, duration);
    std::fs::remove_file(&path)?;
    let mut micros = timed?;
    micros.sort_by(f64::total_cmp);
    let at = |share: f64| micros[((micros.len() - 1) as f64 * share) as usize];
    let per_second = micros.len() as f64 * 1e6 / micros.iter().sum::<f64>();
    Ok(Floor { p50_us: at(0.5), p99_us: at(0.99), per_second })
}

fn time_appends(file: &mut File, duration: Duration) -> io::Result<Vec<f64>> {
    let record = [7; RECORD_BYTES];
    let mut micros = Vec::new();
    let end = Instant::now() + duration;
    loop {
        let began = Instant::now();
        file.write_all(&record)?;
        file.sync_data()?;
        micros.push(began.elapsed().as_secs_f64() * 1e6);
        if Instant::now() >= end {
            return Ok(micros);
        }
    }
}
