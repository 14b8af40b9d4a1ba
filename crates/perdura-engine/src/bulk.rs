//! The same request to many instances, in slices, and purging a whole family.

use crate::client::Client;
use crate::error::EngineError;
use crate::lookups;
use crate::restart::RestartUnder;
use bytes::Bytes;
use futures_util::future::join_all;
use perdura_core::delivery::{Answer, is_hub_key};
use perdura_core::history::{EventKind, ParentLink};
use perdura_core::partition::{InstanceRecord, RequestError};
use perdura_core::{InstanceId, Status, Tags};
use perdura_store::InstanceQuery;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Instances that are asked at once: enough to fill a batch, too few to keep other callers waiting.
const SLICE: usize = 100;

/// What to do to each of many instances.
#[derive(Clone, Debug)]
pub enum Bulk {
    /// Remove it, its children too if `recurse`; only if it has ended.
    Purge {
        /// Its children too.
        recurse: bool,
    },
    /// End it by force.
    Terminate {
        /// Why.
        reason: String,
        /// Its children too.
        recurse: bool,
    },
    /// Ask it to end by its own code.
    Cancel {
        /// Why.
        reason: String,
    },
    /// Stop it until further notice.
    Suspend {
        /// Why.
        reason: String,
    },
    /// Let it go on.
    Resume {
        /// Why.
        reason: String,
    },
    /// Begin it once more under its id, with what it began with; only if it has ended.
    Restart,
    /// Send it an external event.
    Raise {
        /// The event's name.
        name: String,
        /// What it carries.
        input: Option<Bytes>,
    },
    /// Say what follows for an activity of which nobody knows whether it ran.
    Resolve {
        /// Which; may be left out if there is only one.
        task: Option<u32>,
        /// What follows.
        answer: Answer,
        /// Who decides, and why.
        by: String,
    },
}

/// What a request to many did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BulkDone {
    /// Instances that did it; with [`Bulk::Purge`] children count too.
    pub done: u64,
    /// Instances that refused: most have moved on since they were found.
    pub refused: u64,
    /// Whether all were asked that matched when their turn came; if not, the time was over.
    pub is_complete: bool,
}

impl Client {
    /// Asks every instance that matches and carries all of `tags`, a slice at a time so that others are served meanwhile.
    /// Ends early, and says so, when `time_max` is over. An instance that refuses does not keep the others from it; any
    /// other error ends the call, and what was done stays done.
    pub async fn ask_all(
        &self,
        mut query: InstanceQuery,
        tags: &Tags,
        bulk: &Bulk,
        time_max: Option<Duration>,
    ) -> Result<BulkDone, EngineError> {
        let began = Instant::now();
        let mut sum = BulkDone::default();
        query.statuses = bulk.statuses(&query.statuses);
        if query.statuses.is_empty() {
            return Ok(BulkDone { is_complete: true, ..sum });
        }
        let mut next: Option<String> = None;
        loop {
            if time_max.is_some_and(|most| began.elapsed() >= most) {
                return Ok(sum);
            }
            let page = self.page(query.clone(), tags, SLICE, next.as_deref()).await?;
            let asked = page.instances.iter().map(|listed| self.control(listed.record.instance_id(), bulk));
            for answer in join_all(asked).await {
                match answer {
                    Ok(done) => sum.done += done,
                    Err(EngineError::Refused(_)) => sum.refused += 1,
                    Err(error) => return Err(error),
                }
            }
            next = page.next;
            if next.is_none() {
                return Ok(BulkDone { is_complete: true, ..sum });
            }
        }
    }

    /// Asks one instance. Gives how many did it: with [`Bulk::Purge`] children count too. What has no effect, since the
    /// instance has ended, is refused: [`RequestError::Ended`]. ([`Client::terminate`] and the like are success then, so
    /// that they can be repeated.)
    pub async fn control(&self, id: InstanceId, bulk: &Bulk) -> Result<u64, EngineError> {
        if bulk.ends_in_silence() {
            self.check_control(&id, bulk).await?;
        }
        match bulk {
            Bulk::Purge { recurse: true } => return self.purge_family(id).await,
            Bulk::Purge { recurse: false } => self.purge(id).await,
            Bulk::Terminate { reason, recurse } => self.terminate(id, reason.clone(), *recurse).await,
            Bulk::Cancel { reason } => self.cancel(id, reason.clone()).await,
            Bulk::Suspend { reason } => self.suspend(id, reason.clone()).await,
            Bulk::Resume { reason } => self.resume(id, reason.clone()).await,
            Bulk::Restart => self.restart(&id, RestartUnder::SameId).await.map(drop),
            Bulk::Resolve { task, answer, by } => self.resolve(id, *task, answer.clone(), by.clone()).await,
            Bulk::Raise { name, input } => self.raise_event(id, name.clone(), input.clone()).await,
        }?;
        Ok(1)
    }

