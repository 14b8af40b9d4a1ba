//! What a caller can be told instead of an answer.

use perdura_core::InvalidText;
use perdura_core::history::Damaged;
use perdura_core::partition::RequestError;
use perdura_store::StoreError;

/// Why a call to the engine did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The request was refused; nothing was written.
    #[error(transparent)]
    Refused(#[from] RequestError),
    /// Nobody knows whether the request took effect. Look, or ask again with the same request id.
    #[error(
        "it is not known whether the request took effect ({why}); look at the instance before asking again"
    )]
    OutcomeUnknown {
        /// What happened.
        why: String,
    },
    /// The store cannot be written at present; nothing was written. The engine goes on by itself when it can.
    #[error("the engine cannot work at present: {why}")]
    Unavailable {
        /// Why.
        why: String,
    },
    /// This is not what a page of a list gave to go on with.
    #[error("{page:?} is not a page of this list; begin the list anew")]
    InvalidPage {
        /// What was given, at most 80 characters of it.
        page: String,
    },
    /// Something is to be done to many instances, and nothing says to which.
    #[error("the filter matches every instance; name a condition, or say that all are meant")]
    NoCondition,
    /// The engine is being shut down.
    #[error("the engine is shutting down")]
    ShuttingDown,
    /// The store could not be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was read cannot be trusted.
    #[error("instance {id:?} is damaged: {what}; restore the hub from a backup")]
    Damaged {
        /// Which instance.
        id: String,
        /// What is wrong.
        what: Damaged,
    },
    /// The machine refused something that the engine needs: a thread, random numbers.
    #[error("{0}")]
    System(String),
}

impl From<InvalidText> for EngineError {
    fn from(invalid: InvalidText) -> Self {
        EngineError::Refused(invalid.into())
    }
}
