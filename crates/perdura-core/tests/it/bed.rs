//! A processor with a store made of maps and orchestrations made of closures.

use bytes::Bytes;
use perdura_core::delivery::Delivery;
use perdura_core::entity::*;
use perdura_core::history::*;
use perdura_core::orchestration::{Decision, Turn, TurnOutcome, TurnResult};
use perdura_core::partition::*;
use perdura_core::rewind::HistoryPart;
use perdura_core::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Runs one operation: changes the state, gives the result and what it sends.
pub type EntityScript = Box<dyn FnMut(&mut Option<Bytes>, &EntityOperation) -> OperationResult>;

pub type Script = Box<dyn FnMut(&Turn) -> Vec<Decision>>;

pub struct Bed {
    pub partition: Partition,
    pub now: i64,
    /// What the runner does, by orchestration name; a name that is not here cannot run.
    pub scripts: BTreeMap<String, Script>,
    /// Orchestrations that somebody else runs, and the turns that are away.
    pub elsewhere: BTreeSet<String>,
    /// What the code of a name has begun and never waits for.
    pub gives_up: BTreeMap<String, Vec<u32>>,
    pub away: Vec<Turn>,
    /// Executions that the runner was told to drop.
    pub forgotten: Vec<InstanceKey>,
    /// What entities do, by name. Operations of others wait in `operations`.
    pub entities: BTreeMap<String, EntityScript>,
    pub operations: Vec<OperationBatch>,
    pub rows: BTreeMap<InstanceKey, InstanceRow>,
    /// Of branch 0, by instance and generation.
    pub history: BTreeMap<(InstanceKey, u32), Vec<Event>>,
    /// Of other branches: the number of the first event, and the events.
    pub branches: BTreeMap<(InstanceKey, u32, u32), (u64, Vec<Event>)>,
    pub batches: Vec<Batch>,
    pub replies: BTreeMap<u64, Result<Response, RequestError>>,
    pub started: Vec<TaskStart>,
    pub canceled: Vec<TaskRef>,
    /// Attempts whose hand-over is committed.
    pub taken: Vec<TaskRef>,
    /// How often activities may run, by name.
    pub deliveries: BTreeMap<String, Delivery>,
    next_token: u64,
    lives: u128,
    limits: Limits,
}

impl Bed {
    pub fn new() -> Bed {
        Bed::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> Bed {
        Bed {
            partition: partition(1, 1, limits.clone(), &BTreeMap::new()),
            now: 1_000_000,
            scripts: BTreeMap::new(),
            elsewhere: BTreeSet::new(),
            gives_up: BTreeMap::new(),
            away: Vec::new(),
            forgotten: Vec::new(),
            entities: BTreeMap::new(),
            operations: Vec::new(),
            rows: BTreeMap::new(),
            history: BTreeMap::new(),
            branches: BTreeMap::new(),
            batches: Vec::new(),
            replies: BTreeMap::new(),
            started: Vec::new(),
            canceled: Vec::new(),
            taken: Vec::new(),
            deliveries: BTreeMap::new(),
            next_token: 0,
            lives: 1,
            limits,
        }
    }

    pub fn script(&mut self, name: &str, script: impl FnMut(&Turn) -> Vec<Decision> + 'static) {
        self.scripts.insert(name.into(), Box::new(script));
    }

    pub fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }

    /// Asks without committing; gives the token.
    pub fn ask(&mut self, request: Request) -> u64 {
        self.next_token += 1;
        self.partition.request(ReplyToken(self.next_token), request, self.now());
        self.next_token
    }

    /// Asks, commits, and gives the answer.
    pub fn call(&mut self, request: Request) -> Result<Response, RequestError> {
        let token = self.ask(request);
        self.settle();
        self.replies.remove(&token).expect("an answer")
    }

    pub fn start(&mut self, id: &str, name: &str) -> Started {
        match self.call(Request::Start(start(id, name))) {
            Ok(Response::Started(started)) => started,
            other => panic!("{other:?}"),
        }
    }

