//! Ready-made handlers of unknown outcomes: they look where the effect would be, and answer what they find.
//!
//! Give one to [`Registry::register_activity`](crate::Registry::register_activity) under the name that the policy has:
//!
//! ```
//! use perdura::delivery::{UnknownOutcome, Verdict, handlers};
//! use perdura::prelude::*;
//! use perdura::ActivityName;
//!
//! static FIND_EXPORT: ActivityName<UnknownOutcome, Verdict> = ActivityName::new("find_export");
//! static FIND_CHARGE: ActivityName<UnknownOutcome, Verdict> = ActivityName::new("find_charge");
//!
//! # struct Ledger;
//! # impl Ledger {
//! #     async fn charge_by_key(&self, _: &str) -> std::io::Result<Option<String>> { Ok(None) }
//! # }
//! # static LEDGER: Ledger = Ledger;
//! let registry = Registry::new()
//!     .register_activity(&FIND_EXPORT, handlers::file(|asked| format!("exports/{}", asked.idempotency_key).into()))
//!     // A query of your database, a GET by the key: what they find is the result.
//!     .register_activity(&FIND_CHARGE, handlers::lookup(|asked| async move {
//!         Ok(LEDGER.charge_by_key(&asked.idempotency_key).await?)
//!     }));
//! # let _ = registry;
//! ```
//!
//! With the feature `http-handler` there is one more, `http_get`: a GET by the key that this crate makes for you.

use super::{UnknownOutcome, Verdict};
use crate::activity::ActivityContext;
use crate::error::{Error, Result};
use serde::Serialize;
use serde_json::Value;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

#[cfg(feature = "http-handler")]
pub use super::http::{Get, NotFound, http_get};

pub(super) type Answer = Pin<Box<dyn Future<Output = Result<Verdict>> + Send>>;

/// Looks the effect up: what is found is the result of the activity, nothing means that it may run once more, and an error
/// suspends the instance.
pub fn lookup<T, F, R>(find: F) -> impl Fn(ActivityContext, UnknownOutcome) -> Answer + Send + Sync + 'static
where
    T: Serialize,
    F: Fn(UnknownOutcome) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Option<T>>> + Send + 'static,
{
    move |_, asked| {
        let finding = find(asked);
        Box::pin(async move {
            match finding.await? {
                Some(found) => Verdict::complete(&found),
                None => Ok(Verdict::RunOnceMore),
            }
        })
    }
}

/// Looks whether a file is there, which the activity makes as its last step, by a rename. Its content is the result, if it is
/// JSON; otherwise the result is nothing. Without the file the activity may run once more.
pub fn file<F>(path: F) -> impl Fn(ActivityContext, UnknownOutcome) -> Answer + Send + Sync + 'static
where
    F: Fn(&UnknownOutcome) -> PathBuf + Send + Sync + 'static,
{
    move |_, asked| {
        let path = path(&asked);
        Box::pin(async move {
            let read =
                tokio::task::spawn_blocking(move || std::fs::read(&path).map_err(|error| (path, error)));
            match read.await? {
                Ok(content) => Ok(Verdict::Complete(serde_json::from_slice(&content).unwrap_or(Value::Null))),
                Err((_, error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(Verdict::RunOnceMore),
                Err((path, error)) => {
                    Err(Error::new("FileUnreadable", format!("{}: {error}", path.display())))
                }
            }
        })
    }
}
