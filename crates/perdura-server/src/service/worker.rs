//! What workers do: bring results, give work back, read histories.

use super::instance_id;
use super::refusal::Refusal;
use super::rewound;
use crate::convert::action::{BadAnswer, result_in};
use crate::convert::failure::failure_in;
use crate::convert::history::{HistoryWriter, Reader};
use crate::convert::payload_in;
use crate::hub::Hub;
use crate::work_items::{ItemId, Kind, NotTaken, OrchestrationWork, Token};
use futures_util::stream;
use perdura_core::orchestration::{TurnOutcome, TurnResult, decode_outcome};
use perdura_engine::{ActivityEnd, EngineError, NotRecorded, Receipt};
use perdura_proto::*;
use prost::Message;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

pub(crate) type HistoryStream =
    Pin<Box<dyn futures_util::Stream<Item = Result<HistoryChunk, Status>> + Send>>;

/// Longest time that whoever brings a result waits for its commit. A worker that brings results in the loop that reads its
/// stream could be the only one that makes room for them.
const RECORD_PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of history in one message, unless a single event is larger.
const CHUNK_BYTES: usize = 1 << 20;

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
            if user_agent.contains("grpc-java")
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
    let _bringing = hub.board.bringing();
    // Details mean a failure, even if there is nothing in them.
    let result = match response.failure_details {
        Some(details) => Err(failure_in(details)),
        None => Ok(payload_in(response.result)),
    };
    let end = match result.clone() {
        Ok(output) => ActivityEnd::Completed(output),
        Err(failure) => ActivityEnd::Failed(failure),
    };
    let (receipt, recorded) = Receipt::new();
    let end = ActivityEnd::Brought(Box::new(end), receipt);
    let token = &response.completion_token;
    match hub.board.finish_activity(token, &response.instance_id, response.task_id, end) {
        Ok(()) => told(recorded.wait()).await,
        Err(NotTaken::Unwanted) => {
            let token = Token::parse(token).ok_or_else(stale)?;
            let instance = instance_id(&response.instance_id)?;
            let task = u32::try_from(response.task_id).map_err(|_| stale())?;
            let bringing = hub.client.bring(instance, task, token.bytes(), result);
            told(async {
                bringing.await.map_err(|error| match error {
                    EngineError::Refused(_) => NotRecorded::Unwanted,
                    _ => NotRecorded::Lost,
                })
            })
            .await
        }
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
    let _bringing = hub.board.bringing();
    let found = hub.board.find_turn(&response.completion_token, &response.instance_id);
    let (id, token, turn) = found.ok_or_else(stale)?;
    if response.instance_id != turn.turn.id.as_str() {
        return Err(Status::invalid_argument(format!(
            "the token is that of a work item of instance {:?}, not of {:?}",
            turn.turn.id, response.instance_id
        )));
    }
    if !response.perdura_outcome.is_empty() {
        return complete_turn(hub, (id, token), turn, response).await;
    }
    if response.is_partial {
        return match turn.add_part(token, response) {
            Ok(()) => Ok(CompleteTaskResponse {}),
            Err(bad) => Err(refused(hub, token, &turn, &bad)),
        };
    }
    let began = turn.began(token);
    let response = turn.whole_answer(token, response);
    let response = response.map_err(|bad| refused(hub, token, &turn, &bad))?;
    if response.requires_history && response.actions.is_empty() {
        if turn.past.is_none() {
            hub.board.remove(id).ok_or_else(stale)?;
            turn.unrun();
            return Ok(CompleteTaskResponse {});
        }
        // Every item comes with the whole history or a way to it; once more, then.
        hub.board.refuse_of(token);
        return Ok(CompleteTaskResponse {});
    }
    if let Some(wanted) = rewound::wanted(&response) {
        let spec = rewound::spec(&turn, wanted, &token.to_string());
        let spec = spec.map_err(|bad| refused(hub, token, &turn, &bad))?;
        // With the turn goes its item, and with that the token.
        return match rewound::apply(hub, &turn, spec).await {
            Ok(()) => Ok(CompleteTaskResponse {}),
            Err(status) => {
                hub.board.refuse_of(token);
                Err(status)
            }
        };
    }
    let processed = response.num_events_processed;
    let result = match result_in(response).and_then(|result| Ok((result, turn.taken(processed)?))) {
        Ok((result, taken)) => TurnResult { taken, began, ..result },
        Err(bad) => return Err(refused(hub, token, &turn, &bad)),
    };
    if result.taken == Some(0) && result.decisions.is_empty() {
        // Nothing was done, as with an item that is given back: at once it would come again for ever.
        hub.board.refuse_of(token);
        return Ok(CompleteTaskResponse {});
    }
    // From here on the token is void: a second answer finds nothing.
    if hub.board.remove(id).is_none() {
        return Err(stale());
    }
    finish(turn, TurnOutcome::Done(result)).await
}

