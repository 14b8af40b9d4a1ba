//! Activities that may end whoever runs them. A process that ends leaves no word of what it ran. So from some such ends on
//! the hand-overs of an activity that was out each time are committed one by one, and each end counts as a lost worker; from
//! some more on it has a trial: no other such activity begins until it has ended or has been at work for a time. When the
//! process ends then, only the one that began last is counted: the others had proved that they can run. All this is known of
//! each partition by itself.

use super::Partition;
use super::effect::TaskRef;
use super::instance::Task;
use super::tasks::plus;
use super::wakes::Wake;
use crate::delivery::Stage;
use crate::id::InstanceKey;
use crate::time::Timestamp;
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Hand-overs in a row that ended without a word, after which each is committed before its attempt begins.
const SUSPECT_AFTER: u32 = 4;
/// How long the first trial is; each that follows is twice as long, for what takes long to end its process.
const TRIAL_MS: u64 = 10_000;
/// How long after a start the first trial begins: until then their histories are read.
const LINE_UP_MS: u64 = 1000;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Suspects {
    on_trial: Option<(InstanceKey, u32)>,
    /// The most suspect first.
    waiting: BTreeSet<(Reverse<u32>, InstanceKey, u32)>,
    /// When the last trial began that was under way at the end of the process before.
    last_began: i64,
    /// No trial begins earlier: after a start all are to be in line first.
    not_before: Timestamp,
    /// The first of them is handed out.
    releases: bool,
}

impl Task {
    /// Whether processes have ended again and again while it was handed out: its hand-overs are to be committed from here on.
    pub(super) fn is_suspect(&self) -> bool {
        self.unexplained() >= SUSPECT_AFTER
    }

    fn has_trial(&self, lost_max: u32) -> bool {
        // One that runs at most once is never counted.
        self.record.lost >= trial_from(lost_max) && self.stage().is_some()
    }

    /// When the present attempt was handed over.
    fn handed_over_at(&self) -> i64 {
        let delivery = self.record.delivery;
        let attempts = self.record.once.iter().flat_map(|once| &once.attempts);
        attempts.filter(|attempt| attempt.delivery == delivery).map(|attempt| attempt.at).max().unwrap_or(0)
    }

    fn trial_ms(&self, lost_max: u32) -> u64 {
        TRIAL_MS << self.record.lost.saturating_sub(trial_from(lost_max)).min(10)
    }
}

/// From so many lost workers on an activity has a trial: three of ten.
fn trial_from(lost_max: u32) -> u32 {
    (lost_max.saturating_mul(3) / 10).max(1)
}

impl Partition {
    /// An instance was recovered: which of its activities had a trial.
    pub(super) fn look_at_suspects(&mut self, key: InstanceKey) {
        let (lost_max, is_new) = (self.config.limits.lost_workers_max, self.is_new_process());
        let Some(instance) = self.instances.get_mut(&key) else { return };
        for task in instance.tasks.values_mut() {
            let was_asked = task.record.once.as_ref().is_some_and(|once| once.asked > 0 && !once.given_back);
            task.handler_suspect = is_new && was_asked && task.stage() == Some(Stage::Asked);
        }
        let had_trial = |task: &&Task| task.stage() == Some(Stage::Out) && task.has_trial(lost_max);
        let began = instance.tasks.values().filter(had_trial).map(Task::handed_over_at).max();
        self.suspects.last_began = self.suspects.last_began.max(began.unwrap_or(0));
        let suspect = instance.tasks.values().find(|task| task.has_trial(lost_max));
        if let Some(id) = suspect.map(|task| task.record.id) {
            let at = plus(self.now, LINE_UP_MS);
            self.suspects.not_before = self.suspects.not_before.max(at);
            self.wakes.add(at, key, Wake::AttemptLimit(id));
        }
    }

