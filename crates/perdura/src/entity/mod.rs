//! Entities: keyed state, changed by operations that run one after another.

mod call;
mod client;
mod context;
mod door;
mod lock;
mod progress;
mod run;

pub use call::EntityCall;
pub use client::{EntityHandle, EntityPage, EntityState, Signal};
pub use context::EntityContext;
pub use door::Door;
pub(crate) use door::{CallDoor, ClientDoor, OrchestrationSignalDoor};
pub use lock::{CriticalSection, Lock};
pub(crate) use run::{Bounds, EntityCode, run_batch};

use crate::error::Result;
use bytes::Bytes;

use perdura_core::{EntityId, InvalidText};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::time::Duration;

/// Keyed state with operations: the work of [`#[entity]`](crate::entity) on an `impl` block.
///
/// The state begins as `Default` and is kept as JSON. Operations of one entity (one name and key) run one after another,
/// each exactly once; what an operation changed and sent becomes durable together, or, if it failed, not at all.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an entity",
    note = "put `#[entity]` on an `impl` block of it with the operations"
)]
pub trait Entity: Default + Serialize + DeserializeOwned + Send + 'static {
    /// The durable name.
    const NAME: &'static str;

    /// How long one operation may take: `#[entity(time_max = "30s")]`. `None`: as long as the engine allows.
    const TIME_MAX: Option<Duration> = None;

    /// The operations, to be called or signaled.
    type Operations<D: Door>;

    /// The entity of a key, for [`lock`](crate::Orchestration::lock).
    fn at(key: &str) -> Result<EntityId, InvalidText> {
        EntityId::new(Self::NAME, key)
    }

    #[doc(hidden)]
    fn operations<D: Door>(door: D) -> Self::Operations<D>;

    /// Runs an operation; `None` if there is none of this name.
    #[doc(hidden)]
    fn dispatch(
        &mut self,
        ctx: EntityContext,
        operation: &str,
        input: Option<Bytes>,
    ) -> impl Future<Output = Option<Result<Option<Bytes>>>> + Send;

    /// Whether an operation leaves the state as it is.
    #[doc(hidden)]
    fn only_reads(operation: &str) -> bool;
}
