//! Turns and what came of them as bytes, for workers in other processes that run orchestrations as the engine itself does.

use super::decision::{ContinueAsNew, Decision, TerminateInstance, Turn, TurnOutcome, TurnResult};
use crate::history::{
    Damaged, Event, EventKind, EventRaised, TurnLimits, decode_events, encode_events, open_record,
    seal_record,
};
use crate::id::{ExecutionId, InstanceId, InstanceKey};
use crate::status::Status;
use bytes::Bytes;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct CarriedTurn {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    version: String,
    #[prost(bytes = "bytes", tag = "4")]
    execution: Bytes,
    #[prost(uint32, tag = "5")]
    generation: u32,
    #[prost(uint32, tag = "6")]
    branch: u32,
    #[prost(uint64, tag = "7")]
    from: u64,
    #[prost(bytes = "bytes", tag = "8")]
    events: Bytes,
    /// Absent where the worker is taken to have run the turns before.
    #[prost(bytes = "bytes", optional, tag = "9")]
    history: Option<Bytes>,
}

/// A turn, and with `history` all events before it, as bytes. What the engine alone needs of it is left out.
#[must_use]
pub fn encode_turn(turn: &Turn, history: Option<&[Event]>) -> Bytes {
    seal_record(&CarriedTurn {
        id: turn.id.to_string(),
        name: turn.name.clone(),
        version: turn.version.clone(),
        execution: Bytes::copy_from_slice(&turn.execution.0.to_be_bytes()),
        generation: turn.generation,
        branch: turn.branch,
        from: turn.from,
        events: encode_events(turn.events.clone()),
        history: history.map(|history| encode_events(history.to_vec())),
    })
}

/// The turn of these bytes, and the history before it if it came along. Its key is `key`: the receiver's own.
pub fn decode_turn(bytes: Bytes, key: InstanceKey) -> Result<(Turn, Option<Vec<Event>>), Damaged> {
    let carried: CarriedTurn = open_record("turn", bytes)?;
    let wrong = |why: &dyn std::fmt::Display| Damaged::undecodable("turn", why);
    let execution = <[u8; 16]>::try_from(&carried.execution[..]).map_err(|error| wrong(&error))?;
    let turn = Turn {
        key,
        id: InstanceId::new(&carried.id).map_err(|error| wrong(&error))?,
        name: carried.name,
        version: carried.version,
        execution: ExecutionId(u128::from_be_bytes(execution)),
        generation: carried.generation,
        branch: carried.branch,
        from: carried.from,
        number: 0,
        trace: None,
        lost: 0,
        events: decode_events(carried.events)?,
    };
    Ok((turn, carried.history.map(decode_events).transpose()?))
}

