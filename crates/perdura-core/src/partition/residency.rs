//! Which instances are in memory: they come when they are needed and leave when nothing is at hand.

use super::instance::{Instance, TurnState};
use super::request::{ReplyToken, Request, RequestError, Response};
use super::wakes::Wake;
use super::{Bug, ByKey, DamagedRow, InstanceRow, Need, Parked, Partition, Presence};
use crate::failure::{Failure, kind};
use crate::history::{Event, EventKind};
use crate::id::{InstanceId, InstanceKey};
use crate::orchestration::Turn;
use crate::time::Timestamp;
use std::sync::Arc;

/// Instances looked at in one go; more than a page of a recovery has.
const EVICTION_LOOKS_MAX: usize = 2048;

/// Names a history: which instance, which generation, which branch.
pub type HistoryName = (InstanceKey, u32, u32);

impl Partition {
    /// Takes rows of instances that have not ended, after a new grant. All of them, before anything else; then all messages
    /// by [`deliver`](Self::deliver), and only then something runs.
    pub fn recover(&mut self, rows: Vec<InstanceRow>, now: Timestamp) {
        self.advance(now);
        self.awaits_messages = true;
        for row in rows {
            let key = row.key;
            let loaded = self.load(row);
            if loaded {
                self.register_wakes(key);
                self.look_at_trial(key);
                self.look_at_suspects(key);
                self.take_up(key);
            }
            // Nobody has asked for it yet: it leaves first.
            if let Some(instance) = self.instances.get_mut(&key) {
                instance.touched = false;
            }
        }
        self.settle();
        self.evict();
    }

    /// The row of an instance that was asked for by id; `None` if there is none.
    pub fn found_id(&mut self, id: &InstanceId, row: Option<InstanceRow>, now: Timestamp) {
        self.advance(now);
        let is_resident = self.ids.contains_key(id);
        let is_purged = self.purged_ids.contains_key(id);
        let Some(lookup) = self.id_lookups.get_mut(id) else { return };
        let overtaken = std::mem::take(&mut lookup.overtaken);
        if overtaken && !is_resident && !is_purged {
            return self.needs.push(Need::FindId(id.clone()));
        }
        if let Some(row) = row.filter(|_| !is_resident && !is_purged) {
            self.load(row);
        }
        for parked in self.id_lookups.remove(id).unwrap_or_default().waiting {
            let key = self.ids.get(id).copied();
            let damaged = self.damaged.get(id).cloned();
            match (parked, damaged) {
                (Parked::Request(token, request), Some(row)) => {
                    self.request_of_damaged(token, &request, row);
                }
                (Parked::Message(message, envelope), Some(_)) => self.keep_for_damaged(message, envelope),
                (Parked::Request(token, request), None) => self.apply_request(token, request, key),
                (Parked::Message(message, envelope), None) => self.apply_message(message, envelope, key),
            }
        }
        self.settle();
    }

    /// The row of an instance that was asked for by key; `None` if there is none.
    pub fn found_key(&mut self, key: InstanceKey, row: Option<InstanceRow>, now: Timestamp) {
        self.advance(now);
        let is_resident = self.instances.contains_key(&key);
        let is_purged = self.purged_keys.contains_key(&key);
        let Some(lookup) = self.key_lookups.get_mut(&key) else { return };
        let overtaken = std::mem::take(&mut lookup.overtaken);
        if overtaken && !is_resident && !is_purged {
            return self.needs.push(Need::FindKey(key));
        }
        if let Some(row) = row.filter(|_| !is_resident && !is_purged) {
            self.load(row);
        }
        for waiting in self.key_lookups.remove(&key).unwrap_or_default().waiting {
            match waiting {
                ByKey::Wake(wake) if self.instances.contains_key(&key) => self.wake(key, wake),
                ByKey::Wake(_) => {}
                ByKey::Result(task, result) => self.take_result(task, result),
            }
        }
        self.settle();
    }

