//! What a test says before it runs.

use super::end::TestEnd;
use super::world::{Mock, World};
use crate::activity::ActivityRef;
use crate::entity::Entity;
use crate::error::Result;
use crate::orchestration::OrchestrationRef;
use crate::payload::{FromPayload, ToPayload, read};
use crate::registry::{Register, Registry};
use bytes::Bytes;
use perdura_core::history::{CancelRequested, EventKind, EventRaised, ExecutionStarted};
use perdura_core::{Failure, Tags};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::time::Duration;

/// A test of an orchestration; see the [module](super).
#[must_use = "nothing runs before `run`"]
pub struct TestRun<O: OrchestrationRef> {
    registry: Registry,
    started: ExecutionStarted,
    id: String,
    pub(super) mocks: Mocks,
    incoming: Vec<(Duration, EventKind)>,
    until: Duration,
    orchestration: PhantomData<O>,
}

/// Answers by name.
#[derive(Default)]
pub(super) struct Mocks {
    pub activities: BTreeMap<String, Mock>,
    pub children: BTreeMap<String, Mock>,
    pub delays: BTreeMap<String, Duration>,
}

impl<O: OrchestrationRef + Register> TestRun<O> {
    /// Runs this orchestration with this input. It need not be registered.
    ///
    /// # Panics
    /// If the input cannot be written as a payload.
    pub fn new(orchestration: O, input: O::Input) -> Self {
        let started = ExecutionStarted {
            name: orchestration.name().to_owned(),
            version: orchestration.version().to_owned(),
            input: input.to_payload().expect("the input of the orchestration"),
            ..ExecutionStarted::default()
        };
        TestRun {
            registry: Registry::new().register(orchestration),
            started,
            id: "test".into(),
            mocks: Mocks::default(),
            incoming: Vec::new(),
            until: Duration::MAX,
            orchestration: PhantomData,
        }
    }
}

impl<O: OrchestrationRef> TestRun<O> {
    /// Runs the real code of an activity or a sub-orchestration when it is called.
    pub fn register(mut self, item: impl Register) -> Self {
        self.registry = self.registry.register(item);
        self
    }

    /// Runs the real operations of an entity.
    pub fn entity<E: Entity>(mut self) -> Self {
        self.registry = self.registry.entity::<E>();
        self
    }

    /// Application state for real activities.
    pub fn data<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.registry = self.registry.data(value);
        self
    }

    /// Answers every attempt of an activity by a closure. An error counts as a failed attempt: the call's retry policy
    /// applies, in virtual time.
    pub fn mock<A, F>(mut self, activity: A, mut answer: F) -> Self
    where
        A: ActivityRef,
        F: FnMut(A::Input) -> Result<A::Output> + 'static,
    {
        let mock: Mock = Box::new(move |input| answer_payload(input, &mut answer));
        self.mocks.activities.insert(activity.name().to_owned(), mock);
        self
    }

    /// Answers a sub-orchestration by a closure instead of running it.
    pub fn mock_sub_orchestration<C, F>(mut self, child: C, mut answer: F) -> Self
    where
        C: OrchestrationRef,
        F: FnMut(C::Input) -> Result<C::Output> + 'static,
    {
        let mock: Mock = Box::new(move |input| answer_payload(input, &mut answer));
        self.mocks.children.insert(child.name().to_owned(), mock);
        self
    }

    /// Each attempt of an activity takes so long, in virtual time; it takes none otherwise. An attempt that takes longer
    /// than the call's timeout fails with a timeout.
    pub fn takes(mut self, activity: impl ActivityRef, time: Duration) -> Self {
        self.mocks.delays.insert(activity.name().to_owned(), time);
        self
    }

    /// Raises an external event so long after the start.
    ///
    /// # Panics
    /// If the value cannot be written as a payload.
    pub fn raise_at(mut self, after: Duration, name: &str, value: &(impl ToPayload + ?Sized)) -> Self {
        let input = value.to_payload().expect("the value of the event");
        self.incoming.push((after, EventRaised { name: name.to_owned(), input }.into()));
        self
    }

    /// Asks the instance to cancel so long after the start.
    pub fn cancel_at(mut self, after: Duration, reason: &str) -> Self {
        self.incoming.push((after, CancelRequested { reason: reason.to_owned() }.into()));
        self
    }

    /// Gives the instance an id; it is `test` otherwise.
    pub fn id(mut self, id: &str) -> Self {
        self.id = id.to_owned();
        self
    }

    /// Gives the instance tags.
    pub fn tags(mut self, tags: Tags) -> Self {
        self.started.tags = tags;
        self
    }

    /// Stops looking so long after the start: for orchestrations that never end.
    pub fn until(mut self, after: Duration) -> Self {
        self.until = after;
        self
    }

    /// Runs until the orchestration has ended, waits for something that never comes, or the time is over.
    ///
    /// # Panics
    /// If the orchestration, or one of its children, is not deterministic or not registered, or takes more than 100,000
    /// turns.
    pub async fn run(self) -> TestEnd<O> {
        let mut world = World::new(self.registry, self.mocks);
        let root = world.start(&self.id, self.started);
        for (after, event) in self.incoming {
            world.send_later(&root, after, event);
        }
        let last_turn = world.run_until(&root, self.until).await;
        let entities = world.take_entity_states();
        TestEnd::new(world.into_instance(&root), last_turn, entities)
    }
}

fn answer_payload<I: FromPayload, O: ToPayload>(
    input: Option<Bytes>,
    answer: &mut impl FnMut(I) -> Result<O>,
) -> Result<Option<Bytes>, Failure> {
    let input = read(input, || "input of a mock".into())?;
    Ok(answer(input)?.to_payload()?)
}
