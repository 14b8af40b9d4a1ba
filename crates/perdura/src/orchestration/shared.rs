//! What the context and the futures of one execution share.

use perdura_core::Failure;
use perdura_core::orchestration::{Execution, Ticket};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

pub(crate) type Outcome = Result<Option<bytes::Bytes>, Failure>;

/// No user code ever runs while one of the cells is borrowed: values are serialized before, wakers woken and dropped
/// after. So destructors of user code may use the context at any time.
pub(crate) struct Shared {
    execution: RefCell<Execution>,
    /// The waker of the function as a whole. It is polled whenever there is news, so waits under it need no entry below.
    root: Waker,
    /// Waits that a combinator polls under a waker of its own.
    wakers: RefCell<BTreeMap<Ticket, Waker>>,
    /// The same of waits for a request to cancel, each with its number.
    cancel_wakers: RefCell<BTreeMap<u64, Waker>>,
    cancel_waits: Cell<u64>,
    /// Polls of the code so far.
    polls: Cell<u64>,
    /// Durable waits that were found pending in the present poll, and are still there.
    pending: Cell<usize>,
}

impl Shared {
    pub(crate) fn new(execution: Execution, root: Waker) -> Rc<Shared> {
        Rc::new(Shared {
            execution: RefCell::new(execution),
            root,
            wakers: RefCell::default(),
            cancel_wakers: RefCell::default(),
            cancel_waits: Cell::new(0),
            polls: Cell::new(0),
            pending: Cell::new(0),
        })
    }

    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Execution) -> R) -> R {
        f(&mut self.execution.borrow_mut())
    }

    pub(crate) fn root(&self) -> &Waker {
        &self.root
    }

    /// Prepares a poll of the code: marks the news as seen, and wakes who waits for them, in order of arrival.
    pub(crate) fn begin_poll(&self) {
        self.polls.set(self.polls.get() + 1);
        self.pending.set(0);
        let mut woken = Vec::new();
        {
            let mut execution = self.execution.borrow_mut();
            let mut wakers = self.wakers.borrow_mut();
            if !wakers.is_empty() {
                woken.extend(execution.arrived().iter().filter_map(|ticket| wakers.remove(ticket)));
            }
            if execution.cancel_reason().is_some() {
                woken.extend(std::mem::take(&mut *self.cancel_wakers.borrow_mut()).into_values());
            }
            execution.running();
        }
        woken.into_iter().for_each(Waker::wake);
    }

    /// Whether the code, now pending, waits for something durable.
    pub(crate) fn waits(&self) -> bool {
        self.pending.get() > 0 || !self.wakers.borrow().is_empty() || !self.cancel_wakers.borrow().is_empty()
    }

    pub(crate) fn poll_ticket(&self, ticket: Ticket, cx: &Context<'_>) -> Poll<Outcome> {
        if let Some(outcome) = self.with(|execution| execution.take(ticket)) {
            return Poll::Ready(outcome);
        }
        if !cx.waker().will_wake(&self.root) {
            let waker = cx.waker().clone();
            let _dropped_after_the_borrow = self.wakers.borrow_mut().insert(ticket, waker);
        }
        Poll::Pending
    }

    fn poll_canceled(&self, number: u64, cx: &Context<'_>) -> Poll<()> {
        if self.with(|execution| execution.hear_cancel()) {
            return Poll::Ready(());
        }
        if !cx.waker().will_wake(&self.root) {
            let waker = cx.waker().clone();
            let _dropped_after_the_borrow = self.cancel_wakers.borrow_mut().insert(number, waker);
        }
        Poll::Pending
    }

    fn forget_waker(&self, ticket: Ticket) {
        let _dropped_after_the_borrow = self.wakers.borrow_mut().remove(&ticket);
    }
}

/// Counts a wait once among those that are pending in the present poll, as long as it is there.
#[derive(Default)]
struct Counted {
    /// The poll in which it was found pending last.
    poll: u64,
}

