//! Tests of orchestrations without an engine, a store or a clock.
//!
//! [`TestRun`] runs an orchestration in virtual time: it answers activities by mocks or by the registered code, jumps to
//! the next timer, raises events and requests to cancel when told to. Each turn is run twice, once warm and once from
//! the history alone; if the two decide differently the test fails, so every test is also a check of determinism.
//!
//! ```
//! use perdura::prelude::*;
//! use perdura::testing::TestRun;
//! use std::time::Duration;
//!
//! #[activity]
//! async fn remind(who: String) -> Result<()> {
//!     unimplemented!("sends a mail to {who}")
//! }
//!
//! #[orchestration]
//! async fn approval(ctx: Orchestration, who: String) -> Result<bool> {
//!     for _day in 0..3 {
//!         if let Some(answer) = ctx.wait_event("answer").within(Duration::from_secs(86_400)).await? {
//!             return Ok(answer);
//!         }
//!         ctx.call(remind, who.clone()).await?;
//!     }
//!     Ok(false)
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let day = Duration::from_secs(86_400);
//! let end = TestRun::new(approval, "ada".into())
//!     .mock(remind, |_who| Ok(()))
//!     .raise_at(day * 2 + day / 2, "answer", &true)
//!     .run()
//!     .await;
//! assert!(end.output().unwrap());
//! assert_eq!(end.calls(remind), ["ada", "ada"]);
//! assert_eq!(end.elapsed(), day * 2 + day / 2);
//! # });
//! ```

mod end;
mod entities;
mod test_run;
mod world;

pub use end::TestEnd;
pub use test_run::TestRun;

use crate::activity::{ActivityContext, Data};
use perdura_core::{ExecutionId, InstanceId, Tags};
use perdura_engine::ActivityTask;
use std::sync::Arc;

/// A context for the unit test of an activity that takes one: first attempt, first delivery, no tags.
///
/// ```
/// use perdura::prelude::*;
/// use perdura::testing::activity_context;
///
/// #[activity]
/// async fn count(ctx: ActivityContext) -> Result<u32> {
///     Ok(*ctx.data::<u32>())
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// assert_eq!(count::call(activity_context("count").with_data(7_u32)).await.unwrap(), 7);
/// # });
/// ```
#[must_use]
pub fn activity_context(name: &str) -> ActivityContext {
    let instance = InstanceId::new("test").expect("a good id");
    ActivityContext::new(first_attempt(instance, ExecutionId(1), 0, name), Arc::default())
}

impl ActivityContext {
    /// The same context with application state added: for unit tests of activities.
    #[must_use]
    pub fn with_data<T: Send + Sync + 'static>(self, value: T) -> ActivityContext {
        self.edit_data(|data: &mut Data| data.insert(value))
    }
}

fn first_attempt(instance: InstanceId, execution: ExecutionId, task: u32, name: &str) -> ActivityTask {
    ActivityTask {
        instance,
        execution,
        task,
        name: name.to_owned(),
        version: None,
        orchestration_version: String::new(),
        input: None,
        tags: Tags::new(),
        trace: None,
        attempt: 1,
        delivery: 1,
        lost: 0,
        last_heartbeat: None,
        origin: 0,
        step: None,
        branch: 0,
        epoch: 0,
        hand_over: None,
        canceled: Default::default(),
        began: Arc::new(|| {}),
        details_bytes_max: usize::MAX,
        heartbeat: Arc::new(|_| {}),
    }
}
