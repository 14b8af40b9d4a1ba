//! Instances that have ended are removed by themselves when they are old enough, if that is asked for.

use crate::bulk::Bulk;
use crate::client::Client;
use crate::error::EngineError;
use futures_util::future::join_all;
use perdura_core::delivery::is_hub_key;
use perdura_core::partition::InstanceRecord;
use perdura_core::{InstanceId, Status, Timestamp};
use perdura_store::InstanceQuery;
use std::collections::BTreeMap;
use std::time::Duration;

/// Instances that are removed at once.
const SLICE: usize = 100;
/// Between two looks at the hub, unless an age is shorter.
const PAUSE_MAX: Duration = Duration::from_secs(60);
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// How long instances that have ended stay, by their status. One without an age here stays until somebody removes it.
/// What an instance has started goes with it; as long as a parent is there, a child stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention(BTreeMap<Status, Duration>);

impl Retention {
    /// Everything that has ended stays so long.
    #[must_use]
    pub fn of_all(age: Duration) -> Retention {
        let ended = Status::ALL.into_iter().filter(|status| status.is_terminal());
        Retention(ended.map(|status| (status, age)).collect())
    }

    /// Instances that have ended so stay so long. No effect for a status that is not an end.
    #[must_use]
    pub fn of(mut self, status: Status, age: Duration) -> Retention {
        if status.is_terminal() {
            self.0.insert(status, age);
        }
        self
    }

    /// Whether nothing is removed.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.0.is_empty()
    }

    fn pause(&self) -> Duration {
        let shortest = self.0.values().min().copied().unwrap_or(PAUSE_MAX);
        (shortest / 10).clamp(PAUSE_MIN, PAUSE_MAX)
    }
}

/// Keeps to it as long as the engine runs.
pub(crate) async fn keep(client: Client, retention: Retention) {
    loop {
        tokio::time::sleep(retention.pause()).await;
        for (status, age) in &retention.0 {
            match sweep(&client, *status, *age).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, %status, "instances have been removed by their age"),
                Err(EngineError::ShuttingDown) => return,
                Err(error) => tracing::warn!(%error, "old instances could not be removed; it is tried again"),
            }
        }
    }
}

async fn sweep(client: &Client, status: Status, age: Duration) -> Result<u64, EngineError> {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    let before = Timestamp(client.store().now().0.saturating_sub(age));
    // What has ended before a time was created before it.
    let query =
        InstanceQuery { statuses: vec![status], created_before: Some(before), ..InstanceQuery::default() };
    let (mut removed, mut next) = (0, None);
    loop {
        let page = client.page(query.clone(), &Default::default(), SLICE, next.as_deref()).await?;
        let mut old = Vec::new();
        for listed in page.instances.iter().filter(|listed| listed.damage.is_none()) {
            let record = &listed.record;
            // Keys of the hub have an age of their own.
            if record.completed_at >= before.0 || is_hub_key(&record.id) {
                continue;
            }
            match has_parent(client, record).await {
                Ok(false) => old.push(record.instance_id()),
                Ok(true) => {}
                Err(error) => skip(error)?,
            }
        }
        let purge = Bulk::Purge { recurse: true };
        for done in join_all(old.into_iter().map(|id| client.control(id, &purge))).await {
            match done {
                Ok(family) => removed += family,
                // It has gone, or was rewound, since it was found.
                Err(EngineError::Refused(_)) => {}
                Err(error) => skip(error)?,
            }
        }
        next = page.next;
        if next.is_none() {
            return Ok(removed);
        }
    }
}

/// An instance that is damaged, or whose family is, stays, and keeps no other from being removed.
fn skip(error: EngineError) -> Result<(), EngineError> {
    match error {
        EngineError::Damaged { .. } => {
            tracing::warn!(%error, "an old instance is not removed; look at the one that is named, and purge it");
            Ok(())
        }
        error => Err(error),
    }
}

/// Whether somebody is there who has started it: a rewind of that one may still want its result.
async fn has_parent(client: &Client, record: &InstanceRecord) -> Result<bool, EngineError> {
    for link in record.parents.iter().filter(|link| !link.attached) {
        let Ok(id) = InstanceId::new(&link.instance) else { continue };
        let parent = client.get(&id).await?;
        if parent.is_some_and(|parent| parent.execution == link.execution) {
            return Ok(true);
        }
    }
    Ok(false)
}
