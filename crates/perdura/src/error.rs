//! The error of user code: anything becomes one by `?`, and history keeps it as a [`Failure`].

use bytes::Bytes;
use perdura_core::Failure;
use perdura_core::failure::kind;
use std::fmt;

/// The result of activities and orchestrations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an activity or an orchestration failed.
///
/// Every [`std::error::Error`] becomes one by `?`: its type's full name is the [`kind`](Error::kind), its text the
/// message, its sources the causes. A failed attempt is tried again as the call's [`Retry`](crate::Retry) says, unless
/// the error is [permanent](Error::permanent).
///
/// Like `anyhow::Error`, this type is not itself a `std::error::Error`; otherwise `?` could not convert every error.
///
/// ```
/// use perdura::{Error, Result};
///
/// fn parse(text: &str) -> Result<u32> {
///     Ok(text.parse()?)
/// }
///
/// let error = parse("many").unwrap_err();
/// assert_eq!(error.kind(), "core::num::error::ParseIntError");
/// assert_eq!(error.to_string(), "invalid digit found in string");
/// ```
pub struct Error(Box<Repr>);

enum Repr {
    Failure(Failure),
    /// Not an error: how `return ctx.continue_as_new(..)` gets through the function's return type.
    ContinueAsNew(Next),
}

/// What the next generation begins with.
pub(crate) struct Next {
    pub input: Option<Bytes>,
    pub version: Option<String>,
}

impl Error {
    /// An error of a kind of your own. Kinds are for programs (retry policies, `match`), messages for people.
    #[must_use]
    pub fn new(kind: impl Into<String>, message: impl fmt::Display) -> Error {
        Error::from_failure(Failure::new(kind, message.to_string()))
    }

    /// The same error, but no retry policy tries again.
    ///
    /// ```
    /// use perdura::Error;
    /// assert!(Error::permanent(Error::new("CardExpired", "the card expired in May")).failure().non_retryable);
    /// assert!(Error::permanent(std::io::Error::other("disk is gone")).failure().non_retryable);
    /// ```
    #[must_use]
    pub fn permanent(error: impl Into<Error>) -> Error {
        let mut error = error.into();
        if let Repr::Failure(failure) = &mut *error.0 {
            failure.non_retryable = true;
        }
        error
    }

    /// The error that history kept as `failure`.
    #[must_use]
    pub fn from_failure(failure: Failure) -> Error {
        Error(Box::new(Repr::Failure(failure)))
    }

    pub(crate) fn continue_as_new(next: Next) -> Error {
        Error(Box::new(Repr::ContinueAsNew(next)))
    }

    pub(crate) fn payload(message: impl Into<String>) -> Error {
        Error::from_failure(Failure::new(kind::PAYLOAD, message).non_retryable())
    }

    pub(crate) fn invalid(error: impl fmt::Display) -> Error {
        Error::from_failure(Failure::new(kind::INVALID, error.to_string()).non_retryable())
    }

    /// What history keeps of it.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        static CONTINUED: std::sync::LazyLock<Failure> = std::sync::LazyLock::new(|| {
            Failure::new("perdura.ContinueAsNew", "not an error: return it from the orchestration")
                .non_retryable()
        });
        match &*self.0 {
            Repr::Failure(failure) => failure,
            Repr::ContinueAsNew(_) => &CONTINUED,
        }
    }

    /// The kind: what was given to [`Error::new`], the full name of an error's type, or one of
    /// [`failure::kind`](crate::failure::kind) if the engine made it.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.failure().kind
    }

    /// Whether the instance, or the task, was cancelled.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.kind() == kind::CANCELED
    }

    /// Whether a time limit was passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.kind() == kind::TIMEOUT
    }

    /// Whether an activity that runs at most once was handed to a worker, and nobody knows whether it ran.
    #[must_use]
    pub fn is_unknown_outcome(&self) -> bool {
        self.kind() == kind::UNKNOWN_OUTCOME
    }

    /// The failure, or what the next generation begins with.
    pub(crate) fn into_end(self) -> Result<Next, Failure> {
        match *self.0 {
            Repr::Failure(failure) => Err(failure),
            Repr::ContinueAsNew(next) => Ok(next),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match *error.0 {
            Repr::Failure(failure) => failure,
            Repr::ContinueAsNew(_) => error.failure().clone(),
        }
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Error {
        let mut failure = Failure::new(std::any::type_name::<E>(), error.to_string());
        let mut messages = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            messages.push(cause.to_string());
            source = cause.source();
        }
        for message in messages.into_iter().rev() {
            let cause = failure.cause.take();
            failure.cause = Some(Box::new(Failure { cause, ..Failure::new("source", message) }));
        }
        Error::from_failure(failure)
    }
}

impl fmt::Display for Error {
    /// The message; with `{:#}` its causes too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failure = self.failure();
        f.write_str(&failure.message)?;
        let mut cause = &failure.cause;
        while let (true, Some(inner)) = (f.alternate(), cause) {
            write!(f, ": {}", inner.message)?;
            cause = &inner.cause;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    /// Kind, message and causes: what `main` prints when it returns an error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.failure(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("cannot charge")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn an_error_keeps_its_type_its_text_and_its_causes() {
        let error = Error::from(Outer(std::io::Error::other("no route")));
        assert!(error.kind().ends_with("tests::Outer"));
        assert_eq!(error.to_string(), "cannot charge");
        assert_eq!(format!("{error:#}"), "cannot charge: no route");
        assert!(format!("{error:?}").ends_with("Outer: cannot charge; caused by source: no route"));
    }
}
