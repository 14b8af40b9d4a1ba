//! Orchestrations by name.

use super::OrchestrationRef;
use crate::typed_name::typed_name;

typed_name! {
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
    OrchestrationName is OrchestrationRef, "An orchestration"
}
