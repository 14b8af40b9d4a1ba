//! The virtual engine behind a test: instances, a queue of what is due, and a clock that jumps.

use super::entities::{Entities, Operation};
use super::first_attempt;
use super::test_run::Mocks;
use crate::registry::Registry;
use crate::runner::RegistryRunner;
use bytes::Bytes;
use perdura_core::failure::kind;
use perdura_core::history::{
    Event, EventKind, EventRaised, ExecutionCompleted, ExecutionStarted, ParentLink,
    SubOrchestrationCompleted, SubOrchestrationFailed, SubOrchestrationScheduled, TaskCompleted, TaskFailed,
    TaskScheduled, TimerFired, TurnStarted,
};
use perdura_core::orchestration::{Decision, Run, Runner, Turn, TurnOutcome, TurnResult};
use perdura_core::{
    EntityId, ExecutionId, Failure, InstanceId, InstanceKey, Limits, OnExisting, ReusePolicy, Status,
    Timestamp,
};
use perdura_engine::ActivityEnd;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(super) type Outcome = Result<Option<Bytes>, Failure>;
pub(super) type Mock = Box<dyn FnMut(Option<Bytes>) -> Outcome>;

const TURNS_MAX: u64 = 100_000;
const START: Timestamp = Timestamp(1_750_000_000_000);

pub(super) struct Instance {
    key: InstanceKey,
    id: InstanceId,
    pub generation: u32,
    started: ExecutionStarted,
    pub history: Vec<Event>,
    pub status: Status,
    pub end: Option<Outcome>,
    pub custom_status: Option<Bytes>,
    /// Activities that were scheduled, in all generations.
    pub calls: Vec<(String, Option<Bytes>)>,
    incoming: Vec<EventKind>,
    parents: Vec<ParentLink>,
}

#[expect(clippy::large_enum_variant, reason = "a test queues a handful of them")]
pub(super) enum Due {
    /// An event for an instance, if it is still in that generation.
    Event { to: InstanceId, generation: Option<u32>, event: EventKind },
    /// An operation of an entity.
    Operation(Box<Operation>),
    /// An attempt of an activity.
    Attempt {
        of: InstanceId,
        generation: u32,
        task: Box<TaskScheduled>,
        attempt: u32,
        scheduled_at: Timestamp,
    },
}

pub(super) struct World {
    pub(super) registry: Registry,
    pub(super) entities: Entities,
    warm: RegistryRunner,
    mocks: Mocks,
    now: Timestamp,
    turns: u64,
    executions: u128,
    instances: BTreeMap<InstanceId, Instance>,
    /// By time, then by order of arrival.
    queue: BTreeMap<(Timestamp, u64), Due>,
    queued: u64,
}

impl World {
    pub fn new(registry: Registry, mocks: Mocks) -> World {
        World {
            warm: RegistryRunner::new(registry.clone(), Limits::default()),
            registry,
            entities: Entities::default(),
            mocks,
            now: START,
            turns: 0,
            executions: 0,
            instances: BTreeMap::new(),
            queue: BTreeMap::new(),
            queued: 0,
        }
    }

    /// Starts an instance.
    pub fn start(&mut self, id: &str, started: ExecutionStarted) -> InstanceId {
        let id = InstanceId::new(id).expect("the instance id");
        let parents = started.parent.clone().into_iter().collect();
        self.begin(id.clone(), 0, started, Vec::new(), parents);
        id
    }

    pub fn send_later(&mut self, to: &InstanceId, after: Duration, event: EventKind) {
        self.queue(START.after(after), Due::Event { to: to.clone(), generation: None, event });
    }