    /// The history of an instance that was asked for. If a turn waited for it, the turn is given back to be run with it.
    /// A history of another generation or branch than the present one is no use to anybody: it was asked for before the
    /// instance began anew.
    pub fn history_read(
        &mut self,
        (key, generation, branch): HistoryName,
        events: &[Event],
        now: Timestamp,
    ) -> Option<Turn> {
        self.advance(now);
        self.results_read((key, generation, branch), events);
        self.rewind_with_other((key, generation, branch), events);
        if !self.waits_for_history(key, generation, branch) {
            self.settle();
            return None;
        }
        let instance = self.instances.get_mut(&key)?;
        let (length, tail) = (events.len() as u64, instance.record.tail);
        if length < instance.history_asked || length > tail {
            let what = format!("it has {length} events, the instance says {tail}");
            self.history_damaged((key, generation, branch), &what, now);
            return None;
        }
        instance.reading = false;
        if self.rewind_with(key, events) {
            self.settle();
            return None;
        }
        let instance = self.instances.get_mut(&key)?;
        let is_parked = matches!(instance.turn, TurnState::Parked(_));
        if is_parked && instance.away.as_ref().is_some_and(|away| length < away.turn.from) {
            // The turn came after the question.
            self.want_history(key);
            return None;
        }
        let mut tasks = Vec::new();
        for event in events {
            match &event.kind {
                EventKind::TaskScheduled(scheduled) => {
                    if let Some(task) = instance.tasks.get_mut(&scheduled.id) {
                        task.scheduled = Some(Arc::new(scheduled.clone()));
                        tasks.push(scheduled.id);
                    }
                }
                // An operator gave an activity that runs again another input.
                EventKind::ExecutionRewound(rewound) => {
                    for replaced in &rewound.inputs {
                        let task =
                            instance.tasks.values_mut().find(|task| task.record.event == replaced.event);
                        if let Some(scheduled) = task.and_then(|task| task.scheduled.as_mut()) {
                            Arc::make_mut(scheduled).input.clone_from(&replaced.payload);
                        }
                    }
                }
                EventKind::SubOrchestrationScheduled(scheduled) => {
                    if let Some(child) = instance.children.get_mut(&scheduled.id) {
                        child.scheduled = Some(Arc::new(scheduled.clone()));
                    }
                }
                _ => {}
            }
        }
        let lacks_task = instance.tasks.values().any(|task| task.scheduled.is_none());
        let lacks_child =
            instance.children.values().any(|c| c.record.retry.is_some() && c.scheduled.is_none());
        if lacks_task || lacks_child {
            self.set_aside(key, "its row lists work that the history does not have");
            return None;
        }
        for task in tasks {
            self.watch_limits(key, task);
        }
        self.hand_out_tasks(key);
        self.take_held(key);
        self.start_due_children(key);
        self.settle();
        let instance = self.instances.get_mut(&key)?;
        let TurnState::Parked(number) = instance.turn else { return None };
        instance.turn = TurnState::Running(number);
        instance.away.take().map(|away| away.turn)
    }

    /// The history of an instance cannot be read: it is left alone from here on. Nothing may be appended to what is
    /// stored of it, since the store would refuse that, and with it the batch of everybody. One of a branch that only a
    /// rewind asks for is no harm to the instance: the rewind is refused.
    pub fn history_damaged(&mut self, (key, generation, branch): HistoryName, what: &str, now: Timestamp) {
        self.advance(now);
        let of_results = self.waits_for_results((key, generation, branch));
        if of_results || self.waits_for_history(key, generation, branch) {
            self.set_aside(key, what);
        } else {
            self.refuse_rewind_with_other((key, generation, branch), what);
        }
        self.settle();
    }

    fn set_aside(&mut self, key: InstanceKey, what: &str) {
        self.refuse_rewinds(key, what);
        self.call_back(key);
        let Some(instance) = self.instances.get_mut(&key) else { return };
        instance.reading = false;
        instance.reuse = None;
        let id = instance.id.clone();
        let waiters = std::mem::take(&mut instance.waiters);
        let what = format!("its history cannot be read ({what})");
        self.damage_found.push((key, id.clone(), what.clone()));
        self.damaged.insert(id.clone(), DamagedRow { key, what: what.clone() });
        for waiter in waiters {
            self.reply(waiter.token, Err(RequestError::Damaged { id: id.clone(), what: what.clone() }));
        }
        let reason = format!("{what}; restore the hub from a backup, or purge it");
        self.block(key, reason, None);
    }

