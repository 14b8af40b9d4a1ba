//! How a handler of unknown outcomes is asked and answers: JSON, so that it can be an activity in any language.

use bytes::Bytes;
use perdura_core::delivery::{Answer, AttemptRecord, Question};
use perdura_core::{Failure, Timestamp};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The kind of a failure to which a handler gave none.
const UNNAMED: &str = "HandlerSaidFailed";

/// The input of the handler.
pub(crate) fn input_of(question: &Question) -> Bytes {
    let attempts: Vec<Value> = question.attempts.iter().map(attempt).collect();
    let asked = json!({
        "instance": question.instance.as_str(),
        "execution": question.execution.to_string(),
        "task": question.task,
        "activity": question.activity,
        "input": payload(question.input.as_ref()),
        "idempotencyKey": question.idempotency_key,
        "attempt": question.attempt,
        "attempts": attempts,
        "why": question.why,
        "since": question.since.to_string(),
    });
    asked.to_string().into()
}

fn attempt(attempt: &AttemptRecord) -> Value {
    let mut said = Map::new();
    said.insert("delivery".into(), attempt.delivery.into());
    said.insert("at".into(), Timestamp(attempt.at).to_string().into());
    said.insert("worker".into(), attempt.worker.clone().into());
    said.insert("end".into(), attempt.end.clone().into());
    if attempt.heard_at != 0 {
        said.insert("lastHeartbeatAt".into(), Timestamp(attempt.heard_at).to_string().into());
        said.insert("lastHeartbeat".into(), payload(attempt.heartbeat.as_ref()));
    }
    if let Some(late) = &attempt.late {
        said.insert("lateResult".into(), payload(Some(late)));
    }
    said.into()
}

/// A payload that is not JSON is given as text.
fn payload(payload: Option<&Bytes>) -> Value {
    let Some(bytes) = payload else { return Value::Null };
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into_owned().into())
}

/// What the handler says; otherwise why that is no answer.
pub(crate) fn answer_of(output: Option<&Bytes>) -> Result<Answer, String> {
    let garbage = || {
        let text = |output: &Bytes| String::from_utf8_lossy(output).chars().take(100).collect();
        let said: String = output.map_or("nothing".into(), text);
        format!(
            "it answered {said}, which is none of {{\"complete\": RESULT}}, {{\"fail\": {{\"kind\": .., \"message\": ..}}}}, \
             \"runOnceMore\", {{\"suspend\": REASON}}"
        )
    };
    let output = output.ok_or_else(garbage)?;
    if let Ok(word) = serde_json::from_slice::<String>(output) {
        return if is_run_once_more(&word) { Ok(Answer::RunOnceMore) } else { Err(garbage()) };
    }
    let said: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(output).map_err(|_| garbage())?;
    let mut said = said.into_iter();
    match (said.next(), said.next()) {
        (Some((word, value)), None) => answer(&word, &value).ok_or_else(garbage),
        _ => Err(garbage()),
    }
}

/// What somebody says who resolves a task in doubt by JSON.
#[derive(Debug)]
pub struct Resolution {
    /// Which task, if it is said.
    pub task: Option<u32>,
    /// Who says so, and why.
    pub by: String,
    /// What follows.
    pub answer: Answer,
}

/// Reads what somebody says of a task in doubt: the answer of a handler, perhaps with `task` and `by` beside it. The error
/// is what is wrong with it.
pub fn read_resolution(json: Option<&Bytes>) -> Result<Resolution, String> {
    let fields = json.and_then(|json| serde_json::from_slice::<BTreeMap<String, Box<RawValue>>>(json).ok());
    let Some(mut fields) = fields else {
        let answer = answer_of(json)?;
        return Ok(Resolution { task: None, by: String::new(), answer });
    };
    let task = fields.remove("task").map(|task| serde_json::from_str(task.get()));
    let task = task.transpose().map_err(|_| "\"task\" is not the number of a task".to_owned())?;
    let by = fields.remove("by").map(|by| serde_json::from_str(by.get()));
    let by = by.transpose().map_err(|_| "\"by\" is not a text".to_owned())?.unwrap_or_default();
    let verdict = serde_json::to_vec(&fields).map_err(|error| error.to_string())?;
    Ok(Resolution { task, by, answer: answer_of(Some(&verdict.into()))? })
}

