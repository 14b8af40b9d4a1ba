//! Durable timers.

use super::shared::{Shared, Wait};
use crate::error::{Error, Result};
use perdura_core::Timestamp;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A durable timer, from [`ctx.timer(..)`](crate::Orchestration::timer). Its deadline is fixed when it is made; it is
/// recorded when it is first polled, or by [`start`](Self::start). It fails only if the instance is cancelled, or at
/// once if a limit forbids it.
#[must_use = "a timer does nothing until it is awaited or started"]
pub struct Timer {
    shared: Rc<Shared>,
    at: Timestamp,
    wait: Option<Wait>,
}

impl Timer {
    pub(crate) fn new(shared: &Rc<Shared>, at: Timestamp) -> Timer {
        Timer { shared: shared.clone(), at, wait: None }
    }

    /// Records the timer now; await it later.
    pub fn start(mut self) -> Timer {
        self.begin();
        self
    }

    /// When it is due.
    #[must_use]
    pub fn due(&self) -> Timestamp {
        self.at
    }

    pub(super) fn begin(&mut self) {
        self.wait();
    }

    fn wait(&mut self) -> &mut Wait {
        let at = self.at;
        self.wait.get_or_insert_with(|| Wait::new(&self.shared, |execution| execution.create_timer(at)))
    }

    pub(super) fn arrival(&self) -> Option<u64> {
        self.wait.as_ref()?.arrival()
    }
}

impl Future for Timer {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.wait().poll(cx).map(|outcome| outcome.map(drop).map_err(Error::from_failure))
    }
}
