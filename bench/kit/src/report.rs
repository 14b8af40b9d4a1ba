//! What is printed.

use crate::{Floor, Options, measure_floor, round, sys};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The disk is measured so long before and after the work.
const FLOOR_TIME: Duration = Duration::from_millis(500);
/// Commits that one W1 orchestration of five activities takes at least: its start, and each completion.
const COMMITS_OF_W1: f64 = 6.0;

/// Where results go.
pub struct Report {
    peer: String,
    versions: String,
    json: bool,
    dir: std::path::PathBuf,
    before: Option<Floor>,
}

impl Report {
    /// Measures the disk and begins.
    #[must_use]
    pub fn begin(options: &Options, versions: &str) -> Report {
        let dir = sys::data_dirs().first().cloned().unwrap_or_else(|| ".".into());
        let peer = std::env::var("PEER").unwrap_or_else(|_| "perdura".into());
        let before = measure_floor(&dir, FLOOR_TIME).ok();
        Report { peer, versions: versions.into(), json: options.json, dir, before }
    }

    /// Prints one result: `parts` together, with the disk's commit rate, now measured again.
    pub fn result(&self, workload: &str, parts: &[Value]) {
        let mut line = Map::new();
        line.insert("peer".into(), json!(self.peer));
        line.insert("workload".into(), json!(workload));
        for part in parts {
            line.extend(part.as_object().cloned().unwrap_or_default());
        }
        if let Some(floor) = self.floor() {
            line.extend(floor.to_json().as_object().cloned().unwrap_or_default());
            if let (Some(p50), "w1") = (line.get("p50_ms").and_then(Value::as_f64), workload) {
                let ratio = p50 * 1e3 / (COMMITS_OF_W1 * floor.p50_us);
                line.insert("p50_per_six_fdatasync".into(), json!(round(ratio)));
            }
        }
        line.insert("peak_rss_mib".into(), json!(round(sys::peak_rss_mib())));
        line.insert("versions".into(), json!(self.versions));
        if self.json {
            println!("{}", Value::Object(line));
        } else {
            print_table(&line);
        }
    }

    /// The slower of the two measurements is the machine's noise, so the faster one counts: nobody can claim a ratio
    /// that the disk's bad moment gave.
    fn floor(&self) -> Option<Floor> {
        let after = measure_floor(&self.dir, FLOOR_TIME).ok();
        let both = [self.before, after];
        both.into_iter().flatten().min_by(|a, b| a.p50_us.total_cmp(&b.p50_us))
    }
}

fn print_table(line: &Map<String, Value>) {
    let width = line.keys().map(String::len).max().unwrap_or(0);
    for (name, value) in line {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        println!("{name:width$}  {text}");
    }
    println!();
}
