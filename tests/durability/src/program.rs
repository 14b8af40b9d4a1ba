//! The orchestration of the load: it carries out a program that is its input, and returns what it saw.

use crate::bank::{Account, Book, Transfer, audit, hold, transfer};
use crate::evidence::{Evidence, Line};
use perdura::delivery::OnUnknown;
use perdura::prelude::*;
use perdura::sqlite::Transaction;
use perdura::{Raw, Registry, join_all, select};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What an instance does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// What is left to do.
    pub steps: Vec<Step>,
    /// What earlier generations saw.
    pub seen: Transcript,
}

/// A step of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// An activity that takes `ms`, and whose first `failures` attempts fail.
    Work {
        /// How long it takes.
        ms: u64,
        /// How many attempts fail.
        failures: u32,
    },
    /// Activities side by side.
    Fan {
        /// How many.
        width: u32,
        /// How long each takes.
        ms: u64,
    },
    /// Activities side by side that leave evidence which a kill cannot take back.
    Append {
        /// How many.
        width: u32,
        /// How long each takes.
        ms: u64,
        /// How often each may run.
        mode: Mode,
    },
    /// Activities side by side that write in the transaction of their completion.
    Deposit {
        /// How many.
        width: u32,
    },
    /// A timer.
    Sleep {
        /// How long.
        ms: u64,
    },
    /// Take events `e` until `count` different ones have been seen since the start.
    Collect {
        /// How many.
        count: usize,
    },
    /// Take an event `e`, or go on after a while.
    Race {
        /// How long.
        ms: u64,
    },
    /// A sub-orchestration.
    Child {
        /// What it does.
        steps: Vec<Step>,
    },
    /// Move money between accounts.
    Transfer(Transfer),
    /// Take the sum of accounts.
    Audit {
        /// Which.
        accounts: Vec<String>,
    },
    /// Hold accounts.
    Hold {
        /// Which.
        accounts: Vec<String>,
        /// How long.
        ms: u64,
    },
    /// End the whole process.
    Die,
    /// Continue as new with what is left.
    Again,
}

/// How often an activity may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Until it has a result.
    AtLeastOnce,
    /// The same, with a count that is committed at the hand-over.
    Precise,
    /// Not again while its outcome is unknown.
    AtMostOnce,
}

/// What an instance saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transcript {
    /// Results of activities.
    pub done: Vec<Done>,
    /// Events that were taken.
    pub events: Vec<String>,
    /// Timers that fired.
    pub timers: u32,
    /// Timers that fired too early.
    pub early: u32,
    /// Runs that continued as new.
    pub again: u32,
    /// Children that ended.
    pub children: u32,
    /// What transfers said.
    pub transfers: Vec<bool>,
    /// Sums of accounts.
    pub sums: Vec<u64>,
    /// Activities of which nobody knows whether they ran.
    #[serde(default)]
    pub unknown: u32,
}

impl Transcript {
    fn include(&mut self, child: Transcript) {
        self.done.extend(child.done);
        self.events.extend(child.events);
        self.timers += child.timers;
        self.early += child.early;
        self.again += child.again;
        self.children += 1 + child.children;
        self.transfers.extend(child.transfers);
        self.sums.extend(child.sums);
        self.unknown += child.unknown;
    }

    fn different_events(&self) -> usize {
        self.events.iter().collect::<std::collections::BTreeSet<_>>().len()
    }
}

/// The result of an activity: which attempt it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The attempt that ended well.
    pub line: Line,
    /// How many failed before.
    pub failures: u32,
}

/// What an activity is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Work {
    ms: u64,
    failures: u32,
}

/// Leaves evidence, takes its time, and fails as often as it is told.
#[activity]
pub async fn work(ctx: ActivityContext, work: Work) -> Result<Done> {
    let line = Line::of(&ctx);
    ctx.data::<Evidence>().add(&line)?;
    tokio::time::sleep(Duration::from_millis(work.ms)).await;
    if line.attempt <= work.failures {
        return Err(Error::new("Told", format!("attempt {} was told to fail", line.attempt)));
    }
    Ok(Done { line, failures: work.failures })
}

/// Leaves evidence on the disk, and takes its time.
#[activity]
pub async fn append(ctx: ActivityContext, ms: u64) -> Result<Done> {
    let line = Line::of(&ctx);
    ctx.data::<Evidence>().add_durably(&line)?;
    tokio::time::sleep(Duration::from_millis(ms)).await;
    Ok(Done { line, failures: 0 })
}

