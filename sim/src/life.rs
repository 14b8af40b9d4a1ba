//! The driver of a partition: the synchronous twin of the engine's processor thread. One life of the processor lasts as
//! long as its grant; after any outcome of a commit but «committed» its memory is dropped.

use crate::entities::stamp_number;
use crate::invariants::Group;
use crate::options::PlantedBug;
use crate::random::Random;
use crate::read::Wanted;
use crate::report::Fault;
use crate::runner::Programmed;
use crate::world::{Event, Post, World};
use bytes::Bytes;
use perdura_core::delivery::Answer;
use perdura_core::entity::{BatchTicket, OperationsDone};
use perdura_core::history::Event as HistoryEvent;
use perdura_core::orchestration::{Run, Runner, Turn, TurnOutcome, TurnTicket};
use perdura_core::partition::{
    Batch, Bug, Effect, Need, Partition, PartitionConfig, ReplyToken, Request, TaskRef, TaskStart,
};
use perdura_core::{Failure, InstanceId, PartitionId, Timestamp};
use perdura_store::{Grant, Lookup};
use std::collections::BTreeMap;

/// Wait before the second attempt to take a grant, in ms; it doubles up to the maximum.
const RETRY_WAIT: u64 = 50;
const RETRY_WAIT_MAX: u64 = 5_000;
/// Rounds of turns and reads at one moment that are not a loop.
const SETTLES_MAX: u32 = 10_000;

/// What comes to a processor from outside.
#[derive(Debug)]
pub(crate) enum Input {
    Request(u64, Request),
    StopWaiting(u64, InstanceId),
    TaskDone(TaskRef, Result<Option<Bytes>, Failure>),
    /// What became of operations in a life; `None`: their worker is lost.
    Operations {
        life: u64,
        ticket: BatchTicket,
        done: Option<Box<OperationsDone>>,
    },
    /// The worker that had an attempt is gone.
    TaskLost(TaskRef),
    /// No worker ever had an attempt.
    TaskNotStarted(TaskRef),
    /// A worker takes an attempt that some life offered.
    Take {
        life: u64,
        start: Box<TaskStart>,
    },
    /// Nobody has taken it.
    Unbegun {
        life: u64,
        task: TaskRef,
    },
    /// What a handler of unknown outcomes says.
    TaskAnswered(TaskRef, Result<Answer, String>),
    /// The outcome of a turn that some life sent away.
    TurnDone {
        life: u64,
        ticket: TurnTicket,
        outcome: TurnOutcome,
    },
    /// Nobody has run it.
    TurnUnrun {
        life: u64,
        ticket: TurnTicket,
    },
}

/// A request that somebody waits for.
pub(crate) struct Unanswered {
    request: Request,
    /// A life that had taken it was lost, and nobody knows what it had written.
    in_doubt: bool,
}

impl Unanswered {
    fn new(request: Request) -> Unanswered {
        Unanswered { request, in_doubt: false }
    }
}

/// The state that a lost grant takes with it.
pub(crate) struct Life {
    pub(crate) number: u64,
    pub(crate) partition: Partition,
    pub(crate) runner: Programmed,
    pub(crate) grant: Grant,
    /// A batch is being written; a copy of it if a planted bug wants it.
    pub(crate) committing: Option<Option<Batch>>,
    pub(crate) reads: u32,
    /// Messages are being read; whether a bell has rung since.
    pub(crate) messages: Option<bool>,
    pub(crate) tick_at: i64,
    /// Attempts whose hand-over is being committed.
    pub(crate) taking: BTreeMap<TaskRef, TaskStart>,
}

impl Life {
    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.committing.is_none() && self.reads == 0 && !self.partition.has_something_to_seal()
    }
}

impl World {
    /// Schedules an attempt to take a partition.
    pub(crate) fn begin_at(&mut self, post: Post, ms: u64) {
        let holding = self.holdings.entry(post).or_default();
        if !std::mem::replace(&mut holding.begins, true) {
            self.after(ms, Event::Begin(post));
        }
    }

