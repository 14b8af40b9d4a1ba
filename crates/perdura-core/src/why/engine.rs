//! What only the engine that serves a hub knows: whether it has the instance's partition, and which limits are met.

use super::{Surroundings, Wait};
use crate::limits::Limits;
use crate::partition::{EntityRecord, InstanceRecord, weigh};

/// The partition has no owner at present.
pub(super) fn for_owner(around: &dyn Surroundings) -> Option<Wait> {
    let why = around.loss()?;
    Some(Wait {
        what: "an owner of its partition".into(),
        since: None,
        who: "the engine, which takes it again by itself".into(),
        missing: Some(format!("it was lost: {why}")),
    })
}

/// Limits that keep an instance from taking what is sent to it.
pub(super) fn for_room(record: &InstanceRecord, around: &dyn Surroundings) -> Vec<Wait> {
    let Some(limits) = around.limits() else { return Vec::new() };
    let mut waits = Vec::new();
    let arrived = record.inbox_events().unwrap_or_default();
    let (count, bytes) = (arrived.len(), weigh(&arrived));
    if let Some(full) = full("events", count, bytes, limits) {
        waits.push(Wait {
            what: format!("room in its inbox, which is full: {full}"),
            since: None,
            who: "its next turn".into(),
            missing: Some("until then more events are refused, and results wait".into()),
        });
    }
    let (events, max) = (record.tail + count as u64, limits.history_events_max);
    if events >= max - max / 10 {
        waits.push(Wait {
            what: format!("room in its history, which is nearly full: {events} events of at most {max}"),
            since: None,
            who: "its code, which may continue as new".into(),
            missing: Some("events from outside are refused; end it if it waits for one".into()),
        });
    }
    waits
}

/// The same of the queue of an entity, and of its signals whose time has not come.
pub(super) fn for_queue(entity: &EntityRecord, around: &dyn Surroundings) -> Vec<Wait> {
    let Some(limits) = around.limits() else { return Vec::new() };
    let wait = |place: &str, full: String, who: &str| Wait {
        what: format!("room in {place}: {full}"),
        since: None,
        who: who.into(),
        missing: Some(match around.held() {
            0 => "until then signals of clients are refused, and what instances send waits".into(),
            held => format!(
                "until then signals of clients are refused, and what instances send waits: {held} more at present"
            ),
        }),
    };
    let (bytes, bytes_later) = entity.weigh();
    let queue = full("operations and lock requests", entity.queue.len(), bytes, limits);
    let later = full("signals", entity.delayed.len(), bytes_later, limits);
    let queue = queue.map(|full| wait("its queue, which is full", full, "whoever runs its operations"));
    let later = later
        .map(|full| wait("its delayed signals, which are full", full, "the time that is first of theirs"));
    queue.into_iter().chain(later).collect()
}

fn full(what: &str, count: usize, bytes: usize, limits: &Limits) -> Option<String> {
    if count >= limits.inbox_events_max {
        return Some(format!("{count} {what} of at most {} wait", limits.inbox_events_max));
    }
    let max = limits.inbox_bytes_max;
    (bytes >= max).then(|| format!("{count} {what} with {bytes} bytes of at most {max} wait"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Event, EventRaised};
    use crate::partition::{DelayedSignal, Queued};
    use crate::status::Status;
    use crate::time::Timestamp;
    use crate::why::{Line, Work, why};

    struct Around(Option<&'static str>, Limits);

    impl Surroundings for Around {
        fn activity(&self, _: u32) -> Option<String> {
            None
        }

        fn asked_at(&self, _: u32) -> Option<Timestamp> {
            None
        }

        fn suspended_at(&self) -> Option<Timestamp> {
            None
        }

        fn instance(&self, _: &str) -> Option<Option<Status>> {
            None
        }

        fn line(&self, _: Work) -> Option<Line> {
            None
        }

        fn loss(&self) -> Option<&str> {
            self.0
        }

        fn limits(&self) -> Option<&Limits> {
            Some(&self.1)
        }
    }

    fn said(record: &InstanceRecord, around: &Around) -> String {
        let waits = why(record, Timestamp(0), around);
        waits.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    fn with_events(count: usize) -> InstanceRecord {
        let mut record = InstanceRecord { suspended: Some("a look".into()), ..InstanceRecord::default() };
        let raised = || EventRaised { name: "go".into(), input: Some("x".repeat(100).into()) };
        record.set_inbox_events((0..count).map(|_| Event::new(Timestamp(0), raised())).collect());
        record
    }

    #[test]
    fn a_full_inbox_is_said_by_its_count_and_by_its_bytes() {
        let few = Around(None, Limits { inbox_events_max: 3, ..Limits::default() });
        assert!(!said(&with_events(2), &few).contains("full"));
        let full = said(&with_events(3), &few);
        let expected = "waits for room in its inbox, which is full: 3 events of at most 3 wait; its next turn; until then \
                        more events are refused, and results wait";
        assert!(full.contains(expected), "{full}");
        let small = Around(None, Limits { inbox_bytes_max: 300, ..Limits::default() });
        assert!(
            said(&with_events(2), &small).contains("2 events with 3")
                && !said(&with_events(1), &small).contains("full")
        );
    }

    #[test]
    fn a_history_that_takes_no_more_events_is_said() {
        let around = Around(None, Limits { history_events_max: 100, ..Limits::default() });
        let record = |tail| InstanceRecord { tail, ..InstanceRecord::default() };
        assert!(!said(&record(89), &around).contains("full"));
        assert!(said(&record(90), &around).contains("nearly full: 90 events of at most 100"));
    }

    #[test]
    fn the_full_queue_of_an_entity_is_said() {
        let around = Around(None, Limits { inbox_events_max: 2, ..Limits::default() });
        let delayed = vec![DelayedSignal::default(); 2];
        let queue = vec![Queued::default(); 2];
        let entity = EntityRecord { queue, delayed, ..EntityRecord::default() };
        let record =
            InstanceRecord { id: "@c@a".into(), entity: Some(Box::new(entity)), ..InstanceRecord::default() };
        let said = said(&record, &around);
        assert!(
            said.contains("its queue, which is full: 2 operations and lock requests of at most 2"),
            "{said}"
        );
        assert!(said.contains("its delayed signals, which are full: 2 signals of at most 2"), "{said}");
    }

    #[test]
    fn a_lost_partition_is_said_first_and_with_the_reason() {
        let around = Around(Some("the disk is full"), Limits::default());
        let first = "waits for an owner of its partition; the engine, which takes it again by itself; it was lost: the disk \
                     is full";
        assert!(said(&InstanceRecord::default(), &around).starts_with(first));
        let ended = InstanceRecord { status: Status::Failed as u32, ..InstanceRecord::default() };
        assert_eq!(said(&ended, &around), "");
    }
}
