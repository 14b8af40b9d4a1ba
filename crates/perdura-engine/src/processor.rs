//! The thread that owns a partition: it gives the pure processor its inputs, runs the turns that it asks for, writes
//! its batches one at a time, and does what comes out.
//!
//! One life of the processor lasts as long as its grant. After any outcome of a commit but «committed» the life ends:
//! the memory is dropped, a new grant taken, and the state loaded again.

use crate::activities::{Activities, panic_text};
use crate::entities::Entities;
use crate::error::EngineError;
use crate::life::{Life, tell_end};
use crate::loss::{Loss, Refusals, Unanswered, after_commit};
use crate::options::EngineOptions;
use crate::reads::Reads;
use crate::receipt::{Receipt, Receipts};
use crate::turns::TurnReturns;
use crate::why::Known;
use crate::worker::{ActivityEnd, Hosts, OrchestrationHost};
use crate::works::Works;
use bytes::Bytes;
use futures_util::FutureExt;
use perdura_core::orchestration::{TurnOutcome, TurnTicket};
use perdura_core::partition::{
    Effect, Partition, PartitionConfig, ReplyToken, Request, RequestError, Response, Stamp, TaskRef,
};
use perdura_core::{InstanceId, InstanceKey, PartitionId};
use perdura_store::Store;
use rustc_hash::FxHashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Inputs that may wait for a processor; callers wait when it is full.
pub(crate) const INPUTS_MAX: usize = 4096;
/// Inputs taken before the next batch is sealed.
const INPUTS_PER_ROUND_MAX: usize = 1024;
/// A drain time of more is as good as none: a year.
const DRAIN_TIME_LIMIT: Duration = Duration::from_secs(365 * 86_400);
/// Rows read at once in a recovery.
const RECOVERY_PAGE: usize = 1000;
/// After a loss the next life begins at once; after another one it waits, twice as long each time up to the maximum.
const RETRY_WAIT: Duration = Duration::from_millis(50);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(5);
/// Callers are kept waiting through shorter waits, and refused in longer ones.
const PATIENCE: Duration = Duration::from_millis(200);
/// A life that lasted longer ends a series of losses.
const GOOD_LIFE: Duration = Duration::from_secs(5);

pub(crate) type Reply = oneshot::Sender<Result<Response, EngineError>>;

/// What comes to a processor from outside.
pub(crate) enum Input {
    Request(ReplyToken, Request, Reply),
    /// A caller does not wait any more.
    StopWaiting(ReplyToken, InstanceId),
    /// An attempt that some life started is over.
    TaskDone(u64, TaskRef, ActivityEnd),
    /// An attempt that some life offered never began.
    TaskUnbegun(u64, TaskRef),
    /// A worker is about to begin with an attempt that some life offered. `taken` learns when that is durable; it is
    /// dropped if nobody waits for the attempt any more.
    Take {
        life: u64,
        task: TaskRef,
        worker: String,
        token: Bytes,
        taken: oneshot::Sender<()>,
    },
    /// The outcome of a turn that was sent away in some life.
    TurnDone {
        life: u64,
        ticket: TurnTicket,
        outcome: TurnOutcome,
        receipt: Receipt,
    },
    TurnUnrun {
        life: u64,
        ticket: TurnTicket,
    },
    /// The worker that had a turn is lost, and the turn goes to another; or comes back, if no other can have it as it is.
    TurnLost {
        life: u64,
        ticket: TurnTicket,
        comes_back: bool,
    },
    /// A worker has begun with an attempt: its time runs from now on, not from when it was handed out and waited its turn.
    Began(TaskRef),
    Heartbeat(TaskRef, Option<Bytes>),
    /// Somebody asks why an instance waits.
    Look(InstanceKey, oneshot::Sender<Known>),
    Shutdown(oneshot::Sender<()>),
}

/// Everything that a processor is made of.
pub(crate) struct Processor {
    pub(crate) id: PartitionId,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) orchestrations: Arc<dyn OrchestrationHost>,
    pub(crate) options: EngineOptions,
    pub(crate) inputs: mpsc::Receiver<Input>,
    /// Rings when messages from another partition wait. One bell for each partition.
    pub(crate) bells: Arc<[Notify]>,
    pub(crate) activities: Activities,
    works: Works,
    /// The way of turns back to this processor.
    returns: (mpsc::Sender<Input>, Handle),
    lives: u64,
    entities: Entities,
    /// Requests that have come.
    arrivals: u64,
    /// Signals carry this number, drawn for this engine, and that of their arrival, so that one that is asked again after
    /// a doubtful commit is not taken twice.
    door: u64,
    /// The engine was dropped: nobody waits for anything any more.
    dropped: CancellationToken,
    /// The epoch of the last grant; 0: none.
    epoch: u64,
    /// Requests that are not answered. They outlive a lost grant.
    unanswered: FxHashMap<ReplyToken, Unanswered>,
    /// Instances for whose writes the store has refused batches.
    refusals: Refusals,
    shutdown: Vec<oneshot::Sender<()>>,
    drain_until: Option<tokio::time::Instant>,
}

