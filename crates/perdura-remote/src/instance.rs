//! A handle to one instance on a server.

use crate::RemoteError;
use crate::client::{as_text, may_ask_again};
use crate::connection::Grpc;
use crate::wire::{failure_in, payload};
use perdura::failure::kind;
use perdura::{Failure, FromPayload, Status, ToPayload};
use perdura_proto::*;
use std::marker::PhantomData;
use std::time::Duration;

/// How long to wait before asking again when the server was away, and how often.
const AGAIN: (Duration, u32) = (Duration::from_millis(250), 240);

/// A handle to an instance whose output is a `T`. Cheap to clone.
pub struct Instance<T> {
    grpc: Grpc,
    id: String,
    output: PhantomData<fn() -> T>,
}

impl<T> Clone for Instance<T> {
    fn clone(&self) -> Self {
        Instance { grpc: self.grpc.clone(), id: self.id.clone(), output: PhantomData }
    }
}

impl<T> Instance<T> {
    pub(crate) fn new(grpc: Grpc, id: String) -> Instance<T> {
        Instance { grpc, id, output: PhantomData }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What is known of it; `None` if there is none.
    pub async fn get(&self) -> Result<Option<InstanceState>, RemoteError> {
        let request = GetInstanceRequest { instance_id: self.id.clone(), get_inputs_and_outputs: true };
        let found = self.grpc.clone().get_instance(request).await?.into_inner();
        Ok(found.orchestration_state.map(InstanceState))
    }

    /// Sends an external event. It is durable when this returns, whether the instance waits for it yet or not. To one that
    /// has ended it is an [error](tonic::Code::FailedPrecondition).
    pub async fn raise(&self, name: &str, value: &(impl ToPayload + ?Sized)) -> Result<(), RemoteError> {
        let input = value.to_payload().map_err(|error| RemoteError::payload(&error))?;
        let request = RaiseEventRequest {
            instance_id: self.id.clone(),
            name: name.to_owned(),
            input: as_text(input)?,
            perdura_unless_ended: true,
        };
        self.grpc.clone().raise_event(request).await?;
        Ok(())
    }

    /// Stops it until it is resumed; everything that arrives is kept.
    pub async fn suspend(&self, reason: &str) -> Result<(), RemoteError> {
        let request = SuspendRequest { instance_id: self.id.clone(), reason: Some(reason.to_owned()) };
        self.grpc.clone().suspend_instance(request).await?;
        Ok(())
    }

    /// Lets it go on.
    pub async fn resume(&self, reason: &str) -> Result<(), RemoteError> {
        let request = ResumeRequest { instance_id: self.id.clone(), reason: Some(reason.to_owned()) };
        self.grpc.clone().resume_instance(request).await?;
        Ok(())
    }

    /// Ends it by force, its children too if `recurse`.
    pub async fn terminate(&self, reason: &str, recurse: bool) -> Result<(), RemoteError> {
        let output = Some(reason.to_owned());
        let request = TerminateRequest { instance_id: self.id.clone(), output, recursive: recurse };
        self.grpc.clone().terminate_instance(request).await?;
        Ok(())
    }

    /// Undoes the failure that ended it.
    pub async fn rewind(&self, reason: &str) -> Result<(), RemoteError> {
        let request = RewindInstanceRequest { instance_id: self.id.clone(), reason: Some(reason.to_owned()) };
        self.grpc.clone().rewind_instance(request).await?;
        Ok(())
    }

    /// Removes it, if it has ended. False if there was nothing to remove.
    pub async fn purge(&self) -> Result<bool, RemoteError> {
        let request = Some(purge_instances_request::Request::InstanceId(self.id.clone()));
        let request = PurgeInstancesRequest { request, ..PurgeInstancesRequest::default() };
        Ok(self.grpc.clone().purge_instances(request).await?.into_inner().deleted_instance_count > 0)
    }

    /// Waits until it has ended, also over restarts of the server, for a minute each.
    pub async fn ended(&self) -> Result<InstanceState, RemoteError> {
        let request = GetInstanceRequest { instance_id: self.id.clone(), get_inputs_and_outputs: true };
        let mut tries = 0;
        loop {
            match self.grpc.clone().wait_for_instance_completion(request.clone()).await {
                Ok(ended) => {
                    let state = ended.into_inner().orchestration_state;
                    let not_found = || RemoteError::NotFound { id: self.id.clone() };
                    return state.map(InstanceState).ok_or_else(not_found);
                }
                Err(status) if may_ask_again(&status) && tries < AGAIN.1 => {
                    tries += 1;
                    tokio::time::sleep(AGAIN.0).await;
                    if self.grpc.clone().hello(()).await.is_ok() {
                        tries = 0;
                    }
                }
                Err(status) => return Err(status.into()),
            }
        }
    }
}

impl<T: FromPayload> Instance<T> {
    /// Waits until it has ended and gives its output; see [`ended`](Self::ended).
    pub async fn wait(&self) -> Result<T, RemoteError> {
        let state = self.ended().await?;
        if state.status() == Status::Completed {
            return state.output();
        }
        let failure = Box::new(state.failure().unwrap_or_default());
        Err(RemoteError::NotCompleted { id: self.id.clone(), status: state.status(), failure })
    }
}

impl<T> std::fmt::Debug for Instance<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Instance").field(&self.id).finish()
    }
}

/// What is known of an instance, as it was when asked.
#[derive(Clone, Debug)]
pub struct InstanceState(OrchestrationState);

impl InstanceState {
    /// Its status.
    #[must_use]
    pub fn status(&self) -> Status {
        let number = u8::try_from(self.0.orchestration_status).ok();
        number.and_then(Status::from_number).unwrap_or_default()
    }

    /// The orchestration's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What it returned. One that was terminated has returned nothing: the reason is its [failure](Self::failure).
    pub fn output<T: FromPayload>(&self) -> Result<T, RemoteError> {
        let output = self.0.output.clone().filter(|_| self.status() != Status::Terminated);
        T::from_payload(payload(output)).map_err(|error| RemoteError::payload(&error))
    }

    /// What it said last of itself.
    pub fn custom_status<T: FromPayload>(&self) -> Result<T, RemoteError> {
        T::from_payload(payload(self.0.custom_status.clone())).map_err(|error| RemoteError::payload(&error))
    }

    /// Why it failed, or was terminated.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        // On the wire the reason of a termination is the output.
        let terminated = || {
            let reason = self.0.output.clone().unwrap_or_default();
            (self.status() == Status::Terminated).then(|| Failure::new(kind::TERMINATED, reason))
        };
        self.0.failure_details.clone().map(failure_in).or_else(terminated)
    }
}
