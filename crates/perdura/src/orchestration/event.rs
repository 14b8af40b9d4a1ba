//! Waits for external events.

use super::shared::{EventWait, Shared};
use super::{Timer, work::finish};
use crate::error::{Error, Result};
use crate::payload::FromPayload;
use perdura_core::check_name;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// The wait for an external event, from [`ctx.wait_event(..)`](crate::Orchestration::wait_event).
///
/// It begins when it is first polled, or by [`start`](Self::start). Dropped before its end, it gives back an event that
/// was already assigned to it.
#[must_use = "a wait does nothing until it is awaited or started"]
pub struct WaitEvent<T> {
    shared: Rc<Shared>,
    name: String,
    wait: Option<EventWait>,
    value: PhantomData<fn() -> T>,
}

impl<T> WaitEvent<T> {
    pub(crate) fn new(shared: &Rc<Shared>, name: String) -> WaitEvent<T> {
        WaitEvent { shared: shared.clone(), name, wait: None, value: PhantomData }
    }

    /// Begins to wait now; await it later.
    pub fn start(mut self) -> Self {
        self.begin();
        self
    }

    /// Waits at most so long, counted from now; the result is `None` if the event did not come in time.
    ///
    /// ```
    /// # use perdura::prelude::*;
    /// # use std::time::Duration;
    /// #[orchestration]
    /// async fn approval(ctx: Orchestration) -> Result<bool> {
    ///     let answer = ctx.wait_event("approved").within(Duration::from_secs(86_400)).await?;
    ///     Ok(answer.unwrap_or(false))
    /// }
    /// ```
    pub fn within(self, limit: Duration) -> Within<T> {
        let at = self.shared.with(|execution| execution.now()).after(limit);
        Within { timer: Timer::new(&self.shared, at), event: Some(self) }
    }

    pub(super) fn begin(&mut self) {
        if self.wait.is_none() && check_name("event name", &self.name).is_ok() {
            self.wait = Some(EventWait::new(&self.shared, self.name.clone()));
        }
    }

    pub(super) fn arrival(&self) -> Option<u64> {
        match &self.wait {
            Some(wait) => wait.arrival(),
            None => check_name("event name", &self.name).is_err().then_some(0),
        }
    }
}

impl<T: FromPayload> Future for WaitEvent<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        if let Err(error) = check_name("event name", &self.name) {
            return Poll::Ready(Err(Error::invalid(error)));
        }
        let WaitEvent { shared, name, wait, .. } = &mut *self;
        let wait = wait.get_or_insert_with(|| EventWait::new(shared, name.clone()));
        wait.poll(cx).map(|outcome| finish(outcome, || format!("event {name:?}")))
    }
}

/// The wait for an event with a limit, from [`WaitEvent::within`].
#[must_use = "a wait does nothing until it is awaited"]
pub struct Within<T> {
    event: Option<WaitEvent<T>>,
    timer: Timer,
}

impl<T: FromPayload> Future for Within<T> {
    type Output = Result<Option<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Option<T>>> {
        let Within { event: place, timer } = &mut *self;
        let Some(event) = place else { panic!("a wait was polled after it had given its result") };
        event.begin();
        // An event that is there needs no timer.
        if event.arrival().is_none() {
            timer.begin();
        }
        let timer_first = match (event.arrival(), timer.arrival()) {
            (Some(event), Some(timer)) => timer < event,
            (event, _) => event.is_none(),
        };
        if timer_first && let Poll::Ready(outcome) = Pin::new(timer).poll(cx) {
            *place = None;
            return Poll::Ready(outcome.map(|()| None));
        }
        let outcome = Pin::new(event).poll(cx).map_ok(Some);
        if outcome.is_ready() {
            *place = None;
        }
        outcome
    }
}
