//! The call of an activity.

use super::hub_call::HubCall;
use super::shared::Shared;
use super::work::{Description, Work};
use crate::error::{Error, Result};
use crate::payload::FromPayload;
use crate::retry::{Retry, millis};
use bytes::Bytes;
use perdura_core::delivery::{Delivery, OnUnknown};
use perdura_core::history::{TaskScheduled, TimeLimits};
use perdura_core::orchestration::{Execution, Ticket};
use perdura_core::{check_key, check_name, check_tags, check_text};
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A call of an activity, from [`ctx.call(..)`](crate::Orchestration::call). Await it for the result.
///
/// The activity is scheduled when the call is first polled, or by [`start`](Self::start). A call that is dropped after
/// that runs on, but nobody sees its result.
#[must_use = "a call does nothing until it is awaited or started"]
pub struct Call<O> {
    work: Work<TaskScheduled>,
    output: PhantomData<fn() -> O>,
}

impl<O> Call<O> {
    pub(crate) fn new(shared: &Rc<Shared>, name: &str, version: &str, input: Result<Option<Bytes>>) -> Self {
        let describe = |input| TaskScheduled {
            name: name.to_owned(),
            version: (!version.is_empty()).then(|| version.to_owned()),
            input,
            ..TaskScheduled::default()
        };
        Call { work: Work::new(shared, input, describe), output: PhantomData }
    }

    /// The call that a task describes.
    pub(super) fn of(shared: &Rc<Shared>, task: TaskScheduled) -> Self {
        let input = Ok(task.input.clone());
        Call { work: Work::new(shared, input, |_| task), output: PhantomData }
    }

    fn edit(self, edit: impl FnOnce(&mut TaskScheduled)) -> Self {
        Call { work: self.work.edit(edit), ..self }
    }

    fn limit(self, edit: impl FnOnce(&mut TimeLimits)) -> Self {
        self.edit(|task| edit(task.limits.get_or_insert_default()))
    }

    /// Tries again when an attempt fails. Without it there is a single attempt.
    pub fn retry(self, retry: Retry) -> Self {
        self.edit(|task| task.retry = Some(retry.into_policy()))
    }

    /// How long one attempt may take. An attempt that takes longer fails with a
    /// [timeout](crate::failure::kind::TIMEOUT) and may be retried.
    pub fn timeout(self, limit: Duration) -> Self {
        self.limit(|limits| limits.attempt_ms = millis(limit).max(1))
    }

    /// How long all attempts and the waits between them may take, from the moment the activity is scheduled.
    pub fn total_timeout(self, limit: Duration) -> Self {
        self.limit(|limits| limits.total_ms = millis(limit).max(1))
    }

    /// How long an attempt may be silent. One that sends no [heartbeat](crate::ActivityContext::heartbeat) for longer
    /// fails with a timeout and may be retried.
    pub fn heartbeat_timeout(self, limit: Duration) -> Self {
        self.limit(|limits| limits.heartbeat_ms = millis(limit).max(1))
    }

    /// Not again while the outcome of an attempt is unknown: then `on_unknown` says what follows. An attempt that is known
    /// to have failed may be [retried](Self::retry). Costs a commit more, unless it begins at once in the engine's process.
    ///
    /// ```
    /// # use perdura::prelude::*;
    /// use perdura::delivery::OnUnknown;
    /// # #[activity]
    /// # async fn charge(cents: u64) -> Result<String> {
    /// #     Ok(format!("receipt for {cents}"))
    /// # }
    /// #[orchestration]
    /// async fn order(ctx: Orchestration) -> Result<String> {
    ///     ctx.call(charge, 1999).at_most_once(OnUnknown::Suspend).await
    /// }
    /// ```
    pub fn at_most_once(self, on_unknown: OnUnknown) -> Self {
        self.delivery(&Delivery::AtMostOnce(on_unknown).recorded())
    }

    /// Commits the [delivery count](crate::ActivityContext::delivery) at the hand-over to a worker: that it is 1 proves
    /// that no other attempt ever began. Costs a commit more, unless it begins at once in the engine's process.
    pub fn precise(self) -> Self {
        self.delivery(&Delivery::Precise.recorded())
    }

    /// Until one attempt has brought a result, whatever the activity or the configuration says.
    pub fn at_least_once(self) -> Self {
        self.delivery(&Delivery::AtLeastOnce.recorded())
    }

