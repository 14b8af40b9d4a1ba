//! Circles: who holds an entity waits for a child, and that child, or one of its own, waits for the entity. None of them
//! would ever go on.
//!
//! When somebody has waited for a held entity for a time, one message walks along what its holder waits for, and what that
//! waits for. It is dropped as soon as something on the way can still happen without the others: then there is no circle
//! yet. If it comes to the end, everything that it has been to waits for ever, and the calls and locks that these have
//! in the queue fail. Each wait is looked at where it ends, after it was looked at where it begins: one that is over
//! by then is a thing that happens.

use super::callers::{is_of_present_run, is_of_run, link};
use super::record::{Operation, TaskName, Wanted};
use crate::failure::{Failure, kind};
use crate::history::{EventKind, ParentLink};
use crate::id::{InstanceId, InstanceKey};
use crate::limits::{CIRCLE_WAIT_MS, CIRCLE_WAIT_MS_MAX, CIRCLE_WAITS_MAX};
use crate::partition::Partition;
use crate::partition::instance::{Instance, TurnState};
use crate::partition::message::Body;
use crate::partition::results::Reuse;
use crate::partition::wakes::Wake;
use crate::time::Timestamp;

/// See [`Body::FindCircle`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FindCircle {
    /// The entity that somebody waits for.
    #[prost(string, tag = "1")]
    pub entity: String,
    /// Who holds it.
    #[prost(message, optional, tag = "2")]
    pub holder: Option<ParentLink>,
    /// The wait that the receiver shall look at; absent: all were looked at, and none will end.
    #[prost(message, optional, tag = "3")]
    pub step: Option<CircleStep>,
    /// Waits that are still to be looked at.
    #[prost(message, repeated, tag = "4")]
    pub ahead: Vec<CircleStep>,
    /// Orchestrations that can do nothing.
    #[prost(string, repeated, tag = "5")]
    pub been: Vec<String>,
    /// Waits that were found so far.
    #[prost(uint32, tag = "6")]
    pub waits: u32,
}

/// A wait, to be looked at by what is waited for.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CircleStep {
    /// What is waited for: an orchestration or an entity.
    #[prost(string, tag = "1")]
    pub to: String,
    /// Which task waits: one that started a child, called or locked an entity. At an orchestration with `of_entity`, it is
    /// its own critical section.
    #[prost(message, optional, tag = "2")]
    pub link: Option<ParentLink>,
    /// The entity that the receiver holds.
    #[prost(string, tag = "3")]
    pub of_entity: String,
    /// The other entities of a section that is not granted; the request may have gone on to them.
    #[prost(string, repeated, tag = "4")]
    pub then: Vec<String>,
}

impl Partition {
    /// Sees to it that a wait for a held entity is looked at some time.
    pub(in crate::partition) fn watch_for_circle(&mut self, key: InstanceKey) {
        let now = self.now;
        let Some(entity) = self.entity_mut(key).filter(|entity| entity.keeps_waiting()) else { return };
        let wait = entity.circle_wait.clamp(CIRCLE_WAIT_MS, CIRCLE_WAIT_MS_MAX);
        let (before, soon) = (entity.circle_at, Timestamp(now.0.saturating_add(wait)));
        // That for whoever waits already may be far ahead.
        if before.is_some_and(|at| at.0 <= soon.0.saturating_add(wait / 4)) {
            return;
        }
        // Not in step with what else comes at regular times: nothing must happen while the message walks.
        let late = if wait > CIRCLE_WAIT_MS { (wait as f64 / 4.0 * self.dice()) as i64 } else { 0 };
        let at = Timestamp(soon.0.saturating_add(late));
        if let Some(entity) = self.entity_mut(key) {
            entity.circle_at = Some(at);
            self.wakes.add(at, key, Wake::Circle);
        }
        if let Some(before) = before {
            self.wakes.remove(before, key, Wake::Circle);
        }
    }

