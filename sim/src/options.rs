//! What a simulation is asked to do.

use perdura_core::partition::Bug;
use perdura_store::sim::StoreBug;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The first seed.
    pub from: u64,
    /// How many seeds.
    pub seeds: u64,
    /// Threads.
    pub threads: usize,
    /// A bug to have.
    pub bug: Option<PlantedBug>,
    /// Go on after a broken invariant, to see how many seeds break which.
    pub go_on: bool,
    /// Keep the text of a run, whether or not it breaks an invariant. For one seed.
    pub trace: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { from: 0, seeds: 1000, threads: 1, bug: None, go_on: false, trace: false }
    }
}

/// A bug planted in the engine or in its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// In the processor, or in its driver.
    Core(Bug),
    /// In the store.
    Store(StoreBug),
}

impl PlantedBug {
    /// All of them.
    pub fn all() -> impl Iterator<Item = PlantedBug> {
        let core = Bug::ALL.into_iter().map(PlantedBug::Core);
        core.chain(StoreBug::ALL.into_iter().map(PlantedBug::Store))
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            PlantedBug::Core(bug) => format!("{bug:?}"),
            PlantedBug::Store(bug) => format!("{bug:?}"),
        }
    }

    /// The bug of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<PlantedBug> {
        PlantedBug::all().find(|bug| bug.name().eq_ignore_ascii_case(name))
    }
}
