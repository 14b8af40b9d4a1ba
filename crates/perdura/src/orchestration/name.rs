//! Orchestrations by name.

use super::OrchestrationRef;
use crate::payload::Payload;
use std::marker::PhantomData;

/// The typed name of an orchestration that is not an item of this program: one that another worker runs, or one that
/// was registered as a closure.
///
/// ```
/// use perdura::prelude::*;
/// use perdura::OrchestrationName;
///
/// static HELLO: OrchestrationName<String, String> = OrchestrationName::new("hello");
///
/// #[orchestration]
/// async fn twice(ctx: Orchestration, name: String) -> Result<String> {
///     let first = ctx.sub_orchestration(&HELLO, name).await?;
///     ctx.sub_orchestration(&HELLO, first).await
/// }
/// ```
#[derive(Debug)]
pub struct OrchestrationName<I, O> {
    name: &'static str,
    version: &'static str,
    types: PhantomData<fn(I) -> O>,
}

impl<I, O> OrchestrationName<I, O> {
    /// An orchestration without a version.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        OrchestrationName { name, version: "", types: PhantomData }
    }

    /// A version of an orchestration.
    #[must_use]
    pub const fn version(self, version: &'static str) -> Self {
        OrchestrationName { version, ..self }
    }
}

impl<I, O> Clone for OrchestrationName<I, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<I, O> Copy for OrchestrationName<I, O> {}

impl<I: Payload, O: Payload> OrchestrationRef for OrchestrationName<I, O> {
    type Input = I;
    type Output = O;

    fn name(&self) -> &str {
        self.name
    }

    fn version(&self) -> &str {
        self.version
    }
}

impl<I: Payload, O: Payload> OrchestrationRef for &OrchestrationName<I, O> {
    type Input = I;
    type Output = O;

    fn name(&self) -> &str {
        self.name
    }

    fn version(&self) -> &str {
        self.version
    }
}