/// The answer of a worker that runs turns as the engine does.
async fn complete_turn(
    hub: &Hub,
    (id, token): (ItemId, Token),
    turn: Arc<OrchestrationWork>,
    response: OrchestratorResponse,
) -> Result<CompleteTaskResponse, Status> {
    let began = turn.began(token);
    let outcome = match decode_outcome(response.perdura_outcome.into()) {
        Ok(TurnOutcome::Done(result)) => TurnOutcome::Done(TurnResult { began, ..result }),
        Ok(outcome) => outcome,
        Err(damaged) => return Err(refused(hub, token, &turn, &BadAnswer::Undecodable(damaged.to_string()))),
    };
    hub.board.remove(id).ok_or_else(stale)?;
    // Before the engine knows: the next turn may follow at once.
    turn.kept_by(token);
    finish(turn, outcome).await
}

/// Gives the outcome of a turn that is off the board to the engine. A task of its own does: nobody else has it any more if the
/// call is cancelled.
async fn finish(turn: Arc<OrchestrationWork>, outcome: TurnOutcome) -> Result<CompleteTaskResponse, Status> {
    let done = tokio::spawn(async move { turn.done(outcome).await });
    told(async { done.await.unwrap_or(Err(NotRecorded::Lost)) }).await
}

/// An answer that cannot be taken harms its worker only: the item goes to somebody else.
fn refused(hub: &Hub, token: Token, turn: &OrchestrationWork, bad: &BadAnswer) -> Status {
    tracing::warn!(hub = %hub.name, instance = ?turn.turn.id, %bad, "the answer of a worker was refused");
    turn.drop_parts(token);
    hub.board.refuse_of(token);
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
        let turn = turn.filter(|turn| execution.is_none_or(|asked| asked == turn.run()));
        turn.ok_or_else(stale)?.past_events()
    } else {
        let events = hub.client.history(&id).await.map_err(|error| Status::refusal(&error))?;
        let not_found = || {
            Status::refusal(&EngineError::from(perdura_core::partition::RequestError::NotFound {
                id: id.clone(),
            }))
        };
        let record = hub.client.get(&id).await.map_err(|error| Status::refusal(&error))?;
        let (record, events) = record.zip(events).ok_or_else(not_found)?;
        let mut writer = HistoryWriter::of(&record, Reader::Operator);
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
    use super::super::items::ItemStream;
    use super::*;
    use crate::hub::{HubOptions, Hubs};
    use crate::hub_name::HubName;
    use futures_util::StreamExt;
    use history_event::EventType;
    use perdura_core::{InstanceId, Limits, Status as InstanceStatus};
    use perdura_engine::Retention;
    use std::task::{Context, Waker};
    use tonic::Request;

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

    fn hubs(directory: &std::path::Path) -> Arc<Hubs> {
        Arc::new(Hubs::new(HubOptions {
            directory: directory.to_owned(),
            hubs_max: 1,
            drain_time_max: Duration::ZERO,
            operation_time_max: None,
            limits: Limits::default(),
            retention: Retention::default(),
            deliveries: Arc::default(),
        }))
    }

    #[tokio::test]
    async fn an_answer_whose_call_is_cancelled_while_the_engine_is_busy_still_counts() {
        let directory = tempfile::tempdir().unwrap();
        let hubs = hubs(directory.path());
        let hub = hubs.get(&HubName::default()).await.unwrap();
        let id = InstanceId::new("a").unwrap();
        let start = CreateInstanceRequest {
            instance_id: id.to_string(),
            name: "order".into(),
            ..CreateInstanceRequest::default()
        };
        super::super::client::start(&hub, start).await.unwrap();
        let request = Request::new(GetWorkItemsRequest::default());
        let mut items = ItemStream::new(&hubs, &hub, request, 0);
        let item = items.next().await.unwrap().unwrap();
        let end = CompleteOrchestrationAction {
            orchestration_status: OrchestrationStatus::Completed as i32,
            ..Default::default()
        };
        let kind = orchestrator_action::OrchestratorActionType::CompleteOrchestration(end);
        let answer = OrchestratorResponse {
            instance_id: id.to_string(),
            completion_token: item.completion_token,
            actions: vec![OrchestratorAction { id: 0, orchestrator_action_type: Some(kind) }],
            ..Default::default()
        };
        {
            let mut call = std::pin::pin!(complete_orchestration(&hub, answer));
            // Whoever has used up its time waits for everything, as for a full queue.
            while tokio::task::coop::has_budget_remaining() {
                tokio::task::coop::consume_budget().await;
            }
            let mut context = Context::from_waker(Waker::noop());
            assert!(call.as_mut().poll(&mut context).is_pending());
        }
        let ended = tokio::time::timeout(Duration::from_secs(20), hub.client.wait(id, None)).await;
        assert_eq!(ended.expect("an end").unwrap().status(), Ok(InstanceStatus::Completed));
    }
}
