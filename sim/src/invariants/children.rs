//! Parents and children (I29): the commit that ends an instance also tells whoever has to know, or has told them.

use super::mirror::Seen;
use super::{Checker, Group};
use perdura_core::history::{EventKind, ParentLink};
use perdura_core::partition::{Batch, Body, Message};

impl Checker {
    /// `before` was ended, replaced or continued as new by a batch.
    pub(super) fn family_told(&mut self, before: &Seen, batch: &Batch) {
        let after = self.mirror.instances.get(&before.key);
        let continued = after.is_some_and(|after| {
            after.record.start_generation == before.record.start_generation
                && after.record.generation > before.record.generation
        });
        // One that continued as new has not ended. It may have ended since, in the same batch.
        if continued && after.is_some_and(|after| !after.row.status.is_terminal()) {
            return;
        }
        let result = self.parents_told(before, batch);
        self.check(Group::Children, result);
        if !continued && self.is_terminated_with_children(before) {
            let result = self.children_told(before, batch);
            self.check(Group::Children, result);
        }
    }

    fn is_terminated_with_children(&self, before: &Seen) -> bool {
        let Some(after) = self.mirror.instances.get(&before.key) else { return false };
        after.record.start_generation > before.record.start_generation
            || after
                .history
                .iter()
                .any(|event| matches!(&event.kind, EventKind::ExecutionTerminated(t) if t.recurse))
    }

    fn parents_told(&self, before: &Seen, batch: &Batch) -> Result<(), String> {
        for link in &before.record.parents {
            let sent = outgoing(batch).any(|message| match &message.body {
                Some(Body::ChildEnded(ended)) => is_same_task(ended.parent.as_ref(), link),
                _ => false,
            });
            let waits = self.waits_for(link);
            let is_local = self.partition_of(&link.instance) == before.key.partition();
            if !sent && (waits || !is_local) {
                return Err(format!("{before:?} ended, its parent {link:?} is not told"));
            }
        }
        Ok(())
    }

    /// Whether an instance still waits for an answer of exactly this child.
    fn waits_for(&self, link: &ParentLink) -> bool {
        let parent = self.mirror.instances().find(|seen| seen.row.id.as_str() == link.instance);
        parent.is_some_and(|parent| {
            parent.record.generation == link.generation
                && parent.record.execution == link.execution
                && parent.record.branch == link.branch
                && parent.record.children.iter().any(|child| {
                    child.id == link.task && child.attempt == link.attempt && child.not_before == 0
                })
        })
    }

    fn children_told(&self, before: &Seen, batch: &Batch) -> Result<(), String> {
        for child in before.record.children.iter().filter(|child| child.not_before == 0) {
            let link = ParentLink {
                instance: before.record.id.clone(),
                generation: before.record.generation,
                branch: before.record.branch,
                task: child.id,
                attempt: child.attempt,
                execution: before.record.execution.to_bytes(),
                attached: false,
                name: before.record.name.clone(),
                version: before.record.version.clone(),
            };
            let sent = outgoing(batch).any(|message| match &message.body {
                Some(Body::Terminate(terminate)) => {
                    message.to == child.instance && is_same_task(terminate.parent.as_ref(), &link)
                }
                _ => false,
            });
            let runs = self.mirror.instances().any(|seen| {
                seen.row.id.as_str() == child.instance
                    && !seen.row.status.is_terminal()
                    && seen.record.parents.contains(&link)
            });
            // A child that has answered in the same batch is not outstanding any more.
            let answered = !self.answer_is_possible(before, &link);
            if !sent && !answered && (runs || self.partition_of(&child.instance) != before.key.partition()) {
                return Err(format!("{before:?} was terminated, its child {:?} is not told", child.instance));
            }
        }
        Ok(())
    }

    /// Whether the terminated instance was still waiting for the child: its answer is not in the recorded inbox.
    fn answer_is_possible(&self, before: &Seen, link: &ParentLink) -> bool {
        let Some(after) = self.mirror.instances.get(&before.key) else { return false };
        after.record.generation == before.record.generation && !after.is_completed(link.task)
    }
}

fn outgoing(batch: &Batch) -> impl Iterator<Item = Message> {
    batch.outgoing.iter().filter_map(|envelope| envelope.open().ok())
}

/// Whether a message is about a task of a parent; the attempt may have ended, and the next one begun, in the same batch,
/// and so may a branch.
fn is_same_task(told: Option<&ParentLink>, link: &ParentLink) -> bool {
    told.is_some_and(|told| {
        let told = ParentLink { attempt: link.attempt, branch: link.branch, ..told.clone() };
        told == *link
    })
}
