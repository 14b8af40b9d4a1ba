//! What people read about an instance and its events.

use crate::escape::escape;
use perdura_core::history::{EventKind, payload_in_words};
use perdura_core::partition::InstanceRecord;
use perdura_core::{Status, Timestamp};
use std::collections::BTreeMap;

/// Names of the activities that an instance waits for, by task.
pub type TaskNames = BTreeMap<u32, String>;

/// Name and version of the orchestration.
pub fn name(record: &InstanceRecord) -> String {
    let version =
        if record.version.is_empty() { String::new() } else { format!("@{}", escape(&record.version)) };
    format!("{}{version}", escape(&record.name))
}

/// Status and times.
pub fn status(record: &InstanceRecord) -> String {
    let status = record.status().map_or("?", Status::name);
    let started = format!("{status}, started {}", Timestamp(record.created_at));
    match record.completed_at {
        0 => started,
        at => format!("{started}, ended {}", Timestamp(at)),
    }
}

/// What an instance waits for.
pub fn waits_for(record: &InstanceRecord, names: &TaskNames) -> Vec<String> {
    let mut waits = Vec::new();
    if record.status().is_ok_and(Status::is_terminal) {
        return waits;
    }
    if let Some(block) = &record.block {
        waits.push(format!("a repair since {}: {}", Timestamp(block.since), escape(&block.reason)));
    }
    if let Some(reason) = &record.suspended {
        waits.push(format!("being resumed (suspended: \"{}\")", escape(reason)));
    }
    if record.start_at != 0 && record.tail == 0 {
        waits.push(format!("its start at {}", Timestamp(record.start_at)));
    }
    for task in &record.tasks {
        let failure = task
            .last_failure
            .as_ref()
            .map_or(String::new(), |f| format!(", after {}", escape(&f.to_string())));
        let activity = match names.get(&task.id) {
            Some(name) => format!("activity {} (task {})", escape(name), task.id),
            None => format!("the activity of task {}", task.id),
        };
        if let Some(once) = task.once.as_ref().filter(|once| once.is_in_doubt()) {
            let since = Timestamp(once.since);
            let why = escape(&once.why);
            waits.push(format!(
                "the outcome of {activity}, delivery {}, unknown since {since}: {why}",
                task.delivery
            ));
            continue;
        }
        waits.push(match task.not_before {
            0 => format!(
                "{activity}, scheduled {}, attempt {}, delivery {}{failure}",
                Timestamp(task.scheduled_at),
                task.attempt,
                task.delivery
            ),
            at => format!("{activity}, attempt {} at {}{failure}", task.attempt, Timestamp(at)),
        });
    }
    waits.extend(
        record.timers.iter().map(|timer| format!("timer {} at {}", timer.id, Timestamp(timer.fire_at))),
    );
    waits.extend(record.calls.iter().map(|call| format!("a result of entity \"{}\"", escape(&call.entity))));
    if let Some(section) = record.section.as_ref().filter(|section| !section.granted) {
        let set = escape(&section.set.join(", "));
        waits.push(format!("the lock of {set}, since {}", Timestamp(section.since)));
    }
    waits.extend(record.children.iter().map(|child| {
        let id = escape(&child.instance);
        match child.not_before {
            _ if child.canceled => format!("nothing of child \"{id}\", which was asked to cancel"),
            0 => format!("child \"{id}\", attempt {}", child.attempt),
            at => format!("child \"{id}\", attempt {} at {}", child.attempt, Timestamp(at)),
        }
    }));
    let inbox = record.inbox_events().map_or(0, |events| events.len());
    if inbox > 0 {
        waits.push(format!("a turn: {inbox} events have arrived that no turn has taken"));
    }
    if waits.is_empty() {
        waits.push("an external event".into());
    }
    waits
}

/// An event in a few words.
pub fn describe(event: &EventKind) -> String {
    escape(&event.in_words())
}

/// The beginning of a payload, as text where it is text.
pub fn payload(bytes: &[u8]) -> String {
    escape(&payload_in_words(bytes))
}
