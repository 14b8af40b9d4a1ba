//! What calls and children have in common: they are described, checked, scheduled, and waited for.

use super::shared::{Outcome, Shared, Wait};
use crate::error::{Error, Result};
use crate::payload::{FromPayload, read};
use bytes::Bytes;
use perdura_core::orchestration::{Execution, Ticket};
use std::rc::Rc;
use std::task::{Context, Poll};

/// The description of work, as the history keeps it.
pub(crate) trait Description {
    /// What it is, for errors.
    const WHAT: &'static str;

    fn name(&self) -> &str;
    fn check(&self) -> Result<()>;
    fn schedule(self, execution: &mut Execution) -> Ticket;
}

pub(crate) struct Work<D> {
    shared: Rc<Shared>,
    state: State<D>,
}

enum State<D> {
    New(D),
    Refused(Error),
    /// With its name.
    Waiting(Wait, String),
    Over,
}

impl<D: Description> Work<D> {
    pub(crate) fn new(
        shared: &Rc<Shared>,
        input: Result<Option<Bytes>>,
        describe: impl FnOnce(Option<Bytes>) -> D,
    ) -> Work<D> {
        let state = match input {
            Ok(input) => State::New(describe(input)),
            Err(error) => State::Refused(error),
        };
        Work { shared: shared.clone(), state }
    }

    pub(crate) fn edit(mut self, edit: impl FnOnce(&mut D)) -> Self {
        if let State::New(description) = &mut self.state {
            edit(description);
        }
        self
    }

    /// What was said of it is wrong.
    pub(crate) fn refuse(self, error: Error) -> Self {
        match self.state {
            State::New(_) => Work { state: State::Refused(error), ..self },
            _ => self,
        }
    }

    /// What was described, or why it was refused. Empty if it has begun.
    pub(crate) fn into_description(self) -> (Rc<Shared>, Result<D>) {
        let description = match self.state {
            State::New(description) => Ok(description),
            State::Refused(error) => Err(error),
            State::Waiting(..) | State::Over => Err(Error::invalid("the call has been started already")),
        };
        (self.shared, description)
    }

    /// Schedules it, if that has not been done.
    pub(crate) fn begin(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::New(description) => match description.check() {
                Ok(()) => {
                    let name = description.name().to_owned();
                    let wait = Wait::new(&self.shared, |execution| description.schedule(execution));
                    State::Waiting(wait, name)
                }
                Err(error) => State::Refused(error),
            },
            other => other,
        }
    }

    /// When its result came, among all results.
    pub(crate) fn arrival(&self) -> Option<u64> {
        match &self.state {
            State::Waiting(wait, _) => wait.arrival(),
            State::New(_) | State::Over => None,
            State::Refused(_) => Some(0),
        }
    }

    pub(crate) fn poll<O: FromPayload>(&mut self, cx: &Context<'_>) -> Poll<Result<O>> {
        if let State::New(_) = self.state {
            self.begin();
        }
        let outcome = match &mut self.state {
            State::Waiting(wait, _) => match wait.poll(cx) {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => return Poll::Pending,
            },
            State::Refused(_) => Ok(None),
            State::New(_) | State::Over => panic!("{} was polled after it had given its result", D::WHAT),
        };
        Poll::Ready(match std::mem::replace(&mut self.state, State::Over) {
            State::Refused(error) => Err(error),
            State::Waiting(_, name) => finish(outcome, || format!("result of {} {name:?}", D::WHAT)),
            State::New(_) | State::Over => unreachable!("handled above"),
        })
    }

    /// Schedules it and lets go of it; a refusal is known at once, and nothing else is waited for.
    pub(crate) fn detach(&mut self) -> Result<()> {
        self.begin();
        match std::mem::replace(&mut self.state, State::Over) {
            State::Refused(error) => Err(error),
            State::Waiting(mut wait, _) => match wait.poll(&Context::from_waker(std::task::Waker::noop())) {
                Poll::Ready(Err(refusal)) => Err(Error::from_failure(refusal)),
                _ => Ok(()),
            },
            State::New(_) | State::Over => Ok(()),
        }
    }
}

/// The value of an outcome.
pub(crate) fn finish<O: FromPayload>(outcome: Outcome, what: impl FnOnce() -> String) -> Result<O> {
    read(outcome.map_err(Error::from_failure)?, what)
}