    pub fn task_done(&mut self, task: TaskRef, result: Result<&'static str, Failure>) {
        self.partition.task_done(task, result.map(|text| Some(Bytes::from(text))), self.now());
        self.settle();
    }

    pub fn pass(&mut self, ms: i64) {
        self.now += ms;
        self.partition.tick(self.now());
        self.settle();
    }

    /// Runs turns and reads rows, but commits nothing.
    pub fn run(&mut self) {
        loop {
            self.forgotten.extend(self.partition.forgotten());
            let needs = self.partition.needs();
            let turn = self.partition.next_turn();
            let ran = self.run_operations();
            if needs.is_empty() && turn.is_none() && !ran {
                return;
            }
            needs.into_iter().for_each(|need| self.read_for(need));
            if let Some(turn) = turn {
                self.run_turn(turn);
            }
        }
    }

    /// Reads what the processor needs.
    pub fn read_for(&mut self, need: Need) {
        let now = self.now();
        match need {
            Need::FindId(id) => {
                let row = self.rows.values().find(|row| row.id == id).cloned();
                self.partition.found_id(&id, row, now);
            }
            Need::FindKey(key) => self.partition.found_key(key, self.rows.get(&key).cloned(), now),
            Need::History { key, generation, branch, parts } => {
                let events = self.read(key, generation, &parts);
                if let Some(turn) = self.partition.history_read((key, generation, branch), &events, now) {
                    self.run_turn(turn);
                }
            }
        }
    }

    /// Runs the operations that somebody here can run; says whether there were some.
    fn run_operations(&mut self) -> bool {
        let can_run = |batch: &mut OperationBatch| self.entities.contains_key(batch.id.name());
        let batches: Vec<_> = self.operations.extract_if(.., can_run).collect();
        for batch in &batches {
            let done = self.outcome_of(batch);
            self.partition.operations_done(batch.ticket, done, self.now());
        }
        !batches.is_empty()
    }

    pub fn outcome_of(&mut self, batch: &OperationBatch) -> OperationsDone {
        let script = self.entities.get_mut(batch.id.name()).expect("an entity script");
        let mut state = batch.state.clone();
        let results = batch.operations.iter().map(|operation| script(&mut state, operation)).collect();
        OperationsDone { results, state }
    }

    pub fn entity(
        &mut self,
        name: &str,
        script: impl FnMut(&mut Option<Bytes>, &EntityOperation) -> OperationResult + 'static,
    ) {
        self.entities.insert(name.into(), Box::new(script));
    }

    pub fn run_turn(&mut self, turn: Turn) {
        if self.elsewhere.contains(&turn.name) {
            self.away.push(turn.clone());
            return self.partition.turn_away(turn);
        }
        let outcome = match self.scripts.get_mut(&turn.name) {
            Some(script) => {
                let decisions = script(&turn);
                let awaits_event = Some(false);
                let gave_up = self.gives_up.get(&turn.name).cloned().unwrap_or_default();
                TurnOutcome::Done(TurnResult { decisions, awaits_event, gave_up, ..TurnResult::default() })
            }
            None => TurnOutcome::CannotRun(format!("nobody runs {:?}", turn.name)),
        };
        self.partition.finish_turn(turn, outcome);
    }

    /// Writes one batch; says whether there was one.
    pub fn commit(&mut self) -> bool {
        let (batch, effects) = self.partition.seal().unwrap();
        self.perform(effects);
        let Some(batch) = batch else { return false };
        self.apply(&batch);
        self.batches.push(batch);
        let effects = self.partition.committed();
        self.perform(effects);
        true
    }

    /// Runs and commits until nothing is left to do.
    pub fn settle(&mut self) {
        self.run();
        while self.commit() {
            self.run();
        }
    }

    /// Starts over whatever has the id.
    pub fn start_replacing(&mut self, id: &str, name: &str) {
        let request = StartRequest { reuse: ReusePolicy::REPLACE, ..start(id, name) };
        self.call(Request::Start(request)).unwrap();
    }