/// The tables of [`deposit`].
pub const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS ledger (instance TEXT, execution TEXT, task INTEGER, delivery INTEGER) STRICT;
    CREATE TABLE IF NOT EXISTS total (n INTEGER NOT NULL) STRICT;
    INSERT INTO total SELECT 0 WHERE NOT EXISTS (SELECT * FROM total);";

/// Adds a line to the ledger and one to the total.
#[activity(transactional)]
fn deposit(ctx: ActivityContext, tx: &Transaction<'_>) -> Result<Done> {
    let line = Line::of(&ctx);
    tx.execute(
        "INSERT INTO ledger VALUES (?1, ?2, ?3, ?4)",
        (&line.instance, &line.execution, line.task, line.delivery),
    )?;
    tx.execute("UPDATE total SET n = n + 1", ())?;
    Ok(Done { line, failures: 0 })
}

/// Carries out a program.
#[orchestration]
pub async fn carry_out(ctx: Orchestration, program: Program) -> Result<Transcript> {
    let Program { steps, mut seen } = program;
    let mut steps = steps.into_iter();
    while let Some(step) = steps.next() {
        match step {
            Step::Work { ms, failures } => {
                let retry = Retry::attempts(failures + 1).backoff(Duration::from_millis(5)).factor(1.0);
                seen.done.push(ctx.call(work, Work { ms, failures }).retry(retry).await?);
            }
            Step::Fan { width, ms } => {
                let calls = (0..width).map(|_| ctx.call(work, Work { ms, failures: 0 }));
                for done in join_all(calls).await {
                    seen.done.push(done?);
                }
            }
            Step::Append { width, ms, mode } => {
                let call = || match mode {
                    Mode::AtLeastOnce => ctx.call(append, ms),
                    Mode::Precise => ctx.call(append, ms).precise(),
                    Mode::AtMostOnce => {
                        ctx.call(append, ms).at_most_once(OnUnknown::Fail).retry(Retry::attempts(9))
                    }
                };
                for done in join_all((0..width).map(|_| call())).await {
                    match done {
                        Err(error) if error.is_unknown_outcome() => seen.unknown += 1,
                        done => seen.done.push(done?),
                    }
                }
            }
            Step::Deposit { width } => {
                for done in join_all((0..width).map(|_| ctx.call(deposit, ()))).await {
                    seen.done.push(done?);
                }
            }
            Step::Sleep { ms } => {
                let due = ctx.now().0 + ms as i64;
                ctx.timer(Duration::from_millis(ms)).await?;
                seen.timers += 1;
                seen.early += u32::from(ctx.now().0 < due);
            }
            Step::Collect { count } => {
                while seen.different_events() < count {
                    seen.events.push(ctx.wait_event("e").await?);
                }
            }
            Step::Race { ms } => {
                let timer = ctx.timer(Duration::from_millis(ms));
                if let perdura::Either::First(event, _) = select(ctx.wait_event("e"), timer).await {
                    seen.events.push(event?);
                }
            }
            Step::Child { steps } => {
                let child = Program { steps, seen: Transcript::default() };
                seen.include(ctx.sub_orchestration(carry_out, child).await?);
            }
            Step::Transfer(wanted) => seen.transfers.push(transfer(&ctx, wanted).await?),
            Step::Audit { accounts } => seen.sums.push(audit(&ctx, &accounts).await?),
            Step::Hold { accounts, ms } => hold(&ctx, &accounts, ms).await?,
            Step::Die => std::process::abort(),
            Step::Again => {
                seen.again += 1;
                return ctx.continue_as_new(Program { steps: steps.collect(), seen });
            }
        }
    }
    Ok(seen)
}

/// Passes bytes through an activity and returns them.
#[orchestration]
pub async fn echo(ctx: Orchestration, input: Raw) -> Result<Raw> {
    ctx.call(pass, input).await
}

#[activity]
async fn pass(input: Raw) -> Result<Raw> {
    Ok(input)
}

/// What the load can run.
#[must_use]
pub fn registry(evidence: Evidence) -> Registry {
    let registry = Registry::new().entity::<Account>().entity::<Book>();
    let registry = registry.register(carry_out).register(echo).register(deposit).data(evidence);
    registry.register(work).register(append).register(pass)
}
