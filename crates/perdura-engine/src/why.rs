//! Why an instance does not go on, with what its history and its children say.

use crate::client::Client;
use crate::error::EngineError;
use crate::lookups;
use perdura_core::history::EventKind;
use perdura_core::why::{Surroundings, Wait, why};
use perdura_core::{InstanceId, Status};
use perdura_store::Store;
use std::collections::BTreeMap;

#[derive(Default)]
struct Around {
    activities: BTreeMap<u32, String>,
    instances: BTreeMap<String, Option<Status>>,
}

impl Surroundings for Around {
    fn activity(&self, task: u32) -> Option<String> {
        self.activities.get(&task).cloned()
    }

    fn instance(&self, id: &str) -> Option<Option<Status>> {
        self.instances.get(id).copied()
    }

    fn is_served(&self, _: &str) -> Option<bool> {
        None
    }
}

impl Client {
    /// What an instance waits for; `None` if there is none.
    pub async fn why(&self, id: &InstanceId) -> Result<Option<Vec<Wait>>, EngineError> {
        why_in(&**self.store(), id).await
    }
}

/// What an instance of a hub waits for; `None` if there is none.
pub async fn why_in(store: &dyn Store, id: &InstanceId) -> Result<Option<Vec<Wait>>, EngineError> {
    let Some((row, record)) = lookups::row(store, id).await? else { return Ok(None) };
    let mut around = Around::default();
    if !record.tasks.is_empty() {
        let history = lookups::history(store, &row, &record, record.branch).await?.unwrap_or_default();
        around.activities.extend(history.into_iter().filter_map(|event| match event.kind {
            EventKind::TaskScheduled(task) => Some((task.id, task.name)),
            _ => None,
        }));
    }
    for child in &record.children {
        if let Ok(child) = InstanceId::new(&child.instance) {
            let status = lookups::row(store, &child).await?.map(|(row, _)| row.status);
            around.instances.insert(child.to_string(), status);
        }
    }
    Ok(Some(why(&record, store.now(), &around)))
}
