//! Turns that somebody else runs: they leave the processor and come back later, or never. What such a turn holds stays
//! part of what is committed, so a crash loses nothing; what it decided is checked here, since no
//! [`Execution`](crate::orchestration::Execution) of ours did.

use super::Partition;
use super::events::{Events, weigh};
use super::instance::{Instance, TurnState};
use crate::delivery::{Delivery, InvalidDelivery, KEY_TAG, RESOLVE_EVENT, output_bytes_max};
use crate::entity::EntityId;
use crate::failure::{Failure, kind};
use crate::history::{Event, ExecutionCompleted};
use crate::id::{InstanceId, InstanceKey, InvalidText, check_key, check_name, check_tags, check_text};
use crate::limits::{DELAY_MS_MAX, FIRE_AT_MAX, LOCKS_MAX, Limits, TRACE_BYTES_MAX};
use crate::orchestration::{Decision, NO_RESOLVING, Turn, TurnOutcome, TurnResult, TurnTicket};
use crate::status::Status;
use crate::time::Timestamp;
use bytes::Bytes;
use std::collections::BTreeSet;

/// A turn that is not with the driver, and what its events weigh.
#[derive(Debug)]
pub(super) struct Away {
    pub(super) turn: Turn,
    pub(super) bytes: usize,
}

impl Partition {
    /// Somebody else runs this turn. It ends by [`turn_back`](Self::turn_back) or
    /// [`turn_returned_unrun`](Self::turn_returned_unrun); or the instance ends, begins anew or is suspended first, and
    /// then [`forgotten`](Self::forgotten) tells that nobody waits for the turn any more.
    pub fn turn_away(&mut self, turn: Turn) {
        // What it does elsewhere cannot end this process.
        self.trial_over(turn.key);
        self.keep_turn(turn, TurnState::Running);
    }

    /// The outcome of a turn that was away. Gives false, and drops it, if nobody waits for that turn any more.
    pub fn turn_back(&mut self, ticket: TurnTicket, outcome: TurnOutcome, now: Timestamp) -> bool {
        self.advance(now);
        let Some(instance) = self.instances.get_mut(&ticket.key) else { return false };
        if instance.turn != TurnState::Running(ticket.number) {
            return false;
        }
        let Some(away) = instance.away.take() else { return false };
        let turn = &away.turn;
        let outcome = match outcome {
            TurnOutcome::Done(result) if result.taken == Some(0) && result.decisions.is_empty() => {
                // Nothing has happened.
                instance.away = Some(away);
                return self.turn_returned_unrun(ticket);
            }
            TurnOutcome::Done(result) => {
                let checked = checked(result, turn, instance, &self.config.limits, self.now);
                TurnOutcome::Done(checked)
            }
            other => other,
        };
        self.finish_turn(away.turn, outcome);
        true
    }

    /// A turn that was away was not run: what it holds goes back to the front of the inbox, and the instance is queued
    /// again. Gives false if nobody waits for that turn any more.
    pub fn turn_returned_unrun(&mut self, ticket: TurnTicket) -> bool {
        let Some(instance) = self.instances.get_mut(&ticket.key) else { return false };
        if instance.turn != TurnState::Running(ticket.number) || instance.away.is_none() {
            return false;
        }
        // It has not had this turn of its share: without a commit there is no other batch that would give it one.
        instance.turns_in_batch.1 = instance.turns_in_batch.1.saturating_sub(1);
        self.call_back(ticket.key);
        self.enqueue(ticket.key);
        true
    }

    /// Nobody waits any more for the turn that is away, or waits for the history: what it holds goes back to the front of
    /// the inbox. Says whether there was one.
    pub(super) fn call_back(&mut self, key: InstanceKey) -> bool {
        let Some(instance) = self.instances.get_mut(&key) else { return false };
        let Some(away) = instance.away.take() else { return false };
        instance.turn = TurnState::Idle;
        instance.put_back(away.turn);
        self.trial_over(key);
        true
    }

    /// What a turn that is not finished holds stays part of what is committed.
    pub(super) fn keep_turn(&mut self, turn: Turn, state: impl Fn(u64) -> TurnState) -> Option<InstanceKey> {
        let instance = self.instances.get_mut(&turn.key)?;
        if instance.turn != TurnState::Running(turn.number) {
            return None;
        }
        instance.turn = state(turn.number);
        let (key, bytes) = (turn.key, weigh(&turn.events[1..]));
        instance.away = Some(Box::new(Away { turn, bytes }));
        Some(key)
    }
}

