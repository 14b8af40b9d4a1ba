//! Rewinds of many instances.

use crate::client::Client;
use crate::error::EngineError;
use crate::rewind::Rewound;
use futures_util::StreamExt;
use futures_util::stream;
use perdura_core::partition::{InstanceRecord, RequestError};
use perdura_core::rewind::{RewindError, RewindPlan, RewindSpec};
use perdura_core::{InstanceId, Status, Tags, Timestamp};
use perdura_store::InstanceQuery;
use std::time::Duration;

/// Rows read at once.
const PAGE: usize = 1000;
/// Rewinds under way at once.
const AT_ONCE: usize = 128;

/// Which instances to rewind, and how carefully. It is safe to interrupt and to repeat: what was rewound runs, and does
/// not match any more.
#[derive(Clone, Debug)]
pub struct RewindBatch {
    /// Which; without statuses, those that failed.
    pub query: InstanceQuery,
    /// Only with these tags.
    pub tags: Tags,
    /// Only those whose failure is of this kind, or has this in its message.
    pub failure: Option<String>,
    /// There is no condition, and that is meant: every instance of the hub in these statuses.
    pub all: bool,
    /// How each is rewound. A request id here makes the whole batch one: an instance that it has rewound it does not
    /// rewind again.
    pub spec: RewindSpec,
    /// At most so many.
    pub limit: usize,
    /// At most so many in a second; `None` for as fast as it goes.
    pub per_second: Option<u32>,
    /// So many first; the rest follows only if all of these complete.
    pub canaries: usize,
    /// How long to wait for the canaries.
    pub canaries_wait_max: Duration,
    /// Only make the plans.
    pub dry_run: bool,
}

impl RewindBatch {
    /// A batch of those that match, without limit or rate.
    #[must_use]
    pub fn new(query: InstanceQuery, spec: RewindSpec) -> RewindBatch {
        RewindBatch {
            query,
            tags: Tags::new(),
            failure: None,
            all: false,
            spec,
            limit: usize::MAX,
            per_second: None,
            canaries: 0,
            canaries_wait_max: Duration::from_secs(600),
            dry_run: false,
        }
    }

    fn is_unconditional(&self) -> bool {
        let query = InstanceQuery { statuses: Vec::new(), after: None, ..self.query.clone() };
        query == InstanceQuery::default() && self.tags.is_empty() && self.failure.is_none()
    }

    fn matches(&self, record: &InstanceRecord) -> bool {
        let tagged = self.tags.iter().all(|(key, value)| record.tags.get(key) == Some(value));
        let failed = |text: &String| {
            record.failure.as_ref().is_some_and(|f| f.kind == *text || f.message.contains(text.as_str()))
        };
        tagged && self.failure.as_ref().is_none_or(failed)
    }
}

/// What a batch did to an instance.
#[derive(Clone, Debug, PartialEq)]
pub enum BatchItem {
    /// It was rewound.
    Rewound(Rewound),
    /// It would be.
    Planned(Box<RewindPlan>),
    /// It goes with its parent, which failed with it.
    WithParent(String),
    /// It runs already.
    Runs(Status),
    /// It could not be rewound.
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

impl Client {
    /// Rewinds every instance that matches. `progress` is told of each as it is done.
    pub async fn rewind_batch(
        &self,
        batch: &RewindBatch,
        mut progress: impl FnMut(&InstanceId, &BatchItem) + Send,
    ) -> Result<BatchReport, EngineError> {
        if batch.is_unconditional() && !batch.all {
            let what = "the filter matches every instance; name a condition, or say that all are meant";
            return Err(EngineError::System(what.into()));
        }
        let mut report = BatchReport::default();
        let ids = self.matching(batch).await?;
        let (canaries, rest) = ids.split_at(batch.canaries.min(ids.len()));
        self.rewind_each(batch, canaries, &mut report, &mut progress).await;
        if !batch.dry_run
            && let Some(failed) = self.failed_canary(batch, &report).await
        {
            report.stopped = Some(failed);
            return Ok(report);
        }
        self.rewind_each(batch, rest, &mut report, &mut progress).await;
        Ok(report)
    }

    async fn matching(&self, batch: &RewindBatch) -> Result<Vec<InstanceId>, EngineError> {
        let mut query = batch.query.clone();
        if query.statuses.is_empty() {
            query.statuses = vec![Status::Failed];
        }
        let mut ids = Vec::new();
        while ids.len() < batch.limit {
            let page = self.list(query.clone(), PAGE).await?;
            let Some(last) = page.last() else { break };
            query.after = Some((Timestamp(last.record.created_at), last.key));
            let matching =
                page.iter().filter(|listed| listed.damage.is_none() && batch.matches(&listed.record));
            ids.extend(matching.map(|listed| listed.record.instance_id()));
        }
        ids.truncate(batch.limit);
        Ok(ids)
    }

    async fn rewind_each(
        &self,
        batch: &RewindBatch,
        ids: &[InstanceId],
        report: &mut BatchReport,
        progress: &mut (impl FnMut(&InstanceId, &BatchItem) + Send),
    ) {
        let began = tokio::time::Instant::now();
        let due = |index: usize| {
            batch.per_second.map(|rate| began + Duration::from_secs(1) * index as u32 / rate.max(1))
        };
        let each = ids.iter().enumerate().map(|(index, id)| async move {
            if let Some(due) = due(index) {
                tokio::time::sleep_until(due).await;
            }
            (id.clone(), self.rewind_one(batch, id).await)
        });
        let mut done = stream::iter(each).buffered(AT_ONCE);
        while let Some((id, item)) = done.next().await {
            progress(&id, &item);
            report.items.push((id, item));
        }
    }

    async fn rewind_one(&self, batch: &RewindBatch, id: &InstanceId) -> BatchItem {
        let done = if batch.dry_run {
            self.plan_rewind(id, &batch.spec).await.map(|plan| BatchItem::Planned(Box::new(plan)))
        } else {
            self.rewind(id.clone(), batch.spec.clone()).await.map(BatchItem::Rewound)
        };
        done.unwrap_or_else(|error| match &error {
            EngineError::Refused(RequestError::Rewind { error: why, .. }) => match &**why {
                RewindError::ParentEnded { parent, .. } => BatchItem::WithParent(parent.clone()),
                RewindError::NotEnded { status } => BatchItem::Runs(*status),
                _ => BatchItem::Refused(error),
            },
            _ => BatchItem::Refused(error),
        })
    }

    /// Waits for the canaries; says what is wrong with them.
    async fn failed_canary(&self, batch: &RewindBatch, report: &BatchReport) -> Option<String> {
        let until = tokio::time::Instant::now() + batch.canaries_wait_max;
        for (id, item) in &report.items {
            if !matches!(item, BatchItem::Rewound(_)) {
                continue;
            }
            match tokio::time::timeout_at(until, self.wait(id.clone(), None)).await {
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
