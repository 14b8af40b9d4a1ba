//! The driver of a partition: the synchronous twin of the engine's processor thread. One life of the processor lasts as
//! long as its grant; after any outcome of a commit but «committed» its memory is dropped.

use crate::invariants::Group;
use crate::options::PlantedBug;
use crate::random::Random;
use crate::report::Fault;
use crate::runner::Programmed;
use crate::world::{CommitReply, Event, Post, World};
use bytes::Bytes;
use perdura_core::history::{Damaged, Event as HistoryEvent};
use perdura_core::orchestration::{Run, Runner, Turn, TurnOutcome};
use perdura_core::partition::{
    Batch, Bug, Effect, Envelope, EnvelopeId, HistoryName, HistoryRow, InstanceRow, Need, Partition,
    PartitionConfig, ReplyToken, Request, TaskRef,
};
use perdura_core::{Failure, InstanceId, InstanceKey, PartitionId, Timestamp};
use perdura_store::{CommitOutcome, Grant, Lookup, Rejection};

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
}

/// A read, before or after the store was looked at.
#[derive(Debug)]
pub(crate) enum Wanted {
    Rows(Vec<Lookup>),
    RowsFound(Vec<(Lookup, Option<InstanceRow>)>),
    History { key: InstanceKey, generation: u32, branch: u32 },
    HistoryFound { of: HistoryName, rows: Vec<HistoryRow> },
    Messages,
    MessagesFound(Vec<Envelope>),
}