    /// Takes a grant, loads what has not ended, and goes on with what is not answered.
    pub(crate) fn begin_life(&mut self, post: Post) {
        let node = &self.nodes[usize::from(post.node)];
        let shall_own = self.owners[usize::from(post.partition)] == post.node;
        let is_down = node.is_down;
        let holding = self.holdings.entry(post).or_default();
        holding.begins = false;
        let partition = PartitionId(post.partition);
        let holds = holding.life.as_ref().is_some_and(|l| self.checker.is_latest(partition, l.grant.nonce));
        if is_down || !shall_own || holds {
            return;
        }
        // A node that is to own a partition does not take an old grant for a good one.
        if holding.life.is_some() {
            self.settle_after_loss(post, false, false);
        }
        let nonce = self.random.lives.wide();
        if self.store_down_until > self.now {
            return self.lost(post, "the store is away", false);
        }
        let id = PartitionId(post.partition);
        let Ok(grant) = self.store.acquire_now(id, nonce) else { return };
        self.checker.granted(&grant);
        self.trace.mix(&[1, u64::from(post.node), u64::from(post.partition), grant.epoch]);
        self.trace.say(self.now, || format!("{post:?} takes epoch {}", grant.epoch));
        if self.fault(Fault::GrantReplyLost, self.plan.faults.grant_reply_lost) {
            return self.lost(post, "the grant's answer was lost", false);
        }
        let mut life = self.new_life(post, grant);
        self.lives_begun += 1;
        let boot = self.nodes[usize::from(post.node)].boot;
        let holding = self.holdings.entry(post).or_default();
        // Where few losses are too many, what was at work in each crash would be left for an operator.
        let counts = self.plan.limits.lost_workers_max >= 100;
        if holding.boot.replace(boot) != Some(boot) && counts {
            life.partition.begins_process();
        }
        let epoch = life.grant.epoch;
        let others = epoch != std::mem::replace(&mut holding.epoch, epoch) + 1;
        holding.life = Some(life);
        let is_lost = |asked: &Unanswered| {
            asked.in_doubt && !asked.request.waits() && !asked.request.outlasts_another_owner()
        };
        let lost = holding.unanswered.iter().filter(|(_, asked)| others && is_lost(asked));
        for token in lost.map(|(token, _)| *token).collect::<Vec<_>>() {
            self.holdings.entry(post).or_default().unanswered.remove(&token);
            self.answer_later(token, None);
        }
        let holding = self.holdings.entry(post).or_default();
        let mut asked: Vec<(u64, Request)> =
            holding.unanswered.iter().map(|(token, asked)| (*token, asked.request.clone())).collect();
        asked.sort_by_key(|(token, request)| (stamp_number(request), *token));
        self.recover(post);
        let now = self.node_now(post.node);
        // What instances of this partition said to each other in the life before comes first: a child must not be told
        // to end before it is told to begin.
        let messages = self.look(post, Wanted::Messages);
        if let Err(why) = self.take_read(post, messages) {
            return self.lost(post, &why, false);
        }
        // The life before may have written messages without living to tell of them.
        for partition in (0..self.plan.partitions).filter(|partition| *partition != post.partition) {
            self.after(1, Event::Bell(partition));
        }
        if let Some(life) = self.life(post) {
            for (token, request) in asked {
                life.partition.request(ReplyToken(token), request, now);
            }
        }
        self.round(post);
    }

    fn new_life(&mut self, post: Post, grant: Grant) -> Life {
        let bug = match self.bug {
            Some(PlantedBug::Core(bug)) => Some(bug),
            _ => None,
        };
        let seed = self.random.lives.wide();
        let partition = Partition::new(PartitionConfig {
            id: PartitionId(post.partition),
            partitions: self.plan.partitions,
            next_key: grant.next_key,
            next_envelope: grant.next_envelope,
            seed,
            limits: self.plan.limits.clone(),
            deliveries: Default::default(),
            bug,
        });
        let random = Random::stream(seed as u64, 1);
        let (programs, limits) = (self.programs.clone(), self.plan.limits.clone());
        let runner = Programmed::new(programs, limits, random, self.plan.forget, self.plan.away);
        let number = self.lives_begun + 1;
        Life {
            number,
            partition,
            runner,
            grant,
            committing: None,
            reads: 0,
            messages: None,
            tick_at: i64::MAX,
            taking: BTreeMap::new(),
        }
    }