/// Why a life of the processor ended.
enum End {
    Shutdown,
    Lost(Loss),
}

impl Processor {
    #[allow(clippy::too_many_arguments)] // Called once, by the engine, with everything it has.
    pub(crate) fn new(
        id: PartitionId,
        store: Arc<dyn Store>,
        hosts: Hosts,
        options: EngineOptions,
        (sender, inputs): (mpsc::Sender<Input>, mpsc::Receiver<Input>),
        bells: Arc<[Notify]>,
        runtime: Handle,
        dropped: CancellationToken,
        door: u64,
    ) -> Processor {
        let running_max = options
            .running_activities_max
            .map_or(usize::MAX, |most| most.div_ceil(bells.len().max(1)).max(1));
        let details_bytes_max = options.limits.payload_bytes_max;
        Processor {
            id,
            store,
            orchestrations: hosts.orchestrations,
            inputs,
            bells,
            returns: (sender.clone(), runtime.clone()),
            lives: 0,
            entities: Entities::new(hosts.entities, runtime.clone()),
            activities: Activities::new(hosts.activities, runtime, sender, (running_max, details_bytes_max)),
            works: Works::default(),
            door,
            arrivals: 0,
            epoch: 0,
            options,
            dropped,
            unanswered: FxHashMap::default(),
            refusals: Refusals::default(),
            shutdown: Vec::new(),
            drain_until: None,
        }
    }

    /// Lives until it is shut down. `ready` learns how the first grant went.
    pub(crate) async fn run(mut self, ready: oneshot::Sender<Result<(), EngineError>>) {
        let mut ready = Some(ready);
        let mut wait = Duration::ZERO;
        loop {
            let began = tokio::time::Instant::now();
            let end = match AssertUnwindSafe(self.live(&mut ready)).catch_unwind().await {
                Ok(end) => end,
                Err(panic) => {
                    let why = format!("a bug in the engine: {}", panic_text(panic.as_ref()));
                    End::Lost(Loss { why, in_doubt: true, due_to: None })
                }
            };
            let loss = match end {
                End::Shutdown => break,
                End::Lost(loss) => loss,
            };
            tracing::warn!(partition = self.id.0, why = %loss.why, "the partition is loaded again");
            self.activities.let_go();
            self.works.let_go();
            self.entities.let_go();
            if began.elapsed() > GOOD_LIFE {
                wait = Duration::ZERO;
                self.refusals.forgive();
                self.works.forgive();
            }
            self.refusals.note(&loss);
            self.settle_after_loss(&loss, wait > PATIENCE);
            let dropped = self.dropped.clone();
            if dropped.run_until_cancelled(self.pause(wait, &loss.why)).await != Some(false) {
                break;
            }
            wait = (wait * 2).clamp(RETRY_WAIT, RETRY_WAIT_MAX);
        }
        for (_, asked) in self.unanswered.drain() {
            let _ = asked.reply.send(Err(EngineError::ShuttingDown));
        }
        for done in self.shutdown.drain(..) {
            let _ = done.send(());
        }
    }

    /// What becomes of requests whose fate the lost memory knew. Those that may be asked twice, or that certainly had no
    /// effect, are asked again in the next life; of the others nobody knows, and their callers learn that. When it takes
    /// long, callers are not kept waiting.
    fn settle_after_loss(&mut self, loss: &Loss, takes_long: bool) {
        for asked in self.unanswered.values_mut() {
            asked.in_doubt |= loss.in_doubt;
        }
        let given_up = |asked: &Unanswered| match &asked.request {
            request if request.waits() => false,
            request => takes_long || (asked.in_doubt && !request.is_idempotent()),
        };
        for (_, asked) in self.unanswered.extract_if(|_, asked| given_up(asked)) {
            let why = loss.why.clone();
            let _ = asked.reply.send(Err(match asked.in_doubt {
                true => EngineError::OutcomeUnknown { why },
                false => EngineError::Unavailable { why },
            }));
        }
    }

