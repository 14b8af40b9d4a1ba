//! A list of events that knows how much they weigh: what one instance writes in one record must be bounded in bytes.

use crate::history::{Event, EventKind};

/// What an event weighs besides its texts and payloads, at most.
const EVENT_BYTES: usize = 64;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Events {
    events: Vec<Event>,
    bytes: usize,
}

impl Events {
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// About as much as their stored form.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }

    pub(super) fn push(&mut self, event: Event) {
        self.bytes += weight(&event);
        self.events.push(event);
    }

    pub(super) fn insert(&mut self, at: usize, event: Event) {
        self.bytes += weight(&event);
        self.events.insert(at.min(self.events.len()), event);
    }

    pub(super) fn extend(&mut self, events: impl IntoIterator<Item = Event>) {
        events.into_iter().for_each(|event| self.push(event));
    }

    pub(super) fn clear(&mut self) {
        // Not kept: an instance that waits shall not hold the room.
        *self = Events::default();
    }

    /// All of them.
    pub(super) fn take(&mut self) -> Vec<Event> {
        std::mem::take(self).events
    }

    /// The first ones that weigh no more than `bytes` together; one at least, if there is one.
    pub(super) fn take_first(&mut self, bytes: usize) -> Vec<Event> {
        if self.bytes <= bytes {
            return self.take();
        }
        let mut taken = 0_usize;
        let mut fits = |event: &Event| {
            taken = taken.saturating_add(weight(event));
            taken <= bytes
        };
        let count = self.events.iter().take_while(|event| fits(event)).count().max(1);
        let rest = self.events.split_off(count.min(self.events.len()));
        std::mem::replace(self, Events::from(rest)).events
    }
}

impl From<Vec<Event>> for Events {
    fn from(events: Vec<Event>) -> Events {
        Events { bytes: weigh(&events), events }
    }
}

/// About as much as the stored form of all of them.
pub(crate) fn weigh(events: &[Event]) -> usize {
    events.iter().map(weight).sum()
}

fn weight(event: &Event) -> usize {
    let bytes = match &event.kind {
        EventKind::TurnStarted(_) | EventKind::TimerCreated(_) | EventKind::TimerFired(_) => 0,
        EventKind::TaskCompleted(done) => done.output.as_ref().map_or(0, bytes::Bytes::len),
        kind => kind.encoded_len(),
    };
    EVENT_BYTES + bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{EventRaised, TurnStarted, encode_events};
    use crate::time::Timestamp;

    fn raised(bytes: usize) -> Event {
        let input = Some(vec![0; bytes].into());
        Event::new(Timestamp(1_750_000_000_000), EventRaised { name: "e".into(), input })
    }

    #[test]
    fn the_weight_is_not_less_than_the_stored_form() {
        let turn = Event::new(Timestamp(1_750_000_000_000), TurnStarted::default());
        let events = Events::from(vec![raised(0), raised(1000), turn]);
        let weight = events.bytes();
        assert!(weight >= encode_events(events.events).len());
    }

    #[test]
    fn what_is_taken_fits_and_the_rest_stays_in_order() {
        let mut events = Events::from(vec![raised(500), raised(400), raised(300)]);
        let taken = events.take_first(1100);
        assert_eq!((taken.len(), events.len()), (2, 1));
        assert_eq!(events.bytes(), Events::from(vec![raised(300)]).bytes());
        // One that is too heavy by itself is taken alone.
        assert_eq!((events.take_first(10).len(), events.bytes()), (1, 0));
        assert!(events.take_first(10).is_empty());
    }
}
