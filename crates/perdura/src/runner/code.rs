//! One execution of orchestration code: the suspended future and the replay state that it shares with its context.

use super::no_runtime::{NoRuntime, is_refusal};
use super::root_waker::RootWaker;
use crate::error::{Error, Result};
use crate::orchestration::Orchestration;
use crate::orchestration::shared::Shared;
use crate::registry::{LocalFuture, StartCode};
use bytes::Bytes;
use perdura_core::failure::kind;
use perdura_core::history::{Event, TurnLimits};
use perdura_core::orchestration::{Execution, Mismatch, TurnResult};
use perdura_core::{Failure, InstanceId, Status};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::task::unconstrained;

/// Polls of one run of the code that may be caused by the code itself.
const SELF_WAKES_MAX: usize = 100_000;

const ADVICE: &str = "only what ctx gives survives a restart. Use ctx.timer(..) to wait, .within(..) or select(..) with a \
    ctx.timer(..) for a time limit, ctx.wait_event(..) for a message from outside, and an activity for everything else";

pub(super) struct Code {
    start: StartCode,
    future: Option<LocalFuture>,
    shared: Rc<Shared>,
    root: Arc<RootWaker>,
    place: Rc<NoRuntime>,
}

/// How a run of the code came to its pause.
enum Polled {
    Ended(Result<Option<Bytes>>),
    /// For something durable.
    Waits,
    WaitsForNothing,
    Spins,
}

impl Code {
    pub(super) fn new(
        start: StartCode,
        id: InstanceId,
        limits: Arc<TurnLimits>,
        root: Arc<RootWaker>,
        place: Rc<NoRuntime>,
    ) -> Code {
        let shared = Shared::new(Execution::new(id, limits), Waker::from(root.clone()));
        Code { start, future: None, shared, root, place }
    }

    /// How the execution must end if something that is not durable has woken it.
    pub(super) fn disturbance(&self) -> Option<Failure> {
        self.root.is_foreign().then(|| {
            self.not_durable(
                "was woken by something that is not durable (a channel, a task, another library's timer)",
            )
        })
    }

    fn not_durable(&self, what: &str) -> Failure {
        let who = self.shared.with(|execution| {
            let info = execution.info();
            format!("orchestration {:?}, instance {:?},", info.name, info.id)
        });
        Failure::new(kind::NOT_DURABLE, format!("{who} {what}: {ADVICE}")).non_retryable()
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
        if let Some(end) = self.poll_until_it_waits() {
            self.end(end);
            self.drop_future();
        }
        self.root.set_in_turn(false);
    }

    /// Polls until nothing is new; gives the end if the code has come to it.
    fn poll_until_it_waits(&mut self) -> Option<Result<Option<Bytes>>> {
        // A replay only repeats what was decided; what is wrong now comes out after it.
        let replays = self.shared.with(|execution| execution.is_replaying());
        if let Some(failure) = self.disturbance().filter(|_| !replays) {
            return Some(Err(Error::from_failure(failure)));
        }
        let place = self.place.clone();
        let polled = catch_unwind(AssertUnwindSafe(|| place.run(|| self.poll())));
        let what = match polled {
            _ if place.had_tasks() => "spawns a task, which is not durable",
            Ok(Polled::Ended(end)) => return Some(end),
            Ok(Polled::Waits) => return None,
            Ok(Polled::WaitsForNothing) => "awaits something that is not durable",
            Ok(Polled::Spins) => "wakes itself without end",
            Err(panic) => match panic_text(&*panic) {
                text if is_refusal(text) => "uses tokio's timers, sockets or tasks, which are not durable",
                text => {
                    let failure = Failure::new(kind::PANIC, text).non_retryable();
                    return Some(Err(Error::from_failure(failure)));
                }
            },
        };
        Some(Err(Error::from_failure(self.not_durable(what))))
    }

    fn poll(&mut self) -> Polled {
        let Code { start, future, shared, root, .. } = self;
        let future = future.get_or_insert_with(|| {
            let input = shared.with(|execution| execution.take_input());
            start(Orchestration::new(shared.clone()), input)
        });
        for _ in 0..SELF_WAKES_MAX {
            shared.begin_poll();
            root.take_woken();
            // The budget is that of the thread's own task: when it is used up, tokio's `select!` would wait for nothing.
            let mut code = pin!(unconstrained(future.as_mut()));
            if let Poll::Ready(end) = code.as_mut().poll(&mut Context::from_waker(shared.root())) {
                return Polled::Ended(end);
            }
            let again = root.take_woken() || shared.with(|execution| execution.must_run());
            if !again {
                return if shared.waits() { Polled::Waits } else { Polled::WaitsForNothing };
            }
        }
        Polled::Spins
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
        let _ = catch_unwind(AssertUnwindSafe(|| self.place.run(|| drop(future))));
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        self.root.set_in_turn(true);
        self.drop_future();
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("the panic has no text")
}
