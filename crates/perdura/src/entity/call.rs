//! The call of an operation by an orchestration.

use crate::error::{Error, Result};
use crate::orchestration::shared::Shared;
use crate::orchestration::work::{Description, Work};
use crate::payload::FromPayload;
use bytes::Bytes;
use perdura_core::orchestration::{Execution, Ticket};
use perdura_core::{EntityId, InvalidText};
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A call of an operation, from [`ctx.entity::<E>(key)`](crate::Orchestration::entity). Await it for the result.
///
/// The operation is put in the entity's queue when the call is first polled, or by [`start`](Self::start). A call that is
/// dropped after that runs, but nobody sees its result.
#[must_use = "a call does nothing until it is awaited or started"]
pub struct EntityCall<T> {
    work: Work<Operation>,
    output: PhantomData<fn() -> T>,
}

struct Operation {
    to: Result<EntityId, InvalidText>,
    operation: &'static str,
    input: Option<Bytes>,
}

impl Description for Operation {
    const WHAT: &'static str = "operation";

    fn name(&self) -> &str {
        self.operation
    }

    fn check(&self) -> Result<()> {
        self.to.as_ref().map(drop).map_err(Error::invalid)
    }

    fn schedule(self, execution: &mut Execution) -> Ticket {
        match self.to {
            Ok(to) => execution.call_entity(&to, self.operation, self.input),
            Err(_) => unreachable!("checked before"),
        }
    }
}

impl<T> EntityCall<T> {
    pub(super) fn new(
        shared: &Rc<Shared>,
        to: Result<EntityId, InvalidText>,
        operation: &'static str,
        input: Result<Option<Bytes>>,
    ) -> EntityCall<T> {
        let work = Work::new(shared, input, |input| Operation { to, operation, input });
        EntityCall { work, output: PhantomData }
    }

    /// Sends the call now; await it later for its result.
    pub fn start(mut self) -> Self {
        self.begin();
        self
    }

    pub(crate) fn begin(&mut self) {
        self.work.begin();
    }

    pub(crate) fn arrival(&self) -> Option<u64> {
        self.work.arrival()
    }
}

impl<T: FromPayload> Future for EntityCall<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        self.work.poll(cx)
    }
}
