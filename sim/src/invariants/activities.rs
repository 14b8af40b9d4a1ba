//! Activities (I14 to I18): one that runs at most once does not run again while the outcome of an attempt is unknown; a delivery count is given once, its number is durable before the attempt begins, only the
//! present delivery completes, and retries keep to their policy.

use super::mirror::Seen;
use super::{Change, Checker, Group};
use crate::payload::{task_of, task_output};
use bytes::Bytes;
use perdura_core::delivery::Delivery;
use perdura_core::history::{Event, EventKind, TaskCompleted};
use perdura_core::partition::{TaskRecord, TaskStart};
use perdura_core::{InstanceId, InstanceKey, Timestamp};
use std::collections::BTreeSet;

/// Names a scheduled activity: key, generation, branch, number.
pub(super) type TaskKey = (InstanceKey, u32, u32, u32);

/// Attempts of one activity that have begun.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    deliveries: BTreeSet<u32>,
    /// Those that have failed, as their worker said.
    failed: BTreeSet<u32>,
    /// The latest attempt of the policy, and when it first began.
    latest: (u32, Timestamp),
}

/// `by_hand`: an operator has given inputs in this execution.
pub(super) fn check(change: &Change<'_>, by_hand: bool) -> Result<(), String> {
    for event in change.arrived() {
        if let EventKind::TaskCompleted(done) = &event.kind {
            completes(change, done, by_hand)?;
        }
    }
    let Some(before) = change.same_generation().filter(|_| !change.is_rewound()) else { return Ok(()) };
    for task in &before.record.tasks {
        let Some(now) = change.after.record.tasks.iter().find(|now| now.id == task.id) else { continue };
        if now.delivery < task.delivery || now.attempt < task.attempt {
            return Err(format!("{:?}: task {} went back to {now:?} from {task:?}", change.after, task.id));
        }
        if now.delivery > task.delivery && task.not_before > change.now.0 {
            return Err(format!("{:?}: task {} retried before {}", change.after, task.id, task.not_before));
        }
    }
    Ok(())
}

/// A result must be that of the delivery that is durable, for what this generation scheduled.
fn completes(change: &Change<'_>, done: &TaskCompleted, by_hand: bool) -> Result<(), String> {
    let after = change.after;
    if !after.tasks.contains_key(&done.id) {
        return Err(format!("{after:?}: a result for task {}, which is not scheduled", done.id));
    }
    let input = after.input_of_task(done.id);
    let has_key = after.tasks.get(&done.id).is_some_and(|task| task.key.is_some());
    if done.delivery == 0 && has_key {
        // The result of another call under its key.
        let fits = by_hand || (1..100).any(|d| done.output.as_ref() == Some(&task_output(&input, d)));
        return fits.then_some(()).ok_or_else(|| format!("{after:?}: {done:?} is no result of its key"));
    }
    if done.delivery == 0 {
        // A result of another branch, used again.
        let is_same = |event: &Event| match &event.kind {
            EventKind::TaskCompleted(known) => known.output == done.output,
            _ => false,
        };
        // Or one that had arrived, but was in no turn yet.
        let reuse = after.record.rewinds.iter().filter_map(|rewinds| rewinds.reuse.as_ref());
        let mut given = reuse.flat_map(|reuse| &reuse.sources).flat_map(|source| &source.results);
        let by_operator = after.history.iter().filter_map(|event| match &event.kind {
            EventKind::ExecutionRewound(rewound) => Some(&rewound.results),
            _ => None,
        });
        let known = after.left.values().flatten().any(is_same)
            || given.any(|given| given.payload == done.output)
            || by_operator.flatten().any(|given| given.payload == done.output);
        let fits = by_hand || (1..100).any(|d| done.output.as_ref() == Some(&task_output(&input, d)));
        let wrong = || format!("{after:?}: {done:?} was used again, but no branch has it");
        return (known && fits).then_some(()).ok_or_else(wrong);
    }
    let is_of = |input: &Option<Bytes>| done.output.as_ref() == Some(&task_output(input, done.delivery));
    // An attempt of another branch that settles a doubt may have had an input by hand there.
    let inputs = after.left.values().flatten().filter_map(|event| match &event.kind {
        EventKind::ExecutionRewound(rewound) => Some(&rewound.inputs),
        _ => None,
    });
    if !is_of(&input) && !inputs.flatten().any(|given| is_of(&given.payload)) {
        return Err(format!("{after:?}: task {} took the result of another attempt: {done:?}", done.id));
    }
    let durable =
        change.same_generation().and_then(|before| record(before, done.id)).map(|task| task.delivery);
    if durable != Some(done.delivery) {
        return Err(format!(
            "{after:?}: task {} took delivery {}, durable is {durable:?}",
            done.id, done.delivery
        ));
    }
    Ok(())
}

fn record(seen: &Seen, id: u32) -> Option<&TaskRecord> {
    seen.record.tasks.iter().find(|task| task.id == id)
}

impl Checker {
    /// Activities that a change says have succeeded.
    pub(super) fn successes_of(&self, change: &Change<'_>) -> Vec<((bytes::Bytes, bytes::Bytes), u32)> {
        // Calls under a key have one input: what an operator gave one of them is no success of the others.
        let has_key = |id: &u32| change.after.tasks.get(id).is_some_and(|task| task.key.is_some());
        let done = change.arrived().filter_map(|event| match &event.kind {
            EventKind::TaskCompleted(done) if done.delivery == 0 && has_key(&done.id) => None,
            EventKind::TaskCompleted(done) => change.after.input_of_task(done.id),
            _ => None,
        });
        let record = &change.after.record;
        done.map(|input| ((record.execution.to_bytes(), input), record.branch)).collect()
    }

