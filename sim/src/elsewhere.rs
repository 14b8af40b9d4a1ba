//! Workers elsewhere: they run turns that a processor has sent away, and give them back late, out of order, twice or
//! unrun, whatever has become of the instance meanwhile.

use crate::life::Input;
use crate::report::Fault;
use crate::runner::Code;
use crate::world::{Event, Post, World};
use perdura_core::history::{Event as HistoryEvent, EventKind};
use perdura_core::orchestration::{Turn, TurnOutcome};

/// A turn that is away, with the history before it.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) turn: Turn,
    pub(crate) history: Vec<HistoryEvent>,
}

impl World {
    /// Turns that the runner has just sent away are on their way to workers.
    pub(crate) fn send_away(&mut self, post: Post) {
        let Some(life) = self.life(post) else { return };
        let number = life.number;
        for work in life.runner.take_away() {
            let ms = self.random.latency.below(4 * self.plan.net_ms + 1);
            self.after(ms, Event::TurnTaken { post, life: number, work: Box::new(work) });
        }
    }

    /// A worker takes a turn, and runs it or gives it up.
    pub(crate) fn take_turn(&mut self, post: Post, life: u64, work: Work) {
        let ticket = work.turn.ticket();
        self.trace.say(self.now, || format!("a worker takes {ticket:?} of {post:?}, life {life}"));
        let mut ms = self.random.latency.below(self.plan.net_ms + 1);
        if self.fault(Fault::TurnLate, self.plan.faults.turn_late) {
            ms += self.random.faults.between(100, 4_000);
        }
        if self.fault(Fault::TurnUnrun, self.plan.faults.turn_unrun) {
            return self.after(ms, Event::Input(post, Input::TurnUnrun { life, ticket }));
        }
        let outcome = self.run_elsewhere(work);
        if self.fault(Fault::TurnTwice, self.plan.faults.turn_twice) {
            let again = self.random.faults.below(3_000);
            let outcome = outcome.clone();
            self.after(again, Event::Input(post, Input::TurnDone { life, ticket, outcome }));
        }
        self.after(ms, Event::Input(post, Input::TurnDone { life, ticket, outcome }));
    }

    fn run_elsewhere(&mut self, Work { turn, history }: Work) -> TurnOutcome {
        let mut events = turn.events;
        let began = self.store_now().max(events[0].at);
        events[0].at = began;
        let cut = self.random.latency.chance(200).then(|| self.random.latency.below(events.len() as u64));
        let taken = cut.map(|cut| without_a_pause(&events[1..], cut as usize));
        if let Some(taken) = taken {
            events.truncate(1 + taken);
        }
        let mut code = Code::new(turn.id, self.plan.limits.clone(), self.programs.clone());
        let ran = code.replay(&history).and_then(|()| code.accept(&events));
        match ran {
            Err(mismatch) => TurnOutcome::Diverged(mismatch),
            Ok(()) => {
                let mut result = code.take_result();
                result.taken = taken;
                result.began = Some(began);
                TurnOutcome::Done(result)
            }
        }
    }
}

/// How many events a worker takes that would stop after `cut` of them: none stops between a suspension and the
/// resumption, for it decides nothing there.
fn without_a_pause(events: &[HistoryEvent], cut: usize) -> usize {
    let last = events[..cut].iter().rev().find_map(|event| match event.kind {
        EventKind::ExecutionSuspended(_) => Some(true),
        EventKind::ExecutionResumed(_) => Some(false),
        _ => None,
    });
    if last != Some(true) {
        return cut;
    }
    let resumed = |event: &HistoryEvent| matches!(event.kind, EventKind::ExecutionResumed(_));
    events[cut..].iter().position(resumed).map_or(events.len(), |more| cut + more + 1)
}
