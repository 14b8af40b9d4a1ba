//! Rewind: an instance goes back to an earlier point of its history and on from there, on a new branch. Nothing that was
//! recorded is changed or lost: the branch that is left stays readable, and one can go back to it.
//!
//! A rewind is planned first ([`plan`]) and then applied, by the processor of the instance's partition. The plan is a
//! value that says everything: where the cut is and why there, what is kept, what is delivered again, what runs again,
//! which results may be used again, what is dropped and which of it the world has already seen.
//!
//! A cut lies always between two turns, so that the code replays what is kept exactly as it ran.

mod attempts;
mod branches;
mod cut;
mod done;
mod elsewhere;
mod error;
mod opening;
mod plan;
mod reuse;
mod role;
mod sources;
mod spare;
mod spec;
mod timeline;
mod told;

pub use branches::{
    BranchRecord, Difference, DoneElsewhere, HistoryPart, LeftTask, ReturnRecord, Rewinds, assemble,
    difference,
};
pub use cut::Because;
pub use error::RewindError;
pub use plan::{ChildPlan, RewindPlan, Subject, TimerPlan, WorkRef, plan};
pub use reuse::{ResultDue, ReuseSource, ReuseState};
pub use spec::{Head, Replaced, RewindOrder, RewindSpec, RewindTo, TimerDue, Timers};
pub use timeline::WorkKind;

pub(crate) use opening::{Opening, draw_up};
pub(crate) use reuse::{Found, ReuseTable, Sort};
