//! What workers do: fetch work, bring results, give work back, read histories.

use super::instance_id;
use super::refusal::Refusal;
use super::rewound;
use crate::convert::action::{BadAnswer, result_in};
use crate::convert::failure::failure_in;
use crate::convert::history::{HistoryWriter, Reader};
use crate::convert::payload_in;
use crate::hub::Hub;
use crate::work_items::{Kind, NotTaken, OrchestrationWork, Profile, WorkItemStream};
use futures_util::stream;
use perdura_core::orchestration::{TurnOutcome, TurnResult, decode_outcome};
use perdura_engine::{ActivityEnd, EngineError, NotRecorded, Receipt};
use perdura_proto::*;
use prost::Message;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};

pub(crate) type ItemStream = WorkItemStream;
pub(crate) type HistoryStream =
    Pin<Box<dyn futures_util::Stream<Item = Result<HistoryChunk, Status>> + Send>>;

/// Longest time that whoever brings a result waits for its commit. A worker that brings results in the loop that reads its
/// stream could be the only one that makes room for them.
const RECORD_PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of history in one message, unless a single event is larger.
const CHUNK_BYTES: usize = 1 << 20;

pub(super) fn items(
    hub: &Arc<Hub>,
    request: Request<GetWorkItemsRequest>,
    message_bytes_max: usize,
) -> WorkItemStream {
    let user_agent = user_agent(request.metadata());
    let profile = Profile::new(request.get_ref(), user_agent, message_bytes_max);
    let address = request.remote_addr().map_or_else(String::new, |address| address.to_string());
    let name = format!("{address} {user_agent}").trim().into();
    let store = hub.client.store().clone();
    let now = Arc::new(move || store.now());
    WorkItemStream::new(hub.board.clone(), request.into_inner(), profile, now, name)
}