    /// Whether a branch comes from another one.
    pub(super) fn comes_from(&self, key: InstanceKey, mut branch: u32, origin: u32) -> bool {
        let Some(seen) = self.mirror.instances.get(&key) else { return false };
        while let Some(opened) = seen.record.branches().iter().find(|opened| opened.branch == branch) {
            branch = opened.parent;
            if branch == origin {
                return true;
            }
        }
        false
    }

    /// The branch on which an activity was scheduled that another one has kept.
    fn scheduled_on(&self, (key, generation, branch, task): &TaskKey) -> Option<u32> {
        let seen = self.mirror.instances.get(key)?;
        if (seen.record.generation, seen.record.branch) != (*generation, *branch) {
            return None;
        }
        let event = seen.scheduled_at(*task)? as u64;
        let part = seen
            .record
            .history_parts(*branch)?
            .into_iter()
            .find(|part| (part.from..part.until).contains(&event));
        part.map(|part| part.branch)
    }

    /// A worker has been given an attempt.
    pub fn task_started(&mut self, start: &TaskStart, is_owner: bool, now: Timestamp) {
        if self.judges_everything() {
            let result = self.attempt_begins(start, is_owner, now);
            self.check(Group::Activities, result);
        }
    }

    /// Somebody says that a task in doubt may run once more.
    pub fn permitted(&mut self, id: &InstanceId, task: u32) {
        *self.permissions.entry((id.clone(), task)).or_default() += 1;
    }

    /// A worker says that its attempt has failed.
    pub fn task_failed(&mut self, start: &TaskStart) {
        let task = start.task;
        if let Some(attempts) = self.attempts.get_mut(&(task.key, task.generation, task.branch, task.task)) {
            attempts.failed.insert(task.delivery);
        }
    }

    fn attempt_begins(&mut self, start: &TaskStart, is_owner: bool, now: Timestamp) -> Result<(), String> {
        let task = start.task;
        if self.damaged.contains(&task.key) {
            return Err(format!("{:?} runs activities, but it is damaged", start.instance));
        }
        let Some(behaviour) =
            task_of(&start.scheduled.input).and_then(|task| self.programs.tasks.get(task as usize))
        else {
            return Err(format!("an activity that no program has: {start:?}"));
        };
        let execution = bytes::Bytes::copy_from_slice(&start.execution.0.to_be_bytes());
        let input = start.scheduled.input.clone().unwrap_or_default();
        // On the same branch it may be the start of an attempt by an owner that has lost the partition since; on a branch
        // that this one does not come from, its success was undone.
        let wanted = self.by_hand.contains(&execution);
        let succeeded = self.successes.get(&(execution, input)).filter(|_| !wanted);
        if succeeded.is_some_and(|branch| self.comes_from(task.key, task.branch, *branch)) {
            return Err(format!("it had succeeded, and runs again: {start:?}"));
        }
        if let Some(seen) = self.mirror.instances.get(&task.key)
            && (seen.record.generation, seen.record.branch) == (task.generation, task.branch)
        {
            if seen.input_of_task(task.task) != start.scheduled.input {
                return Err(format!("{seen:?}: {start:?} is not what was scheduled"));
            }
            let durable = record(seen, task.task).map(|task| task.delivery);
            if durable.is_some_and(|durable| durable < task.delivery) {
                return Err(format!("{seen:?}: {start:?} began, durable is delivery {durable:?}"));
            }
        } else if !self.mirror.instances.contains_key(&task.key)
            && !self.starts.purge_was_asked(&start.instance)
        {
            return Err(format!("{start:?} began, but its instance is not durable"));
        }
        let permitted = self.permissions.get(&(start.instance.clone(), task.task)).copied().unwrap_or(0);
        let name = (task.key, task.generation, task.branch, task.task);
        if let Some(origin) = self.scheduled_on(&name)
            && !self
                .deliveries
                .entry((task.key, task.generation, origin, task.task))
                .or_default()
                .insert(task.delivery)
        {
            return Err(format!("delivery {} was given before, on another branch: {start:?}", task.delivery));
        }
        let attempts = self.attempts.entry(name).or_default();
        // An owner that slept through the loss of its partition may begin late what it had committed: outside systems tell
        // such an attempt by its token.
        let later = attempts.deliveries.last().filter(|last| **last > task.delivery);
        if let Some(later) = later.filter(|_| start.has_barrier && is_owner) {
            return Err(format!("a precise count went back from {later}: {start:?}"));
        }
        if matches!(behaviour.delivery, Delivery::AtMostOnce(_)) {
            let in_doubt = attempts.deliveries.difference(&attempts.failed).count();
            if in_doubt > permitted {
                return Err(format!(
                    "{in_doubt} attempts may have had their effect, and it runs again: {start:?}"
                ));
            }
        }
        if !attempts.deliveries.insert(task.delivery) {
            return Err(format!("delivery {} was given twice: {start:?}", task.delivery));
        }
        if start.attempt > behaviour.attempts() {
            return Err(format!("more attempts than {}: {start:?}", behaviour.attempts()));
        }
        let (last, began) = attempts.latest;
        // An attempt with a time limit may be over before it begins, when the commit that hands it out is slow.
        let is_free = behaviour.limits.is_none();
        if is_free
            && last > 0
            && start.attempt == last + 1
            && now.0 + self.clock_error < began.0 + behaviour.backoff_after(last)
        {
            return Err(format!("retried {} ms after attempt {last}: {start:?}", now.0 - began.0));
        }
        if start.attempt > last {
            attempts.latest = (start.attempt, now);
        }
        Ok(())
    }
}
