//! Planted bugs: what the simulation would miss, it does not prove.

use perdura_sim::{Options, PlantedBug, run};

/// Seeds within which each planted bug must be found.
const SEEDS: u64 = 10_000;

#[test]
fn every_planted_bug_is_found() {
    let missed: Vec<String> = PlantedBug::all()
        .filter(|bug| {
            let options = Options { seeds: SEEDS, threads: 2, bug: Some(*bug), ..Options::default() };
            let report = run(&options);
            if let Some(found) = &report.found {
                let (seed, group) = (found.seed, found.violation.group.name());
                println!("{:<24} seed {seed:>5}  {group}", bug.name());
            }
            report.is_clean()
        })
        .map(PlantedBug::name)
        .collect();
    assert!(missed.is_empty(), "not found within {SEEDS} seeds: {missed:?}");
}
