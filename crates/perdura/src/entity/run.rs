//! Runs batches of operations on the state of an entity.

use super::progress::{Progress, run_within};
use super::{Entity, EntityContext};
use crate::error::{Error, Result};
use crate::payload::to_json;
use bytes::Bytes;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use perdura_core::entity::{DELETE, OperationBatch, OperationResult};
use perdura_core::failure::kind;
use perdura_core::{EntityId, Failure, InstanceId, Limits, Timestamp};
use perdura_engine::{BatchEnd, panic_text};
use perdura_store::BoxFuture;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// The code of an entity.
pub(crate) type EntityCode =
    Arc<dyn Fn(OperationBatch, Bounds) -> BoxFuture<'static, BatchEnd> + Send + Sync>;

/// What operations are held to.
#[derive(Clone)]
pub(crate) struct Bounds {
    pub(crate) limits: Limits,
    /// How long one of them may take.
    pub(crate) time_max: Option<Duration>,
}

/// A batch that has taken so long is given back with what it has done: what comes after it is not held up by the
/// durability of what came first, and a crash repeats little.
const BATCH_TIME: Duration = Duration::from_millis(100);

/// Operations that only read which run side by side, at most: each that has to wait has a copy of the state.
const READERS_MAX: usize = 64;

/// Runs the operations of a batch one after another; those that only read, and follow each other, side by side. One that
/// fails leaves the state as it was before it.
pub(crate) async fn run_batch<E: Entity>(mut batch: OperationBatch, bounds: Bounds) -> BatchEnd {
    let progress = Arc::new(Progress::new(batch.state.take()));
    let running = run_all::<E>(batch, bounds.limits, progress.clone());
    match E::TIME_MAX.or(bounds.time_max) {
        Some(longest) => run_within(longest, progress, running).await,
        None => running.await,
    }
}

async fn run_all<E: Entity>(batch: OperationBatch, limits: Limits, progress: Arc<Progress>) -> BatchEnd {
    let OperationBatch { id, now, operations, .. } = batch;
    let mut run = Run::<E> { entity: None, limits, now, sent: 0, progress };
    // Operations that only read, side by side, each with a state of its own; their results come in order.
    let mut readers: FuturesOrdered<Reader<E>> = FuturesOrdered::new();
    let began = Instant::now();
    for operation in operations {
        let is_first = run.progress.is_none() && readers.is_empty();
        // What they send is written together.
        let is_much = began.elapsed() > BATCH_TIME || run.sent > run.limits.turn_bytes_max;
        if is_much && !is_first {
            break;
        }
        let only_reads = E::only_reads(&operation.name);
        while !readers.is_empty() && (!only_reads || readers.len() == READERS_MAX) {
            let Some((ran, present)) = readers.next().await else { break };
            if !run.conclude(ran, present, readers.is_empty()) {
                return BatchEnd::Done(run.progress.take());
            }
        }
        let mut present = match run.entity.take().map_or_else(|| open(&id, &run.progress.good()), Ok) {
            Ok(present) => present,
            Err(why) if is_first => return BatchEnd::CannotRun { why },
            // The next batch begins with this one, and says so.
            Err(_) => break,
        };
        let caller = operation.caller.and_then(|caller| InstanceId::new(&caller.instance).ok());
        let ctx = EntityContext::new(id.clone(), now, caller, operation.delivery);
        run.progress.begin(&operation.name, ctx.clone());
        if !only_reads {
            let ran = run_one(&mut present, ctx, &operation.name, operation.input).await;
            if !run.conclude(ran, present, true) {
                return BatchEnd::Done(run.progress.take());
            }
            continue;
        }
        let mut reader: Reader<E> = Box::pin(async move {
            let ran = run_one(&mut present, ctx, &operation.name, operation.input).await;
            (ran, present)
        });
        match std::future::poll_fn(|cx| Poll::Ready(reader.as_mut().poll(cx))).await {
            Poll::Pending => readers.push_back(reader),
            Poll::Ready((ran, present)) if readers.is_empty() => {
                if !run.conclude(ran, present, true) {
                    return BatchEnd::Done(run.progress.take());
                }
            }
            Poll::Ready(done) => readers.push_back(Box::pin(std::future::ready(done))),
        }
    }
    while let Some((ran, present)) = readers.next().await {
        if !run.conclude(ran, present, readers.is_empty()) {
            break;
        }
    }
    BatchEnd::Done(run.progress.take())
}

