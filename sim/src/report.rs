//! What a simulation found.

use crate::invariants::{Group, Violation};
use crate::options::PlantedBug;
use std::fmt;
use std::time::Duration;

/// Kinds of faults that were injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// A node died.
    Crash,
    /// All nodes died.
    CrashAll,
    /// A node stood still.
    Pause,
    /// A partition was taken from a living node.
    Takeover,
    /// A commit failed.
    CommitFails,
    /// A commit's answer was lost.
    CommitReplyLost,
    /// A commit failed half-way and was taken back.
    CommitTorn,
    /// A commit took long.
    CommitSlow,
    /// The store was full.
    Full,
    /// The store was away.
    Unavailable,
    /// A grant's answer was lost.
    GrantReplyLost,
    /// The store's clock jumped.
    ClockJump,
    /// A node's idea of the time changed.
    ClockSkew,
    /// The store failed over and lost commits.
    Failover,
    /// A worker answered twice.
    ResultTwice,
    /// A worker answered late.
    ResultLate,
    /// A worker never answered.
    WorkerHangs,
    /// The worker of a batch of entity operations was lost.
    OperationsLost,
    /// A client's answer was lost.
    ReplyLost,
    /// A stored row was damaged.
    Corrupt,
    /// A turn that was away came back late.
    TurnLate,
    /// A turn that was away came back twice.
    TurnTwice,
    /// A turn that was away came back unrun.
    TurnUnrun,
    /// A worker was lost with an attempt.
    WorkerLost,
    /// An attempt came back that no worker had had.
    NotStarted,
    /// Two workers took one attempt.
    TakenTwice,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 26] = [
        Fault::Crash,
        Fault::CrashAll,
        Fault::Pause,
        Fault::Takeover,
        Fault::CommitFails,
        Fault::CommitReplyLost,
        Fault::CommitTorn,
        Fault::CommitSlow,
        Fault::Full,
        Fault::Unavailable,
        Fault::GrantReplyLost,
        Fault::ClockJump,
        Fault::ClockSkew,
        Fault::Failover,
        Fault::ResultTwice,
        Fault::ResultLate,
        Fault::WorkerHangs,
        Fault::OperationsLost,
        Fault::ReplyLost,
        Fault::Corrupt,
        Fault::TurnLate,
        Fault::TurnTwice,
        Fault::TurnUnrun,
        Fault::WorkerLost,
        Fault::NotStarted,
        Fault::TakenTwice,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Fault::Crash => "node crashes",
            Fault::CrashAll => "all nodes crash",
            Fault::Pause => "node pauses",
            Fault::Takeover => "partition is taken over",
            Fault::CommitFails => "commit fails",
            Fault::CommitReplyLost => "commit is written, answer lost",
            Fault::CommitTorn => "commit fails half-way",
            Fault::CommitSlow => "commit is slow",
            Fault::Full => "store is full",
            Fault::Unavailable => "store is away",
            Fault::GrantReplyLost => "grant is given, answer lost",
            Fault::ClockJump => "store's clock jumps",
            Fault::ClockSkew => "node's clock is wrong",
            Fault::Failover => "store fails over, commits lost",
            Fault::ResultTwice => "worker answers twice",
            Fault::ResultLate => "worker answers late",
            Fault::WorkerHangs => "worker never answers",
            Fault::OperationsLost => "worker of operations is lost",
            Fault::ReplyLost => "client's answer lost",
            Fault::Corrupt => "stored row is damaged",
            Fault::TurnLate => "turn comes back late",
            Fault::TurnTwice => "turn comes back twice",
            Fault::TurnUnrun => "turn comes back unrun",
            Fault::WorkerLost => "worker is lost with an attempt",
            Fault::NotStarted => "attempt never reached a worker",
            Fault::TakenTwice => "two workers take one attempt",
        }
    }
}

/// Counts of what happened.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Events of the worlds.
    pub events: u64,
    /// Requests of clients.
    pub requests: u64,
    /// Batches that became durable.
    pub commits: u64,
    /// Instance writes in them.
    pub writes: u64,
    /// Attempts of activities.
    pub attempts: u64,
    /// Time that passed in the worlds, in ms.
    pub simulated_ms: u64,
    /// Faults by kind.
    pub faults: [u64; Fault::ALL.len()],
    /// Checks by group.
    pub checks: [u64; Group::ALL.len()],
}

impl Stats {
    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Stats) {
        self.events += other.events;
        self.requests += other.requests;
        self.commits += other.commits;
        self.writes += other.writes;
        self.attempts += other.attempts;
        self.simulated_ms += other.simulated_ms;
        self.faults.iter_mut().zip(other.faults).for_each(|(a, b)| *a += b);
        self.checks.iter_mut().zip(other.checks).for_each(|(a, b)| *a += b);
    }
}

/// A seed that broke an invariant.
#[derive(Clone, Debug)]
pub struct Found {
    /// The seed.
    pub seed: u64,
    /// What it broke.
    pub violation: Violation,
    /// What happened, a line each.
    pub trace: Vec<String>,
}

/// What a simulation found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Seeds that were run.
    pub seeds: u64,
    /// How long it took.
    pub took: Duration,
    /// Counts over all seeds.
    pub stats: Stats,
    /// The broken invariant of the lowest seed, if one was found.
    pub found: Option<Found>,
    /// Every seed that broke an invariant, if the run went on.
    pub broken: Vec<(u64, Violation)>,
    /// The bug that was planted.
    pub bug: Option<PlantedBug>,
    /// The text of a run, if it was asked for.
    pub trace: Vec<String>,
}

impl Report {
    /// Whether every invariant held.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.found.is_none()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64().max(1e-9);
        let stats = &self.stats;
        writeln!(
            f,
            "{} seeds in {seconds:.1} s: {:.0} seeds/s, {:.1} h simulated",
            self.seeds,
            self.seeds as f64 / seconds,
            stats.simulated_ms as f64 / 3_600_000.0
        )?;
        writeln!(
            f,
            "{} events, {} requests, {} commits, {} instance writes, {} activity attempts",
            stats.events, stats.requests, stats.commits, stats.writes, stats.attempts
        )?;
        writeln!(f, "faults:")?;
        for fault in Fault::ALL {
            writeln!(f, "  {:>12}  {}", stats.faults[fault as usize], fault.name())?;
        }
        writeln!(f, "checks:")?;
        for group in Group::ALL {
            writeln!(f, "  {:>12}  {}", stats.checks[group as usize], group.name())?;
        }
        for (seed, violation) in &self.broken {
            writeln!(f, "seed {seed}: {}: {}", violation.group.name(), violation.what)?;
        }
        let Some(found) = &self.found else { return writeln!(f, "every invariant held") };
        let bug = self.bug.map(|bug| format!(" --bug {}", bug.name())).unwrap_or_default();
        for line in found.trace.iter().rev().take(40).rev() {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "seed {} breaks {}: {}", found.seed, found.violation.group.name(), found.violation.what)?;
        writeln!(f, "again: perdura-simulate --from {} --seeds 1 --trace{bug}", found.seed)
    }
}