    /// Somebody has waited for a held entity for some time.
    pub(in crate::partition) fn look_for_circle(&mut self, key: InstanceKey) {
        let now = self.now;
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let is_blocked = instance.record.block.is_some();
        let Some(entity) = instance.entity.as_deref_mut() else { return };
        // An entry of the time before it left memory.
        if entity.circle_at.is_some_and(|at| at > now) {
            return;
        }
        entity.circle_wait = match (entity.circle_at.take(), &entity.record.lock) {
            // It has left memory since: nobody has come, and who waits has waited no longer than this.
            (None, Some(lock)) => now.0.saturating_sub(lock.since),
            _ => entity.circle_wait.max(CIRCLE_WAIT_MS) * 2,
        }
        .min(CIRCLE_WAIT_MS_MAX);
        if !entity.keeps_waiting() || is_blocked {
            return;
        }
        self.look_at_holder(key);
        self.watch_for_circle(key);
    }

    /// Looks whether who holds an entity is still there, and what it waits for.
    pub(super) fn look_at_holder(&mut self, key: InstanceKey) {
        let Some(instance) = self.instances.get(&key) else { return };
        let id = instance.id.as_str().to_owned();
        let lock = instance.entity.as_deref().and_then(|entity| entity.record.lock.as_ref());
        let Some(holder) = lock.and_then(|lock| lock.holder.clone()) else { return };
        let ahead = vec![held_by(&holder, &id)];
        self.walk_on(FindCircle { entity: id, holder: Some(holder), ahead, ..FindCircle::default() });
    }

    pub(in crate::partition) fn find_circle(&mut self, existing: Option<InstanceKey>, mut find: FindCircle) {
        let Some(step) = find.step.take() else {
            return existing.map_or((), |key| self.circle_found(key, find));
        };
        let Some(link) = &step.link else { return };
        let there = existing.and_then(|key| self.instances.get(&key).map(|instance| (key, instance)));
        let is_it = |instance: &Instance| step.of_entity.is_empty() || is_of_run(instance, link);
        let Some((key, instance)) = there.filter(|(_, instance)| is_it(instance)) else {
            // Who held it is gone. It has not said so if its row could not be read.
            return self.send_unlocks(
                link.clone(),
                Vec::from_iter(Some(step.of_entity).filter(|id| !id.is_empty())),
                true,
            );
        };
        let waits = if instance.entity.is_some() {
            instance.what_holds_up(link, &step, self.holds_back(key, link))
        } else if !instance.is_waited_for(link, &step.of_entity) {
            None
        } else if find.been.contains(&step.to) {
            Some(Vec::new())
        } else {
            find.been.push(step.to.clone());
            instance.what_it_waits_for()
        };
        let Some(waits) = waits else { return };
        find.waits = find.waits.saturating_add(waits.len() as u32);
        find.ahead.extend(waits);
        if find.waits <= CIRCLE_WAITS_MAX {
            self.walk_on(find);
        }
    }

    fn walk_on(&mut self, mut find: FindCircle) {
        find.step = find.ahead.pop();
        let to = find.step.as_ref().map_or(&find.entity, |step| &step.to);
        self.send(&InstanceId::recorded(to), Body::FindCircle(Box::new(find.clone())));
    }

    /// Those that the message has been to wait for each other: what they want of this entity fails.
    fn circle_found(&mut self, key: InstanceKey, find: FindCircle) {
        let Some(entity) = self.entity_mut(key) else { return };
        let holder = entity.record.lock.as_ref().and_then(|lock| lock.holder.clone());
        if holder.is_none() || holder != find.holder || entity.running.is_some() {
            return;
        }
        // Whoever was in a circle may try again at once.
        entity.circle_wait = 0;
        let holder = holder.map(|holder| holder.instance).unwrap_or_default();
        let failure = |wanted: &str, of: &str| {
            let text = format!(
                "{wanted} of {:?} by {of:?}: {holder:?} holds it in a critical section and waits, perhaps by way of others, \
                 for {of:?}: they would wait for ever. Let the holder call the entity, or start the sub-orchestration outside \
                 of the section",
                find.entity
            );
            Failure::new(kind::INVALID, text).non_retryable()
        };
        let mut waiting = entity.take_waiting(&find.been);
        waiting.extend(self.take_held_of(key, &find.been));
        for wanted in waiting {
            let (link, request, failure) = match wanted {
                Wanted::Operation(Operation { caller: Some(link), name, request, .. }) => {
                    let failure = failure(&format!("operation {name:?}"), &link.instance);
                    (link, request, failure)
                }
                Wanted::Lock(request) => match request.holder {
                    Some(link) => {
                        let failure = failure("lock", &link.instance);
                        (link, request.request, failure)
                    }
                    None => continue,
                },
                Wanted::Operation(_) => continue,
            };
            self.answer_caller(link, request, Err(failure.within_limits()));
        }
        self.take_held(key);
        self.go_on(key);
    }
}

