//! Runs seeds, on several threads if asked, and reports.

use crate::invariants::{Group, Violation};
use crate::options::{Options, PlantedBug};
use crate::report::{Found, Report, Stats};
use crate::world::World;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What became of one seed.
#[derive(Clone, Debug)]
pub struct SeedRun {
    /// The broken invariant.
    pub violation: Option<Violation>,
    /// Counts.
    pub stats: Stats,
    /// Differs when anything that happened differs.
    pub hash: u64,
    /// What happened, if text was asked for.
    pub trace: Vec<String>,
}

/// Runs one seed.
#[must_use]
pub fn run_seed(seed: u64, bug: Option<PlantedBug>, with_text: bool) -> SeedRun {
    let mut world = World::new(seed, bug, with_text);
    let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
    let violation = match ran {
        Ok(()) => world.checker.violation.take(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(Violation { group: Group::Panic, what: text.unwrap_or_else(|| "a panic".into()) })
        }
    };
    let hash = world.trace.hash();
    SeedRun { violation, stats: world.stats, hash, trace: world.trace.into_lines() }
}

/// Runs seeds until one breaks an invariant, or all are done.
#[must_use]
pub fn run(options: &Options) -> Report {
    let began = Instant::now();
    let next = AtomicU64::new(options.from);
    let end = options.from.saturating_add(options.seeds);
    let broken: Mutex<Vec<(u64, Violation)>> = Mutex::default();
    let stop_at = AtomicU64::new(end);
    let total: Mutex<(u64, Stats)> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                let (mut seeds, mut stats) = (0, Stats::default());
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= stop_at.load(Ordering::Relaxed) {
                        break;
                    }
                    let ran = run_seed(seed, options.bug, false);
                    seeds += 1;
                    stats.add(&ran.stats);
                    if let Some(violation) = ran.violation {
                        if !options.go_on {
                            stop_at.fetch_min(seed, Ordering::Relaxed);
                        }
                        if let Ok(mut broken) = broken.lock() {
                            broken.push((seed, violation));
                        }
                    }
                }
                if let Ok(mut total) = total.lock() {
                    total.0 += seeds;
                    total.1.add(&stats);
                }
            });
        }
    });
    let (seeds, stats) = total.into_inner().unwrap_or_default();
    let mut broken = broken.into_inner().unwrap_or_default();
    broken.sort_by_key(|(seed, _)| *seed);
    let found = broken.first().map(|(seed, _)| *seed).map(|seed| {
        let ran = run_seed(seed, options.bug, true);
        let changed = Violation { group: Group::Replay, what: "the second run of the seed held".into() };
        Found { seed, violation: ran.violation.unwrap_or(changed), trace: ran.trace }
    });
    if !options.go_on {
        broken.clear();
    }
    let trace = if options.trace { run_seed(options.from, options.bug, true).trace } else { Vec::new() };
    Report { seeds, took: began.elapsed(), stats, found, broken, bug: options.bug, trace }
}
