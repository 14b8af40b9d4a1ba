//! A ready-made handler that asks the service itself.

use super::handlers::Answer;
use super::{UnknownOutcome, Verdict};
use crate::activity::ActivityContext;
use crate::error::{Error, Result};
use serde_json::Value;
use std::time::Duration;

/// How long the service may take to answer.
const TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes of an answer that are read.
const BYTES_MAX: u64 = 1 << 20;

/// Where to look for the effect of an activity.
#[derive(Clone, Debug)]
pub struct Get {
    url: String,
    headers: Vec<(String, String)>,
}

impl Get {
    /// A URL, which names the effect: by the [idempotency key](UnknownOutcome::idempotency_key), as a rule.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Get {
        Get { url: url.into(), headers: Vec::new() }
    }

    /// Adds a header: a credential.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Get {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// What follows when the service answers that there is no such thing (404).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// The activity may run once more: the service would know of what it had done.
    RunOnceMore,
    /// Somebody has to look: the service may learn of it later.
    Suspend,
}

/// Asks a service by HTTP: with 200 the body is the result of the activity (JSON, or otherwise a text; nothing if it is
/// empty), with 404 it is as `not_found` says. Anything else, a redirection too, suspends the instance, with the answer as
/// the reason; so does an answer that takes longer than 30 s or is larger than 1 MiB.
pub fn http_get<F>(
    get: F,
    not_found: NotFound,
) -> impl Fn(ActivityContext, UnknownOutcome) -> Answer + Send + Sync + 'static
where
    F: Fn(&UnknownOutcome) -> Get + Send + Sync + 'static,
{
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIME_MAX))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .build()
        .into();
    move |_, asked| {
        let (agent, get) = (agent.clone(), get(&asked));
        Box::pin(async move { tokio::task::spawn_blocking(move || ask(&agent, &get, not_found)).await? })
    }
}

fn ask(agent: &ureq::Agent, get: &Get, not_found: NotFound) -> Result<Verdict> {
    let failed = |error: ureq::Error| Error::new("HttpGetFailed", format!("GET {}: {error}", get.url));
    let request =
        get.headers.iter().fold(agent.get(&get.url), |request, (name, value)| request.header(name, value));
    let mut response = request.call().map_err(failed)?;
    match response.status().as_u16() {
        200 => {
            let body = response.body_mut().with_config().limit(BYTES_MAX).read_to_vec().map_err(failed)?;
            Ok(Verdict::Complete(match serde_json::from_slice(&body) {
                Ok(json) => json,
                Err(_) if body.is_empty() => Value::Null,
                Err(_) => String::from_utf8_lossy(&body).into_owned().into(),
            }))
        }
        404 if not_found == NotFound::RunOnceMore => Ok(Verdict::RunOnceMore),
        _ => Ok(Verdict::Suspend(format!("GET {} answers {}", get.url, response.status()))),
    }
}
