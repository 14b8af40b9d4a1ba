//! The start of a child.

use super::shared::Shared;
use super::work::{Description, Work};
use crate::error::{Error, Result};
use crate::payload::FromPayload;
use crate::retry::Retry;
use bytes::Bytes;
use perdura_core::delivery::{HUB_KEY_ORCHESTRATION, check_no_hub_key};
use perdura_core::history::SubOrchestrationScheduled;
use perdura_core::orchestration::{Execution, Ticket};
use perdura_core::{InstanceId, InvalidText, OnExisting, ReusePolicy, check_name, check_tags, check_text};
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The start of a child, from [`ctx.sub_orchestration(..)`](crate::Orchestration::sub_orchestration). Await it for the
/// child's result.
///
/// The child is scheduled when this is first polled, or by [`start`](Self::start). When the instance id is taken, the
/// start fails if that instance is active and replaces it if it has ended; [`reuse`](Self::reuse) chooses otherwise.
#[must_use = "a sub-orchestration does nothing until it is awaited or started"]
pub struct SubOrchestration<O> {
    work: Work<SubOrchestrationScheduled>,
    output: PhantomData<fn() -> O>,
}

impl<O> SubOrchestration<O> {
    pub(crate) fn new(shared: &Rc<Shared>, name: &str, version: &str, input: Result<Option<Bytes>>) -> Self {
        let describe = |input| SubOrchestrationScheduled {
            name: name.to_owned(),
            version: version.to_owned(),
            input,
            reuse: ReusePolicy::FAIL.when_terminal(OnExisting::Replace).to_bits(),
            ..SubOrchestrationScheduled::default()
        };
        SubOrchestration { work: Work::new(shared, input, describe), output: PhantomData }
    }

    fn edit(self, edit: impl FnOnce(&mut SubOrchestrationScheduled)) -> Self {
        SubOrchestration { work: self.work.edit(edit), ..self }
    }

    /// The child's instance id. Without it the engine makes one of the parent's id and the task's number.
    /// An empty one is an error.
    pub fn id(self, id: impl Into<String>) -> Self {
        match id.into() {
            id if id.is_empty() => {
                let error =
                    Error::invalid(InvalidText::Empty { field: "instance id of the sub-orchestration" });
                SubOrchestration { work: self.work.refuse(error), ..self }
            }
            id => self.edit(|child| child.instance = id),
        }
    }

    /// Starts the child again when it fails.
    pub fn retry(self, retry: Retry) -> Self {
        self.edit(|child| child.retry = Some(retry.into_policy()))
    }

    /// What to do when the instance id is taken, by status of the instance that has it.
    pub fn reuse(self, policy: ReusePolicy) -> Self {
        self.edit(|child| child.reuse = policy.to_bits())
    }

    /// Adds a tag to the child.
    pub fn tag(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.edit(|child| {
            child.tags.insert(key.into(), value.into());
        })
    }

    /// Starts another version of the orchestration than the item's own.
    pub fn version(self, version: impl Into<String>) -> Self {
        self.edit(|child| child.version = version.into())
    }

    /// A child that nobody waits for: awaiting it only starts it, and the end of its parent does not reach it.
    pub fn detached(self) -> Detached {
        Detached(self.edit(|child| child.detached = true).work)
    }

    /// Schedules the child now; await this later for its result.
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

impl Description for SubOrchestrationScheduled {
    const WHAT: &'static str = "sub-orchestration";

    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> Result<()> {
        check_name("orchestration name", &self.name).map_err(Error::invalid)?;
        check_text("orchestration version", &self.version).map_err(Error::invalid)?;
        check_tags(&self.tags).map_err(Error::invalid)?;
        if !self.instance.is_empty() {
            InstanceId::new(&self.instance).map_err(Error::invalid)?;
        }
        if self.name != HUB_KEY_ORCHESTRATION {
            check_no_hub_key(&self.instance).map_err(Error::invalid)?;
        }
        self.retry.as_ref().map_or(Ok(()), |policy| policy.check().map_err(Error::invalid))
    }

    fn schedule(self, execution: &mut Execution) -> Ticket {
        execution.schedule_sub_orchestration(self)
    }
}

impl<O: FromPayload> Future for SubOrchestration<O> {
    type Output = Result<O>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<O>> {
        self.work.poll(cx)
    }
}

/// A child that nobody waits for, from [`SubOrchestration::detached`]. Await it, or [`start`](Self::start) it, to start
/// the child; it is ready at once.
#[must_use = "a sub-orchestration does nothing until it is awaited or started"]
pub struct Detached(Work<SubOrchestrationScheduled>);

impl Detached {
    /// Schedules the child now.
    pub fn start(mut self) -> Result<()> {
        self.0.detach()
    }
}

impl Future for Detached {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(self.0.detach())
    }
}
