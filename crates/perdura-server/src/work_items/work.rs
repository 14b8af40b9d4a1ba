//! What an item is about, and the message that hands it over.

use super::stream::{Profile, SLACK_BYTES};
use super::{Kind, Token, WorkerId};
use crate::convert::action::BadAnswer;
use crate::convert::entity::batch_out;
use crate::convert::history::{HistoryWriter, Reader};
use crate::convert::{instance_out, payload_out, run_out, tags_out, trace_out, transparent};
use perdura_core::delivery::delivery_token;
use perdura_core::entity::OperationBatch;
use perdura_core::history::Event;
use perdura_core::orchestration::{Turn, TurnOutcome, encode_turn};
use perdura_core::{InstanceKey, Timestamp};
use perdura_engine::{ActivityEnd, ActivityTask, BatchEnd, TurnReturns};
use perdura_proto as wire;
use perdura_proto::work_item::Request;
use prost::Message;
use rustc_hash::FxHashMap;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// Largest answer of an orchestration that is put together from parts, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// A worker that can fetch its history gets it in the item up to this many bytes.
const INLINE_HISTORY_BYTES_MAX: usize = 1 << 20;
/// What a message has around an event, at most.
const EVENT_FRAME_BYTES: usize = 8;
/// Hand-overs of a turn that are remembered, as many as there are valid tokens.
const HAND_OVERS_MAX: usize = 8;

/// Tags by which workers learn which attempt of the retry policy, and which delivery, they run, by what outside systems can
/// recognise the step, and by what they can refuse an older delivery of it.
const ATTEMPT_TAG: &str = "perdura.attempt";
const DELIVERY_TAG: &str = "perdura.delivery";
const IDEMPOTENCY_KEY_TAG: &str = "perdura.idempotency-key";
const DELIVERY_TOKEN_TAG: &str = "perdura.delivery-token";

/// One piece of work.
#[derive(Clone)]
pub(crate) enum Work {
    Orchestration(Arc<OrchestrationWork>),
    Activity(Arc<ActivityWork>),
    Entity(Arc<EntityWork>),
}

impl Work {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Work::Orchestration(_) => Kind::Orchestration,
            Work::Activity(_) => Kind::Activity,
            Work::Entity(_) => Kind::Entity,
        }
    }
}

/// A turn of an orchestration.
pub(crate) struct OrchestrationWork {
    pub(crate) turn: Turn,
    /// The history before the turn; `None` if it is for the one worker that keeps the execution warm.
    pub(crate) past: Option<Vec<Event>>,
    pub(crate) returns: TurnReturns,
    pub(crate) hand_overs: Mutex<Vec<HandOver>>,
    pub(crate) warm: Arc<Warm>,
}

/// Which worker ran the last turn of each instance and keeps its execution: only workers of this project do.
#[derive(Default)]
pub(crate) struct Warm(Mutex<FxHashMap<InstanceKey, WorkerId>>);

impl Warm {
    fn workers(&self) -> MutexGuard<'_, FxHashMap<InstanceKey, WorkerId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn keeper(&self, key: InstanceKey) -> Option<WorkerId> {
        self.workers().get(&key).copied()
    }

    pub(crate) fn forget(&self, key: InstanceKey) {
        self.workers().remove(&key);
    }
}

/// What is known of one hand-over of a turn.
pub(crate) struct HandOver {
    token: Token,
    worker: WorkerId,
    /// The time that the worker was told.
    began: Timestamp,
    /// The parts of its answer so far; `None` if there are none or they were dropped.
    parts: Option<wire::OrchestratorResponse>,
    /// How many parts came: the index of the next one.
    parts_count: i32,
}

impl HandOver {
    /// Whether this part is the next one. SDKs repeat calls: one that came before is not, and nothing is wrong with it.
    fn is_next(&mut self, part: &wire::OrchestratorResponse) -> Result<bool, BadAnswer> {
        if self.parts.is_none() && part.chunk_index == Some(0) {
            self.parts_count = 0;
        }
        let due = self.parts_count;
        match part.chunk_index {
            _ if due > 0 && self.parts.is_none() => Err(BadAnswer::PartsDropped),
            Some(index) if index > due => Err(BadAnswer::Part { index, due }),
            Some(index) if due > 0 => Ok(index == due),
            _ => Ok(true),
        }
    }
}

