//! What a test sees afterwards.

use super::world::Instance;
use crate::activity::ActivityRef;
use crate::entity::Entity;
use crate::error::{Error, Result};
use crate::orchestration::OrchestrationRef;
use crate::payload::{FromPayload, read};
use bytes::Bytes;
use perdura_core::history::{Event, EventKind};
use perdura_core::{EntityId, Failure, Status};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::time::Duration;

/// How a [`TestRun`](super::TestRun) ended.
pub struct TestEnd<O: OrchestrationRef> {
    instance: Instance,
    elapsed: Duration,
    entities: BTreeMap<EntityId, Bytes>,
    orchestration: PhantomData<O>,
}

impl<O: OrchestrationRef> TestEnd<O> {
    pub(super) fn new(instance: Instance, elapsed: Duration, entities: BTreeMap<EntityId, Bytes>) -> Self {
        TestEnd { instance, elapsed, entities, orchestration: PhantomData }
    }

    /// The status. `Running` if it waits for something that did not come.
    #[must_use]
    pub fn status(&self) -> Status {
        self.instance.status
    }

    /// What the orchestration returned. An error of kind `perdura.testing.Running` if it has not ended.
    pub fn output(&self) -> Result<O::Output> {
        match &self.instance.end {
            Some(Ok(output)) => read(output.clone(), || "output".into()),
            Some(Err(failure)) => Err(Error::from_failure(failure.clone())),
            None => Err(Error::from_failure(Failure::new("perdura.testing.Running", self.waiting_text()))),
        }
    }

    fn waiting_text(&self) -> String {
        let last = self.instance.history.last().map_or("nothing", |event| event.kind.name());
        format!("the orchestration has not ended; the last event is {last}")
    }

    /// How much virtual time passed from the start to the last turn.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// What the orchestration said last by [`set_status`](crate::Orchestration::set_status).
    pub fn custom_status<T: FromPayload>(&self) -> Result<T> {
        read(self.instance.custom_status.clone(), || "custom status".into())
    }

    /// The inputs of the calls of an activity, in order, retries not counted; those before a continue-as-new included.
    ///
    /// # Panics
    /// If an input cannot be read as the activity's.
    #[must_use]
    pub fn calls<A: ActivityRef>(&self, activity: A) -> Vec<A::Input> {
        let input = |(name, input): &(String, Option<_>)| {
            (name == activity.name())
                .then(|| A::Input::from_payload(input.clone()).expect("the input of a call"))
        };
        self.instance.calls.iter().filter_map(input).collect()
    }

    /// The state of an entity; `None` if it has none.
    ///
    /// # Panics
    /// If the key breaks the rules, or the state cannot be read.
    #[must_use]
    pub fn entity<E: Entity>(&self, key: &str) -> Option<E> {
        let id = E::at(key).expect("the key of the entity");
        let state = self.entities.get(&id)?;
        Some(serde_json::from_slice(state).expect("the state of the entity"))
    }

    /// The history of the last generation.
    #[must_use]
    pub fn history(&self) -> &[Event] {
        &self.instance.history
    }

    /// How many turns the last generation took.
    #[must_use]
    pub fn turns(&self) -> usize {
        self.instance.history.iter().filter(|event| matches!(event.kind, EventKind::TurnStarted(_))).count()
    }

    /// How many times the orchestration continued as new.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.instance.generation
    }
}

impl<O: OrchestrationRef> std::fmt::Debug for TestEnd<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestEnd")
            .field("status", &self.instance.status)
            .field("end", &self.instance.end)
            .field("elapsed", &self.elapsed)
            .finish_non_exhaustive()
    }
}
