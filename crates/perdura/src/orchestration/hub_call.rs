//! Calls whose idempotency key counts in the whole hub. Each key is an instance of a built-in orchestration, with an id made
//! of the activity's name and the key: whoever comes first starts it, others wait for its end or find its result.

use super::call::Call;
use super::shared::Shared;
use super::{Orchestration, SubOrchestration};
use crate::error::{Error, Result};
use crate::payload::{FromPayload, Raw, ToPayload};
use bytes::Bytes;
use perdura_core::delivery::{HUB_KEY_ORCHESTRATION, HUB_KEY_PREFIX};
use perdura_core::failure::kind;
use perdura_core::history::{TaskScheduled, open_record, seal_record};
use perdura_core::limits::INSTANCE_ID_BYTES_MAX;
use perdura_core::{Failure, OnExisting, ReusePolicy, Status, check_key};
use sha2::{Digest, Sha256};
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The name of the built-in orchestration.
pub(crate) const NAME: &str = HUB_KEY_ORCHESTRATION;

/// What a call under a key has returned, and for what. Beside the output it takes less than the room that the output of
/// such an instance has more than a payload.
#[derive(Clone, PartialEq, prost::Message)]
struct Kept {
    /// The SHA-256 of the input.
    #[prost(bytes = "bytes", tag = "3")]
    input: Bytes,
    #[prost(bytes = "bytes", optional, tag = "2")]
    output: Option<Bytes>,
}

fn digest(input: &Option<Bytes>) -> Bytes {
    Bytes::copy_from_slice(&Sha256::digest(input.as_deref().unwrap_or_default()))
}

/// A payload as it is.
struct Whatever(Option<Bytes>);

impl ToPayload for Whatever {
    fn to_payload(&self) -> Result<Option<Bytes>> {
        Ok(self.0.clone())
    }
}

impl FromPayload for Whatever {
    fn from_payload(payload: Option<Bytes>) -> Result<Whatever> {
        Ok(Whatever(payload))
    }
}

/// The built-in orchestration: makes the call.
pub(crate) async fn run(ctx: Orchestration, wanted: Raw) -> Result<Raw> {
    let task: TaskScheduled = open_record("call", wanted.0).map_err(Error::invalid)?;
    let input = digest(&task.input);
    let Whatever(output) = Call::of(ctx.shared(), task).await?;
    Ok(Raw(seal_record(&Kept { input, output })))
}

/// A call under a key of the hub, from [`Call::idempotency_key_in_hub`]. Await it for the result.
#[must_use = "a call does nothing until it is awaited"]
pub struct HubCall<O> {
    state: Result<(SubOrchestration<Raw>, Bytes), Option<Error>>,
    key: String,
    output: PhantomData<fn() -> O>,
}

impl<O> HubCall<O> {
    pub(super) fn new(shared: &Rc<Shared>, task: Result<TaskScheduled>, key: String) -> HubCall<O> {
        let begin = |task: TaskScheduled| {
            check_key("idempotency key", &key).map_err(Error::invalid)?;
            let input = digest(&task.input);
            let policy = ReusePolicy::USE_EXISTING
                .when_terminal(OnExisting::Replace)
                .when(Status::Completed, OnExisting::UseExisting);
            // Where the name ends is told by its first slash.
            let name = task.name.replace('%', "%25").replace('/', "%2F");
            let id = format!("{HUB_KEY_PREFIX}{name}/{key}");
            if id.len() > INSTANCE_ID_BYTES_MAX {
                let (bytes, limit) =
                    (name.len() + key.len(), INSTANCE_ID_BYTES_MAX - HUB_KEY_PREFIX.len() - 1);
                return Err(Error::invalid(format!(
                    "idempotency key {key:?} of the hub: {bytes} bytes together with the activity's name {name:?}, \
                     limit {limit}; use a shorter key"
                )));
            }
            let wanted = Raw(seal_record(&task)).to_payload();
            Ok((SubOrchestration::new(shared, NAME, "", wanted).id(id).reuse(policy), input))
        };
        HubCall { state: task.and_then(begin).map_err(Some), key, output: PhantomData }
    }
}

impl<O: FromPayload> Future for HubCall<O> {
    type Output = Result<O>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<O>> {
        let me = &mut *self;
        let (child, input) = match &mut me.state {
            Ok(state) => state,
            Err(error) => {
                let again = || Error::invalid("a call was polled after it had given its result");
                return Poll::Ready(Err(error.take().unwrap_or_else(again)));
            }
        };
        let kept = match Pin::new(child).poll(cx) {
            Poll::Ready(Ok(kept)) => open_record::<Kept>("result of a call", kept.0),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(match kept {
            Ok(kept) if kept.input == *input => O::from_payload(kept.output),
            Ok(_) => {
                let message = format!(
                    "idempotency key {:?} was used in this hub with another input; use a new key",
                    me.key
                );
                Err(Error::from_failure(Failure::new(kind::KEY_REUSED, message).non_retryable()))
            }
            Err(damaged) => {
                let what = "what this hub keeps cannot be read; purge its instance";
                Err(Error::payload(format!("result of a call under key {:?}: {what}: {damaged}", me.key)))
            }
        })
    }
}
