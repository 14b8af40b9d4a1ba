//! Turns that end whoever runs them. A process that ends in a turn leaves no word of it, so after a start the first turn of
//! each instance is *announced*: that it is about to run is committed before it runs. A turn that was announced and has not
//! ended cost the process its life, or was near when something else did. After too many such losses in a row the instance
//! is suspended, with the reason, and the others go on: a dead letter, which a resume replays.

use super::Partition;
use super::instance::{Instance, TurnState};
use super::record::Trial;
use crate::id::InstanceKey;
use crate::orchestration::TurnTicket;
use crate::time::Timestamp;
use std::collections::{BTreeSet, VecDeque};

/// Turns that are announced together. When one of them ends the process, all of them are counted.
const TOGETHER_MAX: usize = 256;
/// From so many losses on, a turn is announced alone, so that no other is counted with it.
const ALONE_FROM: u32 = 3;

/// Where an instance is with the first turn after a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Caution {
    /// Its turns run as they come.
    #[default]
    None,
    /// Its next turn is to be announced.
    Due,
    /// Its next turn is announced by this batch.
    Announced(u64),
}

/// What is announced, and what waits for it.
#[derive(Debug, Default)]
pub(super) struct Trials {
    /// A new process: what the one before had announced and not ended counts as lost.
    is_new_process: bool,
    /// It is known what ended that one: a turn which had been announced alone, or operations that ran alone.
    end_is_known: bool,
    waiting: VecDeque<InstanceKey>,
    announced: BTreeSet<InstanceKey>,
    alone: Option<InstanceKey>,
}

impl Partition {
    /// This is the first life of a processor in its process: a turn that was under way when the last one ended may have
    /// ended it. To be told before the recovery.
    pub fn begins_process(&mut self) {
        self.trials.is_new_process = true;
    }

    pub(super) fn is_new_process(&self) -> bool {
        self.trials.is_new_process
    }

    /// Whether it is known what ended the process before, and it was no activity.
    pub(super) fn no_activitys_fault(&self) -> bool {
        self.trials.end_is_known
    }

    /// Operations of an entity that ran alone have ended it.
    pub(super) fn ended_by_operations(&mut self) {
        self.trials.end_is_known = true;
    }

    /// An instance was recovered.
    pub(super) fn look_at_trial(&mut self, key: InstanceKey) {
        let is_new = self.trials.is_new_process;
        let limit = self.config.limits.lost_workers_max;
        let Some(instance) = self.instances.get_mut(&key).filter(|instance| instance.entity.is_none()) else {
            return;
        };
        if is_new || instance.record.trial.is_some() {
            instance.caution = Caution::Due;
        }
        let Some(trial) = &mut instance.record.trial else { return };
        if std::mem::take(&mut trial.announced) && is_new {
            trial.lost += 1;
            let lost = trial.lost;
            self.trials.end_is_known |= lost > ALONE_FROM;
            self.mark_dirty(key);
            if lost >= limit {
                let why = format!("{lost} processes ended one after another while they ran its turn");
                self.dead_letter(key, &why);
            }
        }
    }

    /// The worker that had a turn which is [away](Self::turn_away) was lost; the turn may be with another already. Gives
    /// false if nobody waits for the turn any more, as when this was one loss too many.
    pub fn turn_lost(&mut self, ticket: TurnTicket, now: Timestamp) -> bool {
        self.advance(now);
        let limit = self.config.limits.lost_workers_max;
        let Some(instance) = self.instances.get_mut(&ticket.key) else { return false };
        if instance.turn != TurnState::Running(ticket.number) || instance.away.is_none() {
            return false;
        }
        let trial = instance.record.trial.get_or_insert_default();
        trial.lost += 1;
        let lost = trial.lost;
        self.mark_dirty(ticket.key);
        if lost >= limit {
            let why = format!("{lost} workers were lost one after another while they ran its turn");
            self.dead_letter(ticket.key, &why);
        }
        lost < limit
    }

    fn dead_letter(&mut self, key: InstanceKey, why: &str) {
        let is_suspended = self.suspend_now(key, format!("dead letter: {why}"));
        if let Some(instance) = self.instances.get_mut(&key).filter(|_| is_suspended) {
            instance.record.trial.get_or_insert_default().dead = true;
        }
    }

    /// Whether the turn of a queued instance may run now. One that is to be announced first leaves the queue until there is
    /// room for it.
    pub(super) fn may_run(&mut self, key: InstanceKey) -> bool {
        match self.instances.get(&key).map(|instance| instance.caution) {
            Some(Caution::Due) => self.trials.waiting.push_back(key),
            Some(Caution::Announced(batch)) if batch > self.batches_committed => self.queue.push_back(key),
            _ => return true,
        }
        false
    }

    /// Announces turns that wait for it, as far as there is room.
    pub(super) fn announce_turns(&mut self) {
        while self.trials.alone.is_none()
            && self.trials.announced.len() < TOGETHER_MAX
            && let Some(key) = self.trials.waiting.pop_front()
        {
            let (batch, none_announced) = (self.open_batch(), self.trials.announced.is_empty());
            let Some(instance) = self.instances.get_mut(&key) else { continue };
            if instance.turn != TurnState::Queued || instance.caution != Caution::Due {
                continue;
            }
            let trial = instance.record.trial.get_or_insert_default();
            if trial.lost >= ALONE_FROM {
                if !none_announced {
                    return self.trials.waiting.push_front(key);
                }
                self.trials.alone = Some(key);
            }
            trial.announced = true;
            instance.caution = Caution::Announced(batch);
            self.trials.announced.insert(key);
            self.mark_dirty(key);
            self.queue.push_back(key);
        }
    }

    /// The announced turn of an instance has ended, or went away, or is not run after all: nothing has happened to us.
    pub(super) fn trial_over(&mut self, key: InstanceKey) {
        if self.trials.announced.is_empty() || !self.trials.announced.remove(&key) {
            return;
        }
        self.trials.alone = None;
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.withdraw();
            self.mark_dirty(key);
        }
    }
}

impl Instance {
    fn withdraw(&mut self) {
        self.caution = Caution::None;
        if let Some(trial) = &mut self.record.trial {
            trial.announced = false;
        }
        if self.record.trial.as_deref() == Some(&Trial::default()) {
            self.record.trial = None;
        }
    }
}