    fn recover(&mut self, post: Post) {
        let (now, page) = (self.node_now(post.node), self.plan.recovery_page);
        let mut after = None;
        loop {
            let rows =
                self.store.unfinished_now(PartitionId(post.partition), after, page).unwrap_or_default();
            let Some(last) = rows.last() else { break };
            after = Some(last.key);
            let rows = rows.into_iter().map(|row| self.as_read(row)).collect();
            if let Some(life) = self.life(post) {
                life.partition.recover(rows, now);
            }
        }
        // The process is the same: what it was given for good is still at work.
        let holding = self.holdings.entry(post).or_default();
        if let Some(life) = &mut holding.life {
            holding.at_work.retain(|task| life.partition.task_still_runs(*task, now));
        }
    }

    pub(crate) fn life(&mut self, post: Post) -> Option<&mut Life> {
        self.holdings.get_mut(&post)?.life.as_mut()
    }

    pub(crate) fn life_numbered(&mut self, post: Post, number: u64) -> Option<&mut Life> {
        self.life(post).filter(|life| life.number == number)
    }

    pub(crate) fn input(&mut self, post: Post, input: Input) {
        let node = &self.nodes[usize::from(post.node)];
        if node.is_down {
            // The connection breaks.
            if let Input::Request(token, _) = input {
                self.answer_later(token, None);
            }
            return;
        }
        let now = self.node_now(post.node);
        let input = match input {
            Input::Request(token, request) => Input::Request(token, self.stamped(post, request)),
            other => other,
        };
        let holding = self.holdings.entry(post).or_default();
        match (input, &mut holding.life) {
            (Input::Request(token, request), Some(life)) => {
                life.partition.request(ReplyToken(token), request.clone(), now);
                holding.unanswered.insert(token, Unanswered::new(request.for_another_life()));
            }
            (Input::Request(token, request), None) if request.waits() => {
                holding.unanswered.insert(token, Unanswered::new(request));
            }
            (Input::Request(token, _), None) => self.answer_later(token, None),
            (Input::StopWaiting(token, id), life) => {
                holding.unanswered.remove(&token);
                if let Some(life) = life {
                    life.partition.stop_waiting(ReplyToken(token), &id);
                }
            }
            (Input::TaskDone(task, result), Some(life)) => life.partition.task_done(task, result, now),
            (Input::TaskAnswered(task, answer), Some(life)) => {
                life.partition.task_answered(task, answer, now);
            }
            (Input::Take { life: number, start }, Some(life)) if life.number == number => {
                let is_taken = life.partition.task_taken(start.task, "a worker", now);
                if is_taken {
                    life.taking.insert(start.task, *start);
                }
            }
            (Input::Unbegun { life: number, task }, Some(life)) if life.number == number => {
                life.partition.task_not_started(task, now);
            }
            (Input::Operations { life: number, ticket, done }, Some(life)) if life.number == number => {
                match done {
                    Some(done) => {
                        life.partition.operations_done(ticket, *done, now);
                    }
                    None => life.partition.operations_lost(ticket, "it is gone", now),
                }
            }
            (Input::TaskLost(task), life) => {
                holding.at_work.remove(&task);
                if let Some(life) = life {
                    life.partition.task_lost(task, "it is gone", now);
                }
            }
            (Input::TaskNotStarted(task), Some(life)) => life.partition.task_not_started(task, now),
            (Input::TurnDone { life: number, ticket, outcome }, Some(life)) if life.number == number => {
                let awaited = life.partition.turn_back(ticket, outcome, now);
                self.trace.say(self.now, || format!("{ticket:?} comes back, awaited: {awaited}"));
            }
            (Input::TurnUnrun { life: number, ticket }, Some(life)) if life.number == number => {
                life.partition.turn_returned_unrun(ticket);
            }
            // Attempts are handed out again, and so are the turns of an earlier life.
            _ => {}
        }
        self.round(post);
    }

