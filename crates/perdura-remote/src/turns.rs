//! Turns of orchestrations. One thread runs them all, since their futures cannot leave it, and keeps the executions as they
//! are between turns: the server then sends only what is new.

use bytes::Bytes;
use perdura::Registry;
use perdura_core::InstanceKey;
use perdura_core::orchestration::{Run, Runner, TurnOutcome, decode_turn, encode_outcome};
use std::collections::HashMap;
use std::thread;
use tokio::sync::{mpsc, oneshot};

/// Executions that are kept between their turns; of more, the ones that were idle for longest run over their history.
const WARM_MAX: usize = 1000;
/// Turns that wait for the thread. The server counts them, so there are hardly ever more than it was told to send.
const QUEUE: usize = 4096;

/// What the thread is asked.
pub(crate) enum Ask {
    /// Run a turn of an instance.
    Run { instance: String, turn: Bytes, answer: oneshot::Sender<Answer> },
    /// Its last turn did not count: what is kept of it is worth nothing.
    Forget { instance: String },
}

/// What came of a turn.
pub(crate) enum Answer {
    Outcome(Bytes),
    /// It was not kept here, and must come with its history.
    NeedsHistory,
}

/// The thread ends when all senders are gone.
pub(crate) fn start(registry: Registry) -> std::io::Result<mpsc::Sender<Ask>> {
    let (asks, mut asked) = mpsc::channel(QUEUE);
    thread::Builder::new().name("perdura-turns".into()).spawn(move || {
        let mut turns = Turns::new(registry);
        while let Some(ask) = asked.blocking_recv() {
            turns.take(ask);
        }
    })?;
    Ok(asks)
}

struct Turns {
    runner: Box<dyn Runner>,
    /// Our own keys of the executions, and when each was last used.
    keys: HashMap<String, (InstanceKey, u64)>,
    uses: u64,
}

impl Turns {
    fn new(registry: Registry) -> Turns {
        Turns { runner: registry.runner(), keys: HashMap::new(), uses: 0 }
    }

    fn take(&mut self, ask: Ask) {
        match ask {
            Ask::Forget { instance } => self.forget(&instance),
            Ask::Run { instance, turn, answer } => {
                // An error means that the worker is shutting down.
                let _ = answer.send(self.run(instance, turn));
            }
        }
    }

    fn run(&mut self, instance: String, turn: Bytes) -> Answer {
        self.uses += 1;
        let uses = self.uses;
        let used = self.keys.entry(instance.clone()).or_insert((InstanceKey(uses), uses));
        used.1 = uses;
        let key = used.0;
        let cannot = |why: String| Answer::Outcome(encode_outcome(TurnOutcome::CannotRun(why)));
        let (turn, history) = match decode_turn(turn, key) {
            Ok(decoded) => decoded,
            Err(damaged) => {
                return cannot(format!("{damaged}; server and worker must be of versions that fit"));
            }
        };
        let run = self.runner.run(&turn, history.as_deref());
        // What was woken by something that is not durable starts over with its history.
        for (key, _) in self.runner.disturbed() {
            self.runner.forget(key);
        }
        let answer = match run {
            Run::Finished(outcome) => {
                let is_over = match &outcome {
                    TurnOutcome::Done(result) => result.decisions.last().is_some_and(|last| last.is_end()),
                    TurnOutcome::Diverged(_) | TurnOutcome::CannotRun(_) => true,
                };
                if is_over {
                    self.forget(&instance);
                }
                Answer::Outcome(encode_outcome(outcome))
            }
            Run::NeedsHistory => Answer::NeedsHistory,
            Run::Away => cannot("a worker cannot send turns away".into()),
        };
        self.make_room();
        answer
    }

    fn forget(&mut self, instance: &str) {
        if let Some((key, _)) = self.keys.remove(instance) {
            self.runner.forget(key);
        }
    }

    fn make_room(&mut self) {
        if self.keys.len() > WARM_MAX {
            let idle =
                self.keys.iter().min_by_key(|(_, (_, used))| *used).map(|(instance, _)| instance.clone());
            idle.into_iter().for_each(|instance| self.forget(&instance));
        }
    }
}