/// An operation that only reads, and the state that it reads.
type Reader<E> = Pin<Box<dyn Future<Output = (Result<Ran>, E)> + Send>>;

/// What a batch has come to.
struct Run<E> {
    /// Not there: it is read from the last good state.
    entity: Option<E>,
    limits: Limits,
    now: Timestamp,
    /// Bytes that its operations have sent.
    sent: usize,
    progress: Arc<Progress>,
}

impl<E: Entity> Run<E> {
    /// The first of the operations that run has ended, and perhaps it was the only one. Says whether the batch goes on.
    fn conclude(&mut self, ran: Result<Ran>, present: E, was_alone: bool) -> bool {
        let (mut state, mut goes_on) = (None, true);
        let ended = ran.and_then(|Ran { result, keep }| {
            result.check(&self.limits, self.now).map_err(Error::from_failure)?;
            match keep {
                Keep::AsItWas => self.entity = Some(present),
                // What was read beside it is gone now.
                Keep::Nothing => {
                    (state, goes_on) = (Some(None), was_alone);
                    self.entity = None;
                }
                Keep::New => {
                    state = Some(Some(seal(&present, self.limits.payload_bytes_max)?));
                    self.entity = Some(present);
                }
            }
            self.sent += result.sent_bytes();
            Ok(result)
        });
        let failed = |error| OperationResult { outcome: Err(Failure::from(error)), actions: Vec::new() };
        self.progress.end(ended.unwrap_or_else(failed), state) && goes_on
    }
}

/// How an operation ended that ended well.
struct Ran {
    result: OperationResult,
    keep: Keep,
}

/// Which state the entity has after an operation.
enum Keep {
    AsItWas,
    New,
    Nothing,
}

async fn run_one<E: Entity>(
    entity: &mut E,
    ctx: EntityContext,
    operation: &str,
    input: Option<Bytes>,
) -> Result<Ran> {
    let running = entity.dispatch(ctx.clone(), operation, input);
    let outcome = match AssertUnwindSafe(running).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(panic) => Some(Err(panicked(panic_text(&*panic)))),
    };
    let (actions, deleted) = ctx.take();
    match outcome {
        Some(outcome) => {
            let keep = match () {
                () if deleted => Keep::Nothing,
                () if E::only_reads(operation) => Keep::AsItWas,
                () => Keep::New,
            };
            Ok(Ran { result: OperationResult { outcome: Ok(outcome?), actions }, keep })
        }
        None if operation == DELETE => {
            Ok(Ran { result: OperationResult { outcome: Ok(None), actions }, keep: Keep::Nothing })
        }
        None => {
            let message = format!("entity {} has no operation {operation:?}", ctx.id());
            Err(Error::from_failure(Failure::new(kind::NOT_REGISTERED, message).non_retryable()))
        }
    }
}

fn panicked(text: String) -> Error {
    Error::from_failure(Failure::new(kind::PANIC, text).non_retryable())
}

/// The entity of a state; otherwise a text that says why there is none, and what to do.
fn open<E: Entity>(id: &EntityId, state: &Option<Bytes>) -> Result<E, String> {
    let name = std::any::type_name::<E>();
    let Some(state) = state else {
        return catch_unwind(E::default)
            .map_err(|panic| format!("{name}::default() for {id} panicked: {}", panic_text(&*panic)));
    };
    let read = catch_unwind(|| serde_json::from_slice(state).map_err(|error| error.to_string()));
    let read = read.unwrap_or_else(|panic| Err(format!("panic: {}", panic_text(&*panic))));
    read.map_err(|why| {
        format!(
            "the state of {id} cannot be read as {name}: {why}; register code that can, or delete the state"
        )
    })
}

