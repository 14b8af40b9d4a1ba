//! Activities by name.

use super::ActivityRef;
use crate::payload::Payload;
use std::marker::PhantomData;

/// The typed name of an activity that is not an item of this program: one that another worker runs, or one that was
/// registered as a closure.
///
/// ```
/// use perdura::prelude::*;
/// use perdura::ActivityName;
///
/// static GREET: ActivityName<String, String> = ActivityName::new("greet");
///
/// #[orchestration]
/// async fn hello(ctx: Orchestration, name: String) -> Result<String> {
///     ctx.call(&GREET, name).await
/// }
/// ```
#[derive(Debug)]
pub struct ActivityName<I, O> {
    name: &'static str,
    version: &'static str,
    types: PhantomData<fn(I) -> O>,
}

impl<I, O> ActivityName<I, O> {
    /// An activity without a version.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        ActivityName { name, version: "", types: PhantomData }
    }

    /// A version of an activity.
    #[must_use]
    pub const fn version(self, version: &'static str) -> Self {
        ActivityName { version, ..self }
    }
}

impl<I, O> Clone for ActivityName<I, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<I, O> Copy for ActivityName<I, O> {}

impl<I: Payload, O: Payload> ActivityRef for ActivityName<I, O> {
    type Input = I;
    type Output = O;

    fn name(&self) -> &str {
        self.name
    }

    fn version(&self) -> &str {
        self.version
    }
}

impl<I: Payload, O: Payload> ActivityRef for &ActivityName<I, O> {
    type Input = I;
    type Output = O;

    fn name(&self) -> &str {
        self.name
    }

    fn version(&self) -> &str {
        self.version
    }
}