    /// Nothing can be done with an instance that cannot be read, but to remove it.
    pub(super) fn request_of_damaged(&mut self, token: ReplyToken, request: &Request, row: DamagedRow) {
        let id = request.id().clone();
        let answer = if let Request::Terminate { reason, recurse, .. } = request
            && self.is_set_aside(row.key)
        {
            self.take_back_in(&id, row.key);
            self.terminate(row.key, reason.clone(), *recurse);
            Ok(Response::Done)
        } else if let Request::Purge { .. } = request {
            self.damaged.remove(&id);
            self.unwritable.remove(&id);
            self.release_section(row.key);
            self.drop_outstanding(row.key);
            let instance = self.instances.get_mut(&row.key);
            let parents = instance.map(|instance| std::mem::take(&mut instance.record.parents));
            for parent in parents.unwrap_or_default() {
                let what = format!("child {id:?} was damaged, and was purged: {}", row.what);
                let failure = Failure::new(kind::DAMAGED, what).non_retryable();
                self.answer_parent(parent, None, Some(failure));
            }
            self.release_kept(&id);
            self.purge_row(id, row.key);
            self.remove(row.key);
            self.forget_rewinds(row.key);
            Ok(Response::Done)
        } else if self.is_set_aside(row.key) {
            Err(RequestError::SetAside { id, why: row.what })
        } else {
            Err(RequestError::Damaged { id, what: row.what })
        };
        self.reply(token, answer);
    }

    fn waits_for_history(&self, key: InstanceKey, generation: u32, branch: u32) -> bool {
        self.instances.get(&key).is_some_and(|instance| {
            let record = &instance.record;
            instance.reading && (record.generation, record.branch) == (generation, branch)
        })
    }

