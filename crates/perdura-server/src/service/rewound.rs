//! A worker that rewinds its instance: it answers a turn with the history that it wants to have instead. No history is
//! rewritten here; the instance is rewound to the first event that the worker left out, on a branch of its own.

use super::refusal::Refusal;
use crate::convert::action::BadAnswer;
use crate::convert::history::{HistoryWriter, Reader};
use crate::hub::Hub;
use crate::work_items::OrchestrationWork;
use perdura_core::history::{Event, EventKind};
use perdura_core::rewind::{RewindOrder, RewindSpec, RewindTo};
use perdura_proto::history_event::EventType;
use perdura_proto::orchestrator_action::OrchestratorActionType as Action;
use perdura_proto::{HistoryEvent, OrchestratorResponse};
use tonic::Status;

/// The history that a worker wants, if its answer is a rewind.
pub(super) fn wanted(response: &OrchestratorResponse) -> Option<&[HistoryEvent]> {
    match &response.actions[..] {
        [only] => match &only.orchestrator_action_type {
            Some(Action::RewindOrchestration(rewind)) => Some(&rewind.new_history),
            _ => None,
        },
        _ => None,
    }
}

/// The rewind that gives a worker the history that it wants. An answer that comes twice asks for the same one.
pub(super) fn spec(
    turn: &OrchestrationWork,
    wanted: &[HistoryEvent],
    answer: &str,
) -> Result<RewindSpec, BadAnswer> {
    let sent = turn.past.iter().flatten().chain(&turn.turn.events);
    let event = first_left_out(turn.turn.id.as_str(), sent, wanted).ok_or(BadAnswer::NothingLeftOut)?;
    let order = RewindOrder {
        by: "a worker".to_owned(),
        reason: reason(wanted),
        request_id: answer.to_owned(),
        ..RewindOrder::default()
    };
    // To its turn: an event that is named would run its work again, also if it had succeeded.
    let past: Vec<&Event> = turn.past.iter().flatten().collect();
    let is_turn = |event: &&&Event| matches!(event.kind, EventKind::TurnStarted(_));
    let to = match past.get(..=usize::try_from(event).unwrap_or(usize::MAX - 1)) {
        Some(kept) => RewindTo::Turn(kept.iter().filter(is_turn).count() as u32),
        None => RewindTo::Event(event),
    };
    Ok(RewindSpec { order, to, force: true, ..RewindSpec::default() })
}

pub(super) async fn apply(hub: &Hub, turn: &OrchestrationWork, spec: RewindSpec) -> Result<(), Status> {
    let rewound = hub.client.rewind(turn.turn.id.clone(), spec).await;
    rewound.map(drop).map_err(|error| Status::refusal(&error))
}

fn reason(wanted: &[HistoryEvent]) -> String {
    let reason = wanted.iter().find_map(|event| match &event.event_type {
        Some(EventType::ExecutionRewound(rewound)) => rewound.reason.clone(),
        _ => None,
    });
    reason.filter(|reason| !reason.is_empty()).unwrap_or_else(|| "a worker has asked for it".to_owned())
}

/// The number of the first event that was sent and is not wanted.
fn first_left_out<'a>(
    instance: &str,
    sent: impl Iterator<Item = &'a Event>,
    wanted: &[HistoryEvent],
) -> Option<u64> {
    let mut writer = HistoryWriter::new(instance, 0, Reader::Worker);
    let mut wanted = wanted.iter().peekable();
    for (number, event) in (0..).zip(sent) {
        let Some(event) = writer.write(event) else { continue };
        if wanted.next_if(|wanted| is_same(wanted, &event)).is_none() {
            return Some(number);
        }
    }
    None
}

/// What a worker changes in the start is not looked at: it gives the execution a new id, and here that keeps its own.
fn is_same(wanted: &HistoryEvent, sent: &HistoryEvent) -> bool {
    match (&wanted.event_type, &sent.event_type) {
        (Some(EventType::ExecutionStarted(_)), Some(EventType::ExecutionStarted(_))) => true,
        (kind, sent_kind) => (wanted.event_id, kind) == (sent.event_id, sent_kind),
    }
}
