//! Rewinds, as callers ask for them.

use crate::client::{Client, unexpected};
use crate::error::EngineError;
use crate::processor::random;
use perdura_core::InstanceId;
use perdura_core::history::Event;
use perdura_core::partition::{InstanceRecord, Request, RequestError, Response};
use perdura_core::rewind::{RewindError, RewindPlan, RewindSpec, RewindTo, Subject, plan};

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
        let (row, record) = self.row(id).await?.ok_or_else(|| not_found(id))?;
        let refuse = |error| refused(id, error);
        let present = self.history_of(&row, &record, record.branch).await?.unwrap_or_default();
        let other = match spec.branch.filter(|branch| *branch != record.branch) {
            Some(branch) => self.history_of(&row, &record, branch).await?,
            None => None,
        };
        let pending = record.inbox_events().map_err(|damage| refuse(damage.into()))?;
        let (history, present): (&[Event], &[Event]) = match &other {
            Some(other) => (other, &present),
            None => (&present, &[]),
        };
        let subject = Subject { record: &record, history, pending: &pending, present };
        let plan = plan(subject, spec, self.store().now()).map_err(refuse)?;
        self.check_parents(id, &record, spec).await?;
        Ok(plan)
    }

    /// Takes an instance back to an earlier point of its history, on a new branch, and lets it go on from there. Durable
    /// when this returns. A rewind without a request id gets a random one, so that the engine itself can ask again.
    pub async fn rewind(&self, id: InstanceId, mut spec: RewindSpec) -> Result<Rewound, EngineError> {
        if spec.order.request_id.is_empty() {
            spec.order.request_id = format!("{:032x}", random()?);
        }
        let (_, record) = self.row(&id).await?.ok_or_else(|| not_found(&id))?;
        if !made_before(&record, &spec) {
            self.check_parents(&id, &record, &spec).await?;
        }
        match self.ask(Request::Rewind { id, spec: Box::new(spec) }).await? {
            Response::Rewound { branch, cut } => Ok(Rewound { branch, cut }),
            other => Err(unexpected(&other)),
        }
    }

    /// The history of a branch of an instance's present execution; `None` if there is no such instance or branch.
    pub async fn branch_history(
        &self,
        id: &InstanceId,
        branch: u32,
    ) -> Result<Option<Vec<Event>>, EngineError> {
        let Some((row, record)) = self.row(id).await? else { return Ok(None) };
        self.history_of(&row, &record, branch).await
    }

    /// A child whose parent failed with it goes on for nobody: that is refused, unless the parent comes along.
    async fn check_parents(
        &self,
        id: &InstanceId,
        record: &InstanceRecord,
        spec: &RewindSpec,
    ) -> Result<(), EngineError> {
        if spec.order.with_parents || spec.to == RewindTo::Head {
            return Ok(());
        }
        for link in record.parents.iter().filter(|link| !link.attached) {
            let Ok(parent) = InstanceId::new(&link.instance) else { continue };
            let Some((row, parent)) = self.row(&parent).await? else { continue };
            let same_run = (parent.generation, &parent.execution) == (link.generation, &link.execution);
            if same_run && row.status.is_terminal() {
                let (parent, status) = (link.instance.clone(), row.status);
                return Err(refused(id, RewindError::ParentEnded { parent, status }));
            }
        }
        Ok(())
    }
}

fn made_before(record: &InstanceRecord, spec: &RewindSpec) -> bool {
    record.branches().iter().any(|branch| branch.request_id == spec.order.request_id)
}

fn not_found(id: &InstanceId) -> EngineError {
    RequestError::NotFound { id: id.clone() }.into()
}

fn refused(id: &InstanceId, error: RewindError) -> EngineError {
    RequestError::Rewind { id: id.clone(), error: Box::new(error) }.into()
}
