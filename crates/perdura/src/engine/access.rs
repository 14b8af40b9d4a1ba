//! The way from handles to the engine, which its shutdown closes: a handle that somebody still holds must not keep the
//! store open.

use super::ClientError;
use crate::registry::Registry;
use perdura_engine::{Client, EngineError};
use std::sync::{Arc, PoisonError, RwLock};

#[derive(Clone)]
pub(crate) struct Access(Arc<RwLock<Option<Running>>>);

#[derive(Clone)]
struct Running {
    client: Client,
    registry: Arc<Registry>,
}

impl Access {
    pub(super) fn new(client: Client, registry: Arc<Registry>) -> Access {
        Access(Arc::new(RwLock::new(Some(Running { client, registry }))))
    }

    /// The engine's client, unless the engine is shutting down.
    pub(crate) fn open(&self) -> Result<Client, ClientError> {
        Ok(self.running()?.client)
    }

    /// What the engine runs, unless it is shutting down.
    pub(super) fn registry(&self) -> Result<Arc<Registry>, ClientError> {
        Ok(self.running()?.registry)
    }

    fn running(&self) -> Result<Running, ClientError> {
        let running = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Ok(running.clone().ok_or(EngineError::ShuttingDown)?)
    }

    pub(super) fn close(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}
