//! The waker of an orchestration as a whole. The engine needs no wake-ups: news decide when code runs. It exists to tell
//! wake-ups inside a turn (a combinator, a channel between branches) from those of something that is not durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Wake;
use std::thread::{self, ThreadId};

pub(super) struct RootWaker {
    /// Where the code runs.
    home: ThreadId,
    in_turn: AtomicBool,
    woken: AtomicBool,
    foreign: AtomicBool,
}

impl RootWaker {
    pub(super) fn new() -> Arc<RootWaker> {
        Arc::new(RootWaker {
            home: thread::current().id(),
            in_turn: AtomicBool::new(false),
            woken: AtomicBool::new(false),
            foreign: AtomicBool::new(false),
        })
    }

    pub(super) fn set_in_turn(&self, in_turn: bool) {
        self.in_turn.store(in_turn, Relaxed);
    }

    /// Whether the code asked, inside the turn, to be polled again; once.
    pub(super) fn take_woken(&self) -> bool {
        self.woken.load(Relaxed) && self.woken.swap(false, Relaxed)
    }

    /// Whether a wake-up came from outside of every turn.
    pub(super) fn is_foreign(&self) -> bool {
        self.foreign.load(Relaxed)
    }
}

impl Wake for RootWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let inside = self.in_turn.load(Relaxed) && thread::current().id() == self.home;
        let flag = if inside { &self.woken } else { &self.foreign };
        flag.store(true, Relaxed);
    }
}