/// What the SDK of a call says that it is.
pub(super) fn user_agent(metadata: &MetadataMap) -> &str {
    metadata.get("user-agent").and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Java's worker brings results in the loop that reads its stream, and takes a refusal for the end of that stream: it
/// opens another one after five seconds and never reads the first again, whose items then wait for ever. So it is not told
/// (durabletask-java 1.9, `DurableTaskGrpcWorker.startAndBlock`).
pub(super) fn bearable<T: Default>(user_agent: &str, answer: Result<T, Status>) -> Result<T, Status> {
    match answer {
        Err(status)
            if user_agent.starts_with("grpc-java")
                && matches!(status.code(), Code::NotFound | Code::InvalidArgument) =>
        {
            tracing::debug!(message = status.message(), "what a Java worker brought was not taken");
            Ok(T::default())
        }
        answer => answer,
    }
}

/// The answer to whoever brings a result that nobody waits for. SDKs repeat a call on most other codes.
pub(super) fn stale() -> Status {
    Status::not_found(
        "work item not found: it was finished, given to another worker, or is not wanted any more",
    )
}

/// The answer to whoever brought a result: it comes when the commit is durable that records it.
pub(super) async fn told(
    recorded: impl Future<Output = Result<(), NotRecorded>>,
) -> Result<CompleteTaskResponse, Status> {
    match tokio::time::timeout(RECORD_PATIENCE, recorded).await {
        Ok(Ok(())) => Ok(CompleteTaskResponse {}),
        Ok(Err(NotRecorded::Unwanted)) => Err(stale()),
        Ok(Err(lost @ NotRecorded::Lost)) => {
            Err(Status::unavailable(format!("{lost}; if it was not, the work is handed out again")))
        }
        Err(_) => Err(Status::unavailable(format!(
            "the result is not recorded after {} s; it still may be",
            RECORD_PATIENCE.as_secs()
        ))),
    }
}

pub(super) async fn complete_activity(
    hub: &Hub,
    response: ActivityResponse,
) -> Result<CompleteTaskResponse, Status> {
    // Details mean a failure, even if there is nothing in them.
    let end = match response.failure_details {
        Some(details) => ActivityEnd::Failed(failure_in(details)),
        None => ActivityEnd::Completed(payload_in(response.result)),
    };
    let (receipt, recorded) = Receipt::new();
    let end = ActivityEnd::Brought(Box::new(end), receipt);
    let token = &response.completion_token;
    match hub.board.finish_activity(token, &response.instance_id, response.task_id, end) {
        Ok(()) => told(recorded.wait()).await,
        Err(NotTaken::Unwanted) => Err(stale()),
        Err(NotTaken::Misnamed { instance, task }) => Err(Status::invalid_argument(format!(
            "the token is that of activity {task} of instance {instance:?}, not of {} of {:?}",
            response.task_id, response.instance_id
        ))),
    }
}

pub(super) async fn complete_orchestration(
    hub: &Hub,
    response: OrchestratorResponse,
) -> Result<CompleteTaskResponse, Status> {
    let found = hub.board.find_turn(&response.completion_token, &response.instance_id);
    let (id, token, turn) = found.ok_or_else(stale)?;
    if response.instance_id != turn.turn.id.as_str() {
        return Err(Status::invalid_argument(format!(
            "the token is that of a work item of instance {:?}, not of {:?}",
            turn.turn.id, response.instance_id
        )));
    }
    if !response.perdura_outcome.is_empty() {
        return complete_turn(hub, (id, token), &turn, response).await;
    }
    if response.is_partial {
        return match turn.add_part(token, response) {
            Ok(()) => Ok(CompleteTaskResponse {}),
            Err(bad) => Err(refused(hub, id, &turn, &bad)),
        };
    }
    let (response, began) = turn.whole_answer(token, response);
    if response.requires_history && response.actions.is_empty() {
        if turn.past.is_none() {
            hub.board.remove(id).ok_or_else(stale)?;
            turn.unrun();
            return Ok(CompleteTaskResponse {});
        }
        // Every item comes with the whole history or a way to it; once more, then.
        hub.board.refuse(id);
        return Ok(CompleteTaskResponse {});
    }
    if let Some(wanted) = rewound::wanted(&response) {
        let spec = rewound::spec(&turn, wanted, &token.to_string());
        let spec = spec.map_err(|bad| refused(hub, id, &turn, &bad))?;
        // With the turn goes its item, and with that the token.
        return match rewound::apply(hub, &turn, spec).await {
            Ok(()) => Ok(CompleteTaskResponse {}),
            Err(status) => {
                hub.board.refuse(id);
                Err(status)
            }
        };
    }
    let processed = response.num_events_processed;
    let result = match result_in(response).and_then(|result| Ok((result, turn.taken(processed)?))) {
        Ok((result, taken)) => TurnResult { taken, began, ..result },
        Err(bad) => return Err(refused(hub, id, &turn, &bad)),
    };
    // From here on the token is void: a second answer finds nothing.
    if hub.board.remove(id).is_none() {
        return Err(stale());
    }
    told(turn.done(TurnOutcome::Done(result))).await
}

/// The answer of a worker that runs turns as the engine does.
async fn complete_turn(
    hub: &Hub,
    (id, token): (crate::work_items::ItemId, crate::work_items::Token),
    turn: &OrchestrationWork,
    response: OrchestratorResponse,
) -> Result<CompleteTaskResponse, Status> {
    let began = turn.whole_answer(token, OrchestratorResponse::default()).1;
    let outcome = match decode_outcome(response.perdura_outcome.into()) {
        Ok(TurnOutcome::Done(result)) => TurnOutcome::Done(TurnResult { began, ..result }),
        Ok(outcome) => outcome,
        Err(damaged) => return Err(refused(hub, id, turn, &BadAnswer::Undecodable(damaged.to_string()))),
    };
    hub.board.remove(id).ok_or_else(stale)?;
    // Before the engine knows: the next turn may follow at once.
    turn.kept_by(token);
    told(turn.done(outcome)).await
}

/// An answer that cannot be taken harms its worker only: the item goes to somebody else.
fn refused(hub: &Hub, id: crate::work_items::ItemId, turn: &OrchestrationWork, bad: &BadAnswer) -> Status {
    tracing::warn!(hub = %hub.name, instance = ?turn.turn.id, %bad, "the answer of a worker was refused");
    turn.drop_parts();
    hub.board.refuse(id);
    Status::invalid_argument(format!("instance {:?}: {bad}", turn.turn.id))
}

pub(super) async fn abandon_activity(
    hub: &Hub,
    request: AbandonActivityTaskRequest,
) -> Result<AbandonActivityTaskResponse, Status> {
    match hub.board.abandon(&request.completion_token, Kind::Activity) {
        true => Ok(AbandonActivityTaskResponse {}),
        false => Err(stale()),
    }
}

pub(super) async fn abandon_orchestration(
    hub: &Hub,
    request: AbandonOrchestrationTaskRequest,
) -> Result<AbandonOrchestrationTaskResponse, Status> {
    match hub.board.abandon(&request.completion_token, Kind::Orchestration) {
        true => Ok(AbandonOrchestrationTaskResponse {}),
        false => Err(stale()),
    }
}

pub(super) async fn history(
    hub: &Hub,
    request: StreamInstanceHistoryRequest,
) -> Result<HistoryStream, Status> {
    let id = instance_id(&request.instance_id)?;
    let events = if request.for_work_item_processing {
        let turn = hub.board.held_turn(id.as_str());
        let execution = request.execution_id.filter(|execution| !execution.is_empty());
        let turn = turn.filter(|turn| execution.is_none_or(|asked| asked == turn.turn.execution.to_string()));
        turn.ok_or_else(stale)?.past_events()
    } else {
        let events = hub.client.history(&id).await.map_err(|error| Status::refusal(&error))?;
        let not_found = || {
            Status::refusal(&EngineError::from(perdura_core::partition::RequestError::NotFound {
                id: id.clone(),
            }))
        };
        let events = events.ok_or_else(not_found)?;
        let mut writer = HistoryWriter::new(id.as_str(), Reader::Operator);
        events.iter().filter_map(|event| writer.write(event)).collect()
    };
    Ok(Box::pin(stream::iter(chunks(events).into_iter().map(Ok))))
}

/// Cuts a history into messages of a moderate size.
fn chunks(events: Vec<HistoryEvent>) -> Vec<HistoryChunk> {
    let mut chunks: Vec<HistoryChunk> = Vec::new();
    let mut room = 0;
    for event in events {
        let bytes = event.encoded_len();
        match chunks.last_mut().filter(|_| bytes <= room) {
            Some(chunk) => {
                room -= bytes;
                chunk.events.push(event);
            }
            None => {
                room = CHUNK_BYTES.saturating_sub(bytes);
                chunks.push(HistoryChunk { events: vec![event] });
            }
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use history_event::EventType;

    #[test]
    fn a_long_history_is_cut_into_messages_that_every_client_receives() {
        let event = |bytes: usize| HistoryEvent {
            event_type: Some(EventType::EventRaised(EventRaisedEvent {
                name: "Go".into(),
                input: Some("x".repeat(bytes)),
            })),
            ..HistoryEvent::default()
        };
        let events = vec![event(10), event(CHUNK_BYTES), event(400_000), event(400_000), event(400_000)];
        let chunks = chunks(events.clone());
        let sizes: Vec<_> = chunks.iter().map(|chunk| chunk.events.len()).collect();
        assert_eq!(sizes, [1, 1, 2, 1]);
        assert_eq!(chunks.into_iter().flat_map(|chunk| chunk.events).collect::<Vec<_>>(), events);
    }
}
