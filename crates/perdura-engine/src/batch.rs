//! Many instances, one after another at a rate: rewinds and the other requests of an operator.

use crate::bulk::Bulk;
use crate::client::Client;
use crate::error::EngineError;
use crate::rewind::{Rewound, check_parents};
use crate::selection::Selection;
use futures_util::StreamExt;
use futures_util::future::join;
use futures_util::stream;
use perdura_core::partition::RequestError;
use perdura_core::rewind::{RewindError, RewindPlan, RewindSpec};
use perdura_core::{InstanceId, Status, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Instances that are dealt with at once.
const AT_ONCE: usize = 128;

/// What to do to each instance of a selection, and how carefully. It is safe to interrupt and to repeat: what was done
/// is done, and an instance that was rewound, ended or removed does not match any more.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Which.
    pub select: Selection,
    /// What to do to each.
    pub act: Act,
    /// At most so many in a second; `None` for as fast as it goes.
    pub per_second: Option<u32>,
    /// So many are rewound first; the rest follows only if all of these complete. One that could not be rewound, or goes with
    /// its parent, is none: the next one takes its place.
    pub canaries: usize,
    /// How long to wait for the canaries; [`Duration::MAX`] for as long as it takes.
    pub canaries_wait_max: Duration,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// See [`Batch::act`].
#[derive(Clone, Debug)]
pub enum Act {
    /// Rewind it. Without statuses in the selection, those that have failed are meant. A request id makes the whole
    /// batch one: an instance that it has rewound it does not rewind again.
    Rewind(Box<RewindSpec>),
    /// Something else. Without statuses in the selection, those are meant in which it can have an effect.
    Bulk(Bulk),
}

impl Batch {
    /// A batch of those that match, without rate or canaries.
    #[must_use]
    pub fn new(select: impl Into<Selection>, act: Act) -> Batch {
        let (select, canaries_wait_max) = (select.into(), Duration::from_secs(600));
        Batch { select, act, per_second: None, canaries: 0, canaries_wait_max, dry_run: false }
    }

    fn statuses(&self) -> Vec<Status> {
        match &self.act {
            Act::Rewind(_) => vec![Status::Failed],
            Act::Bulk(bulk) => bulk.statuses(&[]),
        }
    }
}

/// What a batch did to an instance.
#[derive(Clone, Debug, PartialEq)]
pub enum BatchItem {
    /// It was rewound.
    Rewound(Rewound),
    /// It would be.
    Planned(Box<RewindPlan>),
    /// It goes with this parent, which failed with it and is in the batch itself. A child whose parent is not is refused.
    WithParent(String),
    /// It is in this status, in which there is nothing to do: it runs already, or has ended.
    LeftAlone(Status),
    /// It was done; for a purge, to so many instances with the children.
    Done(u64),
    /// It would be done.
    Would,
    /// It was refused.
    Refused(EngineError),
}

/// What a batch did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchReport {
    /// To each instance, in the order in which they were done.
    pub items: Vec<(InstanceId, BatchItem)>,
    /// Why the batch was stopped before its end.
    pub stopped: Option<String>,
}

impl BatchReport {
    /// How many were rewound.
    #[must_use]
    pub fn rewound(&self) -> usize {
        self.items.iter().filter(|(_, item)| matches!(item, BatchItem::Rewound(_))).count()
    }
}

/// Whoever the items of a batch go to; the batch ends when nobody takes them any more.
pub type BatchItems = mpsc::Sender<(InstanceId, BatchItem)>;

/// Why a batch ends before its time.
enum Broken {
    /// Nobody takes the items any more.
    Abandoned,
    /// The engine ends.
    ShuttingDown,
}

impl Broken {
    fn why(self) -> Option<String> {
        match self {
            Broken::Abandoned => None,
            Broken::ShuttingDown => Some(EngineError::ShuttingDown.to_string()),
        }
    }
}

/// A batch that is under way.
struct Run<'a> {
    batch: &'a Batch,
    /// All that it is for.
    members: BTreeSet<&'a InstanceId>,
    items: &'a BatchItems,
}