impl OrchestrationWork {
    /// The message for a worker, which reads the clock of the turn in it. A worker that `streams` gets a long history
    /// on request.
    pub(crate) fn message(&self, to: (Token, WorkerId), now: Timestamp, profile: &Profile) -> wire::WorkItem {
        let began = self.turn.events.first().map_or(now, |first| first.at.max(now));
        self.hand_over(to, began);
        if profile.runs_turns {
            return self.turn_message(to.0, began);
        }
        let mut writer = HistoryWriter::new(self.turn.id.as_str(), self.turn.branch, Reader::Worker);
        let past = self.past.as_deref().unwrap_or_default();
        let mut past_events: Vec<_> = past.iter().filter_map(|event| writer.write(event)).collect();
        let mut new_events: Vec<_> =
            self.turn.events.iter().filter_map(|event| writer.write(event)).collect();
        if let Some(first) = new_events.first_mut() {
            first.timestamp = Some(crate::convert::time::time_out(began));
        }
        let requires_history_streaming =
            profile.streams_history && is_long(&past_events, &new_events, profile.message_bytes_max);
        if requires_history_streaming {
            past_events = Vec::new();
        }
        // .NET refuses entities where this is absent.
        let window = prost_types::Duration { seconds: 0, nanos: 0 };
        let request = wire::OrchestratorRequest {
            instance_id: self.turn.id.to_string(),
            execution_id: Some(self.run()),
            past_events,
            new_events,
            entity_parameters: Some(wire::OrchestratorEntityParameters {
                entity_message_reorder_window: Some(window),
            }),
            requires_history_streaming,
            orchestration_trace_context: transparent(self.turn.trace.as_ref()),
            ..wire::OrchestratorRequest::default()
        };
        item(to.0, Request::OrchestratorRequest(request))
    }

    /// The message for a worker that runs turns as the engine does.
    fn turn_message(&self, token: Token, began: Timestamp) -> wire::WorkItem {
        let mut turn = self.turn.clone();
        if let Some(first) = turn.events.first_mut() {
            first.at = began;
        }
        let history = self.past.as_deref().filter(|_| turn.from > 0);
        let request = wire::OrchestratorRequest {
            instance_id: turn.id.to_string(),
            execution_id: Some(turn.execution.to_string()),
            perdura_turn: encode_turn(&turn, history).into(),
            ..wire::OrchestratorRequest::default()
        };
        item(token, Request::OrchestratorRequest(request))
    }

    /// The run as SDKs know it.
    pub(crate) fn run(&self) -> String {
        run_out(self.turn.execution, self.turn.branch)
    }

    fn hand_over(&self, (token, worker): (Token, WorkerId), began: Timestamp) {
        let mut hand_overs = self.hand_overs.lock().unwrap_or_else(PoisonError::into_inner);
        if hand_overs.len() == HAND_OVERS_MAX {
            hand_overs.remove(0);
        }
        hand_overs.push(HandOver { token, worker, began, parts: None, parts_count: 0 });
    }