    /// A new processor that knows nothing yet.
    pub fn forget_all(&mut self) {
        self.lives += 1;
        let next_key = self.rows.keys().map(|key| key.number() + 1).max().unwrap_or(1);
        self.partition = partition(next_key, self.lives, self.limits.clone(), &self.deliveries);
        self.started.clear();
        self.canceled.clear();
        self.taken.clear();
        self.away.clear();
        self.operations.clear();
    }

    /// The process dies: what is not committed is gone, and a new processor takes over.
    pub fn crash(&mut self) {
        self.forget_all();
        let unfinished: Vec<_> =
            self.rows.values().filter(|row| !row.status.is_terminal()).cloned().collect();
        self.partition.recover(unfinished, self.now());
        let consumed: BTreeSet<_> = self.batches.iter().flat_map(|batch| &batch.consumed).copied().collect();
        let sent = self.batches.iter().flat_map(|batch| &batch.outgoing);
        let own = |envelope: &&Envelope| {
            let id = EnvelopeId { from: envelope.from, number: envelope.number };
            envelope.to == PartitionId(0) && !consumed.contains(&id)
        };
        let messages = sent.filter(own).cloned().collect();
        assert!(self.partition.deliver(messages, self.now()).is_empty());
        self.settle();
    }

    pub fn record(&self, id: &str) -> InstanceRecord {
        let row = self.rows.values().find(|row| row.id.as_str() == id).expect("a row");
        row.open().unwrap()
    }

    pub fn status(&self, id: &str) -> Status {
        self.record(id).status().unwrap()
    }

    pub fn events(&self, id: &str) -> Vec<&'static str> {
        let row = self.rows.values().find(|row| row.id.as_str() == id).expect("a row");
        self.history_of(row).iter().map(|event| event.kind.name()).collect()
    }

    /// The history of the branch that counts.
    pub fn history_of(&self, row: &InstanceRow) -> Vec<Event> {
        let parts = row.open().unwrap().history_parts(row.branch).expect("the branch that counts");
        self.read(row.key, row.generation, &parts)
    }

    fn read(&self, key: InstanceKey, generation: u32, parts: &[HistoryPart]) -> Vec<Event> {
        let mut events = Vec::new();
        for part in parts {
            let none = (0, Vec::new());
            let (first, rows) = match part.branch {
                0 => (0, self.history.get(&(key, generation)).unwrap_or(&none.1)),
                branch => {
                    let (first, rows) = self.branches.get(&(key, generation, branch)).unwrap_or(&none);
                    (*first, rows)
                }
            };
            let numbered = (first..).zip(rows);
            events
                .extend(numbered.filter(|(n, _)| *n >= part.from && *n < part.until).map(|(_, e)| e.clone()));
        }
        events
    }

    /// The ids of the children that the history of an instance has scheduled.
    pub fn children_of(&self, id: &str) -> Vec<String> {
        let row = self.rows.values().find(|row| row.id.as_str() == id).expect("a row");
        let child = |event: &Event| match &event.kind {
            EventKind::SubOrchestrationScheduled(child) => Some(child.instance.clone()),
            _ => None,
        };
        self.history[&(row.key, row.generation)].iter().filter_map(child).collect()
    }

    pub fn last_started(&self) -> TaskStart {
        self.started.last().expect("a started task").clone()
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Reply(token, answer) => {
                    assert!(self.replies.insert(token.0, answer).is_none(), "answered twice");
                }
                Effect::StartTask(start) => {
                    let now = self.now();
                    self.partition.task_began(start.task, now);
                    self.started.push(start);
                }
                Effect::TaskTaken(task) => self.taken.push(task),
                Effect::CancelTask(task) => self.canceled.push(task),
                Effect::RunOperations(batch) => self.operations.push(batch),
                Effect::Notify(_) => {}
            }
        }
    }

    fn apply(&mut self, batch: &Batch) {
        assert!(batch.not_before.is_none_or(|at| at <= self.now()), "fired early");
        for key in &batch.purge {
            self.rows.remove(key);
            self.history.retain(|(of, _), _| of != key);
            self.branches.retain(|(of, ..), _| of != key);
        }
        for write in &batch.writes {
            let row = &write.row;
            let stored = self.rows.get(&row.key);
            let tail = stored.map(|r| Tail { generation: r.generation, branch: r.branch, events: r.tail });
            assert_eq!(tail, write.expected, "the processor is wrong about the store");
            if let Some(history) = &write.history {
                let at = (row.key, history.generation, history.branch);
                let mut none = 0;
                let (first, events) = match history.branch {
                    0 => (&mut none, self.history.entry((at.0, at.1)).or_default()),
                    _ => {
                        let entry = self.branches.entry(at).or_insert((history.first, Vec::new()));
                        (&mut entry.0, &mut entry.1)
                    }
                };
                assert_eq!(*first + events.len() as u64, history.first, "a hole");
                events.extend(history.open().unwrap());
                assert_eq!(*first + events.len() as u64, row.tail);
            }
            if let Some(before) = write.drop_generations_before {
                self.history.retain(|(key, generation), _| *key != row.key || *generation >= before);
                self.branches.retain(|(key, generation, _), _| *key != row.key || *generation >= before);
            }
            row.open().unwrap();
            self.rows.insert(row.key, row.clone());
        }
    }
}

