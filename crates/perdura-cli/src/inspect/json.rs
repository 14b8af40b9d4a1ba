//! What programs read about an instance and its events: nothing is cut off, nothing is escaped but as JSON does it.

use super::words::{TaskNames, describe, waits_for};
use perdura_core::history::Event;
use perdura_core::partition::InstanceRecord;
use perdura_core::{Status, Timestamp};
use serde_json::{Value, json};

pub fn instance(record: &InstanceRecord, names: &TaskNames) -> Value {
    json!({
        "id": record.id,
        "name": record.name,
        "version": record.version,
        "status": record.status().map_or("?", Status::name),
        "generation": record.generation,
        "branch": record.branch,
        "events": record.tail,
        "created_at": Timestamp(record.created_at).to_string(),
        "updated_at": Timestamp(record.updated_at).to_string(),
        "completed_at": (record.completed_at != 0).then(|| Timestamp(record.completed_at).to_string()),
        "parents": record.parents.iter().map(|parent| &parent.instance).collect::<Vec<_>>(),
        "tags": record.tags,
        "custom_status": record.custom_status.as_deref().map(payload),
        "output": record.output.as_deref().map(payload),
        "failure": record.failure.as_ref().map(ToString::to_string),
        "waits_for": waits_for(record, names),
    })
}

pub fn event(number: usize, event: &Event) -> Value {
    json!({
        "event": number,
        "at": event.at.to_string(),
        "kind": event.kind.name(),
        "what": describe(&event.kind),
    })
}

/// The text of a payload; bytes that are not text as `{"hex": ".."}`.
pub fn payload(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}