impl Client {
    /// Does it to every instance that matches. `progress` is told of each as it is done.
    pub async fn batch(
        &self,
        batch: &Batch,
        mut progress: impl FnMut(&InstanceId, &BatchItem) + Send,
    ) -> Result<BatchReport, EngineError> {
        let (items, mut done) = mpsc::channel(AT_ONCE);
        let mut report = BatchReport::default();
        let collect = async {
            while let Some((id, item)) = done.recv().await {
                progress(&id, &item);
                report.items.push((id, item));
            }
        };
        let ids = self.batch_ids(batch).await?;
        let (stopped, ()) = join(self.batch_into(batch, &ids, items), collect).await;
        report.stopped = stopped?;
        Ok(report)
    }

    /// The instances that a batch is for, as things stand. A child that cannot be rewound without its parent does not
    /// count for the limit of a rewind: what is left alone would otherwise keep a repeated batch from going on.
    pub async fn batch_ids(&self, batch: &Batch) -> Result<Vec<InstanceId>, EngineError> {
        let Selection { limit, .. } = batch.select;
        let spec = match &batch.act {
            Act::Rewind(spec) if limit != usize::MAX => spec,
            _ => return self.select(&batch.select, &batch.statuses()).await,
        };
        let (mut select, mut left, mut ids) = (batch.select.clone(), limit, Vec::new());
        while left > 0 {
            select.limit = left.min(AT_ONCE);
            let found = self.select_listed(&select, &batch.statuses()).await?;
            let Some(last) = found.last() else { break };
            select.query.after = Some((Timestamp(last.record.created_at), last.key));
            for listed in found {
                let id = listed.record.instance_id();
                match check_parents(&**self.store(), &id, &listed.record, spec).await {
                    Err(EngineError::Refused(_)) => {}
                    checked => {
                        checked?;
                        left -= 1;
                    }
                }
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// Does it to these instances. Each item goes to `items` as it is done, and the batch ends early when nobody takes
    /// them. Gives the reason if the batch was stopped.
    pub async fn batch_into(
        &self,
        batch: &Batch,
        ids: &[InstanceId],
        items: BatchItems,
    ) -> Result<Option<String>, EngineError> {
        let is_tried_first = matches!(batch.act, Act::Rewind(_)) && !batch.dry_run;
        if is_tried_first && batch.canaries > 0 && self.is_at_rest() {
            let why =
                "canaries are waited for, and no engine serves this hub; start it, or do without canaries";
            return Err(EngineError::Unavailable { why: why.into() });
        }
        let run = Run { batch, members: ids.iter().collect(), items: &items };
        let wanted = if is_tried_first { batch.canaries } else { 0 };
        let (mut canaries, mut rest, began) = (Vec::new(), ids, Instant::now());
        while canaries.len() < wanted && !rest.is_empty() {
            let (next, after) = rest.split_at(rest.len().min(wanted - canaries.len()));
            match self.each(&run, next, (began, ids.len() - rest.len())).await {
                Ok(rewound) => canaries.extend(rewound),
                Err(broken) => return Ok(broken.why()),
            }
            rest = after;
        }
        let failed = tokio::select! {
            failed = self.failed_canary(batch, &canaries) => failed,
            () = items.closed() => return Ok(None),
        };
        if failed.is_some() {
            return Ok(failed);
        }
        Ok(self.each(&run, rest, (Instant::now(), 0)).await.err().and_then(Broken::why))
    }

    /// Gives those that were rewound, as far as they may be canaries. `pace`: since when they are counted, and how many
    /// were before them.
    async fn each(
        &self,
        run: &Run<'_>,
        ids: &[InstanceId],
        pace: (Instant, usize),
    ) -> Result<Vec<InstanceId>, Broken> {
        let Run { batch, items, .. } = run;
        let due = |index: usize| {
            let nth = (pace.1 + index) as u32;
            batch.per_second.map(|rate| pace.0 + Duration::from_secs(1) * nth / rate.max(1))
        };
        let each = ids.iter().cloned().enumerate().map(|(index, id)| async move {
            if let Some(due) = due(index) {
                tokio::time::sleep_until(due).await;
            }
            let item = self.act(run, &id).await;
            (id, item)
        });
        let mut done = stream::iter(each).buffered(AT_ONCE);
        let mut rewound = Vec::new();
        loop {
            let next = tokio::select! {
                next = done.next() => next,
                () = items.closed() => return Err(Broken::Abandoned),
            };
            let Some((id, item)) = next else { return Ok(rewound) };
            if item == BatchItem::Refused(EngineError::ShuttingDown) {
                return Err(Broken::ShuttingDown);
            }
            if matches!(item, BatchItem::Rewound(_)) && rewound.len() < batch.canaries {
                rewound.push(id.clone());
            }
            items.send((id, item)).await.map_err(|_| Broken::Abandoned)?;
        }
    }

    async fn act(&self, run: &Run<'_>, id: &InstanceId) -> BatchItem {
        let batch = run.batch;
        let done = match (&batch.act, batch.dry_run) {
            (Act::Rewind(spec), true) => {
                self.plan_rewind(id, spec).await.map(|plan| BatchItem::Planned(Box::new(plan)))
            }
            (Act::Rewind(spec), false) => {
                self.rewind(id.clone(), (**spec).clone()).await.map(BatchItem::Rewound)
            }
            (Act::Bulk(bulk), true) => self.check_control(id, bulk).await.map(|()| BatchItem::Would),
            (Act::Bulk(bulk), false) => self.control(id.clone(), bulk).await.map(BatchItem::Done),
        };
        let error = match done {
            Ok(item) => return item,
            Err(error) => error,
        };
        let why = match (&error, &batch.act) {
            (EngineError::Refused(RequestError::Rewind { error: why, .. }), _) => why,
            // Of many, some end before their turn comes: they are not what went wrong.
            (EngineError::Refused(RequestError::Ended { status, .. }), Act::Bulk(bulk))
                if bulk.ends_in_silence() =>
            {
                return BatchItem::LeftAlone(*status);
            }
            _ => return BatchItem::Refused(error),
        };
        match &**why {
            RewindError::NotEnded { status } => BatchItem::LeftAlone(*status),
            RewindError::ParentEnded { parent, .. } => match self.comes_too(run, parent).await {
                Ok(true) => BatchItem::WithParent(parent.clone()),
                Ok(false) => BatchItem::Refused(error),
                Err(unknown) => BatchItem::Refused(unknown),
            },
            _ => BatchItem::Refused(error),
        }
    }

    /// Whether a parent is in the batch, and not itself left to a parent that is not.
    async fn comes_too(&self, run: &Run<'_>, parent: &str) -> Result<bool, EngineError> {
        let Act::Rewind(spec) = &run.batch.act else { return Ok(false) };
        let mut parent = parent.to_owned();
        loop {
            let Some(id) = InstanceId::new(&parent).ok().filter(|id| run.members.contains(id)) else {
                return Ok(false);
            };
            let Some(record) = self.get(&id).await? else { return Ok(false) };
            let above = match check_parents(&**self.store(), &id, &record, spec).await {
                Err(EngineError::Refused(RequestError::Rewind { error, .. })) => *error,
                checked => return checked.map(|()| true),
            };
            let RewindError::ParentEnded { parent: above, .. } = above else { return Ok(false) };
            parent = above;
        }
    }

    /// Waits for the canaries; says what is wrong with them.
    async fn failed_canary(&self, batch: &Batch, canaries: &[InstanceId]) -> Option<String> {
        let until = Instant::now().checked_add(batch.canaries_wait_max);
        for id in canaries {
            let ended = self.wait(id.clone(), None);
            let ended = match until {
                Some(until) => tokio::time::timeout_at(until, ended).await,
                None => Ok(ended.await),
            };
            match ended {
                Err(_) => return Some(format!("canary {id:?} has not ended")),
                Ok(Err(error)) => return Some(format!("canary {id:?}: {error}")),
                Ok(Ok(record)) => {
                    let status = record.status().unwrap_or_default();
                    if status != Status::Completed {
                        let failure = record.failure.map_or(String::new(), |failure| format!(": {failure}"));
                        return Some(format!("canary {id:?} is {status} again{failure}"));
                    }
                }
            }
        }
        None
    }
}
