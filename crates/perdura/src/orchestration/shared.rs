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
    cancel_wakers: RefCell<Vec<Waker>>,
    /// Durable waits that were found pending in the present poll.
    pending: Cell<usize>,
}

impl Shared {
    pub(crate) fn new(execution: Execution, root: Waker) -> Rc<Shared> {
        Rc::new(Shared {
            execution: RefCell::new(execution),
            root,
            wakers: RefCell::default(),
            cancel_wakers: RefCell::default(),
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
        self.pending.set(0);
        let mut woken = Vec::new();
        {
            let mut execution = self.execution.borrow_mut();
            let mut wakers = self.wakers.borrow_mut();
            if !wakers.is_empty() {
                woken.extend(execution.arrived().iter().filter_map(|ticket| wakers.remove(ticket)));
            }
            if execution.cancel_reason().is_some() {
                woken.append(&mut self.cancel_wakers.borrow_mut());
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
        self.pending.set(self.pending.get() + 1);
        if !cx.waker().will_wake(&self.root) {
            let waker = cx.waker().clone();
            let _dropped_after_the_borrow = self.wakers.borrow_mut().insert(ticket, waker);
        }
        Poll::Pending
    }

    pub(crate) fn poll_canceled(&self, cx: &Context<'_>) -> Poll<()> {
        if self.with(|execution| execution.hear_cancel()) {
            return Poll::Ready(());
        }
        self.pending.set(self.pending.get() + 1);
        if !cx.waker().will_wake(&self.root) {
            let waker = cx.waker().clone();
            let mut wakers = self.cancel_wakers.borrow_mut();
            if !wakers.iter().any(|other| other.will_wake(&waker)) {
                wakers.push(waker);
            }
        }
        Poll::Pending
    }

    fn forget_waker(&self, ticket: Ticket) {
        let _dropped_after_the_borrow = self.wakers.borrow_mut().remove(&ticket);
    }
}

/// The wait for a task, a timer or a child.
pub(crate) struct Wait {
    shared: Rc<Shared>,
    ticket: Ticket,
    over: bool,
}

impl Wait {
    pub(crate) fn new(shared: &Rc<Shared>, begin: impl FnOnce(&mut Execution) -> Ticket) -> Wait {
        Wait { shared: shared.clone(), ticket: shared.with(begin), over: false }
    }

    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Outcome> {
        let outcome = self.shared.poll_ticket(self.ticket, cx);
        self.over |= outcome.is_ready();
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
}

impl EventWait {
    pub(crate) fn new(shared: &Rc<Shared>, name: String) -> EventWait {
        let ticket = shared.with(|execution| execution.wait_event(&name));
        EventWait { shared: shared.clone(), name, ticket, over: false }
    }

    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Outcome> {
        let outcome = self.shared.poll_ticket(self.ticket, cx);
        self.over |= outcome.is_ready();
        outcome
    }

    pub(crate) fn arrival(&self) -> Option<u64> {
        self.shared.with(|execution| execution.arrival(self.ticket))
    }
}

impl Drop for EventWait {
    fn drop(&mut self) {
        if !self.over {
            self.shared.with(|execution| execution.stop_waiting(&self.name, self.ticket));
            self.shared.forget_waker(self.ticket);
        }
    }
}