    pub(super) fn delivery(self, recorded: &str) -> Self {
        if recorded.is_empty() {
            return self;
        }
        self.edit(|task| recorded.clone_into(&mut task.delivery))
    }

    /// Gives the call a key within the instance, of 1 to 512 bytes. If a call under the key has ended well, this one gets its
    /// result and does not run; if one is under way, they share its execution. The same key for another activity, or with
    /// another input, fails with [`KEY_REUSED`](crate::failure::kind::KEY_REUSED).
    ///
    /// The last 128 calls are remembered, over all continue-as-new of the instance, until it is replaced or purged. Of their
    /// results 256 KiB are kept, and the last one whatever its size. A call under a key whose result had to go fails with
    /// [`LIMIT`](crate::failure::kind::LIMIT), and does not run. So does one at whose key nobody knows whether the activity
    /// ran, if that was to run at most once: it fails with [`UNKNOWN_OUTCOME`](crate::failure::kind::UNKNOWN_OUTCOME), or
    /// asks, if its own policy says so.
    ///
    /// ```
    /// # use perdura::prelude::*;
    /// # #[activity]
    /// # async fn charge(cents: u64) -> Result<String> {
    /// #     Ok(format!("receipt for {cents}"))
    /// # }
    /// #[orchestration]
    /// async fn order(ctx: Orchestration, number: u32) -> Result<String> {
    ///     ctx.call(charge, 1999).idempotency_key(format!("order {number}")).await
    /// }
    /// ```
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        self.edit(|task| task.key = Some(key.into()))
    }

    /// Gives the call a key in the whole hub, of at most 499 bytes together with the activity's name: whichever orchestration calls
    /// first runs it, others wait for it or get its result. The same key with another input fails with
    /// [`KEY_REUSED`](crate::failure::kind::KEY_REUSED). A failure is not kept: the next call runs again,
    /// unless nobody knows whether the activity ran and it runs at most once. Then all callers get this failure, until the
    /// key's instance is rewound or purged.
    ///
    /// Each key is an instance of its own, `perdura.key/ACTIVITY/KEY`. It outlives the purge and the restart of those who
    /// called, and is removed [some time](crate::EngineBuilder::hub_keys_kept) after it was made, or by a purge. If whoever
    /// came first is cancelled or terminated with its children while the call runs, the call ends with it.
    pub fn idempotency_key_in_hub(self, key: impl Into<String>) -> HubCall<O> {
        let (shared, task) = self.work.into_description();
        HubCall::new(&shared, task, key.into())
    }

    /// Adds a tag, which the activity and operators can see.
    pub fn tag(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.edit(|task| {
            task.tags.insert(key.into(), value.into());
        })
    }

    /// Asks for another version of the activity than the item's own.
    pub fn version(self, version: impl Into<String>) -> Self {
        self.edit(|task| task.version = Some(version.into()))
    }

    /// Schedules the activity now; await the call later for its result.
    pub fn start(mut self) -> Self {
        self.begin();
        self
    }

    pub(super) fn begin(&mut self) {
        self.work.begin();
    }

    pub(super) fn arrival(&self) -> Option<u64> {
        self.work.arrival()
    }
}

impl Description for TaskScheduled {
    const WHAT: &'static str = "activity";

    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> Result<()> {
        check_name("activity name", &self.name).map_err(Error::invalid)?;
        check_text("activity version", self.version.as_deref().unwrap_or_default())
            .map_err(Error::invalid)?;
        check_tags(&self.tags).map_err(Error::invalid)?;
        let tagged = Delivery::of_tags(&self.tags).map_err(Error::invalid)?.unwrap_or_default();
        let said = Delivery::of_recorded(&self.delivery).map_err(Error::invalid)?;
        tagged.check_for(&self.name).and_then(|()| said.check_for(&self.name)).map_err(Error::invalid)?;
        if let Some(key) = &self.key {
            check_key("idempotency key", key).map_err(Error::invalid)?;
        }
        self.retry.as_ref().map_or(Ok(()), |policy| policy.check().map_err(Error::invalid))
    }

    fn schedule(self, execution: &mut Execution) -> Ticket {
        execution.schedule_task(self)
    }
}

impl<O: FromPayload> Future for Call<O> {
    type Output = Result<O>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<O>> {
        self.work.poll(cx)
    }
}
