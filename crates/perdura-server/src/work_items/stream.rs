//! The stream of work items to one worker. It takes an item off the board only when the connection has room for it, so
//! that a worker that does not read holds nothing up.

use super::board::{Ending, Offer};
use super::work::{Work, health_ping};
use super::{Board, Credits, Filters, ItemId, Token, WorkerId};
use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt};
use perdura_core::entity::{OperationBatch, OperationResult, OperationsDone};
use perdura_core::failure::kind;
use perdura_core::history::ExecutionCompleted;
use perdura_core::orchestration::{Decision, TurnOutcome, TurnResult};
use perdura_core::{Failure, Status as InstanceStatus, Timestamp};
use perdura_engine::{ActivityEnd, BatchEnd};
use perdura_proto::{CAPABILITY_PERDURA_TURNS, GetWorkItemsRequest, LEFT, WorkItem, WorkerCapability};
use perdura_store::BoxFuture;
use prost::Message;
use rustc_hash::FxHashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tonic::Status;

/// SDKs drop a connection that is silent for 60 or 120 seconds, or for 15 where that one for Go is told so.
const PING_EVERY: Duration = Duration::from_secs(10);
/// What the largest message may have around its work item.
pub(super) const SLACK_BYTES: usize = 1024;

/// What a worker can take.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) streams_history: bool,
    /// It is one of this project and runs orchestrations as the engine does.
    pub(crate) runs_turns: bool,
    /// Largest message that it receives, in bytes; `None` is without limit.
    pub(crate) message_bytes_max: Option<usize>,
}

impl Profile {
    /// The profile of a worker: what it says of itself, and what is known of its SDK. Only the one for JavaScript
    /// receives messages of any size; the others close the stream at one that is too large, and come back for it.
    pub(crate) fn new(request: &GetWorkItemsRequest, user_agent: &str, message_bytes_max: usize) -> Profile {
        let streaming = WorkerCapability::HistoryStreaming as i32;
        let runs_turns = request.capabilities.contains(&CAPABILITY_PERDURA_TURNS);
        let unlimited = message_bytes_max == 0 || runs_turns || user_agent.contains("grpc-node");
        Profile {
            runs_turns,
            streams_history: request.capabilities.contains(&streaming),
            message_bytes_max: (!unlimited).then_some(message_bytes_max),
        }
    }
}

/// Most bytes of operations that are handed out together to workers that receive messages of this size; 0 is without limit.
pub(crate) fn operations_bytes_max(message_bytes_max: usize) -> usize {
    if message_bytes_max == 0 { usize::MAX } else { message_bytes_max.saturating_sub(2 * SLACK_BYTES) }
}

/// See the module. The worker is connected as long as this lives. It ends without an error if another hub takes the place of
/// this one.
pub(crate) struct WorkItemStream {
    board: Arc<Board>,
    worker: WorkerId,
    profile: Profile,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ping: Interval,
    closed: bool,
    /// Once the worker leaves: whether it was told that nothing more comes.
    left: Option<bool>,
    /// Who the worker is, as the record of its hand-overs names it.
    name: Arc<str>,
    /// Activities whose hand-over to this worker is being committed.
    handing_over: FuturesUnordered<BoxFuture<'static, (bool, ItemId, Work, Token)>>,
    /// Which these are: the worker has not begun with them.
    unbegun: FxHashSet<ItemId>,
}

impl WorkItemStream {
    pub(crate) fn new(
        board: Arc<Board>,
        request: GetWorkItemsRequest,
        profile: Profile,
        now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
        name: Arc<str>,
    ) -> WorkItemStream {
        let credits = Credits::from_wire(
            request.max_concurrent_orchestration_work_items,
            request.max_concurrent_activity_work_items,
            request.max_concurrent_entity_work_items,
        );
        let filters = Filters::from_wire(request.work_item_filters);
        let worker = board.connect(filters, credits, &profile, request.worker_instance_id);
        let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let handing_over = FuturesUnordered::new();
        WorkItemStream {
            board,
            worker,
            profile,
            now,
            ping,
            closed: false,
            left: None,
            name,
            handing_over,
            unbegun: FxHashSet::default(),
        }
    }

    /// What a worker may have at once; otherwise the commit of its hand-over is begun.
    fn begin_hand_over(&mut self, id: ItemId, work: Work, token: Token) -> Option<(ItemId, Work)> {
        let Work::Activity(activity) = &work else { return Some((id, work)) };
        let Some(hand_over) = activity.task.hand_over.clone() else { return Some((id, work)) };
        let name = self.name.clone();
        self.unbegun.insert(id);
        self.handing_over
            .push(Box::pin(async move { (hand_over.commit(&name, token.bytes()).await, id, work, token) }));
        None
    }

    /// An activity whose hand-over is durable. One that nobody waits for any more leaves the board.
    fn poll_handed_over(&mut self, context: &mut Context<'_>) -> Option<WorkItem> {
        while let Poll::Ready(Some((done, id, work, token))) = self.handing_over.poll_next_unpin(context) {
            self.unbegun.remove(&id);
            if !done {
                self.board.remove(id);
            } else if let Some(message) = self.message(id, &work, token) {
                return Some(message);
            }
        }
        None
    }

