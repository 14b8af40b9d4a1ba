//! Starts (I1 to I4): one execution for each start, replacement only by policy, removal only by request.

use super::mirror::Seen;
use super::{Change, Checker, Judged};
use crate::outcome::Judge;
use crate::payload::StartSalt;
use bytes::Bytes;
use perdura_core::failure::kind;
use perdura_core::{InstanceId, OnExisting, ReusePolicy, Status};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of starts.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// Policies of the starts that clients asked for.
    policies: BTreeMap<StartSalt, ReusePolicy>,
    /// Which execution a client's start began.
    begun: BTreeMap<StartSalt, (InstanceId, u32)>,
    /// Executions that were durable at some time, or that a durable row speaks of.
    executions: BTreeSet<Bytes>,
    /// Which start heard that it made this execution.
    answered: BTreeMap<u128, StartSalt>,
    purge_asked: BTreeSet<InstanceId>,
}

impl Starts {
    pub(super) fn purge_was_asked(&self, id: &InstanceId) -> bool {
        self.purge_asked.contains(id)
    }

    pub(super) fn is_known(&self, execution: &Bytes) -> bool {
        self.executions.contains(execution)
    }

    /// Two starts must not both hear that they made an execution.
    pub(super) fn answered(&mut self, execution: u128, start: StartSalt) -> Result<(), String> {
        match self.answered.insert(execution, start) {
            Some(other) if other != start => {
                Err(format!("{start:?} and {other:?} both heard that they made {execution:x}"))
            }
            _ => Ok(()),
        }
    }
}

impl Checker {
    /// A client asks for a start.
    pub fn start_asked(&mut self, salt: StartSalt, reuse: ReusePolicy) {
        self.starts.policies.insert(salt, reuse);
    }

    /// A client asks for a purge.
    pub fn purge_asked(&mut self, id: &InstanceId) {
        self.starts.purge_asked.insert(id.clone());
    }

    pub(super) fn note_executions(&mut self, after: &Seen) {
        self.starts.executions.insert(after.record.execution.to_bytes());
        self.starts.executions.insert(after.record.run.to_bytes());
        for start in &after.record.starts {
            self.starts.executions.insert(start.execution.to_bytes());
        }
    }

    /// An instance was made or replaced.
    pub(super) fn execution_began(&mut self, change: &Change<'_>) -> Result<(), String> {
        let after = change.after;
        let Some(input) = &after.input else { return Err(format!("{after:?}: began without an input")) };
        let policy = match input.start.child() {
            Some(child) => self.programs.children.get(child as usize).map(|child| child.reuse),
            None => self.starts.policies.get(&input.start).copied(),
        };
        let Some(policy) = policy else {
            return Err(format!("{after:?}: nobody asked for {:?}", input.start));
        };
        if input.start.child().is_none() && self.judged != Judged::Consistency {
            let begun = (after.row.id.clone(), after.record.start_generation);
            if let Some(earlier) =
                self.starts.begun.insert(input.start, begun.clone()).filter(|e| *e != begun)
            {
                return Err(format!("{:?} began {earlier:?} and {begun:?}", input.start));
            }
        }
        let Some(before) = change.before else { return Ok(()) };
        // Only the last of several starts within one batch is seen.
        let several = after.record.start_generation > before.record.generation + 1;
        let own_attempt = after.record.parents.iter().any(|new| {
            before.record.parents.iter().any(|old| {
                // Another attempt, or another branch after a rewind.
                (&old.instance, old.generation, &old.execution)
                    == (&new.instance, new.generation, &new.execution)
                    && (old.task == new.task || old.branch != new.branch)
            })
        });
        // A second attempt replaces a failed instance that the first one would have used.
        let is_retry = after.record.parents.iter().any(|parent| parent.attempt > 1);
        let replaces = |status: Status| match policy.on(status) {
            OnExisting::Replace => true,
            OnExisting::UseExisting => is_retry && status.is_terminal() && status != Status::Completed,
            OnExisting::Fail => false,
        };
        let may_replace = match before.row.status {
            ended if ended.is_terminal() => replaces(ended),
            // It may have ended within the batch.
            _ => Status::ALL.into_iter().any(replaces),
        };
        if !own_attempt && !several && !may_replace {
            return Err(format!("{after:?}: {:?} replaced {before:?} against its policy", input.start));
        }
        Ok(())
    }

    pub(super) fn purge_allowed(&mut self, seen: &Seen) -> Result<(), String> {
        let id = &seen.row.id;
        self.starts.begun.retain(|_, (begun, _)| begun != id);
        if !self.starts.purge_asked.contains(id) {
            return Err(format!("{seen:?}: removed, but nobody asked"));
        }
        Ok(())
    }

    /// Whether an instance may end as it did.
    pub(super) fn legal_end(&self, seen: &Seen) -> Result<(), String> {
        let limits = &self.limits;
        let judge = Judge {
            programs: &self.programs,
            may_cancel: self.may_cancel,
            may_rewind: self.may_rewind,
            gives_up_lost: limits.lost_workers_max < 100,
            // The events that a continue-as-new carries over must fit into the inbox.
            has_small_limits: limits.history_events_max < 50_000
                || limits.decisions_per_turn_max < 1000
                || limits.inbox_bytes_max < 64 << 20,
            by_hand: self.rewinds.by_hand(),
            was_canceled: seen.record.cancel_requested.is_some(),
        };
        let failure = seen.record.failure.as_ref().map_or("", |failure| failure.kind.as_str());
        let legal = match seen.row.status {
            Status::Completed => judge.completed(seen.record.output.as_deref().unwrap_or_default()),
            Status::Failed => judge.failed(failure),
            Status::Canceled if judge.was_canceled && failure == kind::CANCELED => Ok(()),
            Status::Terminated if failure == kind::TERMINATED => Ok(()),
            status => Err(format!("an end with status {status} and failure {failure:?}")),
        };
        let said = seen.record.failure.as_deref().map(|failure| failure.message.as_str());
        legal.map_err(|why| format!("{seen:?}: {why}: {said:?}"))
    }
}