fn partition(
    next_key: u64,
    seed: u128,
    limits: Limits,
    deliveries: &BTreeMap<String, Delivery>,
) -> Partition {
    let (id, deliveries) = (PartitionId(0), Arc::new(deliveries.clone()));
    Partition::new(PartitionConfig {
        id,
        partitions: 1,
        next_key,
        next_envelope: 1 + (u64::from(seed as u32) << 20),
        seed,
        limits,
        deliveries,
        bug: None,
    })
}

pub fn id(text: &str) -> InstanceId {
    InstanceId::new(text).unwrap()
}

pub fn start(text: &str, name: &str) -> StartRequest {
    StartRequest {
        id: id(text),
        fresh: false,
        name: name.into(),
        version: String::new(),
        input: None,
        tags: Tags::new(),
        start_at: None,
        reuse: ReusePolicy::FAIL,
        request_id: String::new(),
        execution: None,
        trace: None,
    }
}

pub fn raise(text: &str, name: &str) -> Request {
    Request::Raise { id: id(text), name: name.into(), input: None, event_id: String::new() }
}

pub fn purge(text: &str) -> Request {
    Request::Purge { id: id(text), again: false }
}

pub fn task(number: u32, name: &str) -> Decision {
    Decision::ScheduleTask(TaskScheduled { id: number, name: name.into(), ..Default::default() })
}

pub fn timer(number: u32, at: i64) -> Decision {
    Decision::CreateTimer(TimerCreated { id: number, fire_at: at })
}

pub fn child(number: u32, name: &str, instance: &str) -> Decision {
    Decision::ScheduleSubOrchestration(SubOrchestrationScheduled {
        id: number,
        name: name.into(),
        instance: instance.into(),
        ..Default::default()
    })
}

pub fn complete() -> Decision {
    Decision::Complete(ExecutionCompleted::new(Status::Completed, Some(Bytes::from("done")), None))
}

pub fn fail(message: &str) -> Decision {
    Decision::Complete(ExecutionCompleted::new(Status::Failed, None, Some(Failure::new("E", message))))
}

/// The events of a turn that came from outside, by name.
pub fn news(turn: &Turn) -> Vec<&'static str> {
    turn.events[1..].iter().map(|event| event.kind.name()).collect()
}

/// Runs its steps one after another, a turn each, then nothing.
pub fn steps(steps: Vec<Vec<Decision>>) -> impl FnMut(&Turn) -> Vec<Decision> + 'static {
    let mut steps = steps.into_iter();
    move |_| steps.next().unwrap_or_default()
}
