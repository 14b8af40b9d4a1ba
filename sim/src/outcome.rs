//! What steps leave behind in an output, and the judge who knows which outcomes a program may have.

use crate::payload::{EventSalt, Reader};
use crate::program::{APP_FAILURE, Programs, Step};
use perdura_core::delivery::Delivery;
use perdura_core::failure::kind;

pub(crate) const TASK: u8 = 1;
pub(crate) const TIMER: u8 = 2;
pub(crate) const CHILD: u8 = 3;
pub(crate) const DETACHED: u8 = 4;
pub(crate) const EVENT: u8 = 5;
pub(crate) const NO_EVENT: u8 = 6;
pub(crate) const SENT: u8 = 7;
pub(crate) const STATUS: u8 = 8;
pub(crate) const RACE: u8 = 9;
pub(crate) const FAILED: u8 = 10;
pub(crate) const ENTITY: u8 = 11;
/// The sum over a critical section changed while it was held.
pub(crate) const TORN: u8 = 12;
/// Two calls under one key gave different results.
pub(crate) const KEY_BROKEN: u8 = 13;

const KINDS: [&str; 10] = [
    APP_FAILURE,
    kind::TIMEOUT,
    kind::CANCELED,
    kind::TERMINATED,
    kind::ALREADY_EXISTS,
    kind::LIMIT,
    kind::INVALID,
    kind::WORKER_LOST,
    kind::UNKNOWN_OUTCOME,
    kind::KEY_REUSED,
];

/// The number of a kind of failure in an outcome.
pub(crate) fn number_of_kind(kind: &str) -> u8 {
    KINDS.iter().position(|known| *known == kind).map_or(u8::MAX, |at| at as u8)
}

/// Knows what can happen in a world.
#[derive(Debug)]
pub struct Judge<'a> {
    /// What can run.
    pub programs: &'a Programs,
    /// Somebody may ask an instance to cancel.
    pub may_cancel: bool,
    /// An activity may fail because its workers were lost.
    pub gives_up_lost: bool,
    /// Some limit is small enough to be met.
    pub has_small_limits: bool,
    /// Somebody may rewind an instance, after which its activities succeed.
    pub may_rewind: bool,
    /// Somebody has given one activity another input or result, or has let one run again.
    pub by_hand: bool,
    /// The instance itself was asked to cancel.
    pub was_canceled: bool,
}

impl Judge<'_> {
    /// Checks the output of an instance that has completed.
    pub fn completed(&self, output: &[u8]) -> Result<(), String> {
        let mut reader = Reader(output);
        let number = reader.u16().ok_or("no program")?;
        let program = self.programs.programs.get(usize::from(number)).ok_or("unknown program")?;
        if program.fails {
            return Err(format!("program {number} completed, but it always fails"));
        }
        for step in &program.steps {
            if let Some(kind) = self.step(step, &mut reader)? {
                return Err(format!("program {number} completed after a failure of kind {kind}"));
            }
        }
        if reader.0.is_empty() { Ok(()) } else { Err("more outcomes than steps".into()) }
    }

    /// Checks the failure that ended an instance.
    pub fn failed(&self, kind: &str) -> Result<(), String> {
        let legal = match kind {
            kind::CANCELED => self.was_canceled || self.may_cancel,
            kind::LIMIT => self.has_small_limits,
            _ => KINDS.contains(&kind),
        };
        if legal { Ok(()) } else { Err(format!("an end with a failure of kind {kind}")) }
    }

    /// Checks what a step left; gives the kind of its failure, if it failed.
    fn step(&self, step: &Step, reader: &mut Reader<'_>) -> Result<Option<u8>, String> {
        match step {
            Step::All(steps) => {
                let mut failed = None;
                for step in steps {
                    let kind = self.step(step, reader)?;
                    failed = failed.or(kind);
                }
                return Ok(failed);
            }
            Step::Race(steps) => {
                if reader.u8() != Some(RACE) {
                    return Err("not the outcome of a race".into());
                }
                let winner = reader.u8().and_then(|i| steps.get(usize::from(i))).ok_or("no such racer")?;
                return self.step(winner, reader);
            }
            Step::Try(step) => return self.step(step, reader).map(|_| None),
            _ => {}
        }
        let mark = reader.u8().ok_or("an outcome is missing")?;
        if mark == FAILED {
            let kind = reader.u8().ok_or("a kind is missing")?;
            return self.failure(step, kind).map(|()| Some(kind));
        }
        self.success(step, mark, reader).map(|()| None)
    }

    fn success(&self, step: &Step, mark: u8, reader: &mut Reader<'_>) -> Result<(), String> {
        match (step, mark) {
            (Step::Task(task), TASK) => {
                let found = reader.u32();
                let behaviour = &self.programs.tasks[*task as usize];
                if found != Some(*task) {
                    return Err(format!("activity {task} gave the result of {found:?}"));
                }
                if behaviour.fails >= behaviour.attempts() && !self.may_rewind {
                    return Err(format!("activity {task} succeeded, but it cannot"));
                }
                Ok(())
            }
            (Step::Timer(_), TIMER) | (Step::Send { .. }, SENT) | (Step::Status(_), STATUS) => Ok(()),
            // Of two calls under one key, one was given by hand.
            (Step::Task(_), KEY_BROKEN) if self.by_hand => Ok(()),
            (Step::Entity(_), ENTITY) => Ok(()),
            // One half of it may be what was read on a branch before.
            (Step::Entity(_), TORN) if self.may_rewind => Ok(()),
            (Step::Child(child), DETACHED) if self.programs.children[*child as usize].is_detached => Ok(()),
            (Step::Child(_), CHILD) => {
                let length = reader.u16().ok_or("no length")?;
                let output = reader.bytes(usize::from(length)).ok_or("a short output")?;
                let child = Judge { was_canceled: self.may_cancel, ..*self };
                child.completed(output)
            }
            (Step::Wait { .. }, EVENT) => reader.u64().map(EventSalt).map(|_| ()).ok_or("no event".into()),
            (Step::Wait { timeout_ms: Some(_), .. }, NO_EVENT) => Ok(()),
            _ => Err(format!("outcome {mark} of {step:?}")),
        }
    }

    fn failure(&self, step: &Step, kind: u8) -> Result<(), String> {
        let name = KINDS.get(usize::from(kind)).copied().unwrap_or("?");
        let legal = match (step, name) {
            (_, kind::CANCELED) => self.was_canceled || matches!(step, Step::Child(_)) && self.may_cancel,
            (_, kind::LIMIT) => self.has_small_limits,
            (Step::Task(task), APP_FAILURE) => {
                let task = &self.programs.tasks[*task as usize];
                let gives_up = task.limits.is_some_and(|limits| limits.total_ms > 0);
                task.fails >= task.attempts() || task.fails > 0 && (task.is_fatal || gives_up)
            }
            (Step::Task(_), kind::WORKER_LOST) => self.gives_up_lost,
            (Step::Task(task), kind::UNKNOWN_OUTCOME) => {
                matches!(self.programs.tasks[*task as usize].delivery, Delivery::AtMostOnce(_))
            }
            (Step::Task(task), kind::TIMEOUT) => self.programs.tasks[*task as usize].limits.is_some(),
            (Step::Task(_), kind::KEY_REUSED) => self.by_hand,
            // Several steps at once may name each other's sections.
            (Step::Entity(_), APP_FAILURE | kind::INVALID) => true,
            (Step::Child(_), _) => kind != u8::MAX,
            _ => false,
        };
        if legal { Ok(()) } else { Err(format!("{step:?} failed with {name}")) }
    }
}
