//! What people read of an event.

use super::EventKind;
use crate::delivery::Delivery;
use crate::failure::Failure;
use crate::status::Status;
use crate::time::Timestamp;
use bytes::Bytes;

/// Bytes of a payload that are shown.
const PAYLOAD_SHOWN: usize = 200;

impl EventKind {
    /// The event in a few words, its payload cut off. What is in it from outside is as it came: on its way to a terminal
    /// it needs to be escaped.
    #[must_use]
    pub fn in_words(&self) -> String {
        let with = |text: String, payload_bytes: &Option<Bytes>| match payload_bytes {
            Some(bytes) => format!("{text} {}", payload_in_words(bytes)),
            None => text,
        };
        let failed = |failure: &Option<Failure>| failure.as_ref().map_or(String::new(), |f| f.to_string());
        match self {
            EventKind::TurnStarted(_) => String::new(),
            EventKind::ExecutionStarted(e) => with(e.name.clone(), &e.input),
            EventKind::ExecutionCompleted(e) => {
                let status = e.final_status().map_or("?", Status::name).to_owned();
                format!("{} {}", with(status, &e.output), failed(&e.failure)).trim_end().into()
            }
            EventKind::ExecutionTerminated(e) => e.reason.clone(),
            EventKind::TaskScheduled(e) => {
                let delivery = match Delivery::of_recorded(&e.delivery) {
                    Ok(Delivery::AtLeastOnce) => String::new(),
                    Ok(delivery) => format!(", {delivery}"),
                    Err(error) => format!(", {error}"),
                };
                with(format!("{} {}{delivery}", e.id, e.name), &e.input)
            }
            EventKind::TaskCompleted(e) => {
                let count =
                    format!("attempt {}, delivery {}{}", e.attempt, e.delivery, settled(&e.settled_by));
                with(format!("{} ({count})", e.id), &e.output)
            }
            EventKind::TaskFailed(e) => {
                let count =
                    format!("attempt {}, delivery {}{}", e.attempt, e.delivery, settled(&e.settled_by));
                format!("{} ({count}) {}", e.id, failed(&e.failure))
            }
            EventKind::TaskResultLate(e) => {
                let text = format!("{} (delivery {}, too late to count)", e.id, e.delivery);
                format!("{} {}", with(text, &e.output), failed(&e.failure)).trim_end().into()
            }
            EventKind::SubOrchestrationScheduled(e) => {
                with(format!("{} {} as \"{}\"", e.id, e.name, e.instance), &e.input)
            }
            EventKind::SubOrchestrationCompleted(e) => with(e.id.to_string(), &e.output),
            EventKind::SubOrchestrationFailed(e) => format!("{} {}", e.id, failed(&e.failure)),
            EventKind::TimerCreated(e) => format!("{} at {}", e.id, Timestamp(e.fire_at)),
            EventKind::TimerFired(e) => e.id.to_string(),
            EventKind::EventSent(e) => with(format!("{} {} to \"{}\"", e.id, e.name, e.instance), &e.input),
            EventKind::EntityOperationCalled(e) => {
                with(format!("{} {} of {}", e.id, e.operation, e.entity), &e.input)
            }
            EventKind::EntityOperationSignaled(e) => {
                with(format!("{} {} to {}", e.id, e.operation, e.entity), &e.input)
            }
            EventKind::EntityOperationCompleted(e) => with(e.id.to_string(), &e.output),
            EventKind::EntityOperationFailed(e) => format!("{} {}", e.id, failed(&e.failure)),
            EventKind::EntityLockRequested(e) => format!("{} {}", e.id, e.set.join(", ")),
            EventKind::EntityLockGranted(e) => e.id.to_string(),
            EventKind::EntityUnlockSent(e) => format!("{} {}", e.id, e.entities.join(", ")),
            EventKind::EventRaised(e) => with(e.name.clone(), &e.input),
            EventKind::ExecutionSuspended(e) => e.reason.clone(),
            EventKind::ExecutionResumed(e) => e.reason.clone(),
            EventKind::CancelRequested(e) => e.reason.clone(),
            EventKind::ExecutionRewound(e) => {
                let inputs = e.inputs.iter().map(|given| ("input", given));
                let given = inputs.chain(e.results.iter().map(|given| ("result", given)));
                let given = given.map(|(what, given)| {
                    with(format!("; {what} of event {} given by hand:", given.event), &given.payload)
                });
                let given: String = given.collect();
                format!("from branch {} by {}: {}{given}", e.from_branch, e.by, e.reason)
            }
            EventKind::EventRefused(e) => format!("{} {}", e.id, failed(&e.failure)),
        }
    }
}

/// Who said what came of an activity, if it was not its worker.
fn settled(by: &str) -> String {
    if by.is_empty() { String::new() } else { format!(", as said by {by}") }
}

/// The beginning of a payload, as text where it is text.
#[must_use]
pub fn payload_in_words(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(PAYLOAD_SHOWN)];
    let text = match std::str::from_utf8(shown) {
        Ok(text) => text.to_owned(),
        // Cut in the middle of a character.
        Err(error) if error.error_len().is_none() && shown.len() < bytes.len() => {
            String::from_utf8_lossy(&shown[..error.valid_up_to()]).into_owned()
        }
        Err(_) => return format!("({} bytes, not text)", bytes.len()),
    };
    if shown.len() < bytes.len() { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}
