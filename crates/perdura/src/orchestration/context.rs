//! The context of an orchestration: everything it may do.

use super::shared::Shared;
use super::{Call, Canceled, OrchestrationRef, SubOrchestration, Timer, WaitEvent};
use crate::activity::ActivityRef;
use crate::entity::{CallDoor, Entity, Lock, OrchestrationSignalDoor};
use crate::error::{Error, Next, Result};
use crate::payload::{FromPayload, Payload, ToPayload};
use perdura_core::history::EventSent;
use perdura_core::{EntityId, ExecutionId, InstanceId, InvalidText, Tags, Timestamp, check_name};
use std::rc::Rc;
use std::time::Duration;

/// The first parameter of every orchestration. Cheap to clone.
///
/// The code must be deterministic: given the same history it must ask for the same things in the same order. Take time
/// from [`now`](Self::now), ids from [`new_uuid`](Self::new_uuid), and let activities do everything that touches the
/// world. Await only what the context gives and combinations of it; awaiting something else (a tokio timer, a socket)
/// fails the orchestration with [`NOT_DURABLE`](crate::failure::kind::NOT_DURABLE).
///
/// It is not `Send`: it cannot be taken along into a spawned task or thread.
///
/// ```compile_fail
/// # use perdura::prelude::*;
/// fn needs_send<T: Send>(_: T) {}
/// fn take(ctx: Orchestration) {
///     needs_send(ctx);
/// }
/// ```
#[derive(Clone)]
pub struct Orchestration {
    shared: Rc<Shared>,
}

impl Orchestration {
    pub(crate) fn new(shared: Rc<Shared>) -> Orchestration {
        Orchestration { shared }
    }

    pub(super) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    /// Calls an activity.
    ///
    /// ```
    /// # use perdura::prelude::*;
    /// # use std::time::Duration;
    /// #[activity]
    /// async fn charge(cents: u64) -> Result<String> {
    ///     Ok(format!("receipt for {cents}"))
    /// }
    ///
    /// #[orchestration]
    /// async fn order(ctx: Orchestration) -> Result<String> {
    ///     ctx.call(charge, 1999).retry(Retry::attempts(3)).timeout(Duration::from_secs(30)).await
    /// }
    /// ```
    ///
    /// An input of another type does not compile:
    ///
    /// ```compile_fail,E0308
    /// # use perdura::prelude::*;
    /// # #[activity]
    /// # async fn charge(cents: u64) -> Result<String> {
    /// #     Ok(format!("receipt for {cents}"))
    /// # }
    /// #[orchestration]
    /// async fn order(ctx: Orchestration) -> Result<String> {
    ///     ctx.call(charge, "much").await
    /// }
    /// ```
    pub fn call<A: ActivityRef>(&self, activity: A, input: A::Input) -> Call<A::Output> {
        let call = Call::new(&self.shared, activity.name(), activity.version(), input.to_payload());
        call.delivery(activity.delivery())
    }

    /// Starts another orchestration as a child and waits for its result.
    pub fn sub_orchestration<O: OrchestrationRef>(
        &self,
        orchestration: O,
        input: O::Input,
    ) -> SubOrchestration<O::Output> {
        let (name, version) = (orchestration.name(), orchestration.version());
        SubOrchestration::new(&self.shared, name, version, input.to_payload())
    }

    /// Waits for a span of time, counted from now. It may be years: nothing is held in memory for it.
    pub fn timer(&self, span: Duration) -> Timer {
        self.timer_at(self.now().after(span))
    }

    /// Waits until a point in time. If it has passed, the wait ends at once, in a turn of its own.
    pub fn timer_at(&self, at: Timestamp) -> Timer {
        Timer::new(&self.shared, at)
    }

    /// Waits for an external event. Events that came before anybody waited are kept; events of one name are handed out
    /// in the order in which they came, to waits in the order in which they began.
    pub fn wait_event<T: FromPayload>(&self, name: impl Into<String>) -> WaitEvent<T> {
        WaitEvent::new(&self.shared, name.into())
    }

    /// Sends an event to another instance. An instance that does not exist, or has ended, does not get it. One whose
    /// inbox is full refuses it, which is recorded in this instance's history as `EventRefused`; this code does not learn
    /// of it.
    pub fn send_event(&self, to: &InstanceId, name: &str, value: &(impl ToPayload + ?Sized)) -> Result<()> {
        check_name("event name", name).map_err(Error::invalid)?;
        let event = EventSent {
            instance: to.as_str().to_owned(),
            name: name.to_owned(),
            input: value.to_payload()?,
            id: 0,
        };
        let outcome = self.shared.with(|execution| {
            let ticket = execution.send_event(event);
            execution.take(ticket)
        });
        match outcome {
            Some(Err(refusal)) => Err(Error::from_failure(refusal)),
            _ => Ok(()),
        }
    }

    /// The operations of an entity, to be called: `ctx.entity::<Counter>("a").add(3).await?`. Inside a critical section
    /// only the entities that it holds can be called.
    pub fn entity<E: Entity>(&self, key: &str) -> E::Operations<CallDoor> {
        E::operations(CallDoor { shared: self.shared.clone(), to: E::at(key) })
    }

    /// The operations of an entity, to be signaled: `ctx.signal::<Counter>("a").add(3)?`. There is no result; the signal
    /// is run once.
    pub fn signal<E: Entity>(&self, key: &str) -> E::Operations<OrchestrationSignalDoor> {
        E::operations(OrchestrationSignalDoor { shared: self.shared.clone(), to: E::at(key), at: None })
    }

