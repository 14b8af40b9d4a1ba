//! Runs programs for a partition: warm where they were suspended, or cold over their history.

use crate::elsewhere::Work;
use crate::interpreter::{self, Shared};
use crate::program::Programs;
use crate::random::Random;
use perdura_core::history::{Event, TurnLimits};
use perdura_core::orchestration::{Execution, Mismatch, Run, Runner, Turn, TurnOutcome, TurnResult};
use perdura_core::{InstanceId, InstanceKey, Limits};
use rustc_hash::FxHashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

/// One execution that runs.
pub struct Code {
    shared: Rc<Shared>,
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Code {
    /// The code of an execution before its first event.
    #[must_use]
    pub fn new(id: InstanceId, limits: Limits, programs: Rc<Programs>) -> Code {
        let shared = Shared::new(Execution::new(id, Arc::new(TurnLimits::of(&limits))), programs);
        let future: Pin<Box<dyn Future<Output = ()>>> = Box::pin(interpreter::run(shared.clone()));
        Code { shared, future: Some(future) }
    }

    /// Where the next turn begins.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.shared.execution.borrow().position()
    }

    fn set_replaying(&self, replaying: bool) {
        self.shared.execution.borrow_mut().set_replaying(replaying);
    }

    /// Takes the events of a turn and runs; or the events of a history, and runs where it ran.
    pub fn accept(&mut self, events: &[Event]) -> Result<(), Mismatch> {
        for event in events {
            if self.shared.execution.borrow().must_run_before(event) {
                self.poll();
            }
            self.shared.execution.borrow_mut().accept(event)?;
        }
        self.poll();
        Ok(())
    }

    /// Runs over a whole history.
    pub fn replay(&mut self, history: &[Event]) -> Result<(), Mismatch> {
        if !history.is_empty() {
            self.set_replaying(true);
            self.accept(history)?;
            self.shared.execution.borrow_mut().end_of_history()?;
            self.set_replaying(false);
        }
        Ok(())
    }

    /// The entities that the code holds.
    #[must_use]
    pub fn locked_entities(&self) -> Vec<String> {
        self.shared.execution.borrow().locked_entities().to_vec()
    }

    /// What the code decided since the last call.
    #[must_use]
    pub fn take_result(&self) -> TurnResult {
        self.shared.execution.borrow_mut().take_result()
    }

    fn poll(&mut self) {
        while self.shared.execution.borrow().must_run() {
            self.shared.execution.borrow_mut().running();
            let Some(future) = &mut self.future else { continue };
            if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                self.future = None;
            }
        }
    }
}

/// The runner of one life of a processor.
pub struct Programmed {
    programs: Rc<Programs>,
    limits: Limits,
    random: Random,
    forget: u32,
    away: u32,
    sent: Vec<Work>,
    warm: FxHashMap<InstanceKey, Warm>,
}

struct Warm {
    generation: u32,
    branch: u32,
    code: Code,
}

impl Programmed {
    /// A runner that knows no execution. It drops `forget` per mille of the executions after their turn, and sends `away`
    /// per mille of the turns away.
    #[must_use]
    pub fn new(programs: Rc<Programs>, limits: Limits, random: Random, forget: u32, away: u32) -> Programmed {
        Programmed { programs, limits, random, forget, away, sent: Vec::new(), warm: FxHashMap::default() }
    }

    /// Turns that were sent away since the last call.
    pub(crate) fn take_away(&mut self) -> Vec<Work> {
        std::mem::take(&mut self.sent)
    }

    fn cold(&self, turn: &Turn, history: &[Event]) -> Result<Code, Mismatch> {
        let mut code = Code::new(turn.id.clone(), self.limits.clone(), self.programs.clone());
        code.replay(history)?;
        Ok(code)
    }
}

impl Runner for Programmed {
    fn run(&mut self, turn: &Turn, history: Option<&[Event]>) -> Run {
        let warm = self.warm.remove(&turn.key).filter(|warm| {
            warm.generation == turn.generation
                && warm.branch == turn.branch
                && warm.code.position() == turn.from
        });
        let is_away = self.random.chance(self.away);
        let code = match (warm.filter(|_| !is_away), history) {
            (Some(warm), _) => Ok(warm.code),
            (None, None) if turn.from > 0 => return Run::NeedsHistory,
            // One that lost its partition may read what the next owner wrote. It cannot commit what comes of it.
            (None, Some(history)) if history.len() as u64 != turn.from => {
                let what = format!("a history of {} events, expected {}", history.len(), turn.from);
                return Run::Finished(TurnOutcome::CannotRun(what));
            }
            (None, history) if is_away => {
                let history = history.unwrap_or_default().to_vec();
                self.sent.push(Work { turn: turn.clone(), history });
                return Run::Away;
            }
            (None, history) => self.cold(turn, history.unwrap_or_default()),
        };
        let ran = code.and_then(|mut code| code.accept(&turn.events).map(|()| code));
        match ran {
            Err(mismatch) => Run::Finished(TurnOutcome::Diverged(mismatch)),
            Ok(code) => {
                let result = code.take_result();
                let ended = result.decisions.last().is_some_and(|decision| decision.is_end());
                if !ended && !self.random.chance(self.forget) {
                    let (generation, branch) = (turn.generation, turn.branch);
                    self.warm.insert(turn.key, Warm { generation, branch, code });
                }
                Run::Finished(TurnOutcome::Done(result))
            }
        }
    }

    fn forget(&mut self, key: InstanceKey) {
        self.warm.remove(&key);
    }
}
