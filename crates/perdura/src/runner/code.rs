//! One execution of orchestration code: the suspended future and the replay state that it shares with its context.

use super::root_waker::RootWaker;
use crate::error::{Error, Result};
use crate::orchestration::Orchestration;
use crate::orchestration::shared::Shared;
use crate::registry::{LocalFuture, StartCode};
use bytes::Bytes;
use perdura_core::failure::kind;
use perdura_core::history::Event;
use perdura_core::orchestration::{Execution, Mismatch, TurnResult};
use perdura_core::{Failure, InstanceId, Limits, Status};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Polls of one run of the code that may be caused by the code itself.
const SELF_WAKES_MAX: usize = 100_000;

const NOT_DURABLE: &str = "the orchestration awaits something that is not durable: only what ctx gives survives a restart. \
    Use ctx.timer(..) to wait, ctx.wait_event(..) for a message from outside, and an activity for everything else";

pub(super) struct Code {
    start: StartCode,
    future: Option<LocalFuture>,
    shared: Rc<Shared>,
    root: Arc<RootWaker>,
}

impl Code {
    pub(super) fn new(start: StartCode, id: InstanceId, limits: Limits) -> Code {
        let root = RootWaker::new();
        let shared = Shared::new(Execution::new(id, limits), Waker::from(root.clone()));
        Code { start, future: None, shared, root }
    }

    pub(super) fn position(&self) -> u64 {
        self.shared.with(|execution| execution.position())
    }

    pub(super) fn has_ended(&self) -> bool {
        self.shared.with(|execution| execution.has_ended())
    }

    pub(super) fn set_replaying(&self, replaying: bool) {
        self.shared.with(|execution| execution.set_replaying(replaying));
    }

    pub(super) fn end_of_history(&self) -> Result<(), Mismatch> {
        self.shared.with(|execution| execution.end_of_history())
    }

    pub(super) fn take_result(&self) -> TurnResult {
        self.shared.with(|execution| execution.take_result())
    }

    /// Takes in events and lets the code run where it has to.
    pub(super) fn feed(&mut self, events: &[Event]) -> Result<(), Mismatch> {
        for event in events {
            if self.shared.with(|execution| execution.must_run_before(event)) {
                self.run();
            }
            self.shared.with(|execution| execution.accept(event))?;
        }
        if self.shared.with(|execution| execution.must_run()) {
            self.run();
        }
        Ok(())
    }

    fn run(&mut self) {
        if self.has_ended() {
            return self.shared.with(|execution| execution.running());
        }
        self.root.set_in_turn(true);
        let end = self.poll_until_it_waits();
        self.root.set_in_turn(false);
        if let Some(end) = end {
            self.end(end);
            self.drop_future();
        }
    }

    /// Polls until nothing is new; gives the end if the code has come to it.
    fn poll_until_it_waits(&mut self) -> Option<Result<Option<Bytes>>> {
        let Code { start, future, shared, root } = self;
        if root.is_foreign() {
            return Some(Err(not_durable(NOT_DURABLE)));
        }
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let future = future.get_or_insert_with(|| {
                let input = shared.with(|execution| execution.info().input.clone());
                start(Orchestration::new(shared.clone()), input)
            });
            for _ in 0..SELF_WAKES_MAX {
                shared.begin_poll();
                root.take_woken();
                if let Poll::Ready(end) = future.as_mut().poll(&mut Context::from_waker(shared.root())) {
                    return Some(end);
                }
                let again = root.take_woken() || shared.with(|execution| execution.must_run());
                if !again {
                    let waits = shared.waits() && !root.is_foreign();
                    return (!waits).then(|| Err(not_durable(NOT_DURABLE)));
                }
            }
            Some(Err(not_durable(
                "the orchestration wakes itself without end; await something that ctx gives",
            )))
        }));
        polled.unwrap_or_else(|panic| Some(Err(panicked(&*panic))))
    }

    fn end(&self, end: Result<Option<Bytes>>) {
        self.shared.with(|execution| match end.map_err(Error::into_end) {
            Ok(output) => execution.complete(Status::Completed, output, None),
            Err(Ok(next)) => execution.continue_as_new(next.input, next.version),
            Err(Err(failure)) => {
                let canceled = failure.kind == kind::CANCELED && execution.cancel_reason().is_some();
                let status = if canceled { Status::Canceled } else { Status::Failed };
                execution.complete(status, None, Some(failure));
            }
        });
    }

    /// Destructors of user code run here, and may panic.
    fn drop_future(&mut self) {
        let future = self.future.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        self.drop_future();
    }
}

fn not_durable(message: &str) -> Error {
    Error::from_failure(Failure::new(kind::NOT_DURABLE, message).non_retryable())
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("the panic has no text");
    if text.contains("there is no reactor running") {
        return not_durable(NOT_DURABLE);
    }
    Error::from_failure(Failure::new(kind::PANIC, text).non_retryable())
}
