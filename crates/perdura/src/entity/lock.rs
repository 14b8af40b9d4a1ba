//! Critical sections.

use crate::error::{Error, Result};
use crate::orchestration::shared::{Shared, Wait};
use perdura_core::orchestration::Ticket;
use perdura_core::{EntityId, InvalidText};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The wait for a critical section, from [`ctx.lock(..)`](crate::Orchestration::lock). Dropped before its end, it gives
/// up what it has got.
#[must_use = "a lock does nothing until it is awaited or started"]
pub struct Lock {
    shared: Rc<Shared>,
    state: State,
}

enum State {
    New(Result<Vec<EntityId>, InvalidText>),
    Waiting(Wait),
    Over,
}

impl Lock {
    pub(crate) fn new(
        shared: &Rc<Shared>,
        entities: impl IntoIterator<Item = Result<EntityId, InvalidText>>,
    ) -> Lock {
        let entities: Result<Vec<_>, _> = entities.into_iter().collect();
        Lock { shared: shared.clone(), state: State::New(entities) }
    }

    /// Asks for the entities now; await it later.
    pub fn start(mut self) -> Lock {
        self.begin();
        self
    }

    pub(crate) fn begin(&mut self) {
        if let State::New(Ok(entities)) = &self.state {
            let wait = Wait::new(&self.shared, |execution| execution.lock_entities(entities));
            self.state = State::Waiting(wait);
        }
    }

    pub(crate) fn arrival(&self) -> Option<u64> {
        match &self.state {
            State::Waiting(wait) => wait.arrival(),
            State::New(Err(_)) => Some(0),
            State::New(Ok(_)) | State::Over => None,
        }
    }
}

impl Future for Lock {
    type Output = Result<CriticalSection>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<CriticalSection>> {
        self.begin();
        let outcome = match &mut self.state {
            State::New(Err(error)) => {
                let error = Error::invalid(error);
                self.state = State::Over;
                return Poll::Ready(Err(error));
            }
            State::Waiting(wait) => match wait.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(outcome) => outcome,
            },
            State::New(Ok(_)) | State::Over => panic!("a lock was polled after it had given its result"),
        };
        let State::Waiting(wait) = std::mem::replace(&mut self.state, State::Over) else {
            unreachable!("looked at above")
        };
        let section = CriticalSection { shared: self.shared.clone(), ticket: wait.ticket() };
        Poll::Ready(outcome.map(|_| section).map_err(Error::from_failure))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let State::Waiting(wait) = &self.state {
            let ticket = wait.ticket();
            self.shared.with(|execution| execution.unlock(ticket));
        }
    }
}

/// Entities that are held: nobody else's operations run on them. It ends when this is dropped, or the orchestration ends.
#[must_use = "the critical section ends when this is dropped"]
pub struct CriticalSection {
    shared: Rc<Shared>,
    ticket: Ticket,
}

impl CriticalSection {
    /// Ends the critical section; the same as to drop it.
    pub fn unlock(self) {}
}

impl Drop for CriticalSection {
    fn drop(&mut self) {
        self.shared.with(|execution| execution.unlock(self.ticket));
    }
}

impl std::fmt::Debug for CriticalSection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CriticalSection").finish_non_exhaustive()
    }
}
