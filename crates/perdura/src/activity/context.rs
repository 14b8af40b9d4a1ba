//! What an activity can ask about its attempt.

use crate::delivery::DeliveryToken;
use crate::error::{Error, Result};
use crate::payload::{FromPayload, ToPayload, read};
use bytes::Bytes;
use perdura_core::failure::kind;
use perdura_core::{ExecutionId, Failure, InstanceId, Tags};
use perdura_engine::ActivityTask;
use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::sync::Arc;

/// Application state, one value of each type.
#[derive(Clone, Default)]
pub(crate) struct Data(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl Data {
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        self.0.insert(TypeId::of::<T>(), Arc::new(value));
    }

    fn get<T: 'static>(&self) -> Option<&T> {
        self.0.get(&TypeId::of::<T>())?.downcast_ref()
    }
}

/// The first parameter of an activity that wants to know about its attempt, send heartbeats, notice that nobody waits
/// for it any more, or use application state. Cheap to clone.
///
/// ```
/// use perdura::prelude::*;
///
/// struct Warehouse;
///
/// #[activity]
/// async fn reserve(ctx: ActivityContext, sku: String) -> Result<String> {
///     let _warehouse: &Warehouse = ctx.data();
///     // The same for every attempt of this task: what a remote service can recognise a repetition by.
///     Ok(format!("{}: {sku}", ctx.idempotency_key()))
/// }
/// ```
#[derive(Clone)]
pub struct ActivityContext {
    task: Arc<ActivityTask>,
    data: Arc<Data>,
}

impl ActivityContext {
    pub(crate) fn new(task: ActivityTask, data: Arc<Data>) -> ActivityContext {
        ActivityContext { task: Arc::new(task), data }
    }

    pub(crate) fn edit_data(mut self, edit: impl FnOnce(&mut Data)) -> ActivityContext {
        edit(Arc::make_mut(&mut self.data));
        self
    }

    /// The instance that called.
    #[must_use]
    pub fn instance_id(&self) -> &InstanceId {
        &self.task.instance
    }

    /// The run of the instance.
    #[must_use]
    pub fn execution_id(&self) -> ExecutionId {
        self.task.execution
    }

    /// The task's number in that run. See [`idempotency_key`](Self::idempotency_key) for a name that outside systems can use.
    #[must_use]
    pub fn task_id(&self) -> u32 {
        self.task.task
    }

    /// The activity's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.task.name
    }

    /// The tags of the call.
    #[must_use]
    pub fn tags(&self) -> &Tags {
        &self.task.tags
    }

    /// Which attempt of the retry policy this is; the first is 1. A crash does not raise it.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.task.attempt
    }

    /// How many times the task has been handed to a worker, this time included; no two attempts share a number. If it
    /// is higher than [`attempt`](Self::attempt), an earlier delivery may have begun, and may have had its effect: certainly
    /// if the activity is [precise](crate::Call::precise) or runs at most once; otherwise it may also have waited its turn
    /// when its process ended.
    #[must_use]
    pub fn delivery(&self) -> u32 {
        self.task.delivery
    }

    /// What outside systems can recognise this step by: the same for all attempts and deliveries of it, and for no other
    /// step.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        self.task.idempotency_key()
    }

    /// Names this delivery of the step, so that an outside system can refuse what an older one writes late.
    #[must_use]
    pub fn delivery_token(&self) -> DeliveryToken {
        DeliveryToken::new(self.idempotency_key(), self.task.epoch, self.task.delivery)
    }

    /// Says that the attempt is alive, and how far it is. Needed within each
    /// [`heartbeat_timeout`](crate::Call::heartbeat_timeout), if the call set one.
    ///
    /// # Errors
    ///
    /// The details cannot be written, or are larger than a payload may be: then they are not kept. It still is a sign of life.
    pub fn heartbeat(&self, details: &(impl ToPayload + ?Sized)) -> Result<()> {
        let (details, limit) = (details.to_payload()?, self.task.details_bytes_max);
        let bytes = details.as_ref().map_or(0, Bytes::len);
        (self.task.heartbeat)(details);
        if bytes > limit {
            let (task, name, id) = (self.task.task, &self.task.name, &self.task.instance);
            let message = format!(
                "heartbeat of activity {name:?} (task {task} of {id:?}): {bytes} bytes, limit {limit}; say less"
            );
            return Err(Error::from_failure(Failure::new(kind::LIMIT, message).non_retryable()));
        }
        Ok(())
    }

    /// What the last heartbeat of an earlier attempt said, to go on from there.
    pub fn last_heartbeat<T: FromPayload>(&self) -> Result<Option<T>> {
        match &self.task.last_heartbeat {
            None => Ok(None),
            Some(details) => read(Some(details.clone()), || "details of the last heartbeat".into()).map(Some),
        }
    }

    /// Whether nobody waits for the result any more.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.task.canceled.is_cancelled()
    }

    /// Waits until nobody waits for the result any more.
    pub async fn canceled(&self) {
        self.task.canceled.cancelled().await;
    }

    /// Application state, as it was given to `.data(..)` when the engine was built.
    ///
    /// # Panics
    /// If no value of this type was given. The attempt then fails with the text of the panic; see
    /// [`try_data`](Self::try_data).
    #[must_use]
    #[track_caller]
    pub fn data<T: Send + Sync + 'static>(&self) -> &T {
        match self.try_data() {
            Some(data) => data,
            None => panic!("no data of type {}: give it to the builder with .data(..)", type_name::<T>()),
        }
    }

    /// Application state, or `None` if no value of this type was given.
    #[must_use]
    pub fn try_data<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.data.get()
    }
}

impl std::fmt::Debug for ActivityContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ActivityContext")
            .field("name", &self.task.name)
            .field("instance", &self.task.instance)
            .field("task", &self.task.task)
            .field("attempt", &self.task.attempt)
            .field("delivery", &self.task.delivery)
            .finish_non_exhaustive()
    }
}
