//! Orchestrations: durable async functions, and what they can do.

mod call;
mod cancel;
mod context;
mod event;
pub(crate) mod hub_call;
mod join;
mod name;
mod select;
pub(crate) mod shared;
mod sub_orchestration;
mod timer;
pub(crate) mod work;

pub use call::Call;
pub use cancel::Canceled;
pub use context::Orchestration;
pub use event::{WaitEvent, Within};
pub use hub_call::HubCall;
pub use join::{JoinAll, join_all};
pub use name::OrchestrationName;
pub use select::{Durable, Either, Select, SelectAll, select, select_all};
pub use sub_orchestration::{Detached, SubOrchestration};
pub use timer::Timer;

use crate::error::Result;
use crate::macro_support::MadeByAttribute;
use crate::payload::Payload;
use std::future::Future;

/// Something that can be started by name: an item made by [`#[orchestration]`](crate::orchestration), or an
/// [`OrchestrationName`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an orchestration",
    note = "put `#[orchestration]` on the async function, or name it by an `OrchestrationName`"
)]
pub trait OrchestrationRef {
    /// What it takes; `()` if nothing.
    type Input: Payload;
    /// What it returns.
    type Output: Payload;

    /// The durable name, as history and workers know it.
    fn name(&self) -> &str;

    /// The version that is started; empty if it has none.
    fn version(&self) -> &str {
        ""
    }

    /// Whether its code is part of this program, so that to start it where it is not registered is a mistake.
    fn is_item(&self) -> bool {
        false
    }
}

/// An orchestration that can be run here. Made by [`#[orchestration]`](crate::orchestration).
///
/// The future need not be `Send`: it stays on the thread of its partition, and its context cannot leave it.
pub trait OrchestrationFn: 'static {
    /// The durable name.
    const NAME: &'static str;
    /// The version; empty if it has none.
    const VERSION: &'static str;
    /// What it takes; `()` if nothing.
    type Input: Payload;
    /// What it returns.
    type Output: Payload;

    /// The code, from its beginning.
    fn run(ctx: Orchestration, input: Self::Input) -> impl Future<Output = Result<Self::Output>> + 'static;
}

/// `hello` in `ctx.sub_orchestration(hello, ..)` is the function that the attribute left: it makes the item.
impl<F, A> OrchestrationRef for F
where
    F: Fn(MadeByAttribute) -> A,
    A: OrchestrationFn,
{
    type Input = A::Input;
    type Output = A::Output;

    fn name(&self) -> &str {
        A::NAME
    }

    fn version(&self) -> &str {
        A::VERSION
    }

    fn is_item(&self) -> bool {
        true
    }
}
