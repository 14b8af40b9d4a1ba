//! A request to cancel, as the code of an execution meets it.

use super::execution::{Execution, Ticket};

#[derive(Debug)]
pub(super) struct CancelRequest {
    /// When it came, among the arrivals.
    arrival: u64,
    reason: String,
    /// The code has taken a wait that it failed, or has asked.
    heard: bool,
}

impl Execution {
    /// Everything that is waited for ends with a failure. So does what is begun before the code hears of it: what it
    /// waited for may have come in the same turn. What is begun after that works as ever.
    pub(super) fn cancel(&mut self, reason: &str) -> bool {
        if self.canceled.is_some() {
            return false;
        }
        self.withdraw_lock_request();
        let arrival = self.end_waits(reason);
        self.canceled = Some(Box::new(CancelRequest { arrival, reason: reason.to_owned(), heard: false }));
        true
    }

    /// A wait that the code wants to begin ends at once if it has not heard yet that it was asked to cancel.
    pub(super) fn wait_is_over(&mut self) -> Option<Ticket> {
        let request = self.canceled.as_deref().filter(|request| !request.heard)?;
        let (reason, ticket) = (request.reason.clone(), self.local_ticket());
        self.end_wait(ticket, &reason);
        Some(ticket)
    }

    /// Why it was asked to cancel, if it was.
    #[must_use]
    pub fn cancel_reason(&self) -> Option<&str> {
        self.canceled.as_deref().map(|request| request.reason.as_str())
    }

    /// Whether it was asked to cancel. The code asks: what it begins from now on works as ever.
    pub fn hear_cancel(&mut self) -> bool {
        self.canceled.as_mut().is_some_and(|request| {
            request.heard = true;
            true
        })
    }

    /// When it was asked to cancel, relative to the [`arrival`](Self::arrival) of results.
    #[must_use]
    pub fn cancel_arrival(&self) -> Option<u64> {
        self.canceled.as_deref().map(|request| request.arrival)
    }
}