    /// Waits before the next attempt; requests that come meanwhile are refused unless it is short. Says whether to end.
    async fn pause(&mut self, wait: Duration, why: &str) -> bool {
        if wait <= PATIENCE {
            tokio::time::sleep(wait).await;
            return false;
        }
        let until = tokio::time::Instant::now() + wait;
        while let Ok(input) = tokio::time::timeout_at(until, self.inputs.recv()).await {
            match input {
                Some(Input::Request(token, request, reply)) if request.waits() => {
                    let arrival = self.next_arrival();
                    self.unanswered.insert(token, Unanswered::new(arrival, request, reply));
                }
                Some(Input::Request(_, _, reply)) => {
                    let _ = reply.send(Err(EngineError::Unavailable { why: why.to_owned() }));
                }
                Some(Input::StopWaiting(token, _)) => {
                    self.unanswered.remove(&token);
                }
                Some(Input::Look(key, asked)) => {
                    let _ = asked.send(self.known(key, Some(why)));
                }
                Some(Input::Shutdown(done)) => {
                    self.shutdown.push(done);
                    return true;
                }
                // Attempts of the lost life: they are handed out again.
                Some(Input::TaskDone(life, task, end)) => self.activities.finished_between(life, task, end),
                Some(Input::TaskUnbegun(life, task)) => self.activities.finished(life, task),
                Some(
                    Input::Began(..)
                    | Input::Heartbeat(..)
                    | Input::TurnDone { .. }
                    | Input::TurnUnrun { .. }
                    | Input::TurnLost { .. }
                    | Input::Take { .. },
                ) => {}
                None => return true,
            }
        }
        false
    }

    /// One life: from a grant to its loss, or to a shutdown.
    async fn live(&mut self, ready: &mut Option<oneshot::Sender<Result<(), EngineError>>>) -> End {
        let mut life = match self.begin_life().await {
            Ok(life) => life,
            Err(error) => {
                let why = error.to_string();
                if let Some(ready) = ready.take() {
                    let _ = ready.send(Err(error));
                    return End::Shutdown;
                }
                return End::Lost(Loss { why, in_doubt: false, due_to: None });
            }
        };
        if let Some(ready) = ready.take() {
            let _ = ready.send(Ok(()));
        }
        // What instances of this partition said to each other in the life before comes first: a child must not be told
        // to end before it is told to begin.
        if let Some(read) = life.reads.next().await
            && let Err(why) = life.take_read(read, &*self.store)
        {
            return End::Lost(life.lost(why));
        }
        let others = life.grant.epoch != std::mem::replace(&mut self.epoch, life.grant.epoch) + 1;
        for (_, asked) in self.unanswered.extract_if(|_, asked| others && asked.is_lost_to_others()) {
            let why = "another process had taken the partition over".to_owned();
            let _ = asked.reply.send(Err(EngineError::OutcomeUnknown { why }));
        }
        let mut asked: Vec<_> = self
            .unanswered
            .iter()
            .map(|(token, asked)| (asked.arrival, *token, asked.request.clone()))
            .collect();
        asked.sort_unstable_by_key(|(arrival, ..)| *arrival);
        for (_, token, request) in asked {
            life.partition.request(token, request, self.store.now());
        }
        loop {
            match self.round(&mut life).await {
                Ok(false) => {}
                Ok(true) => return End::Shutdown,
                Err(loss) => return End::Lost(loss),
            }
        }
    }

