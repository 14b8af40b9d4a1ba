//! The end of a board: nothing is given out any more, and what was given out is waited for.

use super::{Board, Work};
use crate::work_items::ItemId;
use perdura_engine::{ActivityEnd, BatchEnd};
use std::sync::atomic::Ordering;

/// Why a board ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The server is shutting down.
    Closed,
    /// The hub is deleted.
    Deleted,
    /// Another hub takes its place: workers go on with that one.
    Replaced,
}

impl Board {
    /// Why no work is given out any more.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.state().ending
    }

    /// No work is given out any more, and all streams end.
    pub(crate) fn drain(&self, why: Ending) {
        let mut state = self.state();
        state.ending = Some(why);
        state.wakers.drain().for_each(|(_, waker)| waker.wake());
        let waiting: Vec<ItemId> = state.dispatcher.not_given();
        for id in waiting {
            match state.remove(id) {
                Some(Work::Activity(activity)) => activity.finish(ActivityEnd::NotStarted),
                Some(Work::Entity(entity)) => entity.finish(closing()),
                Some(Work::Orchestration(_)) | None => {}
            }
        }
    }

    /// Nobody waits for what was given out any more.
    pub(crate) fn let_go(&self) {
        self.over.cancel();
        let mut state = self.state();
        let given: Vec<ItemId> = state.dispatcher.all();
        for id in given {
            match state.remove(id) {
                Some(Work::Activity(activity)) => {
                    activity.finish(ActivityEnd::Lost { reason: "the server was shut down".to_owned() });
                }
                Some(Work::Entity(entity)) => entity.finish(closing()),
                Some(Work::Orchestration(_)) | None => {}
            }
        }
    }

    /// A worker brings an answer, until this is dropped. To be called before its item leaves the board.
    pub(crate) fn bringing(&self) -> Bringing<'_> {
        self.brought.fetch_add(1, Ordering::AcqRel);
        Bringing(self)
    }

    /// Waits until everything that was given out has been answered, and the answers are recorded.
    pub(crate) async fn all_answered(&self) {
        loop {
            let answered = self.answered.notified();
            if self.state().dispatcher.given() == 0 && self.brought.load(Ordering::Acquire) == 0 {
                return;
            }
            answered.await;
        }
    }
}

/// An answer of a worker that is under way.
pub(crate) struct Bringing<'a>(&'a Board);

impl Drop for Bringing<'_> {
    fn drop(&mut self) {
        self.0.brought.fetch_sub(1, Ordering::AcqRel);
        self.0.answered.notify_waiters();
    }
}

pub(super) fn closing() -> BatchEnd {
    BatchEnd::Lost { why: "the server is shutting down".to_owned() }
}