fn held_by(holder: &ParentLink, entity: &str) -> CircleStep {
    CircleStep {
        to: holder.instance.clone(),
        link: Some(holder.clone()),
        of_entity: entity.to_owned(),
        then: Vec::new(),
    }
}

impl Instance {
    /// What a call or a lock request waits for at this entity; `None`: it will be served.
    fn what_holds_up(
        &self,
        waiting: &ParentLink,
        step: &CircleStep,
        has_no_room: bool,
    ) -> Option<Vec<CircleStep>> {
        let entity = self.entity.as_deref().filter(|_| self.record.block.is_none())?;
        let holder = entity.record.lock.as_ref().and_then(|lock| lock.holder.as_ref())?;
        if has_no_room || entity.holds_up(waiting) {
            return Some(vec![held_by(holder, self.id.as_str())]);
        }
        // A request that has this one waits for the next.
        let (to, then) = step.then.split_first().filter(|_| holder == waiting)?;
        Some(vec![CircleStep { to: to.clone(), then: then.to_vec(), ..step.clone() }])
    }

    /// Whether an orchestration is still waited for: as a child by its parent, or as the holder of an entity.
    fn is_waited_for(&self, link: &ParentLink, of_entity: &str) -> bool {
        if of_entity.is_empty() {
            let which = |link: &ParentLink| (link.branch, link.task, link.attempt);
            let is_it = |parent: &ParentLink| parent.is_same_run(link) && which(parent) == which(link);
            return self.is_active() && self.record.parents.iter().any(is_it);
        }
        let section = self.record.section.as_deref().filter(|section| section.id == link.task);
        is_of_present_run(self, link)
            && section.is_some_and(|section| section.set.iter().any(|entity| entity == of_entity))
    }

    /// Whether its turns, if it has any, bring nothing but external events. One that waits for none goes on for none.
    fn gets_only_events(&self) -> bool {
        let mut coming = self.away_events().iter().chain(self.inbox.iter()).peekable();
        let is_known = self.turn == TurnState::Idle || coming.peek().is_some();
        is_known && coming.all(|event| matches!(event.kind, EventKind::EventRaised(_)))
    }

    /// All that an orchestration waits for; `None`: something may happen to it that is none of that.
    fn what_it_waits_for(&self) -> Option<Vec<CircleStep>> {
        let record = &self.record;
        let rests = self.gets_only_events()
            && self.held.is_empty()
            && !matches!(self.reuse.as_deref(), Some(Reuse::Reading(_)))
            && !self.set_aside;
        let has_other = self.tasks.keys().any(|id| self.waits_for(*id))
            || self.timers.keys().any(|id| self.waits_for(*id))
            || record.awaits_event;
        if !rests || has_other || self.is_suspended() || record.block.is_some() || !self.has_begun() {
            return None;
        }
        let mut waits = Vec::new();
        let children = self.children.values().map(|child| &child.record);
        for child in children.filter(|child| !child.canceled && self.waits_for(child.id)) {
            if child.not_before != 0 {
                return None;
            }
            waits.push(CircleStep {
                to: child.instance.clone(),
                link: Some(self.link(child.id, child.attempt)),
                ..CircleStep::default()
            });
        }
        for call in self.calls.values().filter(|call| self.waits_for(call.id)) {
            let TaskName { branch, task } = call.sent_as(record.branch);
            let link = Some(ParentLink { branch, ..link(self, task) });
            waits.push(CircleStep { to: call.entity.clone(), link, ..CircleStep::default() });
        }
        if let Some(section) = record.section.as_deref().filter(|section| !section.granted)
            && let Some((first, then)) = section.set.split_first()
        {
            let link = Some(link(self, section.id));
            waits.push(CircleStep { to: first.clone(), link, then: then.to_vec(), ..CircleStep::default() });
        }
        (!waits.is_empty()).then_some(waits)
    }
}
