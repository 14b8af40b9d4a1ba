//! External events that have come, and who waits for one, by name.

use super::execution::Ticket;
use crate::history::EventRaised;
use bytes::Bytes;
use std::collections::VecDeque;

/// What an event carries.
type Input = Option<Bytes>;

/// Mailboxes by name, sorted. A waiting instance keeps this in memory, and it has few names: a tree or a table would
/// take several times the room. A mailbox without events or waiters is not there.
#[derive(Debug, Default)]
pub(super) struct Mailboxes(Vec<Mailbox>);

#[derive(Debug)]
struct Mailbox {
    name: Box<str>,
    queue: Queue,
}

/// Events wait in the order in which they came, waiters in the order in which they began; never both.
#[derive(Debug)]
enum Queue {
    Events(VecDeque<(u64, Input)>),
    Waiters(VecDeque<Ticket>),
}

impl Mailboxes {
    /// An event has come, the `number`th of the history. If somebody waits for it, it is theirs.
    pub(super) fn put(&mut self, name: &str, number: u64, input: Input) -> Option<(Ticket, Input)> {
        match self.open(name, || Queue::Events(VecDeque::new())) {
            Queue::Waiters(waiters) => {
                let waiter = waiters.pop_front();
                self.close_if_empty(name);
                waiter.map(|ticket| (ticket, input))
            }
            Queue::Events(events) => {
                let at = events.partition_point(|(other, _)| *other < number);
                events.insert(at, (number, input));
                None
            }
        }
    }

    /// Takes the first event of a name, with its number, or waits for one.
    pub(super) fn take_or_wait(&mut self, name: &str, ticket: Ticket) -> Option<(u64, Input)> {
        match self.open(name, || Queue::Waiters(VecDeque::new())) {
            Queue::Events(events) => {
                let event = events.pop_front();
                self.close_if_empty(name);
                event
            }
            Queue::Waiters(waiters) => {
                waiters.push_back(ticket);
                None
            }
        }
    }

    /// Nobody waits with this ticket any more.
    pub(super) fn stop_waiting(&mut self, name: &str, ticket: Ticket) {
        if let Ok(at) = self.find(name) {
            if let Queue::Waiters(waiters) = &mut self.0[at].queue {
                waiters.retain(|waiting| *waiting != ticket);
            }
            self.close_if_empty(name);
        }
    }

    /// Whether somebody waits for an event.
    pub(super) fn has_waiters(&self) -> bool {
        self.0.iter().any(|mailbox| matches!(mailbox.queue, Queue::Waiters(_)))
    }

    /// All who wait, who then wait no more.
    pub(super) fn take_waiting(&mut self) -> Vec<Ticket> {
        let mut waiting = Vec::new();
        self.0.retain_mut(|mailbox| match &mut mailbox.queue {
            Queue::Events(_) => true,
            Queue::Waiters(waiters) => {
                waiting.extend(waiters.drain(..));
                false
            }
        });
        waiting
    }

    /// All events that nobody took, in the order in which they came.
    pub(super) fn take_events(&mut self) -> Vec<EventRaised> {
        let mut left = Vec::new();
        for Mailbox { name, queue } in std::mem::take(&mut self.0) {
            if let Queue::Events(events) = queue {
                let event = |(number, input)| (number, EventRaised { name: name.to_string(), input });
                left.extend(events.into_iter().map(event));
            }
        }
        left.sort_by_key(|(number, _)| *number);
        left.into_iter().map(|(_, event)| event).collect()
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|mailbox| (*mailbox.name).cmp(name))
    }

    /// The queue of a mailbox, a new one if there is none.
    fn open(&mut self, name: &str, new: fn() -> Queue) -> &mut Queue {
        let at = self.find(name).unwrap_or_else(|at| {
            if self.0.is_empty() {
                self.0.reserve_exact(1);
            }
            self.0.insert(at, Mailbox { name: name.into(), queue: new() });
            at
        });
        &mut self.0[at].queue
    }

    fn close_if_empty(&mut self, name: &str) {
        let is_empty = |mailbox: &Mailbox| match &mailbox.queue {
            Queue::Events(events) => events.is_empty(),
            Queue::Waiters(waiters) => waiters.is_empty(),
        };
        if let Ok(at) = self.find(name)
            && is_empty(&self.0[at])
        {
            self.0.remove(at);
        }
    }
}
