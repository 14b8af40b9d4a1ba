//! Why an instance does not go on, with what its history and its children say.

use crate::client::Client;
use crate::error::EngineError;
use crate::lookups;
use perdura_core::history::EventKind;
use perdura_core::partition::InstanceRecord;
use perdura_core::why::{Surroundings, Wait, why};
use perdura_core::{EntityId, InstanceId, Status, Timestamp};
use perdura_store::Store;
use std::collections::BTreeMap;

#[derive(Default)]
struct Around {
    activities: BTreeMap<u32, String>,
    instances: BTreeMap<String, Option<Status>>,
    operations: BTreeMap<u32, (String, Timestamp)>,
    entities: BTreeMap<String, Option<InstanceRecord>>,
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

    fn operation(&self, task: u32) -> Option<(String, Timestamp)> {
        self.operations.get(&task).cloned()
    }

    fn entity(&self, id: &str) -> Option<Option<&InstanceRecord>> {
        self.entities.get(id).map(Option::as_ref)
    }
}

impl Client {
    /// What an instance or an entity waits for; `None` if there is none.
    pub async fn why(&self, id: &InstanceId) -> Result<Option<Vec<Wait>>, EngineError> {
        why_in(&**self.store(), id).await
    }
}

/// What an instance or an entity of a hub waits for; `None` if there is none.
pub async fn why_in(store: &dyn Store, id: &InstanceId) -> Result<Option<Vec<Wait>>, EngineError> {
    let Some((row, record)) = lookups::row(store, id).await? else { return Ok(None) };
    let mut around = Around::default();
    if !record.tasks.is_empty() || !record.calls.is_empty() {
        let history = lookups::history(store, &row, &record, record.branch).await?.unwrap_or_default();
        for event in history {
            match event.kind {
                EventKind::TaskScheduled(task) => drop(around.activities.insert(task.id, task.name)),
                EventKind::EntityOperationCalled(call) => {
                    around.operations.insert(call.id, (call.operation, event.at));
                }
                _ => {}
            }
        }
    }
    let waiting = record.section.iter().filter(|section| !section.granted);
    let wanted = waiting.flat_map(|section| &section.set).chain(record.calls.iter().map(|call| &call.entity));
    for entity in wanted {
        // What is known of the instance shall be told, even if one of its entities cannot be read.
        let Ok(id) = EntityId::parse(entity) else { continue };
        if let Ok(found) = lookups::row(store, id.instance()).await {
            around.entities.insert(entity.clone(), found.map(|(_, record)| record));
        }
    }
    for child in &record.children {
        if let Ok(child) = InstanceId::new(&child.instance) {
            let status = lookups::row(store, &child).await?.map(|(row, _)| row.status);
            around.instances.insert(child.to_string(), status);
        }
    }
    Ok(Some(why(&record, store.now(), &around)))
}
