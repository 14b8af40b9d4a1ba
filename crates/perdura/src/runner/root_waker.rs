//! The waker of an orchestration as a whole. The engine needs no wake-ups: news decide when code runs. It exists to tell
//! wake-ups inside a turn (a combinator, a channel between branches) from those of something that is not durable.

use perdura_core::InstanceKey;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Wake;
use std::thread::{self, ThreadId};

/// Executions that were woken from outside of their turns, and whom to tell. Each execution is in it at most once.
#[derive(Default)]
pub(super) struct Disturbed {
    keys: Mutex<Vec<InstanceKey>>,
    bell: OnceLock<Arc<dyn Fn() + Send + Sync>>,
}

impl Disturbed {
    pub(super) fn ring_at(&self, bell: Arc<dyn Fn() + Send + Sync>) {
        // Whoever was told first stays; there is no second.
        let _ = self.bell.set(bell);
    }

    pub(super) fn take(&self) -> Vec<InstanceKey> {
        std::mem::take(&mut *self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, key: InstanceKey) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).push(key);
        if let Some(ring) = self.bell.get() {
            ring();
        }
    }
}

pub(super) struct RootWaker {
    key: InstanceKey,
    /// Where the code runs.
    home: ThreadId,
    in_turn: AtomicBool,
    woken: AtomicBool,
    foreign: AtomicBool,
    disturbed: Arc<Disturbed>,
}

impl RootWaker {
    pub(super) fn new(key: InstanceKey, disturbed: Arc<Disturbed>) -> Arc<RootWaker> {
        Arc::new(RootWaker {
            key,
            home: thread::current().id(),
            in_turn: AtomicBool::new(false),
            woken: AtomicBool::new(false),
            foreign: AtomicBool::new(false),
            disturbed,
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
        if inside {
            self.woken.store(true, Relaxed);
        } else if !self.foreign.swap(true, Relaxed) {
            self.disturbed.add(self.key);
        }
    }
}
