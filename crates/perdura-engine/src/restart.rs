//! Starting an instance once more, with what it began with.

use crate::client::Client;
use crate::error::EngineError;
use perdura_core::partition::{RequestError, StartRequest, Started};
use perdura_core::{InstanceId, OnExisting, ReusePolicy};

impl Client {
    /// Starts the orchestration of an instance once more: the same name, version, input and tags. Under the same id only
    /// if it has ended; under a new one whatever its state. An instance that
    /// has continued as new starts with the input of its last generation.
    pub async fn restart(&self, id: &InstanceId, under: RestartUnder) -> Result<Started, EngineError> {
        let Some((record, started)) = self.get_started(id).await? else {
            return Err(RequestError::NotFound { id: id.clone() }.into());
        };
        let status = record.status().map_err(|what| EngineError::Damaged { id: id.to_string(), what })?;
        let (new, fresh, reuse) = match under {
            RestartUnder::SameId if !status.is_terminal() => {
                return Err(RequestError::NotEnded { id: id.clone(), status }.into());
            }
            RestartUnder::SameId => (id.clone(), false, ReusePolicy::FAIL.when_terminal(OnExisting::Replace)),
            RestartUnder::RandomId => (Client::random_id()?, true, ReusePolicy::FAIL),
            RestartUnder::Id(new) => (new, false, ReusePolicy::FAIL),
        };
        self.start(StartRequest {
            id: new,
            fresh,
            name: started.name,
            version: started.version,
            input: started.input,
            tags: started.tags,
            start_at: None,
            reuse,
            request_id: String::new(),
            execution: None,
            trace: None,
        })
        .await
    }
}

/// Under which id an instance is started once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestartUnder {
    /// Its own; it is replaced.
    SameId,
    /// A random one.
    RandomId,
    /// This one, which must be free.
    Id(InstanceId),
}
