//! Errors of the engine as status codes that the SDKs understand.

use perdura_core::partition::RequestError;
use perdura_engine::EngineError;
use tonic::Status;

/// Makes a status of an error.
pub(super) trait Refusal {
    /// The status for an error of the engine.
    fn refusal(error: &EngineError) -> Status;
}

impl Refusal for Status {
    fn refusal(error: &EngineError) -> Status {
        let text = error.to_string();
        match error {
            EngineError::Refused(refused) => match refused {
                RequestError::NotFound { .. } => Status::not_found(text),
                // The Go SDK's tests look for these words.
                RequestError::AlreadyExists { .. } => {
                    Status::already_exists(format!("orchestration instance already exists: {text}"))
                }
                RequestError::RequestIdReused { .. } | RequestError::EventIdReused { .. } => {
                    Status::already_exists(text)
                }
                RequestError::Invalid(_)
                | RequestError::TooFarAhead { .. }
                | RequestError::NoResolution { .. } => Status::invalid_argument(text),
                RequestError::Ended { .. }
                | RequestError::NotEnded { .. }
                | RequestError::Replaced { .. }
                | RequestError::InDoubt { .. }
                | RequestError::NotInDoubt { .. }
                | RequestError::SeveralInDoubt { .. } => Status::failed_precondition(text),
                RequestError::EntityLocked { .. } | RequestError::EntityBusy { .. } => {
                    Status::failed_precondition(text)
                }
                RequestError::TooLarge { .. }
                | RequestError::InboxFull { .. }
                | RequestError::InboxTooLarge { .. }
                | RequestError::HistoryFull { .. } => Status::resource_exhausted(text),
                RequestError::Rewind { .. } => Status::failed_precondition(text),
                RequestError::Damaged { .. } | RequestError::SetAside { .. } => Status::data_loss(text),
            },
            EngineError::InvalidPage { .. } | EngineError::NoCondition => Status::invalid_argument(text),
            // Not UNAVAILABLE: channels repeat that by themselves, and the request may have taken effect.
            EngineError::OutcomeUnknown { .. } => Status::unknown(text),
            EngineError::Unavailable { .. } | EngineError::ShuttingDown => Status::unavailable(text),
            EngineError::Store(_) | EngineError::Damaged { .. } => {
                tracing::error!(%error, "a request failed");
                Status::data_loss(text)
            }
            EngineError::System(_) => {
                tracing::error!(%error, "a request failed");
                Status::internal(text)
            }
        }
    }
}
