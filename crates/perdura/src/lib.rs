//! Durable execution for Rust: ordinary async functions that survive crashes, deploys and restarts.
//!
//! An *orchestration* is an async function that calls *activities*, waits for timers and external events, and starts
//! other orchestrations. Every step is recorded in a history. After a crash the function runs again over its history
//! and goes on where it was; activities that were recorded do not run again.
//!
//! ```
//! use perdura::prelude::*;
//!
//! #[activity]
//! async fn greet(name: String) -> Result<String> {
//!     Ok(format!("Hello, {name}!"))
//! }
//!
//! #[orchestration]
//! async fn hello(ctx: Orchestration, name: String) -> Result<String> {
//!     ctx.call(greet, name).await
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! // In a test: virtual time, no engine, no file.
//! let end = perdura::testing::TestRun::new(hello, "world".into()).register(greet).run().await;
//! assert_eq!(end.output().unwrap(), "Hello, world!");
//! # });
//! ```
//!
//! - [`Orchestration`]: what an orchestration may do.
//! - [`ActivityContext`]: what an activity knows of its attempt.
//! - [`Engine`]: the engine inside a program, on an SQLite file or another store; [`Client`] and [`Instance`] are what
//!   its users hold.
//! - [`delivery`]: how often an activity may run, and what follows when nobody knows whether it did.
//! - [`Error`]: how code fails, and what is retried.
//! - [`Rewind`]: how an instance goes back to an earlier point and on from there.
//! - [`testing`]: tests in virtual time that also check for determinism.

mod activity;
pub mod delivery;
mod engine;
mod entity;
mod error;
#[doc(hidden)]
pub mod macro_support;
mod orchestration;
mod payload;
pub mod prelude;
mod registry;
mod retry;
mod runner;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod testing;
mod typed_name;

