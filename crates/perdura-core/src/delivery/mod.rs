//! How often an activity may run, and what is done when nobody knows whether it did.
//!
//! By default an activity runs at least once, and its delivery count is durable together with what scheduled it. One that
//! is *precise* is given to a worker only after a commit of its own has raised the count. One that is *at most once* is
//! precise, too, and is not run again while nobody knows what became of an earlier attempt: then its policy decides.

mod question;
mod record;

pub use question::{Answer, Question};
pub use record::{AttemptRecord, OnceRecord, REMEMBERED_BYTES_MAX, Stage};

use crate::id::{ExecutionId, InvalidText, Tags, check_name};
use std::fmt;

/// The tag by which any SDK asks for an activity to run at most once. Its value is `fail`, `suspend` or `handler:NAME`.
pub const AT_MOST_ONCE_TAG: &str = "perdura.at-most-once";
/// The tag by which any SDK asks for a precise delivery count. Its value is `true`.
pub const PRECISE_TAG: &str = "perdura.precise";
/// The tag by which any SDK gives a call an idempotency key within its instance.
pub const KEY_TAG: &str = "perdura.key";
/// The event by which any SDK says what follows for an activity of which nobody knows whether it ran. It is never one that
/// code can wait for.
pub const RESOLVE_EVENT: &str = "perdura.resolve";
/// What the ids of instances begin with that stand for an idempotency key of the hub. Only calls under such a key start them.
pub const HUB_KEY_PREFIX: &str = "perdura.key/";
/// The orchestration that such an instance runs.
pub const HUB_KEY_ORCHESTRATION: &str = "perdura.keyed";
/// Bytes that such an instance may keep beside the result of its activity, which may be as large as any payload.
const HUB_KEY_FRAME: usize = 64;

/// Whether an instance stands for an idempotency key of the hub. It belongs to none of those who called.
#[must_use]
pub fn is_hub_key(instance: &str) -> bool {
    instance.starts_with(HUB_KEY_PREFIX)
}

/// Refuses an id that stands for an idempotency key of the hub.
pub fn check_no_hub_key(instance: &str) -> Result<(), InvalidText> {
    match is_hub_key(instance) {
        true => Err(InvalidText::Reserved { field: "instance id", prefix: HUB_KEY_PREFIX }),
        false => Ok(()),
    }
}

/// Bytes that the output of this instance may have, where a payload may have `limit`.
pub(crate) fn output_bytes_max(instance: &str, limit: usize) -> usize {
    limit.saturating_add(if is_hub_key(instance) { HUB_KEY_FRAME } else { 0 })
}

/// What is done about an activity of which nobody knows whether it ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnUnknown {
    /// It fails with [`UNKNOWN_OUTCOME`](crate::failure::kind::UNKNOWN_OUTCOME), which the orchestration can catch.
    #[default]
    Fail,
    /// Its instance is suspended, until somebody resolves it.
    Suspend,
    /// Another activity, of this name, finds out what became of it.
    Handler(String),
}

/// How often an activity may run.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delivery {
    /// Until one attempt has brought a result.
    #[default]
    AtLeastOnce,
    /// The same, with a count that is committed at the hand-over: the first proves that no other was before it.
    Precise,
    /// Not again while the outcome of an attempt is unknown.
    AtMostOnce(OnUnknown),
}

/// A text that names no way of delivery.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDelivery {
    /// It is none of the known words.
    #[error("{text:?} is no policy for unknown outcomes: use fail, suspend or handler:NAME")]
    Policy {
        /// What was said.
        text: String,
    },
    /// The handler has no name that an activity can have.
    #[error("the handler of unknown outcomes: {0}")]
    Handler(InvalidText),
    /// The activity is to be asked whether it ran itself: it would run again.
    #[error(
        "activity {activity:?} cannot be its own handler of unknown outcomes: name another one, which only looks"
    )]
    OwnHandler {
        /// Which.
        activity: String,
    },
    /// It is neither true nor false.
    #[error("tag {PRECISE_TAG:?}: {text:?} is neither true nor false")]
    Precise {
        /// What was said.
        text: String,
    },
    /// The history says something that this version does not know.
    #[error("{text:?} is no way of delivery")]
    Recorded {
        /// What was said.
        text: String,
    },
}

/// What outside systems can know a step by: the same for all attempts and deliveries of one task, and for no other task.
/// `origin` is the branch of the history on which it was scheduled.
#[must_use]
pub fn idempotency_key(execution: ExecutionId, task: u32, origin: u32) -> String {
    match origin {
        0 => format!("{execution}-{task}"),
        branch => format!("{execution}-{task}-{branch}"),
    }
}

impl OnUnknown {
    /// The policy of a text: `fail`, `suspend` or `handler:NAME`.
    pub fn parse(text: &str) -> Result<OnUnknown, InvalidDelivery> {
        let policy = match text.split_once(':') {
            None if text == "fail" => OnUnknown::Fail,
            None if text == "suspend" => OnUnknown::Suspend,
            Some(("handler", name)) => OnUnknown::Handler(name.to_owned()),
            _ => return Err(InvalidDelivery::Policy { text: text.to_owned() }),
        };
        policy.check().map(|()| policy)
    }

