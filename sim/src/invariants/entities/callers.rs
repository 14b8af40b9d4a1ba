//! What orchestrations have of entities: answers, and critical sections.

use super::holder;
use crate::entities::account::Order;
use crate::invariants::{Change, Checker, Group, Seen};
use crate::payload::EventSalt;
use perdura_core::history::EventKind;
use perdura_core::partition::TaskName;

impl Checker {
    /// An orchestration has called, signaled, heard of entities.
    pub(in crate::invariants) fn orchestration_wrote(&mut self, change: &Change<'_>) {
        let seen = change.after;
        // One that is under way may be taken over and end within this batch: no trace of it is left then.
        let known = change.same_generation().and_then(|before| before.record.rewinds.as_ref());
        let may_take_over = known.is_some_and(|rewinds| !rewinds.calls.is_empty());
        for event in change.appended {
            let (input, at, branch) = match &event.kind {
                // The result of another branch is used again, now or when it comes, and nothing is sent.
                EventKind::EntityOperationCalled(called)
                    if seen.is_completed(called.id) || takes_over(seen, called.id) =>
                {
                    continue;
                }
                EventKind::EntityOperationCalled(called) => (&called.input, 0, seen.record.branch),
                EventKind::EntityOperationSignaled(signaled) => (&signaled.input, signaled.at, 0),
                _ => continue,
            };
            if let Some(Order { salt, .. }) = Order::decode(input, None) {
                let salt = salt.on_branch(branch);
                let place = self.entities.recorded.len() as u64;
                self.entities.recorded.entry(salt).or_insert(place);
                self.entities.sent.insert(salt);
                if !(may_take_over && matches!(event.kind, EventKind::EntityOperationCalled(_))) {
                    self.entities.owed.insert(salt);
                }
                if at != 0 {
                    self.entities.delayed.insert(salt);
                }
            }
        }
        for event in change.arrived() {
            let (id, outcome) = match &event.kind {
                EventKind::EntityOperationCompleted(done) => (done.id, Ok(done.output.clone())),
                EventKind::EntityOperationFailed(failed) => {
                    (failed.id, Err(failed.failure.clone().unwrap_or_default()))
                }
                _ => continue,
            };
            if let Some(order) = seen.calls.get(&id).and_then(|called| Order::decode(&called.input, None)) {
                let branch = seen.record.branch;
                self.entities.answered.push((format!("{seen:?}"), order.salt, branch, outcome));
            }
        }
        let result = outstanding(seen).and_then(|()| self.code_agrees(seen));
        self.check(Group::Entities, result);
    }

    /// What the code believes to hold is what the row says, from the turn on in which the code was told.
    fn code_agrees(&self, seen: &Seen) -> Result<(), String> {
        let Some(shadow) = seen.shadow.as_ref().filter(|_| !seen.row.status.is_terminal()) else {
            return Ok(());
        };
        let section = seen.record.section.as_deref().filter(|section| seen.completed.contains(&section.id));
        let (held, believed) =
            (section.map_or(&[][..], |section| &section.set), shadow.borrow().locked_entities());
        if held == believed {
            return Ok(());
        }
        Err(format!("{seen:?}: holds {held:?}, its code believes {believed:?}"))
    }

    /// A batch is durable, and everything that it is about is known.
    pub(in crate::invariants) fn entities_after_batch(&mut self) {
        let result = self.batch_holds();
        // Whether an order whose decision is not kept was one for a later time is not known.
        for (_, salt) in std::mem::take(&mut self.entities.arrived) {
            if !self.entities.sent.contains(&salt) {
                self.entities.delayed.insert(salt);
            }
        }
        for (_, salt, branch, outcome) in std::mem::take(&mut self.entities.answered) {
            if self.entities.is_refused(salt, branch, &outcome) {
                self.entities.owed.remove(&salt.on_branch(branch));
                self.entities.refused.insert(salt.on_branch(branch));
            }
            if outcome.is_ok() && self.programs.names_orders_by_place {
                self.entities.succeeded.entry(salt).or_insert(branch);
            }
        }
        self.check(Group::Entities, result);
    }

