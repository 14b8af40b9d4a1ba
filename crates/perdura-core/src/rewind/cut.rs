//! Where a rewind cuts.

use super::error::RewindError;
use super::role::Role;
use super::spec::RewindTo;
use super::timeline::{Timeline, Work, WorkKind};
use super::told::{Told, told};
use crate::failure::Failure;
use crate::history::EventKind;
use crate::status::Status;
use std::fmt;

/// Why the cut is where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// Before the delivery of the failure that ended the instance, or of the first one in a row of tries.
    Failure {
        /// The event of that failure.
        event: u64,
    },
    /// Before the last turn.
    LastTurn,
    /// Before the termination.
    Termination,
    /// Before the request to cancel.
    Cancellation,
    /// The operator named the event.
    Event(u64),
    /// The operator named the turn.
    Turn(u32),
    /// The operator named the time.
    Time,
    /// Before a call that the operator named.
    Call {
        /// The event that recorded it.
        event: u64,
    },
    /// All of it is done again.
    Beginning,
    /// None of it: the branch goes on where it ended.
    Head,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Because::Failure { event } => write!(f, "before the failure that ended it, event {event}"),
            Because::LastTurn => f.write_str("before its last turn"),
            Because::Termination => f.write_str("before its termination"),
            Because::Cancellation => f.write_str("before the request to cancel"),
            Because::Event(event) => write!(f, "before the turn of event {event}"),
            Because::Turn(turn) => write!(f, "before turn {turn}"),
            Because::Time => f.write_str("before the time asked for"),
            Because::Call { event } => write!(f, "before the call at event {event}"),
            Because::Beginning => f.write_str("at the beginning"),
            Because::Head => f.write_str("at the end of that branch"),
        }
    }
}

pub(super) struct Cut {
    /// How many events are kept.
    pub(super) at: usize,
    pub(super) because: Because,
    /// The event that schedules work which the operator wants to run again.
    pub(super) rerun: Option<usize>,
}

impl Cut {
    fn new(at: usize, because: Because) -> Cut {
        Cut { at, because, rerun: None }
    }
}

pub(super) fn find(
    timeline: &Timeline<'_>,
    to: &RewindTo,
    status: Status,
    end: Option<&Failure>,
) -> Result<Cut, RewindError> {
    match to {
        RewindTo::Auto => Ok(by_status(timeline, status, end)),
        RewindTo::Event(event) => {
            let at = usize::try_from(*event).ok().filter(|at| *at < timeline.recorded);
            let last = timeline.recorded.saturating_sub(1) as u64;
            let at = at.ok_or(RewindError::NoEvent { event: *event, last })?;
            let rerun = timeline.work_at(at).map(|work| work.scheduled);
            Ok(Cut { rerun, ..Cut::new(beginning_of(timeline, at), Because::Event(*event)) })
        }
        RewindTo::Turn(turn) => {
            let turns = timeline.turns();
            let index = (*turn as usize).checked_sub(1);
            let at = index.and_then(|index| turns.get(index)).copied();
            let at = at.ok_or(RewindError::NoTurn { turn: *turn, turns: turns.len() as u32 })?;
            Ok(Cut::new(at, Because::Turn(*turn)))
        }
        RewindTo::Time(time) => {
            let at = timeline.turns().iter().find(|at| timeline.event(**at).at >= *time);
            let at = at.ok_or(RewindError::NothingSince { time: *time })?;
            Ok(Cut::new(*at, Because::Time))
        }
        RewindTo::Call(name) => {
            // Timers and locks have no name.
            let call = timeline.work.iter().find(|work| !name.is_empty() && timeline.name(work) == name);
            let call = call.ok_or_else(|| RewindError::NoCall { name: name.clone() })?;
            let because = Because::Call { event: call.scheduled as u64 };
            Ok(Cut::new(timeline.turn_of(call.scheduled), because))
        }
        RewindTo::Child(task) => {
            let failed = timeline.failures().rev().find(|at| match &timeline.event(*at).kind {
                EventKind::SubOrchestrationFailed(failed) => failed.id == *task,
                _ => false,
            });
            let failed = failed.ok_or(RewindError::NoFailedChild { task: *task })?;
            Ok(before_failure(timeline, failed))
        }
        RewindTo::Beginning => Ok(Cut::new(0, Because::Beginning)),
        RewindTo::Head => Ok(Cut::new(timeline.recorded, Because::Head)),
    }
}

/// Locks that an execution held were released when it ended, and an operation that has no result, or that the operator
/// wants to run again (`rerun` has names), is to be called again: a cut within a critical section, or between a call and
/// its result, moves to before it, and the code asks again.
pub(super) fn out_of_entities(timeline: &Timeline<'_>, mut cut: Cut, rerun: &[String]) -> Cut {
    let named = cut.rerun;
    let again =
        |work: &Work| named == Some(work.scheduled) || rerun.iter().any(|name| name == timeline.name(work));
    loop {
        let open = timeline.work.iter().filter(|work| work.scheduled < cut.at).find(|work| match work.kind {
            WorkKind::EntityLock => !unlocks(timeline, work, cut.at),
            WorkKind::EntityCall => match work.ended {
                Some((end, well)) => end >= cut.at && (!well || again(work)),
                None => true,
            },
            _ => false,
        });
        match open {
            Some(work) => cut.at = timeline.turn_of(work.scheduled),
            None => return cut,
        }
    }
}

