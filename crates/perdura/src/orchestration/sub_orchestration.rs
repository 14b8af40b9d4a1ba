//! The start of a child.

use super::call::finish;
use super::shared::{Shared, Wait};
use crate::error::{Error, Result};
use crate::payload::FromPayload;
use crate::retry::Retry;
use bytes::Bytes;
use perdura_core::history::SubOrchestrationScheduled;
use perdura_core::{InstanceId, OnExisting, ReusePolicy, check_name, check_tags, check_text};
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
    shared: Rc<Shared>,
    state: State,
    output: PhantomData<fn() -> O>,
}

enum State {
    New(SubOrchestrationScheduled),
    Refused(Error),
    Waiting(Wait, String),
    Over,
}

impl<O> SubOrchestration<O> {
    pub(crate) fn new(shared: &Rc<Shared>, name: &str, version: &str, input: Result<Option<Bytes>>) -> Self {
        let state = match input {
            Ok(input) => State::New(SubOrchestrationScheduled {
                name: name.to_owned(),
                version: version.to_owned(),
                input,
                reuse: ReusePolicy::FAIL.when_terminal(OnExisting::Replace).to_bits(),
                ..SubOrchestrationScheduled::default()
            }),
            Err(error) => State::Refused(error),
        };
        SubOrchestration { shared: shared.clone(), state, output: PhantomData }
    }

    fn edit(mut self, edit: impl FnOnce(&mut SubOrchestrationScheduled)) -> Self {
        if let State::New(child) = &mut self.state {
            edit(child);
        }
        self
    }

    /// The child's instance id. Without it the engine makes one of the parent's id and the task's number.
    pub fn id(self, id: impl Into<String>) -> Self {
        self.edit(|child| child.instance = id.into())
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
        Detached(self.edit(|child| child.detached = true).retype())
    }

    /// Schedules the child now; await this later for its result.
    pub fn start(mut self) -> Self {
        self.begin();
        self
    }

    fn retype<T>(self) -> SubOrchestration<T> {
        SubOrchestration { shared: self.shared, state: self.state, output: PhantomData }
    }

    pub(super) fn begin(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::New(child) => match check(&child) {
                Ok(()) => {
                    let name = child.name.clone();
                    let begin = |execution: &mut perdura_core::orchestration::Execution| {
                        execution.schedule_sub_orchestration(child)
                    };
                    State::Waiting(Wait::new(&self.shared, begin), name)
                }
                Err(error) => State::Refused(error),
            },
            other => other,
        }
    }

    pub(super) fn arrival(&self) -> Option<u64> {
        match &self.state {
            State::Waiting(wait, _) => wait.arrival(),
            State::New(_) | State::Over => None,
            State::Refused(_) => Some(0),
        }
    }
}

fn check(child: &SubOrchestrationScheduled) -> Result<()> {
    check_name("orchestration name", &child.name).map_err(Error::invalid)?;
    check_text("orchestration version", &child.version).map_err(Error::invalid)?;
    check_tags(&child.tags).map_err(Error::invalid)?;
    if !child.instance.is_empty() {
        InstanceId::new(&child.instance).map_err(Error::invalid)?;
    }
    child.retry.as_ref().map_or(Ok(()), |policy| policy.check().map_err(Error::invalid))
}

impl<O: FromPayload> Future for SubOrchestration<O> {
    type Output = Result<O>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<O>> {
        if let State::New(_) = self.state {
            self.begin();
        }
        let outcome = match &mut self.state {
            State::Waiting(wait, _) => match wait.poll(cx) {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => return Poll::Pending,
            },
            State::Refused(_) => Ok(None),
            State::New(_) | State::Over => {
                panic!("a sub-orchestration was polled after it had given its result")
            }
        };
        Poll::Ready(match std::mem::replace(&mut self.state, State::Over) {
            State::Refused(error) => Err(error),
            State::Waiting(_, name) => finish(outcome, || format!("result of sub-orchestration {name:?}")),
            State::New(_) | State::Over => unreachable!("handled above"),
        })
    }
}

/// A child that nobody waits for, from [`SubOrchestration::detached`]. Await it, or [`start`](Self::start) it, to start
/// the child; it is ready at once.
#[must_use = "a sub-orchestration does nothing until it is awaited or started"]
pub struct Detached(SubOrchestration<()>);

impl Detached {
    /// Schedules the child now.
    pub fn start(mut self) -> Result<()> {
        self.begin()
    }

    fn begin(&mut self) -> Result<()> {
        self.0.begin();
        // A refusal is known at once, and nothing else ever comes.
        match (std::mem::replace(&mut self.0.state, State::Over), std::task::Waker::noop()) {
            (State::Refused(error), _) => Err(error),
            (State::Waiting(mut wait, _), waker) => match wait.poll(&Context::from_waker(waker)) {
                Poll::Ready(Err(refusal)) => Err(Error::from_failure(refusal)),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

impl Future for Detached {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(self.begin())
    }
}