fn answer(word: &str, value: &RawValue) -> Option<Answer> {
    match word {
        // What JSON writes as null is no payload at all.
        "complete" if value.get() == "null" => Some(Answer::Complete(None)),
        "complete" => Some(Answer::Complete(Some(Bytes::copy_from_slice(value.get().as_bytes())))),
        "fail" => failure(value).map(Answer::Fail),
        "suspend" => serde_json::from_str(value.get()).ok().map(Answer::Suspend),
        word if is_run_once_more(word) => (value.get() == "true").then_some(Answer::RunOnceMore),
        _ => None,
    }
}

fn is_run_once_more(word: &str) -> bool {
    word == "runOnceMore" || word == "run_once_more"
}

fn failure(value: &RawValue) -> Option<Failure> {
    match serde_json::from_str(value.get()).ok()? {
        Value::String(message) => Some(Failure::new(UNNAMED, message)),
        Value::Object(said) => {
            let text = |key: &str| said.get(key).and_then(Value::as_str);
            Some(Failure::new(text("kind").unwrap_or(UNNAMED), text("message")?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &'static str) -> Result<Answer, String> {
        answer_of(Some(&Bytes::from(text)))
    }

    #[test]
    fn each_answer_is_understood_and_a_result_keeps_its_bytes() {
        let result = |text: &'static str| Ok(Answer::Complete(Some(text.into())));
        let number = "123456789012345678901234567890";
        assert_eq!(said(r#"{"complete": 123456789012345678901234567890}"#), result(number));
        assert_eq!(said(r#"{"complete": null}"#), Ok(Answer::Complete(None)));
        let failed = Failure::new("Refused", "by the bank");
        let fail = r#"{"fail": {"kind": "Refused", "message": "by the bank"}}"#;
        assert_eq!(said(fail), Ok(Answer::Fail(failed)));
        assert_eq!(said(r#"{"fail": "no"}"#), Ok(Answer::Fail(Failure::new(UNNAMED, "no"))));
        for text in [r#""runOnceMore""#, r#""run_once_more""#, r#"{"runOnceMore": true}"#] {
            assert_eq!(said(text), Ok(Answer::RunOnceMore));
        }
        assert_eq!(said(r#"{"suspend": "look"}"#), Ok(Answer::Suspend("look".into())));
    }

    #[test]
    fn a_resolution_may_name_the_task_and_who_says_so() {
        let read = |text: &'static str| read_resolution(Some(&Bytes::from(text)));
        let named = read(r#"{"task": 3, "by": "ada", "complete": {"b": 1, "a": 2}}"#).unwrap();
        assert_eq!((named.task, named.by.as_str()), (Some(3), "ada"));
        assert_eq!(named.answer, Answer::Complete(Some(r#"{"b": 1, "a": 2}"#.into())));
        let short = read(r#""runOnceMore""#).unwrap();
        assert_eq!((short.task, short.answer), (None, Answer::RunOnceMore));
        for garbage in
            ["", "{}", r#"{"task": 3}"#, r#"{"task": "x", "fail": "y"}"#, r#"{"by": 1, "fail": "y"}"#]
        {
            assert!(read(garbage).is_err(), "{garbage}");
        }
    }

    #[test]
    fn garbage_is_no_answer() {
        assert!(answer_of(None).is_err());
        for text in [
            "",
            "null",
            "17",
            "{}",
            r#""yes""#,
            r#"{"runOnceMore": false}"#,
            r#"{"complete": 1, "suspend": "x"}"#,
            r#"{"fail": 3}"#,
            r#"{"fail": {}}"#,
            r#"{"complete": }"#,
        ] {
            assert!(said(text).is_err(), "{text}");
        }
    }
}