    async fn begin_life(&mut self) -> Result<Life, EngineError> {
        let (nonce, seed) = (random()?, random()?);
        let grant = self.store.acquire(self.id, nonce).await?;
        let mut partition = Partition::new(PartitionConfig {
            id: self.id,
            partitions: self.store.partitions(),
            next_key: grant.next_key,
            next_envelope: grant.next_envelope,
            seed,
            limits: self.options.limits.clone(),
            deliveries: self.options.deliveries.clone(),
            bug: None,
        });
        self.refusals.set_aside(&mut partition);
        if self.lives == 0 {
            partition.begins_process();
        }
        if self.entities.hands_over() {
            partition.operations_are_kept_apart();
        }
        let mut after = None;
        loop {
            let rows = self.store.unfinished(self.id, after, RECOVERY_PAGE).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.key);
            partition.recover(rows, self.store.now());
        }
        self.lives += 1;
        let mut receipts = Receipts::default();
        let life = (self.lives, grant.epoch);
        self.activities.begin_life(life, &mut partition, &mut receipts, self.store.now());
        let (inputs, runtime) = self.returns.clone();
        let mut runner = self.orchestrations.runner(self.id, TurnReturns::new(self.lives, inputs, runtime));
        let disturbed = Arc::new(Notify::new());
        let bell = disturbed.clone();
        runner.ring_at(Arc::new(move || bell.notify_one()));
        let reads = Reads::new(self.store.clone());
        let number = self.lives;
        let mut life = Life { number, partition, runner, disturbed, grant, reads, receipts, commit: None };
        life.reads.messages(self.id);
        // The life before may have written messages without living to tell of them.
        for (partition, bell) in self.bells.iter().enumerate() {
            if partition != usize::from(self.id.0) {
                bell.notify_one();
            }
        }
        Ok(life)
    }

    /// Takes what has come, decides, writes, and waits for something to happen. Says whether to shut down.
    async fn round(&mut self, life: &mut Life) -> Result<bool, Loss> {
        life.partition.set_room(self.activities.room());
        // Before what is new: a crowd of senders must not hold up what makes room in a queue.
        self.entities.take_ended(life, self.store.now());
        if let Some(until) = self.drain_until {
            self.entities.give_back(life, tokio::time::Instant::now() >= until);
        }
        for _ in 0..INPUTS_PER_ROUND_MAX {
            match self.inputs.try_recv() {
                Ok(input) => self.take(life, input),
                Err(_) => break,
            }
        }
        let now = self.store.now();
        if life.partition.next_deadline().is_some_and(|deadline| deadline <= now) {
            life.partition.tick(now);
        }
        life.settle(&*self.store, self.drain_until.is_none()).map_err(|why| life.lost(why))?;
        let ready = if life.commit.is_none() { self.works.ready(&mut life.partition) } else { Vec::new() };
        if !ready.is_empty() {
            let effects = self.works.commit(life, &*self.store, ready, self.drain_until.is_none())?;
            self.perform(effects);
            return Ok(self.dropped.is_cancelled());
        }
        if life.commit.is_none() {
            let (batch, effects) = life.seal().map_err(|damage| life.lost(damage.to_string()))?;
            self.perform(effects);
            life.commit = batch.map(|batch| {
                let (store, grant) = (self.store.clone(), life.grant.clone());
                async move { store.commit(&grant, batch).await }.boxed()
            });
        }
        life.receipts.tell();
        if self.dropped.is_cancelled() {
            return Ok(true);
        }
        if self.is_drained(life) {
            life.partition.ends_in_order(self.store.now());
            // If it has nothing to write, that was all.
            return Ok(!life.partition.has_something_to_seal());
        }
        self.wait(life).await.map(|()| false)
    }

    /// Waits for whatever comes first.
    async fn wait(&mut self, life: &mut Life) -> Result<(), Loss> {
        let mut timer =
            life.partition.next_deadline().map(|at| Box::pin(tokio::time::sleep(self.store.now().until(at))));
        let mut drained = self.drain_until.map(|at| Box::pin(tokio::time::sleep_until(at)));
        tokio::select! {
            biased;
            outcome = maybe(life.commit.as_mut()) => {
                life.commit = None;
                after_commit(outcome)?;
                let effects = life.committed();
                self.perform(effects);
                life.receipts.tell();
            }
            Some(read) = life.reads.next() => {
                life.take_read(read, &*self.store).map_err(|why| life.lost(why))?;
            }
            () = self.dropped.cancelled() => {}
            () = life.disturbed.notified(), if self.drain_until.is_none() => life.fail_disturbed(self.store.now()),
            Some(end) = self.entities.ended() => self.entities.end(end, life, self.store.now()),
            input = self.inputs.recv() => match input {
                Some(input) => self.take(life, input),
                None => self.drain(life),
            },
            () = self.bells[usize::from(self.id.0)].notified() => life.reads.messages(self.id),
            () = maybe(timer.as_mut()) => {}
            () = maybe(drained.as_mut()) => {}
        }
        Ok(())
    }

    fn take(&mut self, life: &mut Life, input: Input) {
        let now = self.store.now();
        match input {
            Input::Request(_, _, reply) if self.drain_until.is_some() => {
                let _ = reply.send(Err(EngineError::ShuttingDown));
            }
            Input::Request(token, mut request, reply) => {
                let arrival = self.next_arrival();
                if let Request::Signal(signal) = &mut request {
                    signal.stamp = Some(Stamp::new(self.door, arrival));
                }
                life.partition.request(token, request.clone(), now);
                self.unanswered.insert(token, Unanswered::new(arrival, request.for_another_life(), reply));
            }
            Input::StopWaiting(token, id) => {
                self.unanswered.remove(&token);
                life.partition.stop_waiting(token, &id);
            }
            Input::TaskDone(of, task, end) => {
                self.activities.finished(of, task);
                let end = match end {
                    ActivityEnd::Transaction(work) => match self.works.add(task, work, &*self.store) {
                        Ok(()) => return,
                        Err(failure) => ActivityEnd::Failed(failure),
                    },
                    end => end,
                };
                tell_end(&mut life.partition, &mut life.receipts, task, end, now);
            }
            Input::TaskUnbegun(of, task) => {
                self.activities.finished(of, task);
                // The same number may have been offered again since.
                if of == life.number {
                    life.partition.task_not_started(task, now);
                }
            }
            Input::Take { life: of, task, worker, token, taken } => {
                let is_open = of == life.number && self.drain_until.is_none();
                if is_open && life.partition.task_taken_by(task, &worker, token, now) {
                    self.activities.taken(task, taken);
                }
            }
            Input::TurnDone { life: number, ticket, outcome, receipt } => {
                let wanted = number == life.number && life.turn_back(ticket, outcome, now);
                life.receipts.add(Some(receipt), wanted);
            }
            Input::TurnUnrun { life: number, ticket } => {
                if number == life.number {
                    life.partition.turn_returned_unrun(ticket);
                }
            }
            Input::TurnLost { life: number, ticket, comes_back } => {
                if number == life.number && life.partition.turn_lost(ticket, now) && comes_back {
                    life.partition.turn_returned_unrun(ticket);
                }
            }
            Input::Began(task) => life.partition.task_began(task, now),
            Input::Heartbeat(task, details) => life.partition.heartbeat(task, details, now),
            Input::Look(key, asked) => {
                let held = life.partition.held(key);
                drop(asked.send(Known { held, ..self.known(key, None) }));
            }
            Input::Shutdown(done) => {
                self.shutdown.push(done);
                self.drain(life);
            }
        }
    }

    fn known(&self, key: InstanceKey, loss: Option<&str>) -> Known {
        let (limits, lines) = (self.options.limits.clone(), self.activities.lines(key));
        Known { loss: loss.map(str::to_owned), limits: Some(limits), lines, held: 0 }
    }

    fn next_arrival(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Reply(token, answer) => self.answer(token, answer),
                Effect::StartTask(start) => self.activities.start(start),
                Effect::TaskTaken(task) => self.activities.confirm(task),
                Effect::CancelTask(task) => self.activities.cancel(task),
                Effect::RunOperations(batch) => self.entities.start(batch),
                Effect::Notify(partition) => {
                    if let Some(bell) = self.bells.get(usize::from(partition.0)) {
                        bell.notify_one();
                    }
                }
            }
        }
    }

    fn answer(&mut self, token: ReplyToken, answer: Result<Response, RequestError>) {
        if let Some(asked) = self.unanswered.remove(&token) {
            // It is ended: whoever has the id next begins with a clean sheet.
            if let (Request::Terminate { id, .. } | Request::Purge { id, .. }, Ok(_)) =
                (&asked.request, &answer)
            {
                self.refusals.forget(id);
            }
            // An error means that the caller has gone.
            let _ = asked.reply.send(answer.map_err(EngineError::from));
        }
    }

    /// Begins to end: no new activity, no new request; what runs may finish.
    fn drain(&mut self, life: &mut Life) {
        if self.drain_until.is_none() {
            let longest = self.options.drain_time_max.min(DRAIN_TIME_LIMIT);
            self.drain_until = Some(tokio::time::Instant::now() + longest);
            life.partition.hand_out_no_operations();
            self.activities.drain();
            self.entities.drain();
        }
    }

    fn is_drained(&self, life: &Life) -> bool {
        let quiet = life.commit.is_none() && !life.partition.has_something_to_seal();
        self.drain_until.is_some_and(|until| {
            let working = self.activities.running() + self.entities.running() + self.works.len() > 0;
            quiet && (!working || tokio::time::Instant::now() >= until)
        })
    }
}

/// Waits for a future that may not be there.
async fn maybe<F: Future + Unpin>(future: Option<&mut F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// 128 random bits from the operating system.
pub(crate) fn random() -> Result<u128, EngineError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| EngineError::System(format!("no random numbers: {e}")))?;
    Ok(u128::from_le_bytes(bytes))
}
