//! Why an instance cannot be rewound as asked. Nothing was changed.

use super::spec::Head;
use crate::history::Damaged;
use crate::status::Status;
use crate::time::Timestamp;

/// Why an instance cannot be rewound as asked. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RewindError {
    /// It has not ended.
    #[error("it is {status}; terminate it first, or rewind it by force")]
    NotEnded {
        /// Its status.
        status: Status,
    },
    /// The history has changed since the plan was made.
    #[error(
        "its history moved on: execution {}, generation {}, branch {}, {} events now; make a new plan",
        now.execution, now.generation, now.branch, now.events
    )]
    HeadMoved {
        /// Where it ends now.
        now: Head,
    },
    /// No such event.
    #[error("event {event} is outside its history, which has events 0 to {last}")]
    NoEvent {
        /// Asked for.
        event: u64,
        /// The last one.
        last: u64,
    },
    /// No such turn.
    #[error("it has no turn {turn}; its turns are 1 to {turns}")]
    NoTurn {
        /// Asked for.
        turn: u32,
        /// How many it has.
        turns: u32,
    },
    /// Nothing happened since.
    #[error("no turn of it began at {time} or later; nothing would be undone")]
    NothingSince {
        /// Asked for.
        time: Timestamp,
    },
    /// The history has no such call.
    #[error("it never called {name:?}; look at its history for the names that it called")]
    NoCall {
        /// Asked for.
        name: String,
    },
    /// The history has no failure of this child.
    #[error("no child of task {task} failed in its history; it has gone on without it")]
    NoFailedChild {
        /// The task.
        task: u32,
    },
    /// The event belongs to nothing that has an input or a result.
    #[error("event {event} belongs to no activity or sub-orchestration; name the event that scheduled it")]
    NotWork {
        /// Asked for.
        event: u64,
    },
    /// An input cannot be replaced.
    #[error(
        "the input of event {event} cannot be replaced: {why}; replace its result, or the input of the instance"
    )]
    InputFixed {
        /// Asked for.
        event: u64,
        /// Why not.
        why: &'static str,
    },
    /// What a call under a key of the hub gets is not its own.
    #[error(
        "event {event} is a call under a key of the hub, and its input and result are those of all who use the key; give them to the key's instance {instance:?}, in a rewind that takes its parents along (with parents)"
    )]
    KeyOfHub {
        /// Asked for.
        event: u64,
        /// The instance that makes the call for all.
        instance: String,
    },
    /// The result was delivered before the cut.
    #[error("the result of event {event} was delivered before the cut; rewind to an earlier point")]
    ResultKept {
        /// Asked for.
        event: u64,
    },
    /// Two results, two inputs, or one of each for the same work.
    #[error("the work of event {event} is given an input or a result twice; give it one of them once")]
    GivenTwice {
        /// The event of the second one.
        event: u64,
    },
    /// A new input of the instance makes sense only from the beginning.
    #[error("the instance's input can be replaced only in a rewind to the beginning")]
    NotFromBeginning,
    /// No such branch.
    #[error("it has no branch {branch}; it has {branches}, numbered from 0")]
    NoBranch {
        /// Asked for.
        branch: u32,
        /// How many it has.
        branches: u32,
    },
    /// It is there already.
    #[error("branch {branch} is the present one, and at its end; nothing would be undone")]
    AtHead {
        /// The branch.
        branch: u32,
    },
    /// Rewound too often.
    #[error("it has {limit} branches, which is the limit; start it anew under another id")]
    TooManyBranches {
        /// The limit.
        limit: usize,
    },
    /// The parent does not wait any more.
    #[error(
        "its parent {parent:?} is {status} and hears nothing more from it; rewind the parent, or take it along (with parents)"
    )]
    ParentEnded {
        /// The parent's id.
        parent: String,
        /// Its status.
        status: Status,
    },
    /// The parent has taken its end, or does not ask for it any more, and has gone on from there.
    #[error(
        "its parent {parent:?} is {status} and has gone on without it, so that nobody would hear of its new end; rewind the parent to before it heard of the first one, or this one by force"
    )]
    ParentWentOn {
        /// The parent's id.
        parent: String,
        /// Its status.
        status: Status,
    },
    /// The branch that was asked for cannot be read.
    #[error(
        "its branch {branch} cannot be read ({what}); name another branch, or restore the hub from a backup"
    )]
    BranchDamaged {
        /// The branch.
        branch: u32,
        /// What is wrong.
        what: String,
    },
    /// Its history cannot be read.
    #[error("its history cannot be read: {0}")]
    Damaged(#[from] Damaged),
}