/// Whether a critical section is over before the cut.
fn unlocks(timeline: &Timeline<'_>, lock: &Work, cut: usize) -> bool {
    (lock.scheduled..cut).any(|at| match &timeline.event(at).kind {
        EventKind::EntityUnlockSent(sent) => sent.entities.is_empty(),
        _ => false,
    })
}

fn by_status(timeline: &Timeline<'_>, status: Status, end: Option<&Failure>) -> Cut {
    let last_turn = || timeline.turns().last().copied().unwrap_or(0);
    match status {
        Status::Failed => match unhandled(timeline, end) {
            Some(failure) => before_failure(timeline, failure),
            None => Cut::new(last_turn(), Because::LastTurn),
        },
        Status::Terminated => Cut::new(before_termination(timeline), Because::Termination),
        Status::Canceled => match timeline.last(Role::Cancels) {
            Some(request) => Cut::new(timeline.turn_of(request), Because::Cancellation),
            None => Cut::new(last_turn(), Because::LastTurn),
        },
        _ => Cut::new(last_turn(), Because::LastTurn),
    }
}

/// Where the turn of an event begins. A rewind and a termination record what they do outside of turns: at the end of what
/// was before them.
fn beginning_of(timeline: &Timeline<'_>, at: usize) -> usize {
    let termination = before_termination(timeline);
    match timeline.event(at).kind {
        EventKind::ExecutionRewound(_) => at,
        _ if at >= termination => termination,
        _ => timeline.turn_of(at),
    }
}

/// A termination records what no turn had taken before itself, and says how much that was.
fn before_termination(timeline: &Timeline<'_>) -> usize {
    let terminated = (0..timeline.recorded).rev().find_map(|at| match &timeline.event(at).kind {
        EventKind::ExecutionTerminated(terminated) => Some(at.saturating_sub(terminated.untaken as usize)),
        _ => None,
    });
    terminated.unwrap_or(timeline.recorded)
}

/// The failure that ended an instance: not one that the code had caught and moved on from. `None` if no task had it.
fn unhandled(timeline: &Timeline<'_>, end: Option<&Failure>) -> Option<usize> {
    let last_turn = timeline.turns().last().copied().unwrap_or(0);
    let told = |at: usize| {
        let failure = timeline.failure(at)?;
        told(end?, failure, &timeline.said_by_child(at, failure))
    };
    let in_last_turn = |at: usize| at >= last_turn;
    let latest = |wanted: &dyn Fn(usize) -> bool| timeline.failures().rev().find(|at| wanted(*at));
    latest(&|at| in_last_turn(at) && told(at).is_some())
        .or_else(|| latest(&|at| told(at) == Some(Told::PassedOn)))
        .or_else(|| latest(&|at| told(at).is_some() && !timeline.succeeds_after(at)))
        .or_else(|| latest(&in_last_turn))
        .or_else(|| latest(&|at| told(at).is_some()))
}

fn before_failure(timeline: &Timeline<'_>, failure: usize) -> Cut {
    let mut first = first_try(timeline, failure);
    // A sibling that failed earlier while the code waited for the rest: it has not moved on from that one either.
    while let Some(sibling) = timeline.failures().rev().find(|at| *at < timeline.turn_of(first))
        && !timeline.decides(sibling, timeline.turn_of(first))
    {
        first = first_try(timeline, sibling);
    }
    Cut::new(timeline.turn_of(first), Because::Failure { event: first as u64 })
}

/// The failure of the first try, if the code itself tried the same call again and again, at once or after a timer. The
/// retries of a policy are one event of the history.
fn first_try(timeline: &Timeline<'_>, mut failure: usize) -> usize {
    while let Some(earlier) = earlier_try(timeline, failure) {
        failure = earlier;
    }
    failure
}

fn earlier_try(timeline: &Timeline<'_>, failure: usize) -> Option<usize> {
    let work = timeline.work_at(failure)?;
    let same = |at: &usize| {
        matches!(timeline.role(*at), Role::Fails(..))
            && timeline
                .work_at(*at)
                .is_some_and(|other| other.kind == work.kind && timeline.call(other) == timeline.call(work))
    };
    let turn = timeline.turn_of(work.scheduled);
    if let Some(at_once) = timeline.incoming(turn).find(same) {
        return Some(at_once);
    }
    let is_timer = |at: &usize| matches!(timeline.event(*at).kind, EventKind::TimerFired(_));
    timeline
        .incoming(turn)
        .filter(is_timer)
        .filter_map(|fired| timeline.work_at(fired))
        .find_map(|timer| timeline.incoming(timeline.turn_of(timer.scheduled)).find(same))
}
