//! Runs batches of operations on the state of an entity.

use super::{Entity, EntityContext};
use crate::error::{Error, Result};
use bytes::Bytes;
use futures_util::FutureExt;
use perdura_core::entity::{DELETE, EntityOperation, OperationBatch, OperationResult, OperationsDone};
use perdura_core::failure::kind;
use perdura_core::{EntityId, Failure, InstanceId};
use perdura_engine::{BatchEnd, panic_text};
use perdura_store::BoxFuture;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// The code of an entity.
pub(crate) type EntityCode = Arc<dyn Fn(OperationBatch, usize) -> BoxFuture<'static, BatchEnd> + Send + Sync>;

/// Runs the operations of a batch one after another. One that fails leaves the state as it was before it.
pub(crate) async fn run_batch<E: Entity>(batch: OperationBatch, payload_bytes_max: usize) -> BatchEnd {
    let OperationBatch { id, state, operations, .. } = batch;
    let mut entity = match open::<E>(&state) {
        Ok(entity) => entity,
        Err(error) => {
            let why = format!(
                "the state of {id} cannot be read as {}: {error}; register code that can, or delete the state",
                std::any::type_name::<E>()
            );
            return BatchEnd::CannotRun { why };
        }
    };
    let mut good = state;
    let mut results = Vec::with_capacity(operations.len());
    for operation in operations {
        let ran = run_one(&mut entity, &id, operation).await;
        let ended = ran.and_then(|ran| match ran {
            Ran { keep: Keep::AsItWas, .. } => Ok(ran),
            Ran { keep: Keep::Nothing, .. } => {
                (entity, good) = (E::default(), None);
                Ok(ran)
            }
            Ran { keep: Keep::New, .. } => {
                let new = seal(&entity, payload_bytes_max)?;
                good = Some(new);
                Ok(ran)
            }
        });
        results.push(match ended {
            Ok(Ran { output, actions, .. }) => OperationResult { outcome: Ok(output), actions },
            Err(error) => {
                // It was read before, or written by this very code.
                entity = open::<E>(&good).unwrap_or_default();
                OperationResult { outcome: Err(Failure::from(error)), actions: Vec::new() }
            }
        });
    }
    BatchEnd::Done(OperationsDone { results, state: good })
}

/// How an operation ended that ended well.
struct Ran {
    output: Option<Bytes>,
    actions: Vec<perdura_core::entity::EntityAction>,
    keep: Keep,
}

/// Which state the entity has after an operation.
enum Keep {
    AsItWas,
    New,
    Nothing,
}

async fn run_one<E: Entity>(entity: &mut E, id: &EntityId, operation: EntityOperation) -> Result<Ran> {
    let caller = operation.caller.and_then(|caller| InstanceId::new(&caller.instance).ok());
    let ctx = EntityContext::new(id.clone(), caller, operation.delivery);
    let running = entity.dispatch(ctx.clone(), &operation.name, operation.input);
    let outcome = match AssertUnwindSafe(running).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(panic) => {
            Some(Err(Error::from_failure(Failure::new(kind::PANIC, panic_text(&*panic)).non_retryable())))
        }
    };
    let (actions, deleted) = ctx.take();
    match outcome {
        Some(outcome) => {
            let keep = match () {
                () if deleted => Keep::Nothing,
                () if E::only_reads(&operation.name) => Keep::AsItWas,
                () => Keep::New,
            };
            Ok(Ran { output: outcome?, actions, keep })
        }
        None if operation.name == DELETE => Ok(Ran { output: None, actions, keep: Keep::Nothing }),
        None => {
            let message = format!("entity {id} has no operation {:?}", operation.name);
            Err(Error::from_failure(Failure::new(kind::NOT_REGISTERED, message).non_retryable()))
        }
    }
}

fn open<E: Entity>(state: &Option<Bytes>) -> Result<E, serde_json::Error> {
    state.as_deref().map_or_else(|| Ok(E::default()), serde_json::from_slice)
}

fn seal<E: Entity>(entity: &E, limit: usize) -> Result<Bytes> {
    let state = serde_json::to_vec(entity)
        .map_err(|e| Error::payload(format!("{} does not serialize: {e}", std::any::type_name::<E>())))?;
    if state.len() > limit {
        let message = format!("state of the entity: {} bytes, limit {limit}", state.len());
        return Err(Error::from_failure(Failure::new(kind::LIMIT, message).non_retryable()));
    }
    Ok(state.into())
}