#[derive(Clone, PartialEq, Message)]
struct CarriedOutcome {
    /// Why it could not be run; then there is nothing else.
    #[prost(string, optional, tag = "1")]
    obstacle: Option<String>,
    #[prost(message, repeated, tag = "2")]
    decisions: Vec<CarriedDecision>,
    #[prost(message, optional, tag = "3")]
    custom_status: Option<CarriedStatus>,
    #[prost(message, optional, tag = "4")]
    limits_met: Option<TurnLimits>,
    #[prost(bool, optional, tag = "5")]
    awaits_event: Option<bool>,
    #[prost(uint32, repeated, tag = "6")]
    gave_up: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct CarriedStatus {
    #[prost(bytes = "bytes", optional, tag = "1")]
    status: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct CarriedDecision {
    /// Most decisions are what is recorded of them.
    #[prost(oneof = "EventKind", tags = "4, 6, 9, 12, 14, 30, 31, 34, 36")]
    recorded: Option<EventKind>,
    #[prost(message, optional, tag = "50")]
    terminate: Option<CarriedTermination>,
    #[prost(message, optional, tag = "51")]
    again: Option<CarriedContinuation>,
}

#[derive(Clone, PartialEq, Message)]
struct CarriedTermination {
    #[prost(string, tag = "1")]
    instance: String,
    #[prost(string, tag = "2")]
    reason: String,
    #[prost(bool, tag = "3")]
    recurse: bool,
}

#[derive(Clone, PartialEq, Message)]
struct CarriedContinuation {
    #[prost(bytes = "bytes", optional, tag = "1")]
    input: Option<Bytes>,
    #[prost(string, optional, tag = "2")]
    version: Option<String>,
    #[prost(message, repeated, tag = "3")]
    carry_over: Vec<EventRaised>,
}

/// What became of a turn, as bytes.
#[must_use]
pub fn encode_outcome(outcome: TurnOutcome) -> Bytes {
    let obstacle = outcome.obstacle();
    let TurnOutcome::Done(result) = outcome else {
        return seal_record(&CarriedOutcome { obstacle, ..CarriedOutcome::default() });
    };
    seal_record(&CarriedOutcome {
        obstacle: None,
        decisions: result.decisions.into_iter().map(carry).collect(),
        custom_status: result.custom_status.map(|status| CarriedStatus { status }),
        limits_met: result.limits_met,
        awaits_event: result.awaits_event,
        gave_up: result.gave_up,
    })
}

fn carry(decision: Decision) -> CarriedDecision {
    let recorded = match decision {
        Decision::ScheduleTask(task) => task.into(),
        Decision::CreateTimer(timer) => timer.into(),
        Decision::ScheduleSubOrchestration(child) => child.into(),
        Decision::SendEvent(sent) => sent.into(),
        Decision::CallEntity(called) => called.into(),
        Decision::SignalEntity(signaled) => signaled.into(),
        Decision::RequestLock(requested) => requested.into(),
        Decision::Unlock(sent) => sent.into(),
        Decision::Complete(end) => end.into(),
        Decision::Terminate(TerminateInstance { instance, reason, recurse }) => {
            let terminate = Some(CarriedTermination { instance, reason, recurse });
            return CarriedDecision { terminate, ..CarriedDecision::default() };
        }
        // The code of this project's workers does not change tags.
        Decision::ContinueAsNew(ContinueAsNew { input, version, carry_over, tags: _ }) => {
            let again = Some(CarriedContinuation { input, version, carry_over });
            return CarriedDecision { again, ..CarriedDecision::default() };
        }
    };
    CarriedDecision { recorded: Some(recorded), ..CarriedDecision::default() }
}

/// What became of a turn that was run elsewhere. What no code of ours would decide is refused.
pub fn decode_outcome(bytes: Bytes) -> Result<TurnOutcome, Damaged> {
    let carried: CarriedOutcome = open_record("outcome of a turn", bytes)?;
    if let Some(obstacle) = carried.obstacle {
        return Ok(TurnOutcome::CannotRun(obstacle));
    }
    let decisions = carried.decisions.into_iter().map(decision).collect::<Result<Vec<_>, _>>()?;
    let last = decisions.len().saturating_sub(1);
    if decisions.iter().enumerate().any(|(index, decision)| decision.is_end() && index != last) {
        return Err(Damaged::undecodable("outcome of a turn", "something follows the end"));
    }
    Ok(TurnOutcome::Done(TurnResult {
        decisions,
        custom_status: carried.custom_status.map(|status| status.status),
        limits_met: carried.limits_met,
        awaits_event: carried.awaits_event,
        gave_up: carried.gave_up,
        ..TurnResult::default()
    }))
}

fn decision(carried: CarriedDecision) -> Result<Decision, Damaged> {
    Ok(match carried {
        CarriedDecision { terminate: Some(end), .. } => Decision::Terminate(TerminateInstance {
            instance: end.instance,
            reason: end.reason,
            recurse: end.recurse,
        }),
        CarriedDecision { again: Some(again), .. } => Decision::ContinueAsNew(ContinueAsNew {
            input: again.input,
            version: again.version,
            carry_over: again.carry_over,
            tags: None,
        }),
        CarriedDecision { recorded, .. } => match recorded {
            Some(EventKind::TaskScheduled(task)) => Decision::ScheduleTask(task),
            Some(EventKind::TimerCreated(timer)) => Decision::CreateTimer(timer),
            Some(EventKind::SubOrchestrationScheduled(child)) => Decision::ScheduleSubOrchestration(child),
            Some(EventKind::EventSent(sent)) => Decision::SendEvent(sent),
            Some(EventKind::EntityOperationCalled(called)) => Decision::CallEntity(called),
            Some(EventKind::EntityOperationSignaled(signaled)) => Decision::SignalEntity(signaled),
            Some(EventKind::EntityLockRequested(requested)) => Decision::RequestLock(requested),
            Some(EventKind::EntityUnlockSent(sent)) => Decision::Unlock(sent),
            Some(EventKind::ExecutionCompleted(end))
                if end.final_status().is_some_and(Status::is_terminal) =>
            {
                Decision::Complete(end)
            }
            _ => return Err(Damaged::undecodable("outcome of a turn", "a decision that nobody can make")),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{ExecutionCompleted, ExecutionStarted, TaskScheduled, TurnStarted};
    use crate::retry::RetryPolicy;
    use crate::time::Timestamp;

    fn turn() -> Turn {
        Turn {
            key: InstanceKey(9),
            id: InstanceId::new("a").unwrap(),
            name: "order".into(),
            version: "2".into(),
            execution: ExecutionId(7),
            generation: 3,
            branch: 1,
            from: 12,
            number: 0,
            trace: None,
            lost: 0,
            events: vec![Event::new(Timestamp(5), TurnStarted::default())],
        }
    }

    #[test]
    fn a_turn_arrives_as_it_was_sent_with_or_without_its_history() {
        let history = [Event::new(Timestamp(1), ExecutionStarted { name: "o".into(), ..Default::default() })];
        for history in [None, Some(&[][..]), Some(&history[..])] {
            let (arrived, with) = decode_turn(encode_turn(&turn(), history), InstanceKey(9)).unwrap();
            assert_eq!((arrived, with.as_deref()), (turn(), history));
        }
    }

    #[test]
    fn an_outcome_arrives_with_all_that_the_code_said() {
        let retry = Some(RetryPolicy::default());
        let task =
            TaskScheduled { id: 1, input: Some(Bytes::from_static(b"\xff")), retry, ..Default::default() };
        let again = ContinueAsNew { version: Some("3".into()), ..Default::default() };
        let end = TerminateInstance { instance: "b".into(), reason: "r".into(), recurse: true };
        for custom_status in [None, Some(None), Some(Some(Bytes::from_static(b"1")))] {
            let outcome = TurnOutcome::Done(TurnResult {
                decisions: vec![
                    Decision::ScheduleTask(task.clone()),
                    Decision::Terminate(end.clone()),
                    Decision::ContinueAsNew(again.clone()),
                ],
                custom_status,
                limits_met: Some(TurnLimits::NONE),
                awaits_event: Some(true),
                ..TurnResult::default()
            });
            assert_eq!(decode_outcome(encode_outcome(outcome.clone())), Ok(outcome));
        }
        let cannot = TurnOutcome::CannotRun("no".into());
        assert_eq!(decode_outcome(encode_outcome(cannot.clone())), Ok(cannot));
    }

    #[test]
    fn what_no_code_decides_is_refused() {
        let refused = |decisions: Vec<CarriedDecision>| {
            let outcome = CarriedOutcome { decisions, ..CarriedOutcome::default() };
            decode_outcome(seal_record(&outcome)).unwrap_err()
        };
        let end =
            |status: u32| carry(Decision::Complete(ExecutionCompleted { status, ..Default::default() }));
        refused(vec![CarriedDecision::default()]);
        refused(vec![end(0)]);
        refused(vec![end(1), end(1)]);
        assert!(decode_outcome(Bytes::from_static(b"garbage")).is_err());
    }
}
