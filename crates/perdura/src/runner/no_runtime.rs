//! Where orchestration code runs: inside a tokio runtime that has no timers, no sockets, and nobody who runs its tasks.
//! On the thread of a partition tokio itself would serve them, and a wait for them would look like any other.

use std::cell::RefCell;
use tokio::runtime::{Builder, Runtime};

/// What tokio's panics say when a runtime lacks something.
const PANICS: [&str; 3] =
    ["there is no reactor running", "1.x context was found, but timers", "1.x context was found, but IO"];

/// The runtime. Whoever asks it for a timer or a socket panics; tasks that are spawned are counted.
#[derive(Default)]
pub(super) struct NoRuntime(RefCell<Option<Runtime>>);

impl NoRuntime {
    /// Runs code in it.
    pub(super) fn run<R>(&self, code: impl FnOnce() -> R) -> R {
        let handle = {
            let mut runtime = self.0.borrow_mut();
            if runtime.is_none() {
                *runtime = Builder::new_current_thread().build().ok();
            }
            runtime.as_ref().map(|runtime| runtime.handle().clone())
        };
        let _inside = handle.as_ref().map(|handle| handle.enter());
        code()
    }

    /// Whether code spawned tasks; they are dropped.
    pub(super) fn had_tasks(&self) -> bool {
        let has_tasks = |runtime: &Runtime| runtime.metrics().num_alive_tasks() > 0;
        let spawned = self.0.borrow().as_ref().is_some_and(has_tasks);
        if spawned {
            self.discard();
        }
        spawned
    }

    /// In the background, because that is allowed inside another runtime.
    fn discard(&self) {
        let runtime = self.0.borrow_mut().take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

impl Drop for NoRuntime {
    fn drop(&mut self) {
        self.discard();
    }
}

/// Whether this is how tokio refuses.
pub(super) fn is_refusal(panic: &str) -> bool {
    PANICS.iter().any(|text| panic.contains(text))
}
