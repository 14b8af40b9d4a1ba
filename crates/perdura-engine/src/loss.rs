//! How a life of a processor is lost, which instance it is due to, if it is due to one, and who waits meanwhile.

use crate::processor::Reply;
use perdura_core::InstanceId;
use perdura_core::partition::{Partition, Request};
use perdura_store::{CommitOutcome, Rejection};
use std::collections::BTreeMap;

/// Batches that an instance may cost before it is set aside.
const REFUSALS_MAX: u32 = 2;

/// A request that somebody waits for.
pub(crate) struct Unanswered {
    /// Which request this was to come: they are asked again in this order.
    pub(crate) arrival: u64,
    pub(crate) request: Request,
    pub(crate) reply: Reply,
    /// A life that had taken it was lost, and nobody knows what it had written.
    pub(crate) in_doubt: bool,
}

impl Unanswered {
    pub(crate) fn new(arrival: u64, request: Request, reply: Reply) -> Unanswered {
        Unanswered { arrival, request, reply, in_doubt: false }
    }

    /// Whether it must not be asked again after another process has had the partition: that one may have dealt with what was
    /// written of it, and have left no trace.
    pub(crate) fn is_lost_to_others(&self) -> bool {
        self.in_doubt && !self.request.waits() && !self.request.outlasts_another_owner()
    }
}

/// How a life was lost.
pub(crate) struct Loss {
    pub(crate) why: String,
    /// A commit may have been written, or not.
    pub(crate) in_doubt: bool,
    /// The store refused a batch for what this instance writes.
    pub(crate) due_to: Option<InstanceId>,
}

/// The outcome of a commit, as the life of the processor sees it.
pub(crate) fn after_commit(outcome: CommitOutcome) -> Result<(), Loss> {
    let in_doubt = matches!(outcome, CommitOutcome::Unknown(_));
    let due_to = match &outcome {
        CommitOutcome::Rejected(rejection) => rejection.instance().cloned(),
        _ => None,
    };
    let why = match outcome {
        CommitOutcome::Committed => return Ok(()),
        CommitOutcome::Fenced => "another process has taken the partition over".into(),
        CommitOutcome::Rejected(rejection @ Rejection::Full) => format!("{rejection}; free some space"),
        CommitOutcome::Rejected(rejection) => match rejection.instance() {
            Some(id) => format!("the store refused what instance {id:?} writes: {rejection}"),
            None => format!("the store refused a batch: {rejection}"),
        },
        CommitOutcome::Unknown(why) => format!("the outcome of a commit is unknown: {why}"),
    };
    Err(Loss { why, in_doubt, due_to })
}

/// Instances for whose writes the store has refused batches: how often, and why last. A batch that is refused twice for
/// what one instance writes would be refused for ever: from then on that instance is set aside, and the others go on.
#[derive(Default)]
pub(crate) struct Refusals(BTreeMap<InstanceId, (u32, String)>);

impl Refusals {
    pub(crate) fn note(&mut self, loss: &Loss) {
        let Some(id) = &loss.due_to else { return };
        let refused = self.0.entry(id.clone()).or_default();
        *refused = (refused.0.saturating_add(1), loss.why.clone());
        if refused.0 >= REFUSALS_MAX {
            tracing::error!(instance = %id, why = %loss.why, "the instance is set aside");
        }
    }

    /// All went well for a while: what happened only once counts no more.
    pub(crate) fn forgive(&mut self) {
        self.0.retain(|_, (times, _)| *times >= REFUSALS_MAX);
    }

    /// It has ended: whoever has the id next begins with a clean sheet.
    pub(crate) fn forget(&mut self, id: &InstanceId) {
        self.0.remove(id);
    }

    /// Tells a processor before its recovery. One more refusal means that not even this can be written of the instance.
    pub(crate) fn set_aside(&self, partition: &mut Partition) {
        for (id, (times, why)) in self.0.iter().filter(|(_, (times, _))| *times >= REFUSALS_MAX) {
            partition.set_aside_unwritable(id.clone(), why.clone(), *times > REFUSALS_MAX);
        }
    }
}
