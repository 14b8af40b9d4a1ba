//! Runs batches of operations on the state of an entity.

use super::{Entity, EntityContext};
use crate::error::{Error, Result};
use bytes::Bytes;
use futures_util::FutureExt;
use perdura_core::entity::{DELETE, EntityOperation, OperationBatch, OperationResult, OperationsDone};
use perdura_core::failure::kind;
use perdura_core::{EntityId, Failure, InstanceId, Timestamp};
use perdura_engine::{BatchEnd, panic_text};
use perdura_store::BoxFuture;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The code of an entity.
pub(crate) type EntityCode = Arc<dyn Fn(OperationBatch, usize) -> BoxFuture<'static, BatchEnd> + Send + Sync>;

/// A batch that has taken so long is given back with what it has done: what comes after it is not held up by the
/// durability of what came first, and a crash repeats little.
const BATCH_TIME: Duration = Duration::from_millis(100);

/// Runs the operations of a batch one after another. One that fails leaves the state as it was before it.
pub(crate) async fn run_batch<E: Entity>(batch: OperationBatch, payload_bytes_max: usize) -> BatchEnd {
    let OperationBatch { id, state, now, operations, .. } = batch;
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
    let began = Instant::now();
    for operation in operations {
        if !results.is_empty() && began.elapsed() > BATCH_TIME {
            break;
        }
        let ran = run_one(&mut entity, &id, now, operation).await;
        let ended = ran.and_then(|Ran { result, keep }| {
            result.check(payload_bytes_max, now).map_err(Error::from_failure)?;
            match keep {
                Keep::AsItWas => {}
                Keep::Nothing => (entity, good) = (E::default(), None),
                Keep::New => good = Some(seal(&entity, payload_bytes_max)?),
            }
            Ok(result)
        });
        results.push(match ended {
            Ok(result) => result,
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
    result: OperationResult,
    keep: Keep,
}

/// Which state the entity has after an operation.
enum Keep {
    AsItWas,
    New,
    Nothing,
}

async fn run_one<E: Entity>(
    entity: &mut E,
    id: &EntityId,
    now: Timestamp,
    operation: EntityOperation,
) -> Result<Ran> {
    let caller = operation.caller.and_then(|caller| InstanceId::new(&caller.instance).ok());
    let ctx = EntityContext::new(id.clone(), now, caller, operation.delivery);
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
            Ok(Ran { result: OperationResult { outcome: Ok(outcome?), actions }, keep })
        }
        None if operation.name == DELETE => {
            Ok(Ran { result: OperationResult { outcome: Ok(None), actions }, keep: Keep::Nothing })
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::Door;
    use perdura_core::entity::BatchTicket;
    use perdura_core::{InstanceKey, Timestamp};
    use serde::{Deserialize, Serialize};

    #[derive(Default, Serialize, Deserialize)]
    struct Slow {
        runs: u32,
    }

    impl Entity for Slow {
        const NAME: &'static str = "Slow";
        type Operations<D: Door> = D;

        fn operations<D: Door>(door: D) -> D {
            door
        }

        async fn dispatch(
            &mut self,
            _ctx: EntityContext,
            _operation: &str,
            input: Option<Bytes>,
        ) -> Option<Result<Option<Bytes>>> {
            std::thread::sleep(BATCH_TIME + Duration::from_millis(10));
            self.runs += 1;
            Some(Ok(input))
        }

        fn only_reads(_operation: &str) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn a_batch_of_slow_operations_comes_back_with_what_was_run() {
        let operation = EntityOperation {
            name: "work".into(),
            input: None,
            caller: None,
            request: String::new(),
            delivery: 1,
        };
        let batch = OperationBatch {
            ticket: BatchTicket { key: InstanceKey(0), number: 0 },
            id: Slow::at("a").unwrap(),
            state: None,
            now: Timestamp(0),
            operations: vec![operation.clone(), operation.clone(), operation],
        };
        let BatchEnd::Done(done) = run_batch::<Slow>(batch, 1000).await else { panic!("it can run") };
        assert_eq!(done.results.len(), 1);
        assert_eq!(done.state.as_deref(), Some(&b"{\"runs\":1}"[..]));
    }
}