    /// The worker with this token has run the turn and keeps the execution for the next one.
    pub(crate) fn kept_by(&self, token: Token) {
        let hand_overs = self.hand_overs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of) = hand_overs.iter().find(|of| of.token == token) {
            self.warm.workers().insert(self.turn.key, of.worker);
        }
    }

    /// The one worker that could have run it without its history did not: it comes again, with its history.
    pub(crate) fn unrun(&self) {
        self.warm.forget(self.turn.key);
        self.returns.unrun(self.turn.ticket());
    }

    /// A worker was lost while it had it. The engine counts that; it hands the turn out anew if it `comes_back`.
    pub(crate) fn lost(&self, comes_back: bool) {
        if comes_back {
            self.warm.forget(self.turn.key);
        }
        self.returns.lost(self.turn.ticket(), comes_back);
    }

    /// The history before the turn, as a worker reads it.
    pub(crate) fn past_events(&self) -> Vec<wire::HistoryEvent> {
        let mut writer = HistoryWriter::new(self.turn.id.as_str(), self.turn.branch, Reader::Worker);
        self.past.iter().flatten().filter_map(|event| writer.write(event)).collect()
    }

    /// Keeps a part of an answer until the last one comes.
    pub(crate) fn add_part(&self, token: Token, part: wire::OrchestratorResponse) -> Result<(), BadAnswer> {
        let mut hand_overs = self.hand_overs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(of) = hand_overs.iter_mut().find(|of| of.token == token) else { return Ok(()) };
        if !of.is_next(&part)? {
            return Ok(());
        }
        let mut known = of.parts.take().unwrap_or_default();
        if known.encoded_len() + part.encoded_len() > ANSWER_BYTES_MAX {
            return Err(BadAnswer::TooLarge { limit: ANSWER_BYTES_MAX });
        }
        join(&mut known, part);
        of.parts = Some(known);
        of.parts_count += 1;
        Ok(())
    }

    /// The whole answer of a worker.
    pub(crate) fn whole_answer(
        &self,
        token: Token,
        last: wire::OrchestratorResponse,
    ) -> Result<wire::OrchestratorResponse, BadAnswer> {
        let mut hand_overs = self.hand_overs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(of) = hand_overs.iter_mut().find(|of| of.token == token) else { return Ok(last) };
        if !of.is_next(&last)? {
            let (index, due) = (last.chunk_index.unwrap_or_default(), of.parts_count);
            return Err(BadAnswer::Part { index, due });
        }
        of.parts_count = 0;
        Ok(match of.parts.take() {
            Some(mut known) => {
                join(&mut known, last);
                known
            }
            None => last,
        })
    }

    /// The time that the worker with this token was told the turn began.
    pub(crate) fn began(&self, token: Token) -> Option<Timestamp> {
        let hand_overs = self.hand_overs.lock().unwrap_or_else(PoisonError::into_inner);
        hand_overs.iter().find(|of| of.token == token).map(|of| of.began)
    }

    /// The parts that the worker with this token has brought are no good without those that do not come any more.
    pub(crate) fn drop_parts(&self, token: Token) {
        let mut hand_overs = self.hand_overs.lock().unwrap_or_else(PoisonError::into_inner);
        hand_overs.iter_mut().filter(|of| of.token == token).for_each(|of| of.parts = None);
    }

    /// How many of the turn's events after its beginning a worker took, of which it says that they were `processed`. The beginning
    /// itself does not count: it is not an event that anybody waited for (durabletask-go, `MaxEventsPerTurn`).
    pub(crate) fn taken(&self, processed: Option<i32>) -> Result<Option<usize>, BadAnswer> {
        let Some(count) = processed else { return Ok(None) };
        let mut writer = HistoryWriter::new(self.turn.id.as_str(), self.turn.branch, Reader::Worker);
        let mut is_seen = |event: &Event| writer.write(event).is_some();
        let events = self.turn.events.iter().enumerate();
        let seen: Vec<usize> = events.filter(|(_, event)| is_seen(event)).map(|(index, _)| index).collect();
        let processed = usize::try_from(count).ok().filter(|processed| *processed <= seen.len());
        let processed = processed.ok_or(BadAnswer::Processed { count, sent: seen.len() })?;
        Ok(seen.get(processed + 1).map(|first_left| first_left.saturating_sub(1)))
    }

    /// Gives the outcome to the engine, and waits until it is recorded.
    pub(crate) async fn done(&self, outcome: TurnOutcome) -> Result<(), perdura_engine::NotRecorded> {
        self.returns.done(self.turn.ticket(), outcome).await
    }
}

/// Whether a history is better fetched than sent along, or has no room beside what is new.
fn is_long(
    past: &[wire::HistoryEvent],
    new: &[wire::HistoryEvent],
    message_bytes_max: Option<usize>,
) -> bool {
    let bytes = |events: &[wire::HistoryEvent]| -> usize {
        events.iter().map(|event| event.encoded_len() + EVENT_FRAME_BYTES).sum()
    };
    let past = bytes(past);
    let fits = |limit| past + bytes(new) + 2 * SLACK_BYTES <= limit;
    past > INLINE_HISTORY_BYTES_MAX || (past > 0 && !message_bytes_max.is_none_or(fits))
}

/// The first part says what is said once; actions add up.
fn join(known: &mut wire::OrchestratorResponse, part: wire::OrchestratorResponse) {
    if known.instance_id.is_empty() {
        *known = part;
        return;
    }
    known.actions.extend(part.actions);
    known.custom_status = part.custom_status.or(known.custom_status.take());
    known.orchestration_trace_context =
        known.orchestration_trace_context.take().or(part.orchestration_trace_context);
}

/// An attempt to run an activity.
pub(crate) struct ActivityWork {
    pub(crate) task: ActivityTask,
    end: Mutex<Option<oneshot::Sender<ActivityEnd>>>,
}