    /// Runs until the instance has ended, nothing is due, or the time is over; gives the time of the last turn.
    pub async fn run_until(&mut self, root: &InstanceId, until: Duration) -> Duration {
        let until = START.after(until);
        while self.instances[root].end.is_none() {
            let Some((&(at, _), _)) = self.queue.first_key_value().filter(|((at, _), _)| *at <= until) else {
                break;
            };
            self.now = self.now.max(at);
            let mut touched = BTreeSet::new();
            while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= at) {
                match entry.remove() {
                    Due::Event { to, generation, event } => {
                        if self.deliver(&to, generation, event) {
                            touched.insert(to);
                        }
                    }
                    Due::Operation(operation) => {
                        self.operate(*operation).await;
                        break;
                    }
                    Due::Attempt { of, generation, task, attempt, scheduled_at } => {
                        self.attempt(of, generation, task, attempt, scheduled_at).await;
                        break;
                    }
                }
            }
            touched.into_iter().for_each(|id| self.turn(&id));
            self.fail_disturbed();
        }
        START.until(self.now)
    }

    pub fn into_instance(mut self, id: &InstanceId) -> Instance {
        self.instances.remove(id).expect("the instance was started")
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) fn has(&self, id: &InstanceId) -> bool {
        self.instances.contains_key(id)
    }

    pub(super) fn queue(&mut self, at: Timestamp, due: Due) {
        self.queued += 1;
        self.queue.insert((at, self.queued), due);
    }

    fn begin(
        &mut self,
        id: InstanceId,
        generation: u32,
        started: ExecutionStarted,
        calls: Vec<(String, Option<Bytes>)>,
        parents: Vec<ParentLink>,
    ) {
        self.executions += 1;
        let execution = ExecutionId(self.executions << 64 | self.executions);
        let started = ExecutionStarted { execution: execution.0.to_be_bytes().to_vec().into(), ..started };
        let instance = Instance {
            key: InstanceKey(self.executions as u64),
            id: id.clone(),
            generation,
            started: started.clone(),
            history: Vec::new(),
            status: Status::Pending,
            end: None,
            custom_status: None,
            calls,
            incoming: Vec::new(),
            parents,
        };
        self.instances.insert(id.clone(), instance);
        self.queue(self.now, Due::Event { to: id, generation: Some(generation), event: started.into() });
    }

    /// Puts an event before an instance; says whether there is one that takes it.
    fn deliver(&mut self, to: &InstanceId, generation: Option<u32>, event: EventKind) -> bool {
        let Some(instance) = self.instances.get_mut(to).filter(|instance| instance.end.is_none()) else {
            return false;
        };
        let fits = generation.is_none_or(|generation| generation == instance.generation);
        if fits {
            instance.incoming.push(event);
        }
        fits
    }

    /// Runs an attempt of an activity and puts its result into the queue.
    async fn attempt(
        &mut self,
        of: InstanceId,
        generation: u32,
        task: Box<TaskScheduled>,
        attempt: u32,
        scheduled_at: Timestamp,
    ) {
        if self.instances.get(&of).is_none_or(|i| i.end.is_some() || i.generation != generation) {
            return;
        }
        let limits = task.limits.unwrap_or_default();
        let time = self.mocks.delays.get(&task.name).copied().unwrap_or_default();
        let limit = Duration::from_millis(limits.attempt_ms);
        let (time, outcome) = if limits.attempt_ms > 0 && time > limit {
            (limit, Err(Failure::new(kind::TIMEOUT, format!("attempt {attempt}: limit {limit:?}"))))
        } else {
            (time, self.outcome(&of, &task, attempt).await)
        };
        let at = self.now.after(time);
        let event = match outcome {
            Ok(output) => {
                TaskCompleted { id: task.id, output, attempt, delivery: attempt, ..Default::default() }.into()
            }
            Err(failure) => {
                let total = Duration::from_millis(limits.total_ms);
                let give_up_at = if total.is_zero() { Timestamp::MAX } else { scheduled_at.after(total) };
                let policy = task.retry.clone().unwrap_or_default();
                if let Some(next) = policy.next_attempt(attempt, &failure, at, give_up_at, 0.0) {
                    let attempt = attempt + 1;
                    return self.queue(next, Due::Attempt { of, generation, task, attempt, scheduled_at });
                }
                TaskFailed {
                    id: task.id,
                    failure: Some(failure),
                    attempt,
                    delivery: attempt,
                    ..Default::default()
                }
                .into()
            }
        };
        self.queue(at, Due::Event { to: of, generation: Some(generation), event });
    }

    async fn outcome(&mut self, of: &InstanceId, task: &TaskScheduled, attempt: u32) -> Outcome {
        if let Some(mock) = self.mocks.activities.get_mut(&task.name) {
            return mock(task.input.clone());
        }
        let execution = ExecutionId::from_bytes(&self.instances[of].started.execution);
        let mut activity = first_attempt(of.clone(), execution, task.id, &task.name);
        activity.version.clone_from(&task.version);
        activity.trace.clone_from(&task.trace);
        activity.input.clone_from(&task.input);
        activity.tags.clone_from(&task.tags);
        (activity.attempt, activity.delivery) = (attempt, attempt);
        match self.registry.run_activity(activity).await {
            ActivityEnd::Completed(output) => Ok(output),
            ActivityEnd::Failed(failure) => Err(failure),
            _ => {
                let text =
                    format!("activity {:?} writes to an SQLite hub, and a test has none: mock it", task.name);
                Err(Failure::new(kind::INVALID, text).non_retryable())
            }
        }
    }

    /// Runs a turn, warm and cold.
    fn turn(&mut self, id: &InstanceId) {
        self.turns += 1;
        assert!(
            self.turns <= TURNS_MAX,
            "{TURNS_MAX} turns: if it never ends, give the test a time with `until`"
        );
        let instance = self.instances.get_mut(id).expect("an event was delivered to it");
        let mut events = vec![Event::new(self.now, TurnStarted::default())];
        events.extend(instance.incoming.drain(..).map(|event| Event::new(self.now, event)));
        let turn = Turn {
            key: instance.key,
            id: id.clone(),
            name: instance.started.name.clone(),
            version: instance.started.version.clone(),
            execution: ExecutionId::from_bytes(&instance.started.execution),
            generation: instance.generation,
            branch: 0,
            from: instance.history.len() as u64,
            number: self.turns,
            trace: None,
            lost: 0,
            events,
        };
        let warm = finished(id, self.warm.run(&turn, None));
        let mut fresh = RegistryRunner::new(self.registry.clone(), Limits::default());
        let cold = finished(id, fresh.run(&turn, Some(&instance.history)));
        assert!(
            warm == cold,
            "orchestration {:?} is not deterministic: {}",
            turn.name,
            difference(&warm, &cold)
        );
        instance.status = Status::Running;
        instance.history.extend(turn.recorded(&warm));
        if let Some(status) = warm.custom_status {
            instance.custom_status = status;
        }
        warm.decisions.into_iter().for_each(|decision| self.apply(id, decision));
    }

    /// Ends what something that is not durable has woken.
    fn fail_disturbed(&mut self) {
        for (key, failure) in self.warm.disturbed() {
            let of_key = |instance: &&Instance| instance.key == key && instance.end.is_none();
            if let Some(id) = self.instances.values().find(of_key).map(|instance| instance.id.clone()) {
                self.apply(
                    &id,
                    Decision::Complete(ExecutionCompleted::new(Status::Failed, None, Some(failure))),
                );
            }
        }
    }

    fn apply(&mut self, id: &InstanceId, decision: Decision) {
        let now = self.now;
        let instance = self.instances.get_mut(id).expect("it has just run");
        let generation = instance.generation;
        let mut record = |event: EventKind| instance.history.push(Event { at: now, kind: event });
        match decision {
            Decision::ScheduleTask(task) => {
                record(task.clone().into());
                instance.calls.push((task.name.clone(), task.input.clone()));
                let (of, task) = (id.clone(), Box::new(task));
                self.queue(now, Due::Attempt { of, generation, task, attempt: 1, scheduled_at: now });
            }
            Decision::CreateTimer(timer) => {
                record(timer.into());
                let event = TimerFired { id: timer.id }.into();
                let at = Timestamp(timer.fire_at).max(now);
                self.queue(at, Due::Event { to: id.clone(), generation: Some(generation), event });
            }
            Decision::ScheduleSubOrchestration(mut child) => {
                if child.instance.is_empty() {
                    child.instance = format!("{id}:{generation:x}:{:04x}", child.id);
                }
                record(child.clone().into());
                self.start_child(id, generation, child);
            }
            Decision::SendEvent(sent) => {
                record(sent.clone().into());
                if let Ok(to) = InstanceId::new(&sent.instance) {
                    let event = EventRaised { name: sent.name, input: sent.input }.into();
                    self.queue(now, Due::Event { to, generation: None, event });
                }
            }
            Decision::Terminate(end) => {
                panic!("{:?}: code in Rust cannot end another instance", end.instance)
            }
            Decision::CallEntity(called) => {
                record(called.clone().into());
                let (caller, to) = (link(id, generation, called.id), entity(&called.entity));
                let operation =
                    Operation { to, name: called.operation, input: called.input, caller: Some(caller) };
                self.operation_later(now, operation);
            }
            Decision::SignalEntity(signaled) => {
                record(signaled.clone().into());
                let (to, at) = (entity(&signaled.entity), Timestamp(signaled.at).max(now));
                let operation =
                    Operation { to, name: signaled.operation, input: signaled.input, caller: None };
                self.operation_later(at, operation);
            }
            Decision::RequestLock(requested) => {
                record(requested.clone().into());
                let set = requested.set.iter().map(|id| entity(id)).collect();
                self.lock(link(id, generation, requested.id), set);
            }
            Decision::Unlock(sent) => {
                record(sent.into());
                self.unlock(id);
            }
            Decision::Complete(end) => {
                record(end.clone().into());
                self.complete(id, end);
            }
            Decision::ContinueAsNew(next) => {
                self.unlock(id);
                let instance = self.instances.remove(id).expect("it has just run");
                let version = next.version.unwrap_or(instance.started.version);
                let started = ExecutionStarted { input: next.input, version, ..instance.started };
                self.begin(instance.id, generation + 1, started, instance.calls, instance.parents);
                for event in next.carry_over {
                    self.queue(now, Due::Event { to: id.clone(), generation: None, event: event.into() });
                }
            }
        }
    }

    fn start_child(&mut self, parent: &InstanceId, generation: u32, child: SubOrchestrationScheduled) {
        let link = ParentLink {
            instance: parent.as_str().to_owned(),
            generation,
            task: child.id,
            attempt: 1,
            ..ParentLink::default()
        };
        if let Some(mock) = self.mocks.children.get_mut(&child.name) {
            let outcome = mock(child.input);
            if !child.detached {
                self.answer(&link, outcome);
            }
            return;
        }
        let id = InstanceId::new(&child.instance).expect("checked by the context");
        let existing = self
            .instances
            .get_mut(&id)
            .map(|existing| (ReusePolicy::from_bits(child.reuse).on(existing.status), existing));
        match existing {
            Some((OnExisting::Fail, existing)) => {
                let text = format!("instance {id:?} exists and is {}", existing.status);
                return self.answer(&link, Err(Failure::new(kind::ALREADY_EXISTS, text)));
            }
            Some((OnExisting::UseExisting, existing)) => match existing.end.clone() {
                Some(end) => return self.answer(&link, end.map_err(|failure| failure.of_child(&id))),
                None if self.waits_for(&id, parent, 0) => {
                    let text = format!(
                        "{parent:?} cannot wait for {id:?}, which waits for it: they would wait for ever"
                    );
                    return self.answer(&link, Err(Failure::new(kind::INVALID, text).non_retryable()));
                }
                None => {
                    return self
                        .instances
                        .get_mut(&id)
                        .into_iter()
                        .for_each(|i| i.parents.push(link.clone()));
                }
            },
            Some((OnExisting::Replace, _)) | None => {}
        }
        let parent = (!child.detached).then_some(link);
        let (name, version, input, tags) = (child.name, child.version, child.input, child.tags);
        let started = ExecutionStarted { name, version, input, tags, parent, ..ExecutionStarted::default() };
        self.start(id.as_str(), started);
    }

    /// Whether one instance waits for another, over any number of children.
    fn waits_for(&self, one: &InstanceId, other: &InstanceId, steps: u32) -> bool {
        let parents = self.instances.get(other).map_or(&[][..], |instance| &instance.parents[..]);
        steps < 100
            && parents.iter().any(|parent| {
                let id = InstanceId::new(&parent.instance).expect("it is an instance of this world");
                id == *one || self.waits_for(one, &id, steps + 1)
            })
    }

    fn complete(&mut self, id: &InstanceId, end: ExecutionCompleted) {
        let instance = self.instances.get_mut(id).expect("it has just run");
        instance.status = end.final_status().unwrap_or(Status::Failed);
        let outcome = match instance.status {
            Status::Completed => Ok(end.output),
            _ => Err(end.failure.unwrap_or_default()),
        };
        instance.end = Some(outcome.clone());
        let parents = std::mem::take(&mut instance.parents);
        self.unlock(id);
        let outcome = outcome.map_err(|failure| failure.of_child(id));
        for parent in parents {
            self.answer(&parent, outcome.clone());
        }
    }

    fn answer(&mut self, parent: &ParentLink, outcome: Outcome) {
        let id = parent.task;
        let event = match outcome {
            Ok(output) => SubOrchestrationCompleted { id, output }.into(),
            Err(failure) => SubOrchestrationFailed { id, failure: Some(failure) }.into(),
        };
        self.tell(parent, event);
    }

    /// Sends an answer to a task of an instance.
    pub(super) fn tell(&mut self, link: &ParentLink, event: EventKind) {
        let to = InstanceId::new(&link.instance).expect("it is an instance of this world");
        self.queue(self.now, Due::Event { to, generation: Some(link.generation), event });
    }
}