    /// Whether it is known that an activity that was out when its process ended did not end it: it had proved before that it
    /// can run, or a turn or an operation did.
    pub(super) fn is_acquitted(&self, key: InstanceKey, id: u32) -> bool {
        let lost_max = self.config.limits.lost_workers_max;
        let task = self.instances.get(&key).and_then(|instance| instance.tasks.get(&id));
        let had_begun = |task: &Task| task.handed_over_at() < self.suspects.last_began;
        self.no_activitys_fault() || task.is_some_and(|task| task.has_trial(lost_max) && had_begun(task))
    }

    /// Whether an activity may be handed out now. One that has a trial waits until it is the first of them.
    pub(super) fn is_in_turn(&mut self, key: InstanceKey, id: u32) -> bool {
        self.suspects.releases || !self.waits_for_trial(key, id)
    }

    /// Whether an activity that was offered may begin now: not if another has its trial since.
    pub(super) fn may_begin(&mut self, key: InstanceKey, id: u32) -> bool {
        !self.is_trial_under_way() || !self.waits_for_trial(key, id)
    }

    fn waits_for_trial(&mut self, key: InstanceKey, id: u32) -> bool {
        let lost_max = self.config.limits.lost_workers_max;
        let task = self.instances.get(&key).and_then(|instance| instance.tasks.get(&id));
        let Some(task) = task.filter(|task| task.has_trial(lost_max)) else { return false };
        self.suspects.waiting.insert((Reverse(task.record.lost), key, id));
        true
    }

    /// Another has its trial since this one was offered.
    pub(super) fn take_offer_back(&mut self, task: TaskRef) {
        if let Some(state) = self.handed_out(task) {
            (state.running, state.offered) = (false, false);
        }
    }

    /// An activity begins.
    pub(super) fn begin_trial(&mut self, key: InstanceKey, id: u32) {
        let task = self.instances.get(&key).and_then(|instance| instance.tasks.get(&id));
        if let Some(task) = task.filter(|task| task.has_trial(self.config.limits.lost_workers_max)) {
            self.suspects.on_trial = Some((key, id));
            // So that those who wait are looked at then.
            let over = Timestamp(self.trial_ends(task));
            self.wakes.add(over, key, Wake::AttemptLimit(id));
        }
    }

    fn trial_ends(&self, task: &Task) -> i64 {
        task.handed_over_at().saturating_add_unsigned(task.trial_ms(self.config.limits.lost_workers_max))
    }

    fn is_trial_under_way(&self) -> bool {
        let Some((key, id)) = self.suspects.on_trial else { return false };
        let task = self.instances.get(&key).and_then(|instance| instance.tasks.get(&id));
        task.is_some_and(|task| {
            task.running && task.stage() == Some(Stage::Out) && self.trial_ends(task) > self.now.0
        })
    }

    /// The next trial begins if none is under way.
    pub(super) fn release_suspects(&mut self) {
        while !self.suspects.waiting.is_empty()
            && self.now >= self.suspects.not_before
            && !self.is_trial_under_way()
            && let Some((_, key, id)) = self.suspects.waiting.pop_first()
        {
            self.suspects.releases = true;
            self.hand_out(key, id);
            self.suspects.releases = false;
        }
    }

    /// The process is about to end in an orderly way, and what it still runs ends with it: that does not speak against any
    /// of it. To be told before the last batch.
    pub fn ends_in_order(&mut self, now: Timestamp) {
        self.advance(now);
        let mut spared = Vec::new();
        for (key, instance) in &mut self.instances {
            let runs = |task: &&mut Task| task.running && !task.offered && task.ended.is_none();
            for task in instance.tasks.values_mut().filter(runs) {
                if let Some(once) = task.record.once.as_mut().filter(|once| once.stage() == Stage::Asked) {
                    if !std::mem::replace(&mut once.given_back, true) {
                        spared.push(*key);
                    }
                    continue;
                }
                let is_counted = match task.stage() {
                    None => true,
                    Some(Stage::Out) => !task.is_at_most_once(),
                    Some(_) => false,
                };
                if is_counted && task.record.accounted < task.record.delivery {
                    task.note_end("its process was shut down");
                    spared.push(*key);
                }
            }
        }
        for key in spared {
            self.mark_dirty(key);
        }
    }
}
