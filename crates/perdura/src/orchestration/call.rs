//! The call of an activity.

use super::shared::{Shared, Wait};
use crate::error::{Error, Result};
use crate::payload::{FromPayload, read};
use crate::retry::{Retry, millis};
use bytes::Bytes;
use perdura_core::history::{TaskScheduled, TimeLimits};
use perdura_core::{Failure, check_name, check_tags, check_text};
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
    shared: Rc<Shared>,
    state: State,
    output: PhantomData<fn() -> O>,
}

enum State {
    New(TaskScheduled),
    Refused(Error),
    Waiting(Wait, String),
    Over,
}

impl<O> Call<O> {
    pub(crate) fn new(shared: &Rc<Shared>, name: &str, version: &str, input: Result<Option<Bytes>>) -> Self {
        let state = match input {
            Ok(input) => State::New(TaskScheduled {
                name: name.to_owned(),
                version: (!version.is_empty()).then(|| version.to_owned()),
                input,
                ..TaskScheduled::default()
            }),
            Err(error) => State::Refused(error),
        };
        Call { shared: shared.clone(), state, output: PhantomData }
    }

    fn edit(mut self, edit: impl FnOnce(&mut TaskScheduled)) -> Self {
        if let State::New(task) = &mut self.state {
            edit(task);
        }
        self
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
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::New(task) => match check(&task) {
                Ok(()) => {
                    let name = task.name.clone();
                    State::Waiting(Wait::new(&self.shared, |execution| execution.schedule_task(task)), name)
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

fn check(task: &TaskScheduled) -> Result<()> {
    check_name("activity name", &task.name).map_err(Error::invalid)?;
    check_text("activity version", task.version.as_deref().unwrap_or_default()).map_err(Error::invalid)?;
    check_tags(&task.tags).map_err(Error::invalid)?;
    task.retry.as_ref().map_or(Ok(()), |policy| policy.check().map_err(Error::invalid))
}

impl<O: FromPayload> Future for Call<O> {
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
            State::New(_) | State::Over => panic!("a call was polled after it had given its result"),
        };
        Poll::Ready(match std::mem::replace(&mut self.state, State::Over) {
            State::Refused(error) => Err(error),
            State::Waiting(_, name) => finish(outcome, || format!("result of activity {name:?}")),
            State::New(_) | State::Over => unreachable!("handled above"),
        })
    }
}

/// The value of an outcome.
pub(super) fn finish<O: FromPayload>(
    outcome: Result<Option<Bytes>, Failure>,
    what: impl FnOnce() -> String,
) -> Result<O> {
    read(outcome.map_err(Error::from_failure)?, what)
}