    /// Whether a handler has a good name.
    pub fn check(&self) -> Result<(), InvalidDelivery> {
        match self {
            OnUnknown::Handler(name) => check_name("activity name", name).map_err(InvalidDelivery::Handler),
            OnUnknown::Fail | OnUnknown::Suspend => Ok(()),
        }
    }
}

impl fmt::Display for OnUnknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OnUnknown::Fail => f.write_str("fail"),
            OnUnknown::Suspend => f.write_str("suspend"),
            OnUnknown::Handler(name) => write!(f, "handler:{name}"),
        }
    }
}

impl Delivery {
    /// The form that history keeps: empty if nothing was said.
    #[must_use]
    pub fn recorded(&self) -> String {
        match self {
            Delivery::AtLeastOnce => "at-least-once".to_owned(),
            Delivery::Precise => "precise".to_owned(),
            Delivery::AtMostOnce(policy) => policy.to_string(),
        }
    }

    /// The way of delivery that history keeps.
    pub fn of_recorded(text: &str) -> Result<Delivery, InvalidDelivery> {
        match text {
            "" | "at-least-once" => Ok(Delivery::AtLeastOnce),
            "precise" => Ok(Delivery::Precise),
            policy => OnUnknown::parse(policy)
                .map(Delivery::AtMostOnce)
                .map_err(|_| InvalidDelivery::Recorded { text: text.to_owned() }),
        }
    }

    /// What the tags of a call ask for; `None` if nothing.
    pub fn of_tags(tags: &Tags) -> Result<Option<Delivery>, InvalidDelivery> {
        if let Some(policy) = tags.get(AT_MOST_ONCE_TAG) {
            return OnUnknown::parse(policy).map(|policy| Some(Delivery::AtMostOnce(policy)));
        }
        match tags.get(PRECISE_TAG).map(String::as_str) {
            None | Some("false") => Ok(None),
            Some("true") => Ok(Some(Delivery::Precise)),
            Some(text) => Err(InvalidDelivery::Precise { text: text.to_owned() }),
        }
    }

    /// Whether an activity can be delivered so.
    pub fn check_for(&self, activity: &str) -> Result<(), InvalidDelivery> {
        match self {
            Delivery::AtMostOnce(OnUnknown::Handler(handler)) if handler == activity => {
                Err(InvalidDelivery::OwnHandler { activity: activity.to_owned() })
            }
            Delivery::AtMostOnce(policy) => policy.check(),
            Delivery::AtLeastOnce | Delivery::Precise => Ok(()),
        }
    }

    /// Whether the count is raised at the hand-over to a worker.
    #[must_use]
    pub fn has_barrier(&self) -> bool {
        *self != Delivery::AtLeastOnce
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Delivery::AtLeastOnce => f.write_str("at least once"),
            Delivery::Precise => f.write_str("at least once, counted precisely"),
            Delivery::AtMostOnce(policy) => write!(f, "at most once ({policy} on an unknown outcome)"),
        }
    }
}

/// What an outside system can tell a later delivery of a step from an older one by: thirty digits, which rise as text with
/// the epoch of the grant under which it was handed out, and then with its delivery count.
#[must_use]
pub fn delivery_token(epoch: u64, delivery: u32) -> String {
    format!("{epoch:020}{delivery:010}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_read_again() {
        let handler = OnUnknown::Handler("check.payment".into());
        for policy in [OnUnknown::Fail, OnUnknown::Suspend, handler] {
            assert_eq!(OnUnknown::parse(&policy.to_string()), Ok(policy.clone()));
            let delivery = Delivery::AtMostOnce(policy);
            assert_eq!(Delivery::of_recorded(&delivery.recorded()), Ok(delivery));
        }
        for delivery in [Delivery::AtLeastOnce, Delivery::Precise] {
            assert_eq!(Delivery::of_recorded(&delivery.recorded()), Ok(delivery));
        }
        assert_eq!(Delivery::of_recorded(""), Ok(Delivery::AtLeastOnce));
    }

    #[test]
    fn a_policy_that_nobody_knows_is_an_error() {
        for text in
            ["", "Fail", "retry", "handler", "handler:", "suspend:x", &format!("handler:{}", "x".repeat(999))]
        {
            assert!(OnUnknown::parse(text).is_err(), "{text:?}");
        }
        let tag = |key: &str, value: &str| Delivery::of_tags(&Tags::from([(key.into(), value.into())]));
        assert!(tag(AT_MOST_ONCE_TAG, "yes").is_err() && tag(PRECISE_TAG, "yes").is_err());
        assert_eq!(tag(PRECISE_TAG, "true"), Ok(Some(Delivery::Precise)));
        assert_eq!(tag("other", "x"), Ok(None));
    }
}
