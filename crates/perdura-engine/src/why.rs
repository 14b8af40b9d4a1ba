//! Why an instance does not go on, with what its history, its children and the workers say.

use crate::client::Client;
use crate::error::EngineError;
use crate::lookups;
use crate::processor::Input;
use perdura_core::history::{Event, EventKind};
use perdura_core::partition::{ChildRecord, InstanceRecord};
use perdura_core::why::{Line, Surroundings, Wait, Work, why};
use perdura_core::{EntityId, InstanceId, InstanceKey, Limits, Status, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long to wait for what a processor knows.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// How far below an instance its children are asked, and how many of each.
const DEPTH_MAX: usize = 8;
const CHILDREN_MAX: usize = 8;

/// What is known of those who run the code.
pub trait Workers: Send + Sync {
    /// How a piece of work of an instance stands with them; `None` if they have not been asked to do it.
    fn line(&self, instance: &InstanceId, work: Work) -> Option<Line>;
}

/// What the processor of an instance's partition knows of it besides what is stored.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Why it does not have the partition at present.
    pub(crate) loss: Option<String>,
    pub(crate) limits: Option<Limits>,
    /// How its activities stand, by their numbers.
    pub(crate) lines: Vec<(u32, Line)>,
    /// How much waits for room in its inbox or queue.
    pub(crate) held: usize,
}

struct Around<'a> {
    id: &'a InstanceId,
    activities: BTreeMap<u32, String>,
    asked: BTreeMap<u32, Timestamp>,
    suspended: Option<Timestamp>,
    instances: BTreeMap<String, Option<Status>>,
    operations: BTreeMap<u32, (String, Timestamp)>,
    entities: BTreeMap<String, Option<InstanceRecord>>,
    workers: Option<&'a dyn Workers>,
    is_at_rest: bool,
    known: Known,
}

impl Around<'_> {
    fn learn(&mut self, event: Event) {
        match event.kind {
            EventKind::TaskScheduled(task) => {
                self.asked.insert(task.id, event.at);
                self.activities.insert(task.id, task.name);
            }
            EventKind::TimerCreated(timer) => drop(self.asked.insert(timer.id, event.at)),
            EventKind::SubOrchestrationScheduled(child) => drop(self.asked.insert(child.id, event.at)),
            EventKind::EntityOperationCalled(call) => {
                self.operations.insert(call.id, (call.operation, event.at));
            }
            EventKind::ExecutionSuspended(_) => self.suspended = Some(event.at),
            _ => {}
        }
    }
}

impl Surroundings for Around<'_> {
    fn activity(&self, task: u32) -> Option<String> {
        self.activities.get(&task).cloned()
    }

    fn asked_at(&self, id: u32) -> Option<Timestamp> {
        self.asked.get(&id).copied()
    }

    fn suspended_at(&self) -> Option<Timestamp> {
        self.suspended
    }

    fn instance(&self, id: &str) -> Option<Option<Status>> {
        self.instances.get(id).copied()
    }

    fn line(&self, work: Work) -> Option<Line> {
        if self.is_at_rest {
            return Some(Line::NoEngine);
        }
        let own = || {
            let is_it = |line: &&(u32, Line)| work == Work::Activity(line.0);
            self.known.lines.iter().find(is_it).map(|(_, line)| *line)
        };
        self.workers.and_then(|workers| workers.line(self.id, work)).or_else(own)
    }

    fn limits(&self) -> Option<&Limits> {
        self.known.limits.as_ref()
    }

    fn held(&self) -> usize {
        self.known.held
    }

    fn loss(&self) -> Option<&str> {
        self.known.loss.as_deref()
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
        self.why_with(id, None).await
    }

    /// The same, with what is known of those who run the code.
    pub async fn why_with(
        &self,
        id: &InstanceId,
        workers: Option<&dyn Workers>,
    ) -> Result<Option<Vec<Wait>>, EngineError> {
        self.why_at(id, workers, 0).await
    }

    async fn why_at(
        &self,
        id: &InstanceId,
        workers: Option<&dyn Workers>,
        depth: usize,
    ) -> Result<Option<Vec<Wait>>, EngineError> {
        let store = &**self.store();
        let Some((row, record)) = lookups::row(store, id).await? else { return Ok(None) };
        let mut around = Around {
            id,
            activities: BTreeMap::new(),
            asked: BTreeMap::new(),
            suspended: None,
            instances: BTreeMap::new(),
            operations: BTreeMap::new(),
            entities: BTreeMap::new(),
            workers,
            is_at_rest: self.is_at_rest(),
            known: self.known(id, row.key).await,
        };
        if !row.status.is_terminal() && record.entity.is_none() {
            let history = lookups::history(store, &row, &record, record.branch).await?.unwrap_or_default();
            let waiting = record.inbox_events().unwrap_or_default();
            history.into_iter().chain(waiting).for_each(|event| around.learn(event));
        }
        let waiting = record.section.iter().filter(|section| !section.granted);
        let wanted =
            waiting.flat_map(|section| &section.set).chain(record.calls.iter().map(|call| &call.entity));
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
        let mut waits = why(&record, store.now(), &around);
        if depth < DEPTH_MAX {
            let running = |child: &&ChildRecord| {
                let status = around.instances.get(&child.instance).copied().flatten();
                matches!(status, Some(Status::Running | Status::Pending))
            };
            for child in record.children.iter().filter(running).take(CHILDREN_MAX) {
                let Some(missing) = self.missing_below(&child.instance, workers, depth + 1).await? else {
                    continue;
                };
                let what = format!("child {:?}", child.instance);
                let is_it = |wait: &&mut Wait| wait.missing.is_none() && wait.what == what;
                if let Some(wait) = waits.iter_mut().find(is_it) {
                    wait.missing = Some(missing);
                }
            }
        }
        Ok(Some(waits))
    }

    /// What a child that goes on, as far as its parent sees, waits for in vain.
    async fn missing_below(
        &self,
        child: &str,
        workers: Option<&dyn Workers>,
        depth: usize,
    ) -> Result<Option<String>, EngineError> {
        let Ok(id) = InstanceId::new(child) else { return Ok(None) };
        let waits = Box::pin(self.why_at(&id, workers, depth)).await?.unwrap_or_default();
        let missing = waits.into_iter().find_map(|wait| Some((wait.what, wait.missing?)));
        Ok(missing.map(|(what, missing)| format!("it waits for {what}: {missing}")))
    }

    pub(crate) async fn known(&self, id: &InstanceId, key: InstanceKey) -> Known {
        let inputs = self.inputs();
        let Some(input) = inputs.get(usize::from(id.partition(inputs.len().max(1) as u16).0)) else {
            // Whoever asks for something at rest is held to these limits.
            return Known { limits: Some(Limits::default()), ..Known::default() };
        };
        let (asked, known) = oneshot::channel();
        let look = async {
            input.send(Input::Look(key, asked)).await.ok()?;
            known.await.ok()
        };
        let lost = |why: String| Known { loss: Some(why), ..Known::default() };
        match tokio::time::timeout(LOOK_MAX, look).await {
            Ok(Some(known)) => known,
            Ok(None) => lost(EngineError::ShuttingDown.to_string()),
            Err(_) => lost(format!("it has not answered for {} s; is its store there?", LOOK_MAX.as_secs())),
        }
    }
}
