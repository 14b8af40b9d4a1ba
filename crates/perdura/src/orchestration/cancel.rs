//! The wait for a request to cancel.

use super::shared::{CancelWait, Shared};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Waits until the instance is asked to cancel, from [`ctx.canceled()`](crate::Orchestration::canceled).
#[must_use = "a wait does nothing until it is awaited"]
pub struct Canceled {
    wait: CancelWait,
}

impl Canceled {
    pub(crate) fn new(shared: &Rc<Shared>) -> Canceled {
        Canceled { wait: CancelWait::new(shared) }
    }

    pub(super) fn arrival(&self) -> Option<u64> {
        self.wait.arrival()
    }
}

impl Future for Canceled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.wait.poll(cx)
    }
}