    /// Like [`signal`](Self::signal), to be run not before a time.
    pub fn signal_at<E: Entity>(&self, key: &str, at: Timestamp) -> E::Operations<OrchestrationSignalDoor> {
        E::operations(OrchestrationSignalDoor { shared: self.shared.clone(), to: E::at(key), at: Some(at) })
    }

    /// Holds entities together: until the section is dropped, or the orchestration ends however it does, nobody else's
    /// operations run on them. They are taken in one order everywhere, so sections never wait for each other in a circle.
    /// A section inside a section is an error, and so are an empty set, an entity twice, and more than 100.
    ///
    /// ```
    /// # use perdura::prelude::*;
    /// # #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// # struct Account { balance: i64 }
    /// # #[entity]
    /// # impl Account {
    /// #     pub fn balance(&self) -> Result<i64> { Ok(self.balance) }
    /// #     pub fn add(&mut self, cents: i64) -> Result<i64> { self.balance += cents; Ok(self.balance) }
    /// # }
    /// #[orchestration]
    /// async fn transfer(ctx: Orchestration, cents: i64) -> Result<bool> {
    ///     let held = ctx.lock([Account::at("from"), Account::at("to")]).await?;
    ///     let enough = ctx.entity::<Account>("from").balance().await? >= cents;
    ///     if enough {
    ///         ctx.entity::<Account>("from").add(-cents).await?;
    ///         ctx.entity::<Account>("to").add(cents).await?;
    ///     }
    ///     held.unlock();
    ///     Ok(enough)
    /// }
    /// ```
    pub fn lock(&self, entities: impl IntoIterator<Item = Result<EntityId, InvalidText>>) -> Lock {
        Lock::new(&self.shared, entities)
    }

    /// Ends this execution and begins the instance again with a new input and an empty history: for loops without end.
    /// To be returned. External events that nobody took are carried over; what else is under way is dropped.
    ///
    /// ```
    /// # use perdura::prelude::*;
    /// # use std::time::Duration;
    /// #[orchestration]
    /// async fn watch(ctx: Orchestration, seen: u64) -> Result<u64> {
    ///     ctx.timer(Duration::from_secs(3600)).await?;
    ///     return ctx.continue_as_new(seen + 1);
    /// }
    /// ```
    pub fn continue_as_new<T>(&self, input: impl Payload) -> Result<T> {
        Err(Error::continue_as_new(Next { input: input.to_payload()?, version: None }))
    }

    /// Like [`continue_as_new`](Self::continue_as_new), as another version: how an endless orchestration moves to new
    /// code.
    pub fn continue_as_version<T>(&self, version: impl Into<String>, input: impl Payload) -> Result<T> {
        Err(Error::continue_as_new(Next { input: input.to_payload()?, version: Some(version.into()) }))
    }

    /// The time of the present turn, the same in every replay.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.with(|execution| execution.now())
    }

    /// A new UUID (version 4) that every replay gets again.
    #[must_use]
    pub fn new_uuid(&self) -> String {
        const VERSION: u128 = 0x4 << 76;
        const VARIANT: u128 = 0b10 << 62;
        let random = self.shared.with(|execution| execution.unique());
        let bits = random & !(0xf << 76) & !(0b11 << 62) | VERSION | VARIANT;
        let hex = format!("{bits:032x}");
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }

    /// Says something of itself that clients can read while it runs.
    pub fn set_status(&self, status: &(impl ToPayload + ?Sized)) -> Result<()> {
        let status = status.to_payload()?;
        self.shared.with(|execution| execution.set_custom_status(status)).map_err(Error::from_failure)
    }

    /// Whether the code runs over its past. For logging only: decisions must not depend on it.
    #[must_use]
    pub fn is_replaying(&self) -> bool {
        self.shared.with(|execution| execution.is_replaying())
    }

    /// The id of this instance.
    #[must_use]
    pub fn instance_id(&self) -> InstanceId {
        self.shared.with(|execution| execution.info().id.clone())
    }

    /// This run of the instance: new after every start, replacement and continue-as-new.
    #[must_use]
    pub fn execution_id(&self) -> ExecutionId {
        self.shared.with(|execution| execution.info().execution)
    }

    /// The version that this instance was started as; empty if none.
    #[must_use]
    pub fn version(&self) -> String {
        self.shared.with(|execution| execution.info().version.clone())
    }

    /// The tags that it was started with.
    #[must_use]
    pub fn tags(&self) -> Tags {
        self.shared.with(|execution| execution.info().tags.clone())
    }

    /// The parent's instance id, if this is a sub-orchestration.
    #[must_use]
    pub fn parent(&self) -> Option<InstanceId> {
        self.shared.with(|execution| execution.info().parent_id())
    }

    /// Whether the instance was asked to cancel.
    ///
    /// When that happens, everything that is being awaited fails with an error of which
    /// [`is_canceled`](Error::is_canceled) is true; if all that came in the same moment, what is awaited next does. An
    /// orchestration that returns this error ends as `Canceled`; what it awaits once it has had the error, or the answer
    /// `true` here, works as ever: it can clean up.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.shared.with(|execution| execution.hear_cancel())
    }

    /// Waits until the instance is asked to cancel.
    pub fn canceled(&self) -> Canceled {
        Canceled::new(&self.shared)
    }
}

impl std::fmt::Debug for Orchestration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Orchestration").field("instance_id", &self.instance_id()).finish_non_exhaustive()
    }
}