fn seal<E: Entity>(entity: &E, limit: usize) -> Result<Bytes> {
    let state = catch_unwind(AssertUnwindSafe(|| to_json(entity)));
    let state = state.unwrap_or_else(|panic| {
        let name = std::any::type_name::<E>();
        Err(panicked(format!("{name} does not serialize: panic: {}", panic_text(&*panic))))
    })?;
    if state.len() > limit {
        let message = format!("state of the entity: {} bytes, limit {limit}", state.len());
        return Err(Error::from_failure(Failure::new(kind::LIMIT, message).non_retryable()));
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::Door;
    use perdura_core::InstanceKey;
    use perdura_core::entity::{BatchTicket, EntityOperation};
    use serde::{Deserialize, Serialize};
    use std::sync::LazyLock;
    use tokio::sync::Barrier;

    #[derive(Default, Serialize, Deserialize)]
    struct Slow {
        runs: u32,
    }

    impl Entity for Slow {
        const NAME: &'static str = "Slow";
        type Operations<D: Door> = D;

        fn operations<D: Door>(door: D) -> D {
            door
        }

        async fn dispatch(
            &mut self,
            _ctx: EntityContext,
            _operation: &str,
            input: Option<Bytes>,
        ) -> Option<Result<Option<Bytes>>> {
            std::thread::sleep(BATCH_TIME + Duration::from_millis(10));
            self.runs += 1;
            Some(Ok(input))
        }

        fn only_reads(_operation: &str) -> bool {
            false
        }
    }

    /// Its state panics when it is made, written or read, as it is told.
    #[derive(Debug)]
    struct Fragile<const DEFAULTS: bool>(String);

    impl<const DEFAULTS: bool> Default for Fragile<DEFAULTS> {
        fn default() -> Self {
            assert!(DEFAULTS, "no default");
            Fragile(String::new())
        }
    }

    impl<const DEFAULTS: bool> Serialize for Fragile<DEFAULTS> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            assert!(self.0 != "unwritable", "written");
            match self.0.as_str() {
                "NaN" => serializer.serialize_f64(f64::NAN),
                text => serializer.serialize_str(text),
            }
        }
    }

    impl<'de, const DEFAULTS: bool> Deserialize<'de> for Fragile<DEFAULTS> {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            assert!(text != "unreadable", "read");
            Ok(Fragile(text))
        }
    }

    impl<const DEFAULTS: bool> Entity for Fragile<DEFAULTS> {
        const NAME: &'static str = "Fragile";
        type Operations<D: Door> = D;

        fn operations<D: Door>(door: D) -> D {
            door
        }

        async fn dispatch(
            &mut self,
            _ctx: EntityContext,
            operation: &str,
            _input: Option<Bytes>,
        ) -> Option<Result<Option<Bytes>>> {
            self.0 = operation.into();
            Some(if operation == "fail" { Err(Error::new("E", "no")) } else { Ok(None) })
        }

        fn only_reads(_operation: &str) -> bool {
            false
        }
    }

    fn bounds() -> Bounds {
        Bounds { limits: Limits { payload_bytes_max: 1000, ..Limits::default() }, time_max: None }
    }

    fn batch<E: Entity>(state: Option<&'static str>, operations: &[&str]) -> OperationBatch {
        let operation = |name: &&str| EntityOperation {
            name: name.to_string(),
            input: None,
            caller: None,
            request: String::new(),
            delivery: 1,
        };
        OperationBatch {
            ticket: BatchTicket { key: InstanceKey(0), number: 0 },
            id: E::at("a").unwrap(),
            state: state.map(Bytes::from),
            now: Timestamp(0),
            lost: 0,
            operations: operations.iter().map(operation).collect(),
        }
    }

    /// Runs operations on a fragile state: how they ended, and the state after them.
    async fn end(state: Option<&'static str>, operations: &[&str]) -> (Vec<String>, Option<Bytes>) {
        let batch = batch::<Fragile<true>>(state, operations);
        match run_batch::<Fragile<true>>(batch, bounds()).await {
            BatchEnd::Done(done) | BatchEnd::Brought(done, _) => {
                let say = |result: OperationResult| match result.outcome {
                    Ok(_) => "well".to_owned(),
                    Err(failure) => format!("{}: {}", failure.kind, failure.message),
                };
                (done.results.into_iter().map(say).collect(), done.state)
            }
            BatchEnd::CannotRun { why } | BatchEnd::Lost { why } => (vec![why], None),
            BatchEnd::LostBeside => panic!("nothing else runs here"),
        }
    }

    #[tokio::test]
    async fn a_state_that_json_cannot_hold_fails_the_operation_that_made_it() {
        let (ends, state) = end(Some("\"good\""), &["NaN", "better"]).await;
        assert!(ends[0].starts_with("perdura.Payload: "), "{ends:?}");
        assert!(ends[0].ends_with("does not serialize: NaN: JSON has no such number"), "{ends:?}");
        assert_eq!((ends[1].as_str(), state.unwrap()), ("well", "\"better\"".into()));
    }

    #[tokio::test]
    async fn a_panic_while_the_state_is_written_fails_the_operation() {
        let (ends, state) = end(Some("\"good\""), &["unwritable"]).await;
        assert!(ends[0].starts_with("perdura.Panic: ") && ends[0].ends_with("panic: written"), "{ends:?}");
        assert_eq!(state.unwrap(), "\"good\"");
    }

    #[tokio::test]
    async fn a_panic_while_the_state_is_read_or_made_stops_the_entity_and_says_why() {
        let (ends, _) = end(Some("\"unreadable\""), &["x"]).await;
        assert!(ends[0].contains("panic: read; register code that can"), "{ends:?}");
        let end = run_batch::<Fragile<false>>(batch::<Fragile<false>>(None, &["x"]), bounds()).await;
        let BatchEnd::CannotRun { why } = end else { panic!("{end:?}") };
        assert!(why.ends_with("default() for @Fragile@a panicked: no default"), "{why}");
    }

    #[tokio::test]
    async fn a_state_that_cannot_be_read_again_after_a_failed_operation_is_kept() {
        let (ends, state) = end(None, &["unreadable", "fail", "after"]).await;
        assert_eq!((ends, state.unwrap()), (vec!["well".into(), "E: no".into()], "\"unreadable\"".into()));
    }

    /// Keeps the context of its first operation, and waits for ever in those that are called `wait`.
    #[derive(Default, Serialize, Deserialize)]
    struct Waits {
        names: Vec<String>,
        #[serde(skip)]
        kept: Option<EntityContext>,
    }

    impl Entity for Waits {
        const NAME: &'static str = "Waits";
        type Operations<D: Door> = D;

        fn operations<D: Door>(door: D) -> D {
            door
        }

        async fn dispatch(
            &mut self,
            ctx: EntityContext,
            operation: &str,
            _input: Option<Bytes>,
        ) -> Option<Result<Option<Bytes>>> {
            self.names.push(operation.into());
            if operation == "wait" {
                std::future::pending::<()>().await;
            }
            let kept = self.kept.get_or_insert(ctx);
            Some(kept.signal::<Slow>("a").send::<()>("late", Ok(None)).map(|()| None))
        }

        fn only_reads(_operation: &str) -> bool {
            false
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_that_takes_too_long_has_failed_and_what_came_before_it_stands() {
        let batch = batch::<Waits>(None, &["a", "wait", "b"]);
        let bounds = Bounds { time_max: Some(Duration::from_secs(60)), ..bounds() };
        let BatchEnd::Done(done) = run_batch::<Waits>(batch, bounds).await else { panic!("it can run") };
        assert_eq!(done.state.as_deref(), Some(&b"{\"names\":[\"a\"]}"[..]));
        let [_, late] = &done.results[..] else { panic!("{done:?}") };
        let failure = late.outcome.as_ref().unwrap_err();
        assert_eq!(failure.kind, kind::TIMEOUT);
        assert_eq!(
            failure.message,
            "operation \"wait\" of @Waits@a took longer than 60000 ms; nothing of it is kept. Shorten it, or raise \
             operation_time_max of the engine or time_max of the entity"
        );
    }

    #[tokio::test]
    async fn a_context_that_outlives_its_operation_refuses_to_send() {
        let batch = batch::<Waits>(None, &["a", "b"]);
        let BatchEnd::Done(done) = run_batch::<Waits>(batch, bounds()).await else { panic!("it can run") };
        assert!(done.results[0].outcome.is_ok());
        let failure = done.results[1].outcome.as_ref().unwrap_err();
        assert!(failure.message.starts_with("the operation of @Waits@a has ended, "), "{failure}");
    }

    /// Of its readers that meet, none ends before another has begun.
    #[derive(Default, Serialize, Deserialize)]
    struct Read {
        writes: u32,
    }

    /// For each test that uses one.
    static READING: LazyLock<[Barrier; 2]> = LazyLock::new(|| [Barrier::new(2), Barrier::new(2)]);

    impl Entity for Read {
        const NAME: &'static str = "Read";
        const TIME_MAX: Option<Duration> = Some(Duration::from_secs(5));
        type Operations<D: Door> = D;

        fn operations<D: Door>(door: D) -> D {
            door
        }

        async fn dispatch(
            &mut self,
            ctx: EntityContext,
            operation: &str,
            _input: Option<Bytes>,
        ) -> Option<Result<Option<Bytes>>> {
            match operation {
                "write" => self.writes += 1,
                "meet" => _ = READING[0].wait().await,
                "gather" => _ = READING[1].wait().await,
                "never" => std::future::pending().await,
                "delete" => ctx.delete_state(),
                _ => {}
            }
            Some(Ok(Some(self.writes.to_string().into())))
        }

        fn only_reads(operation: &str) -> bool {
            operation != "write"
        }
    }

    async fn read(operations: &[&str]) -> (Vec<String>, Option<Bytes>) {
        let BatchEnd::Done(done) = run_batch::<Read>(batch::<Read>(None, operations), bounds()).await else {
            panic!("it can run")
        };
        let say = |result: OperationResult| match result.outcome {
            Ok(output) => String::from_utf8(output.unwrap().to_vec()).unwrap(),
            Err(failure) => failure.kind,
        };
        (done.results.into_iter().map(say).collect(), done.state)
    }

    #[tokio::test(start_paused = true)]
    async fn operations_that_only_read_run_side_by_side_and_see_what_came_before_them() {
        let (results, state) = read(&["write", "meet", "look", "meet", "write", "look"]).await;
        assert_eq!(results, ["1", "1", "1", "1", "2", "2"]);
        assert_eq!(state.as_deref(), Some(&b"{\"writes\":2}"[..]));
    }

    #[tokio::test(start_paused = true)]
    async fn of_operations_that_read_side_by_side_the_one_that_takes_too_long_fails_and_what_follows_runs_again()
     {
        let (results, state) = read(&["write", "look", "never", "look", "write"]).await;
        assert_eq!(results, ["1", "1", kind::TIMEOUT], "by the limit of its entity");
        assert_eq!(state.as_deref(), Some(&b"{\"writes\":1}"[..]));
    }

    #[tokio::test]
    async fn what_reads_beside_an_operation_that_takes_the_state_away_reads_again() {
        let (results, state) = read(&["write", "gather", "delete", "look", "gather"]).await;
        assert_eq!((results, state), (vec!["1".to_owned(); 3], None));
        let (results, _) = read(&["write", "delete", "look"]).await;
        assert_eq!(results, ["1", "1", "0"]);
    }

    #[tokio::test]
    async fn a_batch_of_slow_operations_comes_back_with_what_was_run() {
        let batch = batch::<Slow>(None, &["work"; 3]);
        let BatchEnd::Done(done) = run_batch::<Slow>(batch, bounds()).await else { panic!("it can run") };
        assert_eq!(done.results.len(), 1);
        assert_eq!(done.state.as_deref(), Some(&b"{\"runs\":1}"[..]));
    }
}
