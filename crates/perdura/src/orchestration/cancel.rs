//! The wait for a request to cancel.

use super::shared::Shared;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Waits until the instance is asked to cancel, from [`ctx.canceled()`](crate::Orchestration::canceled).
#[must_use = "a wait does nothing until it is awaited"]
pub struct Canceled {
    shared: Rc<Shared>,
}

impl Canceled {
    pub(crate) fn new(shared: &Rc<Shared>) -> Canceled {
        Canceled { shared: shared.clone() }
    }

    pub(super) fn arrival(&self) -> Option<u64> {
        self.shared.with(|execution| execution.cancel_arrival())
    }
}

impl Future for Canceled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.poll_canceled(cx)
    }
}
