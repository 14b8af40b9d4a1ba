//! Why a client did not get what it asked for.

use perdura::{Error, Failure, Status};
use tonic::Code;

/// Why a client did not get what it asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RemoteError {
    /// The server refused it, or cannot be reached. After [`Code::Unavailable`] and [`Code::Unknown`] it may have taken
    /// effect all the same.
    #[error("{code:?}: {message}")]
    Server {
        /// Which sort of refusal.
        code: Code,
        /// In words.
        message: String,
    },
    /// There is no such instance.
    #[error("there is no instance {id:?}")]
    NotFound {
        /// Its id.
        id: String,
    },
    /// The instance has ended, but not well.
    #[error("instance {id:?} is {status}: {failure}")]
    NotCompleted {
        /// Which.
        id: String,
        /// How it ended.
        status: Status,
        /// Why.
        failure: Box<Failure>,
    },
    /// A value could not be written as a payload, or read from one.
    #[error("{0}")]
    Payload(String),
}

impl RemoteError {
    pub(crate) fn payload(error: &Error) -> RemoteError {
        RemoteError::Payload(error.to_string())
    }
}

impl From<tonic::Status> for RemoteError {
    fn from(status: tonic::Status) -> Self {
        RemoteError::Server { code: status.code(), message: status.message().to_owned() }
    }
}
