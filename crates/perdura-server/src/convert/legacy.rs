//! Messages to entities as .NET programs send them that do not use the package for Azure: events to `@name@key` with a text
//! in JSON, and answers as external events that are named by the request. What is recorded is the same as for everybody;
//! a mark in the name of the request tells that it has to be shown in this form.

use super::action::BadAnswer;
use super::payload_in;
use super::time::time_in;
use bytes::Bytes;
use perdura_core::history::{
    EntityLockRequested, EntityOperationCalled, EntityOperationSignaled, EntityUnlockSent,
};
use perdura_core::orchestration::Decision;
use perdura_core::{EntityId, Failure};
use perdura_proto as wire;
use perdura_proto::history_event::EventType;
use serde_json::{Map, Value, json};

/// Begins the recorded name of a request that came in this form: the GUID follows, and the name of the event.
const MARK: &str = "legacy:";
/// The name of an event that gives an entity up.
const RELEASE: &str = "release";

/// The GUID of a request, and the name of the event that it came as; `None` if it came in today's form.
fn marked(request: &str) -> Option<(&str, &str)> {
    request.strip_prefix(MARK)?.split_once('|')
}

/// The request's name as its entity is told it.
pub(super) fn plain(request: &str) -> &str {
    marked(request).map_or(request, |(guid, _)| guid)
}

/// What an orchestration sends to an entity by an event.
pub(super) fn decision_in(
    index: usize,
    id: u32,
    event: wire::SendEventAction,
) -> Result<Decision, BadAnswer> {
    let missing = |field| BadAnswer::Missing { index, field };
    let target = event.instance.map(|to| to.instance_id).unwrap_or_default();
    let entity = entity_in(index, &target)?;
    let text = event.data.ok_or(missing("data of a message to an entity"))?;
    let message: Map<String, Value> =
        serde_json::from_str(&text).map_err(|_| missing("JSON of a message to an entity"))?;
    let word = |field: &str| message.get(field).and_then(Value::as_str);
    let guid = word("id").ok_or(missing("id of a message to an entity"))?;
    let request = format!("{MARK}{guid}|{}", event.name);
    if event.name == RELEASE {
        return Ok(Decision::Unlock(EntityUnlockSent { id, entities: vec![entity], request }));
    }
    if let Some(set) = message.get("lockset").and_then(Value::as_array) {
        let member = |one: &Value| {
            let part = |field| one.get(field).and_then(Value::as_str).unwrap_or_default();
            entity_in(index, &format!("@{}@{}", part("name"), part("key")))
        };
        let set = set.iter().map(member).collect::<Result<_, _>>()?;
        return Ok(Decision::RequestLock(EntityLockRequested { id, set, request }));
    }
    let operation = word("op").ok_or(missing("op of a message to an entity"))?.to_owned();
    let input = payload_in(word("input").map(str::to_owned));
    if message.get("signal").and_then(Value::as_bool) != Some(true) {
        return Ok(Decision::CallEntity(EntityOperationCalled { id, entity, operation, input, request }));
    }
    let due = word("due").map(|due| due.parse::<prost_types::Timestamp>()).transpose();
    let due = due.map_err(|_| missing("due time of a message to an entity that is a time"))?;
    let at = due.as_ref().map(|at| time_in("due", at)).transpose();
    let at = at.map_err(|error| BadAnswer::Time { index, error })?.map_or(0, |at| at.0.max(0));
    Ok(Decision::SignalEntity(EntityOperationSignaled { id, entity, operation, input, at, request }))
}

fn entity_in(index: usize, id: &str) -> Result<String, BadAnswer> {
    EntityId::parse(id).map(|id| id.as_str().to_owned()).map_err(|error| BadAnswer::Entity { index, error })
}

/// The event that a message went out as; `None` if it went out in today's form.
pub(super) fn sent(entity: &str, request: &str, fields: Value) -> Option<EventType> {
    let (guid, name) = marked(request)?;
    let mut message = json!({ "id": guid });
    if let (Some(message), Value::Object(fields)) = (message.as_object_mut(), fields) {
        message.extend(fields);
    }
    Some(EventType::EventSent(wire::EventSentEvent {
        instance_id: entity.to_owned(),
        name: name.to_owned(),
        input: Some(message.to_string()),
    }))
}

/// The event that an answer comes as; `None` if it comes in today's form.
fn raised(request: &str, response: &Value) -> Option<EventType> {
    let (guid, _) = marked(request)?;
    let event = wire::EventRaisedEvent { name: guid.to_owned(), input: Some(response.to_string()) };
    Some(EventType::EventRaised(event))
}

pub(super) fn completed(request: &str, output: Option<&Bytes>) -> Option<EventType> {
    let result = output.map(|bytes| String::from_utf8_lossy(bytes));
    raised(request, &json!({ "result": result }))
}

pub(super) fn granted(request: &str) -> Option<EventType> {
    raised(request, &json!({ "result": "Lock Acquisition Completed" }))
}