    /// Refuses what [`Client::control`] would refuse because of the status in which an instance is now.
    pub async fn check_control(&self, id: &InstanceId, bulk: &Bulk) -> Result<(), EngineError> {
        let record = self.get(id).await?.ok_or_else(|| RequestError::NotFound { id: id.clone() })?;
        let status = record.status().map_err(|what| EngineError::Damaged { id: id.to_string(), what })?;
        match (bulk.is_for_ended(), status.is_terminal()) {
            (true, false) => Err(RequestError::NotEnded { id: id.clone(), status }.into()),
            (false, true) => Err(RequestError::Ended { id: id.clone(), status }.into()),
            _ => Ok(()),
        }
    }

    /// Removes an instance that has ended, with its histories, and before it all that it has started and that has ended:
    /// its children and theirs, those of branches that rewinds have left too, but no keys of the hub. Gives how many were
    /// removed. Only children of the present execution are known, and of its generations only those of the last. If it
    /// is broken off, what is left can be purged again.
    pub async fn purge_family(&self, id: InstanceId) -> Result<u64, EngineError> {
        let record = self.get(&id).await?.ok_or_else(|| RequestError::NotFound { id: id.clone() })?;
        refuse_unfinished(&record)?;
        let mut family = vec![id.clone()];
        let mut known = BTreeSet::from([id.clone()]);
        // Parents come before their children in the list, so the other way round no child is left without its parent.
        let mut next = 0;
        while let Some(parent) = family.get(next).cloned() {
            next += 1;
            for child in self.ended_children(&parent).await? {
                if known.insert(child.clone()) {
                    family.push(child);
                }
            }
        }
        let mut purged = 0;
        for member in family.into_iter().rev() {
            let is_first = member == id;
            match self.purge(member).await {
                Ok(()) => purged += 1,
                // It has gone, or has begun anew, since it was found.
                Err(EngineError::Refused(_)) if !is_first => {}
                Err(error) => return Err(error),
            }
        }
        Ok(purged)
    }

    /// The children that an instance's present execution has started, on whatever branch, if they have ended and are still
    /// its own.
    async fn ended_children(&self, parent: &InstanceId) -> Result<Vec<InstanceId>, EngineError> {
        let store = &**self.store();
        let Some((row, record)) = lookups::row(store, parent).await? else { return Ok(Vec::new()) };
        let events = lookups::events_of_all_branches(store, &row, &record).await?;
        let mut children = Vec::new();
        for event in events {
            let EventKind::SubOrchestrationScheduled(scheduled) = event.kind else { continue };
            // A key of the hub is there for others, too.
            if is_hub_key(&scheduled.instance) {
                continue;
            }
            let Ok(id) = InstanceId::new(&scheduled.instance) else { continue };
            let Some(child) = self.get(&id).await? else { continue };
            let is_own = |link: &ParentLink| !link.attached && record.execution == link.execution;
            if refuse_unfinished(&child).is_ok() && child.parents.iter().any(is_own) {
                children.push(id);
            }
        }
        Ok(children)
    }
}

impl Bulk {
    fn is_for_ended(&self) -> bool {
        matches!(self, Bulk::Purge { .. } | Bulk::Restart)
    }

    /// Whether the instance itself takes it as success when it has ended.
    pub(crate) fn ends_in_silence(&self) -> bool {
        matches!(
            self,
            Bulk::Terminate { .. } | Bulk::Cancel { .. } | Bulk::Suspend { .. } | Bulk::Resume { .. }
        )
    }

    /// The states in which it can have an effect, of those that are asked for; all if none is.
    pub(crate) fn statuses(&self, wanted: &[Status]) -> Vec<Status> {
        let can = |status: &Status| status.is_terminal() == self.is_for_ended();
        let asked = |status: &Status| wanted.is_empty() || wanted.contains(status);
        Status::ALL.into_iter().filter(|status| can(status) && asked(status)).collect()
    }
}

fn refuse_unfinished(record: &InstanceRecord) -> Result<(), EngineError> {
    let id = record.instance_id();
    let status = record.status().map_err(|what| EngineError::Damaged { id: id.to_string(), what })?;
    match status.is_terminal() {
        true => Ok(()),
        false => Err(RequestError::NotEnded { id, status }.into()),
    }
}
