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

/// Events wait in the order in which they came, waiters in the order in which they began; one of the lists is empty.
#[derive(Debug)]
struct Mailbox {
    name: String,
    events: VecDeque<(u64, Input)>,
    waiting: VecDeque<Ticket>,
}

impl Mailboxes {
    /// An event has come, the `number`th of the history. If somebody waits for it, it is theirs.
    pub(super) fn put(&mut self, name: &str, number: u64, input: Input) -> Option<(Ticket, Input)> {
        let mailbox = self.open(name);
        let waiter = mailbox.waiting.pop_front();
        match waiter {
            Some(ticket) => {
                self.close_if_empty(name);
                Some((ticket, input))
            }
            None => {
                let at = mailbox.events.partition_point(|(other, _)| *other < number);
                mailbox.events.insert(at, (number, input));
                None
            }
        }
    }

    /// Takes the first event of a name, with its number, or waits for one.
    pub(super) fn take_or_wait(&mut self, name: &str, ticket: Ticket) -> Option<(u64, Input)> {
        let mailbox = self.open(name);
        let event = mailbox.events.pop_front();
        match event {
            Some(_) => self.close_if_empty(name),
            None => mailbox.waiting.push_back(ticket),
        }
        event
    }

    /// Nobody waits with this ticket any more.
    pub(super) fn stop_waiting(&mut self, name: &str, ticket: Ticket) {
        if let Ok(at) = self.find(name) {
            self.0[at].waiting.retain(|waiting| *waiting != ticket);
            self.close_if_empty(name);
        }
    }

    /// All who wait, who then wait no more.
    pub(super) fn take_waiting(&mut self) -> Vec<Ticket> {
        let waiting = self.0.iter_mut().flat_map(|mailbox| mailbox.waiting.drain(..)).collect();
        self.0.retain(|mailbox| !mailbox.events.is_empty());
        waiting
    }

    /// All events that nobody took, in the order in which they came.
    pub(super) fn take_events(&mut self) -> Vec<EventRaised> {
        let mut left = Vec::new();
        for Mailbox { name, events, .. } in std::mem::take(&mut self.0) {
            let event = |(number, input)| (number, EventRaised { name: name.clone(), input });
            left.extend(events.into_iter().map(event));
        }
        left.sort_by_key(|(number, _)| *number);
        left.into_iter().map(|(_, event)| event).collect()
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|mailbox| mailbox.name.as_str().cmp(name))
    }

    fn open(&mut self, name: &str) -> &mut Mailbox {
        let at = self.find(name).unwrap_or_else(|at| {
            if self.0.is_empty() {
                self.0.reserve_exact(1);
            }
            let mailbox =
                Mailbox { name: name.to_owned(), events: VecDeque::new(), waiting: VecDeque::new() };
            self.0.insert(at, mailbox);
            at
        });
        &mut self.0[at]
    }

    fn close_if_empty(&mut self, name: &str) {
        if let Ok(at) = self.find(name)
            && self.0[at].events.is_empty()
            && self.0[at].waiting.is_empty()
        {
            self.0.remove(at);
        }
    }
}