impl Counted {
    fn count(&mut self, shared: &Shared, is_pending: bool) {
        let is_counted = self.poll == shared.polls.get() && self.poll > 0;
        match (is_pending, is_counted) {
            (true, false) => shared.pending.set(shared.pending.get() + 1),
            (false, true) => shared.pending.set(shared.pending.get() - 1),
            _ => {}
        }
        self.poll = if is_pending { shared.polls.get() } else { 0 };
    }
}

/// The wait for a request to cancel.
pub(crate) struct CancelWait {
    shared: Rc<Shared>,
    number: u64,
    counted: Counted,
}

impl CancelWait {
    pub(crate) fn new(shared: &Rc<Shared>) -> CancelWait {
        shared.cancel_waits.set(shared.cancel_waits.get() + 1);
        CancelWait { shared: shared.clone(), number: shared.cancel_waits.get(), counted: Counted::default() }
    }

    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        let asked = self.shared.poll_canceled(self.number, cx);
        self.counted.count(&self.shared, asked.is_pending());
        asked
    }

    pub(crate) fn arrival(&self) -> Option<u64> {
        self.shared.with(|execution| execution.cancel_arrival())
    }
}

impl Drop for CancelWait {
    fn drop(&mut self) {
        self.counted.count(&self.shared, false);
        let _dropped_after_the_borrow = self.shared.cancel_wakers.borrow_mut().remove(&self.number);
    }
}

/// The wait for a task, a timer or a child.
pub(crate) struct Wait {
    shared: Rc<Shared>,
    ticket: Ticket,
    over: bool,
    counted: Counted,
}

impl Wait {
    pub(crate) fn new(shared: &Rc<Shared>, begin: impl FnOnce(&mut Execution) -> Ticket) -> Wait {
        Wait { shared: shared.clone(), ticket: shared.with(begin), over: false, counted: Counted::default() }
    }

    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Outcome> {
        // It would wait for ever.
        assert!(!self.over, "a wait was polled after it had given its result");
        let outcome = self.shared.poll_ticket(self.ticket, cx);
        self.over = outcome.is_ready();
        self.counted.count(&self.shared, outcome.is_pending());
        outcome
    }

    pub(crate) fn arrival(&self) -> Option<u64> {
        self.shared.with(|execution| execution.arrival(self.ticket))
    }

    pub(crate) fn ticket(&self) -> Ticket {
        self.ticket
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.counted.count(&self.shared, false);
        if !self.over {
            self.shared.with(|execution| execution.abandon(self.ticket));
            self.shared.forget_waker(self.ticket);
        }
    }
}

/// The wait for an external event. Dropped before its end, it gives back an event that was assigned to it.
pub(crate) struct EventWait {
    shared: Rc<Shared>,
    name: String,
    ticket: Ticket,
    over: bool,
    counted: Counted,
}

impl EventWait {
    pub(crate) fn new(shared: &Rc<Shared>, name: String) -> EventWait {
        let ticket = shared.with(|execution| execution.wait_event(&name));
        EventWait { shared: shared.clone(), name, ticket, over: false, counted: Counted::default() }
    }

    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Outcome> {
        // It would wait for ever.
        assert!(!self.over, "a wait was polled after it had given its result");
        let outcome = self.shared.poll_ticket(self.ticket, cx);
        self.over = outcome.is_ready();
        self.counted.count(&self.shared, outcome.is_pending());
        outcome
    }

    pub(crate) fn arrival(&self) -> Option<u64> {
        self.shared.with(|execution| execution.arrival(self.ticket))
    }
}

impl Drop for EventWait {
    fn drop(&mut self) {
        self.counted.count(&self.shared, false);
        if !self.over {
            self.shared.with(|execution| execution.stop_waiting(&self.name, self.ticket));
            self.shared.forget_waker(self.ticket);
        }
    }
}
