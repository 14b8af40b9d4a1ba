//! Runs orchestration code for the engine: keeps executions warm, replays cold ones.

mod code;
mod no_runtime;
mod root_waker;

use crate::registry::Registry;
use code::Code;
use no_runtime::NoRuntime;
use perdura_core::history::{Event, TurnLimits};
use perdura_core::orchestration::{Mismatch, Run, Runner, Turn, TurnOutcome};
use perdura_core::{Failure, InstanceId, InstanceKey, Limits};
use root_waker::{Disturbed, RootWaker};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// The [`Runner`] of a [`Registry`].
pub(crate) struct RegistryRunner {
    registry: Registry,
    limits: Arc<TurnLimits>,
    warm: HashMap<InstanceKey, Warm>,
    disturbed: Arc<Disturbed>,
    place: Rc<NoRuntime>,
}

struct Warm {
    generation: u32,
    branch: u32,
    code: Code,
}

impl RegistryRunner {
    pub(crate) fn new(registry: Registry, limits: Limits) -> RegistryRunner {
        RegistryRunner {
            registry,
            limits: Arc::new(TurnLimits::of(&limits)),
            warm: HashMap::new(),
            disturbed: Arc::default(),
            place: Rc::default(),
        }
    }

    /// A fresh execution; the text says why there cannot be one.
    fn fresh(&self, turn: &Turn) -> Result<Warm, String> {
        let what_to_do = |missing| format!("{missing}; register it, and the instance goes on");
        let orchestration = self.registry.orchestration(&turn.name, &turn.version).map_err(what_to_do)?;
        let root = RootWaker::new(turn.key, self.disturbed.clone());
        let (start, id, limits) = (orchestration.clone(), turn.id.clone(), self.limits.clone());
        let code = Code::new(start, id, limits, root, self.place.clone());
        Ok(Warm { generation: turn.generation, branch: turn.branch, code })
    }
}

/// How a stored history and the present code agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replay {
    /// The code does what the history says.
    Agrees,
    /// The code does something else: the instance would be blocked.
    Diverges(Mismatch),
    /// The code is not registered here. The text says what is.
    NotRegistered(String),
    /// The history cannot be read.
    Unreadable(String),
}

/// Runs the code of an instance over its history. Nothing comes of it.
pub(crate) fn check_replay(
    registry: &Registry,
    (id, name, version): (InstanceId, &str, &str),
    limits: Limits,
    history: &[Event],
) -> Replay {
    match registry.orchestration(name, version) {
        Err(why) => Replay::NotRegistered(why),
        Ok(start) => {
            let root = RootWaker::new(InstanceKey(0), Arc::default());
            let limits = Arc::new(TurnLimits::of(&limits));
            let mut code = Code::new(start.clone(), id, limits, root, Rc::default());
            match replay(&mut code, history) {
                Ok(()) => Replay::Agrees,
                Err(mismatch) => Replay::Diverges(mismatch),
            }
        }
    }
}

impl Runner for RegistryRunner {
    fn run(&mut self, turn: &Turn, history: Option<&[Event]>) -> Run {
        if history.is_none() && turn.from > 0 {
            let fits = |warm: &&mut Warm| {
                (warm.generation, warm.branch, warm.code.position())
                    == (turn.generation, turn.branch, turn.from)
            };
            let Some(warm) = self.warm.get_mut(&turn.key).filter(fits) else {
                self.warm.remove(&turn.key);
                return Run::NeedsHistory;
            };
            let outcome = advance(&mut warm.code, None, turn);
            if is_over(&warm.code, &outcome) {
                self.warm.remove(&turn.key);
            }
            return Run::Finished(outcome);
        }
        self.warm.remove(&turn.key);
        let mut warm = match self.fresh(turn) {
            Ok(warm) => warm,
            Err(why) => return Run::Finished(TurnOutcome::CannotRun(why)),
        };
        let outcome = advance(&mut warm.code, history, turn);
        if !is_over(&warm.code, &outcome) {
            self.warm.insert(turn.key, warm);
        }
        Run::Finished(outcome)
    }

    fn forget(&mut self, key: InstanceKey) {
        self.warm.remove(&key);
    }

    fn ring_at(&mut self, bell: Arc<dyn Fn() + Send + Sync>) {
        self.disturbed.ring_at(bell);
    }

    fn disturbed(&mut self) -> Vec<(InstanceKey, Failure)> {
        let failure = |key| Some((key, self.warm.get(&key)?.code.disturbance()?));
        self.disturbed.take().into_iter().filter_map(failure).collect()
    }
}

fn is_over(code: &Code, outcome: &TurnOutcome) -> bool {
    code.has_ended() || !matches!(outcome, TurnOutcome::Done(_))
}

fn advance(code: &mut Code, history: Option<&[Event]>, turn: &Turn) -> TurnOutcome {
    let replayed = history.map_or(Ok(()), |history| replay(code, history));
    match replayed.and_then(|()| code.feed(&turn.events)) {
        Ok(()) => TurnOutcome::Done(code.take_result()),
        Err(mismatch) => TurnOutcome::Diverged(mismatch),
    }
}

fn replay(code: &mut Code, history: &[Event]) -> Result<(), Mismatch> {
    code.set_replaying(true);
    code.feed(history)?;
    code.end_of_history()?;
    code.set_replaying(false);
    Ok(())
}