impl ActivityWork {
    /// The work, and where its end comes out.
    pub(crate) fn new(task: ActivityTask) -> (ActivityWork, oneshot::Receiver<ActivityEnd>) {
        let (end, has_ended) = oneshot::channel();
        (ActivityWork { task, end: Mutex::new(Some(end)) }, has_ended)
    }

    /// What decides who takes it: an activity scheduled without a version has that of its orchestration.
    pub(crate) fn version(&self) -> &str {
        self.task.version.as_deref().unwrap_or(&self.task.orchestration_version)
    }

    /// Those of the call, and what the engine says of this attempt.
    fn tags(&self) -> HashMap<String, String> {
        let task = &self.task;
        let mut tags = tags_out(&task.tags);
        tags.insert(ATTEMPT_TAG.to_owned(), task.attempt.to_string());
        tags.insert(DELIVERY_TAG.to_owned(), task.delivery.to_string());
        tags.insert(DELIVERY_TOKEN_TAG.to_owned(), delivery_token(task.epoch, task.delivery));
        tags.insert(IDEMPOTENCY_KEY_TAG.to_owned(), task.idempotency_key());
        tags
    }

    pub(crate) fn message(&self, token: Token, profile: &Profile) -> wire::WorkItem {
        let task = &self.task;
        let told = |count: u32| if profile.runs_turns { count } else { 0 };
        let run = match profile.runs_turns {
            true => task.execution.to_string(),
            false => run_out(task.execution, task.branch),
        };
        let request = wire::ActivityRequest {
            name: task.name.clone(),
            version: task.version.clone(),
            input: payload_out(task.input.as_ref()),
            orchestration_instance: Some(instance_out(task.instance.as_str(), Some(run))),
            task_id: i32::try_from(task.task).unwrap_or(i32::MAX),
            parent_trace_context: trace_out(task.trace.as_ref()),
            tags: self.tags(),
            perdura_attempt: told(task.attempt),
            perdura_delivery: told(task.delivery),
            perdura_origin: told(task.origin),
            perdura_epoch: if profile.runs_turns { task.epoch } else { 0 },
            perdura_last_heartbeat: task
                .last_heartbeat
                .as_ref()
                .filter(|_| profile.runs_turns)
                .map(|details| details.to_vec()),
        };
        item(token, Request::ActivityRequest(request))
    }

    /// Ends it; only the first end counts.
    pub(crate) fn finish(&self, end: ActivityEnd) {
        if let Some(sender) = self.end.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // An error means that nobody waits any more.
            let _ = sender.send(end);
        }
    }
}

/// Operations of an entity.
pub(crate) struct EntityWork {
    pub(crate) batch: OperationBatch,
    end: Mutex<Option<oneshot::Sender<BatchEnd>>>,
    /// Since when a worker has it.
    given: watch::Sender<Option<Instant>>,
}

impl EntityWork {
    /// The work, and where its end comes out.
    pub(crate) fn new(batch: OperationBatch) -> (EntityWork, oneshot::Receiver<BatchEnd>) {
        let (end, has_ended) = oneshot::channel();
        (EntityWork { batch, end: Mutex::new(Some(end)), given: watch::Sender::new(None) }, has_ended)
    }

    /// Since when a worker has it; `None` while it waits for one.
    pub(crate) fn given(&self) -> watch::Receiver<Option<Instant>> {
        self.given.subscribe()
    }

    /// A worker has it now, or has given it back.
    pub(crate) fn is_given(&self, is_given: bool) {
        self.given.send_replace(is_given.then(Instant::now));
    }

    pub(crate) fn message(&self, token: Token, now: Timestamp) -> wire::WorkItem {
        item(token, Request::EntityRequestV2(batch_out(&self.batch, now)))
    }

    /// Ends it; only the first end counts.
    pub(crate) fn finish(&self, end: BatchEnd) {
        if let Some(sender) = self.end.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // An error means that nobody waits any more.
            let _ = sender.send(end);
        }
    }
}

fn item(token: Token, request: Request) -> wire::WorkItem {
    wire::WorkItem { completion_token: token.to_string(), request: Some(request) }
}

/// Tells a worker that the stream is alive.
pub(crate) fn health_ping() -> wire::WorkItem {
    wire::WorkItem { request: Some(Request::HealthPing(wire::HealthPing {})), ..wire::WorkItem::default() }
}