    /// Lets time pass, runs what is to run, writes what is to be written.
    pub(crate) fn round(&mut self, post: Post) {
        let now = self.node_now(post.node);
        // In some worlds workers elsewhere take what is offered, in others attempts begin where the engine is.
        let room = if self.plan.commit_ms >= 20 { 3 } else { 0 };
        let Some(life) = self.life(post) else { return };
        life.partition.set_room(room);
        if life.partition.next_deadline().is_some_and(|deadline| deadline <= now) {
            life.partition.tick(now);
        }
        if let Err(why) = self.settle(post) {
            return self.lost(post, &why, false);
        }
        self.send_away(post);
        let early = matches!(self.bug, Some(PlantedBug::Core(Bug::EffectsBeforeCommit)));
        let Some(life) = self.life(post) else { return };
        if life.committing.is_none() {
            match life.partition.seal() {
                Err(damage) => return self.lost(post, &damage.to_string(), false),
                Ok((batch, effects)) => {
                    self.perform(post, effects);
                    if let Some(batch) = batch {
                        self.commit(post, batch);
                    }
                }
            }
        } else if early {
            // The planted bug lets effects out while a batch is being written, too.
            let effects = life.partition.seal().map(|(_, effects)| effects).unwrap_or_default();
            self.perform(post, effects);
        }
        self.wake_at_deadline(post, now);
    }

    fn wake_at_deadline(&mut self, post: Post, now: Timestamp) {
        let Some(life) = self.life(post) else { return };
        let Some(deadline) = life.partition.next_deadline() else { return };
        if deadline.0 < life.tick_at {
            life.tick_at = deadline.0;
            let number = life.number;
            let wait = now.until(deadline).as_millis() as u64;
            self.after(wait.max(1), Event::Tick { post, life: number, at: deadline.0 });
        }
    }

    pub(crate) fn tick(&mut self, post: Post, number: u64, at: i64) {
        if let Some(life) = self.life_numbered(post, number) {
            if life.tick_at == at {
                life.tick_at = i64::MAX;
            }
            self.round(post);
        }
    }

    /// Runs turns and begins reads until nothing more can be done without waiting.
    pub(crate) fn settle(&mut self, post: Post) -> Result<(), String> {
        for _ in 0..SETTLES_MAX {
            let Some(life) = self.life(post) else { return Ok(()) };
            for key in life.partition.forgotten() {
                life.runner.forget(key);
            }
            let mut turns = 0;
            while let Some(turn) = life.partition.next_turn() {
                turns += 1;
                if turns > SETTLES_MAX {
                    let endless = Err(format!("turns never end: {turn:?}"));
                    self.checker.check(Group::Liveness, endless);
                    return Ok(());
                }
                life.run_turn(turn);
                for key in life.partition.forgotten() {
                    life.runner.forget(key);
                }
            }
            let needs = life.partition.needs();
            if needs.is_empty() {
                return Ok(());
            }
            let mut lookups = Vec::new();
            let mut wanted = Vec::new();
            for need in needs {
                match need {
                    Need::FindId(id) => lookups.push(Lookup::Id(id)),
                    Need::FindKey(key) => lookups.push(Lookup::Key(key)),
                    Need::History { key, generation, branch, parts } => {
                        wanted.push(Wanted::History { of: (key, generation, branch), parts });
                    }
                }
            }
            if !lookups.is_empty() {
                wanted.push(Wanted::Rows(lookups));
            }
            if self.plan.read_ms == 0 && self.store_down_until <= self.now {
                for wanted in wanted {
                    let found = self.look(post, wanted);
                    self.take_read(post, found)?;
                }
            } else {
                for wanted in wanted {
                    self.read(post, wanted);
                }
            }
        }
        let endless = Err(format!("{post:?} reads and reads within one round"));
        self.checker.check(Group::Liveness, endless);
        Ok(())
    }