pub(super) fn failed(request: &str, failure: &Failure) -> Option<EventType> {
    let message = Value::from(failure.message.as_str()).to_string();
    let details = details(failure);
    raised(request, &json!({ "result": message, "exceptionType": failure.kind, "failureDetails": details }))
}

fn details(failure: &Failure) -> Value {
    json!({
        "ErrorType": failure.kind,
        "ErrorMessage": failure.message,
        "StackTrace": failure.stack,
        "InnerFailure": failure.cause.as_deref().map(details),
        "IsNonRetriable": failure.non_retryable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::history::{HistoryWriter, Reader};
    use perdura_core::Timestamp;
    use perdura_core::history::{EntityLockGranted, EntityOperationFailed, Event, EventKind};

    const GUID: &str = "0a0b0c0d-0000-4000-8000-000000000001";

    fn event(name: &str, data: &Value) -> wire::SendEventAction {
        let instance_id = "@counter@a".to_owned();
        let instance = Some(wire::OrchestrationInstance { instance_id, execution_id: None });
        wire::SendEventAction { instance, name: name.into(), data: Some(data.to_string()) }
    }

    fn decision(name: &str, data: &Value) -> Decision {
        decision_in(0, 7, event(name, data)).unwrap()
    }

    /// How a worker reads it.
    fn read(kind: impl Into<EventKind>) -> EventType {
        let mut writer = HistoryWriter::new("a", 0, Reader::Worker);
        writer.write(&Event::new(Timestamp(0), kind)).unwrap().event_type.unwrap()
    }

    #[test]
    fn a_call_goes_out_and_its_answer_comes_back_in_the_old_form() {
        let data = json!({ "op": "add", "input": "5", "id": GUID, "parent": "a" });
        let Decision::CallEntity(call) = decision("op", &data) else { panic!("not a call") };
        assert_eq!((call.entity.as_str(), call.operation.as_str()), ("@counter@a", "add"));
        assert_eq!(call.input.as_deref(), Some(&b"5"[..]));
        assert_eq!(plain(&call.request), GUID);
        let EventType::EventSent(sent) = read(call.clone()) else { panic!("not as it was sent") };
        assert_eq!((sent.instance_id.as_str(), sent.name.as_str()), ("@counter@a", "op"));
        let failure = Failure::new("Empty", "nothing there");
        let failed =
            EntityOperationFailed { request: call.request, failure: Some(failure), ..Default::default() };
        let EventType::EventRaised(raised) = read(failed) else { panic!("not as it is awaited") };
        assert_eq!(raised.name, GUID);
        let response: Value = serde_json::from_str(&raised.input.unwrap()).unwrap();
        assert_eq!(response["failureDetails"]["ErrorMessage"], "nothing there");
        assert_eq!(response["exceptionType"], "Empty");
    }

    #[test]
    fn signals_locks_and_releases_are_understood() {
        let later = json!({ "op": "add", "signal": true, "id": GUID, "due": "2030-01-01T00:00:00.5Z" });
        let Decision::SignalEntity(signal) = decision("op@2030-01-01T00:00:00.5Z", &later) else { panic!() };
        assert_eq!(signal.at, 1_893_456_000_500);
        let EventType::EventSent(sent) = read(signal) else { panic!() };
        assert_eq!(sent.name, "op@2030-01-01T00:00:00.5Z");

        let set = json!([{ "name": "counter", "key": "a" }, { "name": "counter", "key": "b" }]);
        let lock = json!({ "op": null, "id": GUID, "lockset": set, "pos": 0 });
        let Decision::RequestLock(lock) = decision("op", &lock) else { panic!() };
        assert_eq!(lock.set, ["@counter@a", "@counter@b"]);
        let granted = EntityLockGranted { request: lock.request.clone(), ..Default::default() };
        let EventType::EventRaised(raised) = read(granted) else { panic!() };
        assert_eq!(raised.name, GUID);
        assert!(matches!(read(lock), EventType::EventSent(_)));

        let release = json!({ "parent": "a", "id": GUID });
        let Decision::Unlock(unlock) = decision("release", &release) else { panic!() };
        assert_eq!(
            (unlock.entities.as_slice(), plain(&unlock.request)),
            (&["@counter@a".to_owned()][..], GUID)
        );
    }

    #[test]
    fn nonsense_is_refused_with_what_is_missing() {
        for data in [
            json!([]),
            json!({}),
            json!({ "id": GUID }),
            json!({ "id": GUID, "op": "x", "signal": true, "due": "?" }),
        ] {
            let refused = decision_in(3, 7, event("op", &data)).unwrap_err().to_string();
            assert!(refused.starts_with("action 3: "), "{refused}");
        }
        let nowhere = wire::SendEventAction { data: Some("{}".into()), ..Default::default() };
        assert!(decision_in(0, 7, nowhere).is_err());
    }
}