impl Instance {
    /// The events of a turn that was not run go back to the front of the inbox.
    pub(super) fn put_back(&mut self, mut turn: Turn) {
        self.put_first(turn.events.split_off(1));
    }

    /// Events that come before all others in the inbox.
    pub(super) fn put_first(&mut self, events: Vec<Event>) {
        let arrived = self.inbox.take();
        self.inbox = Events::from(events);
        self.inbox.extend(arrived);
    }
}

/// The result as it may be recorded: an end comes last, and only one. A result that breaks a rule fails the execution.
fn checked(
    mut result: TurnResult,
    turn: &Turn,
    instance: &Instance,
    limits: &Limits,
    now: Timestamp,
) -> TurnResult {
    let (mut decisions, mut ends): (Vec<_>, Vec<_>) =
        result.decisions.drain(..).partition(|decision| !decision.is_end());
    ends.truncate(1);
    decisions.append(&mut ends);
    result.decisions = decisions;
    if turn.from == 0 {
        // Code that has decided something has seen that it began.
        result.taken = result.taken.map(|taken| taken.max(1));
    }
    if let Err(refusal) = check(&result, turn, instance, limits, now) {
        let message = format!("turn of {:?} refused: {refusal}", instance.id);
        let failure = Failure::new(refusal.kind(), message).non_retryable();
        let end = ExecutionCompleted::new(Status::Failed, None, Some(failure));
        return TurnResult {
            decisions: vec![Decision::Complete(end)],
            taken: result.taken,
            ..TurnResult::default()
        };
    }
    if let Some(Decision::Complete(end)) = result.decisions.last_mut() {
        end.failure = end.failure.take().map(Failure::within_limits);
    }
    result
}

/// Why the decisions of a turn are not taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{what}: {size}, limit {limit}")]
    Limit { what: String, size: usize, limit: usize },
    #[error("{what} has the number of one that is not finished")]
    Twice { what: String },
    #[error("{what}: {why}")]
    Text { what: String, why: InvalidText },
    #[error("entity {entity:?} is locked twice")]
    LockedTwice { entity: String },
    #[error("{what}: {why}")]
    Delivery { what: String, why: InvalidDelivery },
    #[error("{what}: {NO_RESOLVING}")]
    Resolves { what: String },
    #[error("a child cannot have the instance id of its parent")]
    OwnChild,
    #[error("{what} lies more than ten years ahead")]
    TooFarAhead { what: String },
    #[error("{what} lies after the year 9999")]
    NoSuchTime { what: String },
}

impl Refusal {
    fn kind(&self) -> &'static str {
        match self {
            Refusal::Limit { .. } | Refusal::TooFarAhead { .. } | Refusal::NoSuchTime { .. } => kind::LIMIT,
            Refusal::Twice { .. }
            | Refusal::Text { .. }
            | Refusal::LockedTwice { .. }
            | Refusal::Delivery { .. }
            | Refusal::Resolves { .. }
            | Refusal::OwnChild => kind::INVALID,
        }
    }
}

