//! Activities by name.

use super::ActivityRef;
use crate::typed_name::typed_name;

typed_name! {
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
    ActivityName is ActivityRef, "An activity"
}