    /// The message for an item; `None` if it is too large for this worker and was dealt with in another way.
    fn message(&self, id: ItemId, work: &Work, token: Token) -> Option<WorkItem> {
        let message = match work {
            Work::Orchestration(turn) => turn.message((token, self.worker), (self.now)(), &self.profile),
            Work::Activity(activity) => activity.message(token, &self.profile),
            Work::Entity(entity) => entity.message(token, (self.now)()),
        };
        let bytes = message.encoded_len();
        let limit = self.profile.message_bytes_max.filter(|limit| bytes + SLACK_BYTES > *limit);
        let Some(limit) = limit else { return Some(message) };
        self.too_large(id, work, bytes, limit);
        None
    }

    /// An item that no message can hold would end the stream, again and again. Somebody who fetches the history may
    /// have it; if there is nobody, or this worker does so already, it fails.
    fn too_large(&self, id: ItemId, work: &Work, bytes: usize, limit: usize) {
        let is_turn = matches!(work, Work::Orchestration(_));
        if is_turn && !self.profile.streams_history && self.board.leave_to_streaming(id) {
            return;
        }
        let Some(work) = self.board.remove(id) else { return };
        let failure = Failure::new(
            kind::LIMIT,
            format!(
                "the work item has {bytes} bytes, and the worker receives at most {limit}; continue as new before the \
                 history grows so large, pass references instead of large payloads, or raise the limit in the worker \
                 and by --worker-message-bytes-max"
            ),
        )
        .non_retryable();
        match work {
            Work::Activity(activity) => activity.finish(ActivityEnd::Failed(failure)),
            Work::Entity(entity) => entity.finish(too_large_batch(&entity.batch, bytes, limit)),
            Work::Orchestration(turn) => {
                let end = ExecutionCompleted::new(InstanceStatus::Failed, None, Some(failure));
                let decisions = vec![Decision::Complete(end)];
                let outcome = TurnOutcome::Done(TurnResult { decisions, ..TurnResult::default() });
                // If nobody waits for it any more, all the better.
                tokio::spawn(async move { turn.done(outcome).await.ok() });
            }
        }
    }
}

/// What becomes of operations that no message can hold. The others of their entity go on.
fn too_large_batch(batch: &OperationBatch, bytes: usize, limit: usize) -> BatchEnd {
    let [operation] = &batch.operations[..] else {
        // They come again one at a time.
        let count = batch.operations.len();
        let why = format!("{count} operations have {bytes} bytes, and the worker receives at most {limit}");
        return BatchEnd::Lost { why };
    };
    let message = format!(
        "operation {:?} of {}: with the state of {} bytes the work item has {bytes} bytes, and the worker receives at most \
         {limit}; keep less in the state, pass references instead of large payloads, or raise the limit in the worker and by \
         --worker-message-bytes-max",
        operation.name,
        batch.id,
        batch.state.as_ref().map_or(0, |state| state.len())
    );
    tracing::warn!(entity = %batch.id, message, "an operation has failed");
    let outcome = Err(Failure::new(kind::LIMIT, message).non_retryable());
    let result = OperationResult { outcome, actions: Vec::new() };
    BatchEnd::Done(OperationsDone { results: vec![result], state: batch.state.clone() })
}

impl Stream for WorkItemStream {
    type Item = Result<WorkItem, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.closed {
            return Poll::Ready(None);
        }
        // First: those that wait on the board may never end.
        if let Some(message) = self.poll_handed_over(context) {
            return Poll::Ready(Some(Ok(message)));
        }
        loop {
            let token = match Token::random() {
                Ok(token) => token,
                Err(error) => {
                    self.closed = true;
                    let status = Status::unavailable(format!("no random numbers: {error}"));
                    return Poll::Ready(Some(Err(status)));
                }
            };
            match self.board.poll_take(self.worker, token, context.waker()) {
                Poll::Ready(Offer::Work(id, work)) => {
                    let Some((id, work)) = self.begin_hand_over(id, work, token) else { continue };
                    if let Some(message) = self.message(id, &work, token) {
                        return Poll::Ready(Some(Ok(message)));
                    }
                }
                Poll::Ready(Offer::Left) => {
                    self.left.get_or_insert(false);
                    break;
                }
                // One that leaves would be given new work there.
                Poll::Ready(Offer::Ending(Ending::Replaced)) if self.left.is_none() => {
                    self.closed = true;
                    return Poll::Ready(None);
                }
                Poll::Ready(Offer::Ending(why)) => {
                    self.closed = true;
                    let text = match why {
                        Ending::Closed => "the server is shutting down; connect again later",
                        Ending::Deleted => "the task hub was deleted; whoever connects again makes a new one",
                        Ending::Replaced => "another task hub has taken the place of this one; connect again",
                    };
                    // With a clean end some SDKs come back at once, again and again.
                    return Poll::Ready(Some(Err(Status::unavailable(text))));
                }
                Poll::Pending => break,
            }
        }
        if let Some(message) = self.poll_handed_over(context) {
            return Poll::Ready(Some(Ok(message)));
        }
        if self.left == Some(false) && self.handing_over.is_empty() {
            self.left = Some(true);
            return Poll::Ready(Some(Ok(WorkItem { completion_token: LEFT.to_owned(), ..health_ping() })));
        }
        match self.ping.poll_tick(context) {
            Poll::Ready(_) => Poll::Ready(Some(Ok(health_ping()))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for WorkItemStream {
    fn drop(&mut self) {
        self.board.disconnect(self.worker, &self.unbegun);
    }
}
