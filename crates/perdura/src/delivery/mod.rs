//! How often an activity may run, what follows when nobody knows whether it did, and how the outside can tell.
//!
//! By default an activity runs *at least once*: after a crash it runs again. One that must not is declared
//! `#[activity(at_most_once)]`, or called with [`Call::at_most_once`](crate::Call::at_most_once). When nobody knows whether
//! it ran, [`OnUnknown`] says what follows.
//!
//! ```
//! use perdura::delivery::{OnUnknown, UnknownOutcome, Verdict};
//! use perdura::prelude::*;
//!
//! #[activity(at_most_once = "handler:find_payment")]
//! async fn pay(cents: u64) -> Result<String> {
//!     Ok(format!("receipt for {cents}"))
//! }
//!
//! /// Asked instead of running `pay` again: looks where the truth is.
//! #[activity]
//! async fn find_payment(asked: UnknownOutcome) -> Result<Verdict> {
//!     let receipts = [("a-key", "receipt for 7")];
//!     match receipts.iter().find(|(key, _)| *key == asked.idempotency_key) {
//!         Some((_, receipt)) => Verdict::complete(receipt),
//!         None => Ok(Verdict::RunOnceMore),
//!     }
//! }
//!
//! #[orchestration]
//! async fn order(ctx: Orchestration, cents: u64) -> Result<String> {
//!     ctx.call(pay, cents).await
//! }
//! ```

pub mod handlers;
#[cfg(feature = "http-handler")]
mod http;

pub use perdura_core::delivery::{AT_MOST_ONCE_TAG, Delivery, InvalidDelivery, OnUnknown, PRECISE_TAG};

use crate::error::{Error, Result};
use crate::payload::ToPayload;
use perdura_core::Failure;
use perdura_core::delivery::{Answer, delivery_token};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// What a handler is asked: an activity that runs at most once was handed to a worker, and nobody knows what came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnknownOutcome {
    /// The instance that waits for it.
    pub instance: String,
    /// Its run.
    pub execution: String,
    /// The task's number in that run.
    pub task: u32,
    /// The activity.
    pub activity: String,
    /// What it was given.
    pub input: Value,
    /// What it told outside systems, if it used [`ActivityContext::idempotency_key`](crate::ActivityContext::idempotency_key).
    pub idempotency_key: String,
    /// Which attempt of the retry policy.
    pub attempt: u32,
    /// When and to whom it was handed over, the last sixteen times; the last one is in doubt.
    pub attempts: Vec<EarlierAttempt>,
    /// Why nobody knows.
    pub why: String,
    /// Since when, as RFC 3339 writes it.
    pub since: String,
}

impl UnknownOutcome {
    /// What the activity was given, as the type that it takes.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.input.clone())
            .map_err(|error| Error::payload(format!("input of activity {:?}: {error}", self.activity)))
    }
}

/// One hand-over of an activity to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EarlierAttempt {
    /// Its delivery count.
    pub delivery: u32,
    /// When, as RFC 3339 writes it.
    pub at: String,
    /// Who had it.
    pub worker: String,
    /// How it ended, as far as it is known.
    pub end: String,
    /// When it last said something new of its progress.
    #[serde(default)]
    pub last_heartbeat_at: Option<String>,
    /// What it said.
    #[serde(default)]
    pub last_heartbeat: Value,
    /// What it returned too late to count.
    #[serde(default)]
    pub late_result: Value,
}

/// What follows for an activity whose outcome is unknown: the answer of a handler, and what
/// [`Instance::resolve`](crate::Instance::resolve) takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It ran, and returned this; see [`complete`](Self::complete).
    Complete(Value),
    /// It failed, for good.
    Fail {
        /// For programs: an error's [kind](crate::Error::kind).
        kind: String,
        /// For people.
        message: String,
    },
    /// It may run one more time.
    RunOnceMore,
    /// Nobody can tell: a person has to look. The text says why.
    Suspend(String),
}

impl Verdict {
    /// It ran, and returned this.
    pub fn complete(result: &(impl Serialize + ?Sized)) -> Result<Verdict> {
        serde_json::to_value(result)
            .map(Verdict::Complete)
            .map_err(|error| Error::payload(format!("result of an activity: {error}")))
    }

    pub(crate) fn into_answer(self) -> Result<Answer> {
        Ok(match self {
            Verdict::Complete(result) => Answer::Complete(result.to_payload()?),
            Verdict::Fail { kind, message } => Answer::Fail(Failure::new(kind, message)),
            Verdict::RunOnceMore => Answer::RunOnceMore,
            Verdict::Suspend(why) => Answer::Suspend(why),
        })
    }
}

/// Names one delivery of an activity, so that an outside system can refuse what an older one writes late.
///
/// Tokens of one [step](Self::step) rise from delivery to delivery, as text. Whoever keeps the highest one that it has
/// seen, and refuses lower ones in the same transaction, is safe from a worker that was taken for dead and is not.
/// For PostgreSQL and SQLite the statements are here:
///
/// ```
/// use perdura::delivery::DeliveryToken;
/// # fn execute(_: &str, _: &[&str]) -> u64 { 1 }
/// # fn write(token: DeliveryToken) -> Result<(), &'static str> {
/// execute(DeliveryToken::TABLE, &[]);
/// // In the transaction of the write:
/// let rows = execute(DeliveryToken::CHECK, &[token.step(), &token.to_string()]);
/// if rows == 0 {
///     return Err("a later delivery was here: roll back");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryToken {
    step: String,
    epoch: u64,
    delivery: u32,
}

impl DeliveryToken {
    /// The statement that makes the table of [`CHECK`](Self::CHECK), if it is not there.
    pub const TABLE: &str = include_str!("../../sql/fence_table.sql");
    /// The statement that notes a token, with the step and the token as parameters. It changes one row if the delivery may
    /// write, and none if a later one was there.
    pub const CHECK: &str = include_str!("../../sql/fence_check.sql");

    pub(crate) fn new(step: String, epoch: u64, delivery: u32) -> DeliveryToken {
        DeliveryToken { step, epoch, delivery }
    }

    /// The step that all its deliveries have in common: its idempotency key.
    #[must_use]
    pub fn step(&self) -> &str {
        &self.step
    }

    /// The delivery count.
    #[must_use]
    pub fn delivery(&self) -> u32 {
        self.delivery
    }
}

impl fmt::Display for DeliveryToken {
    /// Thirty digits, which rise as text as the tokens do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&delivery_token(self.epoch, self.delivery))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_rise_as_text() {
        let token = |epoch, delivery| DeliveryToken::new("s".into(), epoch, delivery).to_string();
        assert!(token(9, 1) < token(9, 2) && token(9, 10) > token(9, 9) && token(9, 99) < token(10, 1));
        assert_eq!(token(u64::MAX, u32::MAX).len(), token(0, 0).len());
    }

    #[test]
    fn verdicts_are_written_as_handlers_in_any_language_write_them() {
        let written = |verdict: Verdict| serde_json::to_string(&verdict).unwrap();
        assert_eq!(written(Verdict::complete(&7).unwrap()), r#"{"complete":7}"#);
        assert_eq!(written(Verdict::RunOnceMore), r#""runOnceMore""#);
        assert_eq!(written(Verdict::Suspend("look".into())), r#"{"suspend":"look"}"#);
        let fail = Verdict::Fail { kind: "K".into(), message: "m".into() };
        assert_eq!(written(fail), r#"{"fail":{"kind":"K","message":"m"}}"#);
    }
}