    pub(crate) fn perform(&mut self, post: Post, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Reply(ReplyToken(token), answer) => {
                    // An owner that was replaced and does not know it answers from its memory when nothing is to be
                    // written. Only a lease could keep it from that.
                    let partition = PartitionId(post.partition);
                    let holding = self.holdings.entry(post).or_default();
                    let nonce = holding.life.as_ref().map(|life| life.grant.nonce);
                    let owns = nonce.is_some_and(|nonce| self.checker.is_latest(partition, nonce));
                    if holding.unanswered.remove(&token).is_some() {
                        if let Some(request) = self.requests.get(&token).filter(|_| owns) {
                            self.checker.replied(&request.asked, &answer);
                        }
                        self.answer_later(token, Some(answer));
                    }
                }
                Effect::StartTask(start) => self.start_task(post, start),
                Effect::TaskTaken(task) => self.taken(post, task),
                Effect::RunOperations(batch) => self.start_operations(post, batch),
                Effect::CancelTask(task) => self.trace.say(self.now, || format!("{task:?} is cancelled")),
                Effect::Notify(partition) => {
                    let ms = self.random.latency.below(self.plan.net_ms + 1);
                    self.after(ms, Event::Bell(partition.0));
                }
            }
        }
    }

    /// A life is over. `in_doubt`: what its last commit did is not known.
    pub(crate) fn lost(&mut self, post: Post, why: &str, in_doubt: bool) {
        self.trace.mix(&[3, u64::from(post.node), u64::from(post.partition)]);
        self.trace.say(self.now, || format!("{post:?} loses its life: {why}"));
        let holding = self.holdings.entry(post).or_default();
        holding.losses += 1;
        let losses = holding.losses;
        self.settle_after_loss(post, in_doubt, losses > 1);
        if self.owners[usize::from(post.partition)] == post.node {
            self.begin_at(post, (RETRY_WAIT << losses.min(7)).min(RETRY_WAIT_MAX) / 2);
        }
    }

    /// What may be asked twice, or certainly had no effect, is asked again in the next life, as the engine does it.
    fn settle_after_loss(&mut self, post: Post, in_doubt: bool, takes_long: bool) {
        let stays = self.owners[usize::from(post.partition)] == post.node;
        let holding = self.holdings.entry(post).or_default();
        let commits = holding.life.take().is_some_and(|life| life.committing.is_some());
        for asked in holding.unanswered.values_mut() {
            asked.in_doubt |= in_doubt || commits;
        }
        let given_up = |asked: &Unanswered| match &asked.request {
            request if request.waits() => !stays,
            request => !stays || takes_long || (asked.in_doubt && !request.is_idempotent()),
        };
        let gone: Vec<u64> =
            holding.unanswered.iter().filter(|(_, asked)| given_up(asked)).map(|(token, _)| *token).collect();
        for token in gone {
            self.holdings.entry(post).or_default().unanswered.remove(&token);
            self.answer_later(token, None);
        }
    }
}

impl Life {
    fn run_turn(&mut self, turn: Turn) {
        match self.runner.run(&turn, None) {
            Run::Finished(outcome) => self.partition.finish_turn(turn, outcome),
            Run::NeedsHistory => self.partition.park_turn(turn),
            Run::Away => self.partition.turn_away(turn),
        }
    }

    pub(crate) fn run_turn_with(&mut self, turn: Turn, history: &[HistoryEvent]) {
        let outcome = match self.runner.run(&turn, Some(history)) {
            Run::Finished(outcome) => outcome,
            Run::Away => return self.partition.turn_away(turn),
            Run::NeedsHistory => TurnOutcome::CannotRun("the history was read, yet it is needed".into()),
        };
        self.partition.finish_turn(turn, outcome);
    }
}
