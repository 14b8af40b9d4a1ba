//! The way from handles to the engine, which its shutdown closes: a handle that somebody still holds must not keep the
//! store open.

use super::ClientError;
use perdura_engine::{Client, EngineError};
use std::sync::{Arc, PoisonError, RwLock};

#[derive(Clone)]
pub(super) struct Access(Arc<RwLock<Option<Client>>>);

impl Access {
    pub(super) fn new(client: Client) -> Access {
        Access(Arc::new(RwLock::new(Some(client))))
    }

    /// The engine's client, unless the engine is shutting down.
    pub(super) fn open(&self) -> Result<Client, ClientError> {
        let client = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Ok(client.clone().ok_or(EngineError::ShuttingDown)?)
    }

    pub(super) fn close(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}