    fn batch_holds(&self) -> Result<(), String> {
        let known = &self.entities;
        if self.judges_everything() {
            for (entity, salt) in &known.arrived {
                if !known.sent.contains(salt) && !self.is_of_the_past(*salt) {
                    return Err(format!("{entity}: {salt:x?} came, but nobody has sent it"));
                }
                if known.processed.contains_key(salt) {
                    return Err(format!("{entity}: {salt:x?} came again"));
                }
            }
        }
        for (caller, salt, branch, outcome) in &known.answered {
            // The answer may be that of a branch before, used again.
            let mut processed =
                (0..=*branch).filter_map(|branch| known.processed.get(&salt.on_branch(branch)));
            if !processed.any(|processed| processed == outcome) && !known.is_refused(*salt, *branch, outcome)
            {
                let was = known.processed.get(&salt.on_branch(*branch));
                return Err(format!("{caller}: the answer to {salt:x?} is {outcome:?}, was {was:?}"));
            }
        }
        self.mirror.instances().try_for_each(|seen| self.section_holds(seen))
    }

    /// Whether an order comes from an execution that is over: the last decisions of one that began anew are not kept.
    fn is_of_the_past(&self, salt: EventSalt) -> bool {
        let is_of =
            |seen: &Seen| EventSalt::of_execution((seen.record.execution.high >> 32) as u32, 0).sender();
        salt.0 >> 63 == 1 && !self.mirror.instances().any(|seen| is_of(seen) == salt.sender())
    }

    /// A section that was granted holds all of its entities.
    fn section_holds(&self, seen: &Seen) -> Result<(), String> {
        let Some(section) = seen.record.section.as_deref() else { return Ok(()) };
        if seen.row.status.is_terminal() {
            return Err(format!("{seen:?} has ended, and has {section:?}"));
        }
        if !section.granted {
            return Ok(());
        }
        for id in &section.set {
            let entity = self.mirror.instances().find(|other| other.row.id.as_str() == id).map(Seen::entity);
            let lock = entity.and_then(|entity| entity.lock);
            let holds = holder(&lock).is_some_and(|holder| {
                let record = &seen.record;
                record.execution == holder.execution
                    && (&holder.instance, holder.generation, holder.branch, holder.task)
                        == (&record.id, record.generation, record.branch, section.id)
            });
            if !holds {
                return Err(format!("{seen:?} holds {section:?}, but {id} has {lock:?}"));
            }
        }
        Ok(())
    }
}

/// Whether a call waits for what was sent on another branch.
fn takes_over(seen: &Seen, id: u32) -> bool {
    let name = TaskName { branch: seen.record.branch, task: id };
    // The execution may have ended in the same batch.
    let mut left = seen.record.rewinds.iter().flat_map(|rewinds| &rewinds.calls);
    seen.record.calls.iter().any(|call| call.id == id && call.sent_as.is_some())
        || left.any(|left| left.names.contains(&name) && left.names.first() != Some(&name))
}

/// The row's list of calls is what the history has called and nobody has answered. A cancel request empties it.
fn outstanding(seen: &Seen) -> Result<(), String> {
    let record = &seen.record;
    let listed: Vec<u32> = record.calls.iter().map(|call| call.id).collect();
    let open: Vec<u32> = seen.calls.keys().copied().filter(|id| !seen.is_completed(*id)).collect();
    let exact = !seen.row.status.is_terminal() && record.cancel_requested.is_none();
    let sound = if exact { listed == open } else { listed.iter().all(|id| open.contains(id)) };
    if !sound {
        return Err(format!("{seen:?}: call list {listed:?}, but open are {open:?}"));
    }
    match record.section.as_deref() {
        Some(section) if !seen.locks.contains(&section.id) => {
            Err(format!("{seen:?}: {section:?} was not asked for"))
        }
        _ => Ok(()),
    }
}