    /// An instance begins anew: what was asked of its history does not matter any more.
    pub(super) fn forget_history(&mut self, key: InstanceKey) {
        self.history_wanted.retain(|wanted| *wanted != key);
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.reading = false;
        }
    }

    /// How `id` stands. If it is not known, whoever asks has to park what waits for it.
    pub(super) fn presence(&mut self, id: &InstanceId, fresh: bool) -> Presence {
        // Who waits for the row is not overtaken by who comes later, even if the instance has come into memory by its
        // key meanwhile.
        if self.id_lookups.contains_key(id) {
            return Presence::Unknown;
        }
        if let Some(row) = self.damaged.get(id) {
            return Presence::Damaged(row.clone());
        }
        if let Some(key) = self.ids.get(id) {
            if let Some(instance) = self.instances.get_mut(key) {
                instance.touched = true;
            }
            return Presence::Resident(*key);
        }
        if fresh || self.purged_ids.contains_key(id) || self.planted(Bug::StartWithoutLook) {
            return Presence::Absent;
        }
        Presence::Unknown
    }

    pub(super) fn park(&mut self, id: InstanceId, parked: Parked) {
        if !self.id_lookups.contains_key(&id) {
            self.needs.push(Need::FindId(id.clone()));
        }
        self.id_lookups.entry(id).or_default().waiting.push(parked);
    }

    /// Something has come for an instance that is not in memory, if there is one.
    pub(super) fn look_up(&mut self, key: InstanceKey, waits: ByKey) {
        if self.purged_keys.contains_key(&key) {
            return;
        }
        let waiting = &mut self.key_lookups.entry(key).or_default().waiting;
        if waiting.is_empty() {
            self.needs.push(Need::FindKey(key));
        }
        waiting.push(waits);
    }

    /// Puts an instance in memory.
    pub(super) fn admit(&mut self, instance: Instance) {
        self.overtake(instance.key, &instance.id);
        self.left_in_doubt.remove(&instance.key);
        self.ids.insert(instance.id.clone(), instance.key);
        self.hand.push_back(instance.key);
        self.instances.insert(instance.key, Box::new(instance));
    }

    /// What is being read of an instance may be older than what becomes of it in memory.
    pub(super) fn overtake(&mut self, key: InstanceKey, id: &InstanceId) {
        if let Some(lookup) = self.id_lookups.get_mut(id) {
            lookup.overtaken = true;
        }
        if let Some(lookup) = self.key_lookups.get_mut(&key) {
            lookup.overtaken = true;
        }
    }

    /// Loads a row; one that cannot be read is set aside and never run.
    fn load(&mut self, row: InstanceRow) -> bool {
        match Instance::load(&row) {
            Ok(instance) => {
                if self.is_never_written(&row.id) {
                    let what = self.why_unwritable(&row.id);
                    self.damaged.insert(row.id, DamagedRow { key: row.key, what });
                    return false;
                }
                self.admit(instance);
                !self.keep_aside(&row.id, row.key)
            }
            Err(damage) => {
                self.damage_found.push((row.key, row.id.clone(), damage.to_string()));
                self.damaged.insert(row.id, DamagedRow { key: row.key, what: damage.to_string() });
                false
            }
        }
    }

    /// Everything that can wake an instance. Only for rows of a recovery: whatever comes later is registered as it is
    /// made, and entries outlast an eviction.
    fn register_wakes(&mut self, key: InstanceKey) {
        let Some(instance) = self.instances.get(&key) else { return };
        let mut wakes = Vec::new();
        if !instance.inbox.is_empty() && instance.record.start_at > self.now.0 {
            wakes.push((Timestamp(instance.record.start_at), Wake::Start));
        }
        wakes.extend(instance.timers.iter().map(|(id, at)| (*at, Wake::Timer(*id))));
        let retries = instance.tasks.values().filter(|task| task.record.not_before != 0);
        wakes.extend(retries.map(|task| (Timestamp(task.record.not_before), Wake::Retry(task.record.id))));
        let children = instance.children.values().filter(|child| child.record.not_before != 0);
        wakes.extend(
            children.map(|child| (Timestamp(child.record.not_before), Wake::ChildRetry(child.record.id))),
        );
        for (at, wake) in wakes {
            self.wakes.add(at, key, wake);
        }
    }

    /// Goes on with an instance after a recovery.
    fn take_up(&mut self, key: InstanceKey) {
        let Some(instance) = self.instances.get(&key) else { return };
        if instance.entity.is_some() {
            return self.take_up_entity(key);
        }
        let tasks = !instance.tasks.is_empty();
        if !instance.inbox.is_empty() {
            self.enqueue(key);
        }
        if tasks {
            self.want_history(key);
        }
    }

    /// Asks for the history of an instance, once all of it is committed.
    pub(super) fn want_history(&mut self, key: InstanceKey) {
        let Some(instance) = self.instances.get_mut(&key) else { return };
        if !std::mem::replace(&mut instance.reading, true) {
            self.history_wanted.push(key);
            self.ask_for_histories();
        }
    }

    pub(super) fn ask_for_histories(&mut self) {
        let (instances, committed, needs) = (&mut self.instances, self.batches_committed, &mut self.needs);
        self.history_wanted.retain(|key| {
            let Some(instance) = instances.get_mut(key) else { return false };
            let committed = instance.unwritten.is_empty() && instance.last_batch <= committed;
            if committed {
                let (generation, branch) = (instance.record.generation, instance.record.branch);
                instance.history_asked = instance.record.tail;
                let parts = instance.record.history_parts(branch).unwrap_or_default();
                needs.push(Need::History { key: *key, generation, branch, parts });
            }
            !committed
        });
    }

    /// Lets instances leave memory until no more than the limit are left: second chance, least recently used first. Looks
    /// at a bounded number, so that a crowd that cannot leave costs little.
    pub(super) fn evict(&mut self) {
        // Those that left by themselves are still in the order.
        if self.hand.len() > 2 * self.instances.len() + EVICTION_LOOKS_MAX {
            let (instances, mut seen) = (&self.instances, rustc_hash::FxHashSet::default());
            self.hand.retain(|key| instances.contains_key(key) && seen.insert(*key));
        }
        let mut looks = self.hand.len().min(EVICTION_LOOKS_MAX);
        while self.instances.len() > self.config.limits.resident_instances_max && looks > 0 {
            looks -= 1;
            let Some(key) = self.hand.pop_front() else { return };
            let Some(instance) = self.instances.get_mut(&key) else { continue };
            let is_held = self.rewinds.contains_key(&key);
            if std::mem::take(&mut instance.touched) || is_held || !instance.may_leave(self.batches_committed)
            {
                self.hand.push_back(key);
            } else {
                if !instance.tasks.is_empty() || instance.has_left_calls() {
                    self.left_in_doubt.insert(key);
                }
                self.remove(key);
            }
        }
    }

    /// Takes an instance out of memory. Its entry in the eviction order goes when the hand meets it.
    pub(super) fn remove(&mut self, key: InstanceKey) {
        if let Some(instance) = self.instances.remove(&key) {
            self.overtake(key, &instance.id);
            if self.ids.get(&instance.id) == Some(&key) {
                self.ids.remove(&instance.id);
            }
            self.forgotten.push(key);
        }
    }
}