fn check(
    result: &TurnResult,
    turn: &Turn,
    instance: &Instance,
    limits: &Limits,
    now: Timestamp,
) -> Result<(), Refusal> {
    let within = |what: &str, size: usize, limit: usize| match size <= limit {
        true => Ok(()),
        false => Err(Refusal::Limit { what: what.to_owned(), size, limit }),
    };
    // To give up a lock begins nothing, and like an end it always fits.
    let begins = |decision: &&Decision| !decision.is_end() && !matches!(decision, Decision::Unlock(_));
    let begun = result.decisions.iter().filter(begins).count();
    within("decisions", begun, limits.decisions_per_turn_max)?;
    let status = result.custom_status.iter().flatten().map(Bytes::len).sum();
    within("bytes of the custom status", status, limits.payload_bytes_max)?;
    within("bytes of the trace context", result.trace.as_ref().map_or(0, Bytes::len), TRACE_BYTES_MAX)?;
    // An end always fits: the last thing that an execution with a full history can do.
    if begun > 0 {
        let taken = result.taken.map_or(turn.events.len(), |taken| turn.events.len().min(taken + 1));
        let events = turn.from as usize + taken + begun;
        within("events of the history", events, limits.history_events_max as usize)?;
    }
    let mut bytes = 0;
    let mut numbers = BTreeSet::new();
    for decision in &result.decisions {
        let what = || decision.describe();
        let text = |checked: Result<(), InvalidText>| {
            checked.map_err(|why| Refusal::Text { what: decision.describe(), why })
        };
        let (payload, trace) = match decision {
            Decision::ScheduleTask(task) => {
                text(check_name("activity name", &task.name))?;
                text(check_text("version", task.version.as_deref().unwrap_or_default()))?;
                text(check_tags(&task.tags))?;
                if let Some(key) = task.key.as_ref().or_else(|| task.tags.get(KEY_TAG)) {
                    text(check_key("idempotency key", key))?;
                }
                let tagged = Delivery::of_tags(&task.tags);
                let tagged = tagged.and_then(|way| way.map_or(Ok(()), |way| way.check_for(&task.name)));
                tagged.map_err(|why| Refusal::Delivery { what: what(), why })?;
                if instance.tasks.contains_key(&task.id) || !numbers.insert(("task", task.id)) {
                    return Err(Refusal::Twice { what: what() });
                }
                (&task.input, &task.trace)
            }
            Decision::ScheduleSubOrchestration(child) => {
                text(check_name("orchestration name", &child.name))?;
                text(check_text("version", &child.version))?;
                text(check_tags(&child.tags))?;
                if !child.instance.is_empty() {
                    text(InstanceId::new(&child.instance).map(drop))?;
                }
                if child.instance == instance.id.as_str() {
                    return Err(Refusal::OwnChild);
                }
                if instance.children.contains_key(&child.id) || !numbers.insert(("child", child.id)) {
                    return Err(Refusal::Twice { what: what() });
                }
                (&child.input, &child.trace)
            }
            Decision::CreateTimer(timer) => {
                if timer.fire_at > FIRE_AT_MAX {
                    return Err(Refusal::NoSuchTime { what: what() });
                }
                if instance.timers.contains_key(&timer.id) || !numbers.insert(("timer", timer.id)) {
                    return Err(Refusal::Twice { what: what() });
                }
                (&None, &None)
            }
            Decision::SendEvent(sent) => {
                text(check_name("event name", &sent.name))?;
                if sent.name == RESOLVE_EVENT {
                    return Err(Refusal::Resolves { what: what() });
                }
                text(InstanceId::new(&sent.instance).map(drop))?;
                (&sent.input, &None)
            }
            Decision::CallEntity(called) => {
                text(EntityId::parse(&called.entity).map(drop))?;
                text(check_name("operation name", &called.operation))?;
                if instance.calls.contains_key(&called.id) || !numbers.insert(("call", called.id)) {
                    return Err(Refusal::Twice { what: what() });
                }
                (&called.input, &None)
            }
            Decision::SignalEntity(signaled) => {
                text(EntityId::parse(&signaled.entity).map(drop))?;
                text(check_name("operation name", &signaled.operation))?;
                if signaled.at.saturating_sub(now.0) > DELAY_MS_MAX {
                    return Err(Refusal::TooFarAhead { what: what() });
                }
                (&signaled.input, &None)
            }
            Decision::RequestLock(requested) => {
                within(&format!("entities of {}", what()), requested.set.len(), LOCKS_MAX)?;
                let mut set = BTreeSet::new();
                for entity in &requested.set {
                    text(EntityId::parse(entity).map(drop))?;
                    if !set.insert(entity) {
                        return Err(Refusal::LockedTwice { entity: entity.clone() });
                    }
                }
                (&None, &None)
            }
            Decision::Unlock(_) => (&None, &None),
            Decision::Terminate(terminate) => {
                text(check_text("reason", &terminate.reason))?;
                text(InstanceId::new(&terminate.instance).map(drop))?;
                (&None, &None)
            }
            Decision::Complete(end) => (&end.output, &None),
            Decision::ContinueAsNew(next) => {
                text(check_text("version", next.version.as_deref().unwrap_or_default()))?;
                text(next.tags.as_ref().map_or(Ok(()), check_tags))?;
                (&next.input, &None)
            }
        };
        let size = payload.as_ref().map_or(0, Bytes::len);
        let most = match decision {
            Decision::Complete(_) => output_bytes_max(instance.id.as_str(), limits.payload_bytes_max),
            _ => limits.payload_bytes_max,
        };
        within(&format!("bytes of {}", what()), size, most)?;
        within("bytes of a trace context", trace.as_ref().map_or(0, Bytes::len), TRACE_BYTES_MAX)?;
        bytes += size;
    }
    within("bytes of all decisions", bytes, limits.turn_bytes_max)
}
