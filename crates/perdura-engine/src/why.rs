//! Why an instance does not go on, with what its history, its children and the workers say.

use crate::client::Client;
use crate::error::EngineError;
use crate::lookups;
use perdura_core::history::EventKind;
use perdura_core::why::{Line, Surroundings, Wait, Work, why};
use perdura_core::{InstanceId, Status};
use std::collections::BTreeMap;

/// What is known of those who run the code.
pub trait Workers: Send + Sync {
    /// How a piece of work of an instance stands with them; `None` if they have not been asked to do it.
    fn line(&self, instance: &InstanceId, work: Work) -> Option<Line>;
}

struct Around<'a> {
    id: &'a InstanceId,
    activities: BTreeMap<u32, String>,
    instances: BTreeMap<String, Option<Status>>,
    workers: Option<&'a dyn Workers>,
    is_at_rest: bool,
}

impl Surroundings for Around<'_> {
    fn activity(&self, task: u32) -> Option<String> {
        self.activities.get(&task).cloned()
    }

    fn instance(&self, id: &str) -> Option<Option<Status>> {
        self.instances.get(id).copied()
    }

    fn line(&self, work: Work) -> Option<Line> {
        if self.is_at_rest { Some(Line::NoEngine) } else { self.workers?.line(self.id, work) }
    }
}

impl Client {
    /// What an instance waits for; `None` if there is none.
    pub async fn why(&self, id: &InstanceId) -> Result<Option<Vec<Wait>>, EngineError> {
        self.why_with(id, None).await
    }

    /// The same, with what is known of those who run the code.
    pub async fn why_with(
        &self,
        id: &InstanceId,
        workers: Option<&dyn Workers>,
    ) -> Result<Option<Vec<Wait>>, EngineError> {
        let store = &**self.store();
        let Some((row, record)) = lookups::row(store, id).await? else { return Ok(None) };
        let mut around = Around {
            id,
            activities: BTreeMap::new(),
            instances: BTreeMap::new(),
            workers,
            is_at_rest: self.is_at_rest(),
        };
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
}
