//! Activities: where an orchestration touches the world.

mod context;
mod name;
#[cfg(feature = "sqlite")]
mod transactional;

pub use context::ActivityContext;
pub(crate) use context::Data;
pub use name::ActivityName;
#[cfg(feature = "sqlite")]
pub use transactional::TransactionalFn;
#[cfg(feature = "sqlite")]
pub(crate) use transactional::in_transaction;

use crate::error::Result;
use crate::macro_support::MadeByAttribute;
use crate::payload::Payload;
use std::future::Future;

/// Something that `ctx.call` can name: an item made by [`#[activity]`](crate::activity), or an [`ActivityName`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an activity",
    note = "put `#[activity]` on the async function, or name it by an `ActivityName`"
)]
pub trait ActivityRef {
    /// What it takes; `()` if nothing.
    type Input: Payload;
    /// What it returns.
    type Output: Payload;

    /// The durable name, as history and workers know it.
    fn name(&self) -> &str;

    /// The version that is asked for; empty if none.
    fn version(&self) -> &str {
        ""
    }

    /// How often it may run, as [`Delivery::recorded`](crate::delivery::Delivery::recorded) writes it; empty if it does
    /// not say.
    fn delivery(&self) -> &str {
        ""
    }
}

/// An activity that can be run here. Made by [`#[activity]`](crate::activity).
pub trait ActivityFn: 'static {
    /// The durable name.
    const NAME: &'static str;
    /// The version; empty if it has none.
    const VERSION: &'static str;
    /// How often it may run, as [`Delivery::recorded`](crate::delivery::Delivery::recorded) writes it; empty if it does
    /// not say.
    const DELIVERY: &'static str = "";
    /// What it takes; `()` if nothing.
    type Input: Payload;
    /// What it returns.
    type Output: Payload;

    /// Runs one attempt.
    fn run(
        ctx: ActivityContext,
        input: Self::Input,
    ) -> impl Future<Output = Result<Self::Output>> + Send + 'static;
}

/// `greet` in `ctx.call(greet, ..)` is the function that the attribute left: it makes the item.
impl<F, A> ActivityRef for F
where
    F: Fn(MadeByAttribute) -> A,
    A: ActivityFn,
{
    type Input = A::Input;
    type Output = A::Output;

    fn name(&self) -> &str {
        A::NAME
    }

    fn version(&self) -> &str {
        A::VERSION
    }

    fn delivery(&self) -> &str {
        A::DELIVERY
    }
}