fn link(id: &InstanceId, generation: u32, task: u32) -> ParentLink {
    ParentLink { instance: id.as_str().to_owned(), generation, task, attempt: 1, ..ParentLink::default() }
}

fn entity(id: &str) -> EntityId {
    EntityId::parse(id).expect("checked by the context")
}

fn finished(id: &InstanceId, run: Run) -> TurnResult {
    match run {
        Run::Finished(TurnOutcome::Done(result)) => result,
        Run::Finished(TurnOutcome::Diverged(mismatch)) => panic!("instance {id:?}: {mismatch}"),
        Run::Finished(TurnOutcome::CannotRun(why)) => panic!("instance {id:?}: {why}"),
        Run::Away => panic!("instance {id:?}: its turn was sent away, and nobody is there to run it"),
        Run::NeedsHistory => panic!("instance {id:?}: its code made decisions outside of its turns"),
    }
}

fn difference(warm: &TurnResult, cold: &TurnResult) -> String {
    let differs = |(a, b): &(&Decision, &Decision)| a != b;
    match warm.decisions.iter().zip(&cold.decisions).find(differs) {
        Some((warm, cold)) if warm.describe() == cold.describe() => {
            format!("{} has another input or deadline in the replay", warm.describe())
        }
        Some((warm, cold)) => format!("first {}, in the replay {}", warm.describe(), cold.describe()),
        None if warm.decisions.len() == cold.decisions.len() => {
            "the replay sets another custom status".into()
        }
        None => format!("first {} decisions, in the replay {}", warm.decisions.len(), cold.decisions.len()),
    }
}
