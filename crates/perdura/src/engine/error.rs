//! Why a client did not get what it asked for.

use crate::error::Error;
use perdura_core::{Failure, InstanceId, InvalidText, Status};
use perdura_engine::EngineError;

/// Why a client did not get what it asked for. A [`std::error::Error`], so `?` turns it into the error of any caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The engine could not do it, or refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The instance has ended, but not well.
    #[error("instance {id:?} is {status}: {failure}")]
    NotCompleted {
        /// Which.
        id: InstanceId,
        /// How it ended.
        status: Status,
        /// Why.
        failure: Box<Failure>,
    },
    /// An orchestration of this program was to be started on an engine that does not have it. Nothing was started.
    #[error(
        "{0}; give it to the engine's builder by .register(..), or start it by an OrchestrationName if another engine runs it"
    )]
    NotRegistered(String),
    /// A value could not be written as a payload, or read from one.
    #[error("{0}")]
    Payload(String),
}

impl ClientError {
    /// The failure of the orchestration, if that is what it tells of.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            ClientError::NotCompleted { failure, .. } => Some(failure),
            _ => None,
        }
    }

    pub(crate) fn payload(error: &Error) -> ClientError {
        ClientError::Payload(error.to_string())
    }
}

impl From<InvalidText> for ClientError {
    fn from(invalid: InvalidText) -> Self {
        ClientError::Engine(invalid.into())
    }
}
