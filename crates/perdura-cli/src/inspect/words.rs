//! What people read about an instance and its events.

use crate::escape::escape;
use bytes::Bytes;
use perdura_core::delivery::Delivery;
use perdura_core::history::EventKind;
use perdura_core::partition::InstanceRecord;
use perdura_core::{Failure, Status, Timestamp};
use std::collections::BTreeMap;

/// Bytes of a payload that are shown.
const PAYLOAD_SHOWN: usize = 200;

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
    let with = |text: String, payload_bytes: &Option<Bytes>| match payload_bytes {
        Some(bytes) => format!("{text} {}", payload(bytes)),
        None => text,
    };
    let failed =
        |failure: &Option<Failure>| failure.as_ref().map_or(String::new(), |f| escape(&f.to_string()));
    match event {
        EventKind::TurnStarted(_) => String::new(),
        EventKind::ExecutionStarted(e) => with(escape(&e.name), &e.input),
        EventKind::ExecutionCompleted(e) => {
            let status = e.final_status().map_or("?", Status::name).to_owned();
            format!("{} {}", with(status, &e.output), failed(&e.failure)).trim_end().into()
        }
        EventKind::ExecutionTerminated(e) => escape(&e.reason),
        EventKind::TaskScheduled(e) => {
            let delivery = match Delivery::of_recorded(&e.delivery) {
                Ok(Delivery::AtLeastOnce) => String::new(),
                Ok(delivery) => format!(", {}", escape(&delivery.to_string())),
                Err(error) => format!(", {}", escape(&error.to_string())),
            };
            with(format!("{} {}{delivery}", e.id, escape(&e.name)), &e.input)
        }
        EventKind::TaskCompleted(e) => {
            let count = format!("attempt {}, delivery {}{}", e.attempt, e.delivery, settled(&e.settled_by));
            with(format!("{} ({count})", e.id), &e.output)
        }
        EventKind::TaskFailed(e) => {
            let count = format!("attempt {}, delivery {}{}", e.attempt, e.delivery, settled(&e.settled_by));
            format!("{} ({count}) {}", e.id, failed(&e.failure))
        }
        EventKind::TaskResultLate(e) => {
            let text = format!("{} (delivery {}, too late to count)", e.id, e.delivery);
            format!("{} {}", with(text, &e.output), failed(&e.failure)).trim_end().into()
        }
        EventKind::SubOrchestrationScheduled(e) => {
            with(format!("{} {} as \"{}\"", e.id, escape(&e.name), escape(&e.instance)), &e.input)
        }
        EventKind::SubOrchestrationCompleted(e) => with(e.id.to_string(), &e.output),
        EventKind::SubOrchestrationFailed(e) => format!("{} {}", e.id, failed(&e.failure)),
        EventKind::TimerCreated(e) => format!("{} at {}", e.id, Timestamp(e.fire_at)),
        EventKind::TimerFired(e) => e.id.to_string(),
        EventKind::EventSent(e) => {
            with(format!("{} {} to \"{}\"", e.id, escape(&e.name), escape(&e.instance)), &e.input)
        }
        EventKind::EntityOperationCalled(e) => {
            with(format!("{} {} of {}", e.id, escape(&e.operation), escape(&e.entity)), &e.input)
        }
        EventKind::EntityOperationSignaled(e) => {
            with(format!("{} {} to {}", e.id, escape(&e.operation), escape(&e.entity)), &e.input)
        }
        EventKind::EntityOperationCompleted(e) => with(e.id.to_string(), &e.output),
        EventKind::EntityOperationFailed(e) => format!("{} {}", e.id, failed(&e.failure)),
        EventKind::EntityLockRequested(e) => format!("{} {}", e.id, escape(&e.set.join(", "))),
        EventKind::EntityLockGranted(e) => e.id.to_string(),
        EventKind::EntityUnlockSent(e) => format!("{} {}", e.id, escape(&e.entities.join(", "))),
        EventKind::EventRaised(e) => with(escape(&e.name), &e.input),
        EventKind::ExecutionSuspended(e) => escape(&e.reason),
        EventKind::ExecutionResumed(e) => escape(&e.reason),
        EventKind::CancelRequested(e) => escape(&e.reason),
        EventKind::ExecutionRewound(e) => {
            format!("from branch {} by {}: {}", e.from_branch, escape(&e.by), escape(&e.reason))
        }
        EventKind::EventRefused(e) => format!("{} {}", e.id, failed(&e.failure)),
    }
}

/// Who said what came of an activity, if it was not its worker.
fn settled(by: &str) -> String {
    if by.is_empty() { String::new() } else { format!(", as said by {}", escape(by)) }
}

/// The beginning of a payload, as text where it is text.
pub fn payload(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(PAYLOAD_SHOWN)];
    let text = match std::str::from_utf8(shown) {
        Ok(text) => escape(text),
        // Cut in the middle of a character.
        Err(error) if error.error_len().is_none() && shown.len() < bytes.len() => {
            escape(&String::from_utf8_lossy(&shown[..error.valid_up_to()]))
        }
        Err(_) => return format!("({} bytes, not text)", bytes.len()),
    };
    if shown.len() < bytes.len() { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}