/// The state that a lost grant takes with it.
pub(crate) struct Life {
    number: u64,
    partition: Partition,
    runner: Programmed,
    pub(crate) grant: Grant,
    /// A batch is being written; a copy of it if a planted bug wants it.
    committing: Option<Option<Batch>>,
    reads: u32,
    /// Messages are being read; whether a bell has rung since.
    messages: Option<bool>,
    tick_at: i64,
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
        if is_down || !shall_own || holding.life.is_some() {
            return;
        }
        let nonce = self.random.lives.wide();
        if self.store_down_until > self.now {
            return self.lost(post, "the store is away");
        }
        let id = PartitionId(post.partition);
        let Ok(grant) = self.store.acquire_now(id, nonce) else { return };
        self.checker.granted(&grant);
        self.trace.mix(&[1, u64::from(post.node), u64::from(post.partition), grant.epoch]);
        self.trace.say(self.now, || format!("{post:?} takes epoch {}", grant.epoch));
        if self.fault(Fault::GrantReplyLost, self.plan.faults.grant_reply_lost) {
            return self.lost(post, "the grant's answer was lost");
        }
        let life = self.new_life(post, grant);
        self.lives_begun += 1;
        let holding = self.holdings.entry(post).or_default();
        holding.life = Some(life);
        let asked: Vec<(u64, Request)> =
            holding.unanswered.iter().map(|(token, request)| (*token, request.clone())).collect();
        self.recover(post);
        let now = self.node_now(post.node);
        self.read_messages(post);
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
            bug,
        });
        let random = Random::stream(seed as u64, 1);
        let runner =
            Programmed::new(self.programs.clone(), self.plan.limits.clone(), random, self.plan.forget);
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
    }

    /// A row as the store gives it: damaged, if it was damaged.
    fn as_read(&self, mut row: InstanceRow) -> InstanceRow {
        if self.checker.damaged.contains(&row.key) {
            let mut bytes = row.record.to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            row.record = bytes.into();
        }
        row
    }

    fn life(&mut self, post: Post) -> Option<&mut Life> {
        self.holdings.get_mut(&post)?.life.as_mut()
    }

    fn life_numbered(&mut self, post: Post, number: u64) -> Option<&mut Life> {
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
        let holding = self.holdings.entry(post).or_default();
        match (input, &mut holding.life) {
            (Input::Request(token, request), Some(life)) => {
                life.partition.request(ReplyToken(token), request.clone(), now);
                holding.unanswered.insert(token, request.for_another_life());
            }
            (Input::Request(token, request @ Request::Wait { .. }), None) => {
                holding.unanswered.insert(token, request);
            }
            (Input::Request(token, _), None) => self.answer_later(token, None),
            (Input::StopWaiting(token, id), life) => {
                holding.unanswered.remove(&token);
                if let Some(life) = life {
                    life.partition.stop_waiting(ReplyToken(token), &id);
                }
            }
            (Input::TaskDone(task, result), Some(life)) => life.partition.task_done(task, result, now),
            (Input::TaskDone(..), None) => {}
        }
        self.round(post);
    }

    /// Lets time pass, runs what is to run, writes what is to be written.
    fn round(&mut self, post: Post) {
        let now = self.node_now(post.node);
        let Some(life) = self.life(post) else { return };
        if life.partition.next_deadline().is_some_and(|deadline| deadline <= now) {
            life.partition.tick(now);
        }
        if let Err(why) = self.settle(post) {
            return self.lost(post, &why);
        }
        let early = matches!(self.bug, Some(PlantedBug::Core(Bug::EffectsBeforeCommit)));
        let Some(life) = self.life(post) else { return };
        if life.committing.is_none() {
            match life.partition.seal() {
                Err(damage) => return self.lost(post, &damage.to_string()),
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
    fn settle(&mut self, post: Post) -> Result<(), String> {
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
                    Need::History { key, generation, branch } => {
                        wanted.push(Wanted::History { key, generation, branch });
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

    /// Begins a read. The store is looked at now or when the answer arrives.
    pub(crate) fn read(&mut self, post: Post, wanted: Wanted) {
        let latency = self.random.latency.below(self.plan.read_ms + 1);
        let at_once = self.random.latency.chance(500);
        let wanted = if at_once { self.look(post, wanted) } else { wanted };
        if let Some(life) = self.life(post) {
            life.reads += 1;
            let life = life.number;
            self.after(latency, Event::Read { post, life, wanted });
        }
    }

    fn look(&self, post: Post, wanted: Wanted) -> Wanted {
        match wanted {
            Wanted::Rows(lookups) => {
                let rows = self.store.find_now(&lookups);
                let rows = rows.into_iter().map(|row| row.map(|row| self.as_read(row)));
                Wanted::RowsFound(lookups.into_iter().zip(rows).collect())
            }
            Wanted::History { key, generation, branch } => {
                let rows = self.store.history_now(key, generation, branch, 0, usize::MAX);
                Wanted::HistoryFound { of: (key, generation, branch), rows }
            }
            Wanted::Messages => {
                let partition = PartitionId(post.partition);
                let found = self.store.messages_now(partition, None, usize::MAX).unwrap_or_default();
                Wanted::MessagesFound(found)
            }
            found => found,
        }
    }

    pub(crate) fn read_answered(&mut self, post: Post, number: u64, wanted: Wanted) {
        let Some(life) = self.life_numbered(post, number) else { return };
        life.reads -= 1;
        if self.store_down_until > self.now {
            return self.lost(post, "a read failed: the store is away");
        }
        let found = self.look(post, wanted);
        match self.take_read(post, found) {
            Ok(()) => self.round(post),
            Err(why) => self.lost(post, &why),
        }
    }

    fn take_read(&mut self, post: Post, found: Wanted) -> Result<(), String> {
        let now = self.node_now(post.node);
        let Some(life) = self.life(post) else { return Ok(()) };
        match found {
            Wanted::RowsFound(rows) => {
                for (asked, row) in rows {
                    match asked {
                        Lookup::Id(id) => life.partition.found_id(&id, row, now),
                        Lookup::Key(key) => life.partition.found_key(key, row, now),
                    }
                }
            }
            Wanted::HistoryFound { of, rows } => match open_history(&rows) {
                Ok(events) => {
                    if let Some(turn) = life.partition.history_read(of, &events, now) {
                        life.run_turn_with(turn, &events);
                    }
                }
                Err(damage) => life.partition.history_damaged(of, &damage.to_string(), now),
            },
            Wanted::MessagesFound(envelopes) => {
                life.partition.deliver(envelopes, now).map_err(|damage| damage.to_string())?;
                if life.messages.take() == Some(true) {
                    self.read_messages(post);
                }
            }
            Wanted::Rows(_) | Wanted::History { .. } | Wanted::Messages => {}
        }
        Ok(())
    }

    pub(crate) fn bell(&mut self, partition: u16) {
        // Whoever believes that the partition is his own: only one of them is right, but nobody knows which.
        for node in 0..self.plan.nodes {
            self.read_messages(Post { node, partition });
        }
    }

    /// One read of messages at a time: what an earlier one brings may have been dealt with since.
    fn read_messages(&mut self, post: Post) {
        match self.life(post).map(|life| &mut life.messages) {
            Some(Some(again)) => *again = true,
            Some(reading) => {
                *reading = Some(false);
                self.read(post, Wanted::Messages);
            }
            None => {}
        }
    }

    fn perform(&mut self, post: Post, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Reply(ReplyToken(token), answer) => {
                    let holding = self.holdings.entry(post).or_default();
                    if holding.unanswered.remove(&token).is_some() {
                        if let Some(request) = self.requests.get(&token) {
                            self.checker.replied(&request.asked, &answer);
                        }
                        self.answer_later(token, Some(answer));
                    }
                }
                Effect::StartTask(start) => self.start_task(post, start),
                Effect::CancelTask(task) => self.trace.say(self.now, || format!("{task:?} is cancelled")),
                Effect::Notify(partition) => {
                    let ms = self.random.latency.below(self.plan.net_ms + 1);
                    self.after(ms, Event::Bell(partition.0));
                }
            }
        }
    }

    fn commit(&mut self, post: Post, batch: Batch) {
        let keep = matches!(self.bug, Some(PlantedBug::Core(Bug::UnknownTakenAsFailure)));
        let Some(life) = self.life(post) else { return };
        life.committing = Some(keep.then(|| batch.clone()));
        let (number, grant) = (life.number, life.grant.clone());
        self.write(post, number, grant, batch);
    }

    fn write(&mut self, post: Post, life: u64, grant: Grant, batch: Batch) {
        let boot = self.nodes[usize::from(post.node)].boot;
        let (mut until_store, mut until_answer) =
            (self.random.latency.below(self.plan.commit_ms + 1), self.random.latency.below(3));
        if let Some(failed) = self.commit_refused() {
            return self.after(until_store, Event::Committed { post, life, outcome: failed });
        }
        let mut reply = CommitReply::After(0);
        if self.fault(Fault::CommitSlow, self.plan.faults.commit_slow) {
            until_store = self.random.faults.between(100, 6_000);
            until_answer = self.random.faults.below(500);
            if self.random.faults.chance(400) {
                let waits = self.random.faults.below(until_store);
                let outcome = CommitOutcome::Unknown("time is over".into());
                self.after(waits, Event::Committed { post, life, outcome });
                reply = CommitReply::GivenUp;
            }
        }
        if let CommitReply::After(_) = reply {
            reply = if self.fault(Fault::CommitReplyLost, self.plan.faults.commit_reply_lost) {
                CommitReply::Lost(until_answer)
            } else {
                CommitReply::After(until_answer)
            };
        }
        self.after(until_store, Event::Commit { post, life, boot, write: Box::new((grant, batch)), reply });
    }

    fn commit_refused(&mut self) -> Option<CommitOutcome> {
        let failed = || CommitOutcome::Rejected(Rejection::Failed("the disk".into()));
        if self.store_full_until > self.now {
            return Some(CommitOutcome::Rejected(Rejection::Full));
        }
        let fails =
            self.store_down_until > self.now || self.fault(Fault::CommitFails, self.plan.faults.commit_fails);
        let unknown = || CommitOutcome::Unknown("the connection broke".into());
        fails.then(|| if self.random.faults.chance(500) { failed() } else { unknown() })
    }

    /// A commit reaches the store, which may or may not be told of the writer's death.
    pub(crate) fn commit_arrives(
        &mut self,
        post: Post,
        life: u64,
        boot: u32,
        (grant, batch): (Grant, Batch),
        reply: CommitReply,
    ) {
        if boot != self.nodes[usize::from(post.node)].boot && self.random.faults.chance(500) {
            return;
        }
        let outcome = self.perform_commit(&grant, batch);
        self.trace.mix(&[2, u64::from(post.node), u64::from(post.partition), life, kind_of(&outcome)]);
        self.trace.say(self.now, || format!("{post:?} life {life} commits: {outcome:?}"));
        match reply {
            CommitReply::After(0) => self.commit_or_defer(post, life, outcome),
            CommitReply::After(ms) => self.after(ms, Event::Committed { post, life, outcome }),
            CommitReply::Lost(ms) => {
                let outcome = CommitOutcome::Unknown("the answer was lost".into());
                self.after(ms, Event::Committed { post, life, outcome });
            }
            CommitReply::GivenUp => {}
        }
    }

    fn commit_or_defer(&mut self, post: Post, life: u64, outcome: CommitOutcome) {
        if self.nodes[usize::from(post.node)].paused_until > self.now {
            self.after(0, Event::Committed { post, life, outcome });
        } else {
            self.commit_answered(post, life, outcome);
        }
    }

    fn perform_commit(&mut self, grant: &Grant, mut batch: Batch) -> CommitOutcome {
        let keys = crate::invariants::keys_of(&batch);
        if self.fault(Fault::CommitTorn, self.plan.faults.commit_torn) {
            // What cannot be consumed is found when the rows are written: everything must be taken back.
            batch.consumed.push(EnvelopeId { from: grant.partition, number: u64::MAX });
            let outcome = self.store.commit_now(grant, batch);
            self.checker.compare_batch(&keys, &self.store);
            return outcome;
        }
        let outcome = self.store.commit_now(grant, batch.clone());
        let now = self.store_now();
        let clocks_agree = self.plan.faults.clock_skew == 0;
        self.checker.commit_performed(grant, &outcome, clocks_agree);
        if outcome == CommitOutcome::Committed {
            self.stats.commits += 1;
            self.stats.writes += batch.writes.len() as u64;
            let events = batch.writes.iter().filter_map(|write| write.history.as_ref());
            self.trace.mix(&events.map(|row| row.first << 8 | u64::from(row.count)).collect::<Vec<_>>());
            self.trace.say(self.now, || describe(&batch));
            self.checker.committed(grant.partition, &batch, now);
        }
        self.checker.compare_batch(&keys, &self.store);
        outcome
    }

    pub(crate) fn commit_answered(&mut self, post: Post, number: u64, outcome: CommitOutcome) {
        let Some(life) = self.life_numbered(post, number) else { return };
        let batch = life.committing.take();
        match (outcome, batch) {
            (CommitOutcome::Committed, _) => {
                let effects = life.partition.committed();
                self.holdings.entry(post).or_default().losses = 0;
                self.perform(post, effects);
                self.round(post);
            }
            // The planted bug: memory is kept, and the batch is written again.
            (CommitOutcome::Unknown(_), Some(Some(batch))) => self.commit(post, batch),
            (outcome, _) => self.lost(post, &format!("{outcome:?}")),
        }
    }

    /// A life is over. What may be asked twice is asked again in the next one.
    pub(crate) fn lost(&mut self, post: Post, why: &str) {
        self.trace.mix(&[3, u64::from(post.node), u64::from(post.partition)]);
        self.trace.say(self.now, || format!("{post:?} loses its life: {why}"));
        let stays = self.owners[usize::from(post.partition)] == post.node;
        let holding = self.holdings.entry(post).or_default();
        holding.life = None;
        holding.losses += 1;
        let takes_long = holding.losses > 1;
        let keeps = |request: &Request| match request {
            Request::Wait { .. } => stays,
            other => stays && other.is_idempotent() && !takes_long,
        };
        let gone: Vec<u64> =
            holding.unanswered.iter().filter(|(_, r)| !keeps(r)).map(|(token, _)| *token).collect();
        for token in &gone {
            holding.unanswered.remove(token);
        }
        let wait = (RETRY_WAIT << holding.losses.min(7)).min(RETRY_WAIT_MAX) / 2;
        for token in gone {
            self.answer_later(token, None);
        }
        if stays {
            self.begin_at(post, wait);
        }
    }
}

impl Life {
    fn run_turn(&mut self, turn: Turn) {
        match self.runner.run(&turn, None) {
            Run::Finished(outcome) => self.partition.finish_turn(turn, outcome),
            Run::NeedsHistory => self.partition.park_turn(turn),
        }
    }

    fn run_turn_with(&mut self, turn: Turn, history: &[HistoryEvent]) {
        let outcome = match self.runner.run(&turn, Some(history)) {
            Run::Finished(outcome) => outcome,
            Run::NeedsHistory => TurnOutcome::CannotRun("the history was read, yet it is needed".into()),
        };
        self.partition.finish_turn(turn, outcome);
    }
}

/// The events of history rows, checked to be without a gap.
fn open_history(rows: &[HistoryRow]) -> Result<Vec<HistoryEvent>, Damaged> {
    let mut events: Vec<HistoryEvent> = Vec::new();
    for row in rows {
        if row.first != events.len() as u64 {
            return Err(Damaged::Contradiction(format!("event {} follows {}", row.first, events.len())));
        }
        events.extend(row.open()?);
    }
    Ok(events)
}

fn kind_of(outcome: &CommitOutcome) -> u64 {
    match outcome {
        CommitOutcome::Committed => 0,
        CommitOutcome::Fenced => 1,
        CommitOutcome::Rejected(_) => 2,
        CommitOutcome::Unknown(_) => 3,
    }
}

fn describe(batch: &Batch) -> String {
    let mut text = String::new();
    for key in &batch.purge {
        text += &format!(" purge {key:?};");
    }
    for write in &batch.writes {
        let row = &write.row;
        text += &format!(" {} g{} {} tail {}", row.id, row.generation, row.status, row.tail);
        let events = write.history.as_ref().and_then(|history| history.open().ok()).unwrap_or_default();
        let names: Vec<_> = events.iter().map(|event| event.kind.name()).collect();
        text += &format!(" {names:?}");
        let inbox = row.open().and_then(|record| record.inbox_events()).unwrap_or_default();
        let names: Vec<_> = inbox.iter().map(|event| event.kind.name()).collect();
        text += &format!(" inbox {names:?};");
    }
    for envelope in &batch.outgoing {
        let message = envelope.open().map(|message| format!("{message:?}")).unwrap_or_default();
        text += &format!(" sends {} {message};", envelope.number);
    }
    for id in &batch.consumed {
        text += &format!(" consumes {}/{};", id.from.0, id.number);
    }
    text
}
