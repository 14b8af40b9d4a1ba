//! Whether stored histories and the present code agree.

use super::{Client, ClientError};
use crate::runner::{Replay, check_replay};
use perdura_core::{InstanceId, InstanceKey, Status};
use perdura_engine::EngineError;
use perdura_store::InstanceQuery;

/// What a replay of a stored history has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayCheck {
    /// Its place in the list, for the next page.
    pub key: InstanceKey,
    /// The instance.
    pub id: InstanceId,
    /// Its orchestration.
    pub name: String,
    /// Its status.
    pub status: Status,
    /// What was found.
    pub replay: Replay,
}

pub(super) async fn check(
    client: &Client,
    query: InstanceQuery,
    limit: usize,
) -> Result<Vec<ReplayCheck>, ClientError> {
    let (engine, registry) = client.engine()?;
    let mut checks = Vec::new();
    for listed in engine.list(query, limit).await? {
        let (key, record) = (listed.key, listed.record);
        let id = record.instance_id();
        let replay = match engine.branch_history(&id, record.branch).await {
            Ok(history) => {
                let (registry, of) =
                    (registry.clone(), (id.clone(), record.name.clone(), record.version.clone()));
                let history = history.unwrap_or_default();
                // User code runs: not on a thread that others wait for.
                let ran = tokio::task::spawn_blocking(move || {
                    let (id, name, version) = of;
                    check_replay(&registry, (id, &name, &version), registry.limits_in_use(), &history)
                });
                ran.await.unwrap_or_else(|error| Replay::Unreadable(error.to_string()))
            }
            Err(EngineError::Damaged { what, .. }) => Replay::Unreadable(what.to_string()),
            Err(error) => return Err(error.into()),
        };
        let status = record.status().unwrap_or_default();
        checks.push(ReplayCheck { key, id, name: record.name, status, replay });
    }
    Ok(checks)
}