#[cfg(feature = "sqlite")]
pub use activity::TransactionalFn;
pub use activity::{ActivityContext, ActivityFn, ActivityName, ActivityRef};
pub use bytes::Bytes;
pub use engine::{
    Client, ClientError, Engine, EngineBuilder, Instance, InstanceState, ReplayCheck, Rewind, Start, Started,
};
pub use entity::{
    CriticalSection, Door, Entity, EntityCall, EntityContext, EntityHandle, EntityPage, EntityState, Lock,
    Signal,
};
pub use error::{Error, Result};
pub use orchestration::{
    Call, Canceled, Detached, Durable, Either, HubCall, JoinAll, Orchestration, OrchestrationFn,
    OrchestrationName, OrchestrationRef, Select, SelectAll, SubOrchestration, Timer, WaitEvent, Within,
    join_all, select, select_all,
};
pub use payload::{FromPayload, Payload, Raw, ToPayload};
pub use perdura_core::partition::{RequestError, StartOutcome};
pub use perdura_core::rewind;
pub use perdura_core::why;
pub use perdura_core::{
    EntityId, ExecutionId, Failure, InstanceId, InvalidText, Limits, OnExisting, ReusePolicy, Status, Tags,
    Timestamp, failure,
};
pub use perdura_engine::{
    Act, Batch, BatchItem, BatchReport, Bulk, EngineError, Retention, Rewound, Selection,
};
/// Makes an activity of an async function.
///
/// The function takes at most one input, after an optional [`ActivityContext`], and returns a `Result` whose error
/// becomes an [`Error`]. In its place comes a zero-sized item of the same name: `ctx.call(greet, name)` calls it from an
/// orchestration, `.register(greet)` makes it known, `greet::call(name)` runs it directly, for unit tests.
///
/// Options: `name = ".."` pins the durable name, which is otherwise the function's; `version = ".."`; `precise` for a
/// [delivery count](ActivityContext::delivery) that is committed at the hand-over; `at_most_once`, or
/// `at_most_once = "fail"`, `"suspend"` or `"handler:NAME"`, for one that must not run twice: see [`delivery`].
///
/// With `transactional` the function is not `async`, and takes a [`&Transaction<'_>`](sqlite::Transaction) before its input:
/// what it writes to tables of your own in the hub's SQLite file is committed together with its completion, so it counts
/// exactly once. It must do nothing else: see [`sqlite`].
///
/// ```
/// use perdura::prelude::*;
///
/// #[activity(name = "mail.send")]
/// async fn send(ctx: ActivityContext, to: String) -> Result<String> {
///     Ok(format!("attempt {} for {to}", ctx.attempt()))
/// }
///
/// #[activity]
/// async fn double(n: u32) -> Result<u32> {
///     n.checked_mul(2).ok_or_else(|| Error::permanent(Error::new("Overflow", "too large")))
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// assert_eq!(send::NAME, "mail.send");
/// assert_eq!(double::call(21).await.unwrap(), 42);
/// # });
/// ```
///
/// What an activity cannot be is said at compile time:
///
/// ```compile_fail
/// # use perdura::prelude::*;
/// #[activity]
/// fn greet(name: String) -> Result<String> {
///     Ok(name)
/// }
/// ```
/// ```compile_fail
/// # use perdura::prelude::*;
/// #[activity(at_most_once = "retry")]
/// async fn greet(name: String) -> Result<String> {
///     Ok(name)
/// }
/// ```
/// ```compile_fail
/// # use perdura::prelude::*;
/// #[activity]
/// async fn add(a: u32, b: u32) -> Result<u32> {
///     Ok(a + b)
/// }
/// ```
/// ```compile_fail
/// # use perdura::prelude::*;
/// #[activity]
/// async fn greet(name: String) -> String {
///     name
/// }
/// ```
/// ```compile_fail
/// # use perdura::prelude::*;
/// # use perdura::sqlite::Transaction;
/// #[activity(transactional, at_most_once)]
/// fn add(tx: &Transaction<'_>, n: u32) -> Result<u32> {
///     Ok(n)
/// }
/// ```
/// ```compile_fail
/// # use perdura::prelude::*;
/// #[activity(transactional)]
/// fn add(n: u32) -> Result<u32> {
///     Ok(n)
/// }
/// ```
pub use perdura_macros::activity;
/// Makes an entity of a type: its public methods become operations.
///
/// The attribute stands on an `impl` block. A public method with `&mut self` is an operation, one with `&self` an
/// operation that only reads; other functions are left alone. An operation takes at most one input, after an optional
/// [`EntityContext`], and returns a `Result`; it may be `async`. The type is the entity's state: `Default` is how it
/// begins, serde how it is kept.
///
/// ```
/// use perdura::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Counter {
///     value: i64,
/// }
///
/// #[entity]
/// impl Counter {
///     pub fn add(&mut self, amount: i64) -> Result<i64> {
///         self.value += amount;
///         Ok(self.value)
///     }
///
///     pub fn get(&self) -> Result<i64> {
///         Ok(self.value)
///     }
/// }
///
/// #[orchestration]
/// async fn visit(ctx: Orchestration, page: String) -> Result<i64> {
///     ctx.signal::<Counter>("all pages").add(1)?;
///     ctx.entity::<Counter>(&page).add(1).await
/// }
/// ```
///
/// Options: `name = ".."` pins the durable name, which is otherwise the type's; `time_max = "30s"` (`ms`, `s`, `m` or `h`) is
/// how long an operation may take, instead of the engine's
/// [`operation_time_max`](EngineBuilder::operation_time_max).
pub use perdura_macros::entity;
/// Makes an orchestration of an async function.
///
/// The function takes the context [`Orchestration`] and at most one input, and returns a `Result`. In its place comes a
/// zero-sized item of the same name, to be registered and started. Options: `name = ".."` pins the durable name, which is
/// otherwise the function's; `version = ".."` tells versions apart: an instance runs the version that it was started as.
///
/// The code runs again over its history after a restart, so it must be deterministic: see [`Orchestration`]. Its future
/// need not be `Send`; it never leaves its thread.
///
/// ```compile_fail
/// # use perdura::prelude::*;
/// #[orchestration]
/// async fn without_context(name: String) -> Result<String> {
///     Ok(name)
/// }
/// ```
pub use perdura_macros::orchestration;
pub use perdura_store::{InstanceKind, InstanceQuery, Store, StoreError};
pub use registry::{Register, Registry};
pub use retry::Retry;
pub use runner::Replay;
