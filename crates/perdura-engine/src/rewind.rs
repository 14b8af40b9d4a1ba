//! Rewinds, as callers ask for them.

use crate::client::{Client, unexpected};
use crate::error::EngineError;
use crate::lookups;
use crate::processor::random;
use futures_util::future::BoxFuture;
use perdura_core::history::Event;
use perdura_core::partition::{InstanceRecord, Request, RequestError, Response};
use perdura_core::rewind::{RewindError, RewindPlan, RewindSpec, RewindTo, Subject, plan};
use perdura_core::{InstanceId, Status};
use perdura_store::Store;
use std::collections::BTreeMap;

/// What a rewind did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewound {
    /// The branch that counts now.
    pub branch: u32,
    /// How many events were kept.
    pub cut: u64,
}

impl Client {
    /// What a rewind would do to an instance, as it is stored now. Nothing is changed.
    pub async fn plan_rewind(&self, id: &InstanceId, spec: &RewindSpec) -> Result<RewindPlan, EngineError> {
        let store = &**self.store();
        let (row, record) = lookups::row(store, id).await?.ok_or_else(|| not_found(id))?;
        let refuse = |error| refused(id, error);
        let limits = if spec.has_payloads() { self.known(id, row.key).await.limits } else { None };
        spec.check(id, limits.unwrap_or_default().payload_bytes_max)?;
        let present = lookups::history(store, &row, &record, record.branch).await?.unwrap_or_default();
        let other = match spec.branch.filter(|branch| *branch != record.branch) {
            Some(branch) => lookups::history(store, &row, &record, branch).await?,
            None => None,
        };
        let mut others = BTreeMap::new();
        for branch in
            spec.branch.filter(|_| other.is_some()).map(|b| record.branches_to_use(b)).unwrap_or_default()
        {
            if let Some(events) = lookups::history(store, &row, &record, branch).await? {
                others.insert(branch, events);
            }
        }
        let pending = record.inbox_events().map_err(|damage| refuse(damage.into()))?;
        let (history, present): (&[Event], &[Event]) = match &other {
            Some(other) => (other, &present),
            None => (&present, &[]),
        };
        let subject = Subject { record: &record, history, pending: &pending, present, others: &others };
        let mut plan = plan(subject, spec, store.now()).map_err(refuse)?;
        check_parents(store, id, &record, spec).await?;
        plan.parents = self.parents_along(&record, spec).await?;
        Ok(plan)
    }

    /// The parents that a rewind takes along, the nearest first.
    fn parents_along<'a>(
        &'a self,
        record: &'a InstanceRecord,
        spec: &'a RewindSpec,
    ) -> BoxFuture<'a, Result<Vec<String>, EngineError>> {
        Box::pin(async move {
            let mut along = Vec::new();
            if !spec.order.with_parents || spec.to == RewindTo::Head {
                return Ok(along);
            }
            for link in record.parents.iter().filter(|link| !link.attached) {
                let Ok(id) = InstanceId::new(&link.instance) else { continue };
                let Some(parent) = self.get(&id).await? else { continue };
                let same_run = parent.generation == link.generation && parent.execution == link.execution;
                if !same_run || parent.status().is_ok_and(|status| status == Status::Completed) {
                    continue;
                }
                let (order, to) = (spec.order.clone(), RewindTo::Child(link.task));
                let spec = RewindSpec { order, to, ..RewindSpec::default() };
                match self.plan_rewind(&id, &spec).await {
                    Ok(plan) => {
                        along.push(link.instance.clone());
                        along.extend(plan.parents);
                    }
                    // It runs, or has gone on without the child.
                    Err(EngineError::Refused(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(along)
        })
    }

    /// Takes an instance back to an earlier point of its history, on a new branch, and lets it go on from there. Durable
    /// when this returns. A rewind without a request id gets a random one, so that the engine itself can ask again.
    pub async fn rewind(&self, id: InstanceId, mut spec: RewindSpec) -> Result<Rewound, EngineError> {
        if spec.order.request_id.is_empty() {
            spec.order.request_id = format!("{:032x}", random()?);
        }
        check(&**self.store(), &id, &spec).await?;
        rewound(&self.ask(Request::Rewind { id, spec: Box::new(spec) }).await?)
    }

    /// The history of a branch of an instance's present execution; `None` if there is no such instance or branch.
    pub async fn branch_history(
        &self,
        id: &InstanceId,
        branch: u32,
    ) -> Result<Option<Vec<Event>>, EngineError> {
        let Some((row, record)) = lookups::row(&**self.store(), id).await? else { return Ok(None) };
        lookups::history(&**self.store(), &row, &record, branch).await
    }
}

fn rewound(answer: &Response) -> Result<Rewound, EngineError> {
    match answer {
        Response::Rewound { branch, cut } => Ok(Rewound { branch: *branch, cut: *cut }),
        other => Err(unexpected(other)),
    }
}

/// What the instance's processor cannot see.
async fn check(store: &dyn Store, id: &InstanceId, spec: &RewindSpec) -> Result<(), EngineError> {
    let (_, record) = lookups::row(store, id).await?.ok_or_else(|| not_found(id))?;
    if made_before(&record, spec) { Ok(()) } else { check_parents(store, id, &record, spec).await }
}

/// A child whose parent does not wait for it goes on for nobody: that is refused, unless a parent that failed with it comes
/// along, or the operator insists.
pub(crate) async fn check_parents(
    store: &dyn Store,
    id: &InstanceId,
    record: &InstanceRecord,
    spec: &RewindSpec,
) -> Result<(), EngineError> {
    if spec.to == RewindTo::Head {
        return Ok(());
    }
    for link in record.parents.iter().filter(|link| !link.attached) {
        let Ok(parent) = InstanceId::new(&link.instance) else { continue };
        let Some((row, parent)) = lookups::row(store, &parent).await? else { continue };
        if parent.generation != link.generation || parent.execution != link.execution {
            continue;
        }
        let (name, status) = (link.instance.clone(), row.status);
        let waits = parent.children.iter().any(|child| child.instance == id.as_str());
        if status.is_terminal() && status != Status::Completed {
            if !spec.order.with_parents {
                return Err(refused(id, RewindError::ParentEnded { parent: name, status }));
            }
        } else if !waits && !spec.force {
            return Err(refused(id, RewindError::ParentWentOn { parent: name, status }));
        }
    }
    Ok(())
}

fn made_before(record: &InstanceRecord, spec: &RewindSpec) -> bool {
    let id = &spec.order.request_id;
    !id.is_empty() && record.branches().iter().any(|branch| branch.request_id == *id)
}

fn not_found(id: &InstanceId) -> EngineError {
    RequestError::NotFound { id: id.clone() }.into()
}

fn refused(id: &InstanceId, error: RewindError) -> EngineError {
    RequestError::Rewind { id: id.clone(), error: Box::new(error) }.into()
}
