//! Runs a program as an ordinary async function over an [`Execution`], as user code would.

use crate::outcome::{self, number_of_kind};
use crate::payload::{EventSalt, Input, StartSalt, keyed_input, task_input};
use crate::program::{APP_FAILURE, EVENT_NAMES, Programs, Step, Task};
use bytes::Bytes;
use perdura_core::failure::kind;
use perdura_core::history::{EventSent, SubOrchestrationScheduled, TaskScheduled};
use perdura_core::orchestration::{Execution, Ticket};
use perdura_core::{Failure, Status, Timestamp};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// What the code of an execution holds on to.
#[derive(Debug)]
pub struct Shared {
    /// The execution.
    pub execution: RefCell<Execution>,
    pub(crate) programs: Rc<Programs>,
    seen: RefCell<Vec<EventSalt>>,
    /// Events sent, by receiver and name.
    sent: RefCell<BTreeMap<(u8, u8), u32>>,
    /// Who this execution is as a sender of events.
    pub(crate) sender: Cell<u32>,
    /// Operations of entities that the code has asked for.
    pub(crate) ordered: Cell<u32>,
    /// Calls of entities whose results the code has not got.
    pub(crate) calls_open: Cell<u32>,
}

impl Shared {
    /// What the code of an execution holds on to.
    #[must_use]
    pub fn new(execution: Execution, programs: Rc<Programs>) -> Rc<Shared> {
        Rc::new(Shared {
            execution: RefCell::new(execution),
            programs,
            seen: RefCell::default(),
            sent: RefCell::default(),
            sender: Cell::new(0),
            ordered: Cell::new(0),
            calls_open: Cell::new(0),
        })
    }
}

pub(crate) type Payload = Result<Option<Bytes>, Failure>;
type Local<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// The result of a ticket. An event that was not taken goes back when this is dropped.
pub(crate) struct Await<'a> {
    shared: &'a Shared,
    ticket: Ticket,
    event: Option<&'static str>,
    is_done: bool,
}

impl Future for Await<'_> {
    type Output = Payload;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Payload> {
        match self.shared.execution.borrow_mut().take(self.ticket) {
            Some(result) => {
                self.is_done = true;
                Poll::Ready(result)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Await<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.event.filter(|_| !self.is_done) {
            self.shared.execution.borrow_mut().stop_waiting(name, self.ticket);
        }
    }
}

/// Several futures at once: the first that is ready, or all.
struct Several<'a> {
    left: Vec<Option<Local<'a, Done>>>,
    done: Vec<Option<Done>>,
    needed: usize,
}

impl Future for Several<'_> {
    type Output = Vec<Option<Done>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let me = &mut *self;
        for (slot, done) in me.left.iter_mut().zip(&mut me.done) {
            if let Some(Poll::Ready(result)) = slot.as_mut().map(|future| future.as_mut().poll(context)) {
                *slot = None;
                *done = Some(result);
                me.needed -= 1;
                if me.needed == 0 {
                    return Poll::Ready(std::mem::take(&mut me.done));
                }
            }
        }
        Poll::Pending
    }
}

fn several<'a>(futures: Vec<Local<'a, Done>>, needed: usize) -> Several<'a> {
    let done = futures.iter().map(|_| None).collect();
    Several { left: futures.into_iter().map(Some).collect(), done, needed }
}

/// What a step left, and its failure.
pub(crate) struct Done(pub(crate) Vec<u8>, pub(crate) Option<Failure>);

pub(crate) fn failed(failure: Failure) -> Done {
    Done(vec![outcome::FAILED, number_of_kind(&failure.kind)], Some(failure))
}

/// The code of an execution: everything from its input to its end.
pub async fn run(shared: Rc<Shared>) {
    let (input, execution) = {
        let mut execution = shared.execution.borrow_mut();
        (Input::decode(&execution.take_input()), execution.info().execution)
    };
    let Some(input) = input else {
        let failure = Failure::new(kind::PAYLOAD, "not an input of the simulation");
        return shared.execution.borrow_mut().complete(Status::Failed, None, Some(failure));
    };
    shared.sender.set((execution.0 >> 96) as u32);
    shared.seen.replace(input.seen.clone());
    let programs = shared.programs.clone();
    let program = &programs.programs[usize::from(input.program)];
    let mut output = input.program.to_le_bytes().to_vec();
    let mut failure = None;
    for step in &program.steps {
        let Done(outcome, failed) = perform(&shared, step).await;
        output.extend(outcome);
        failure = failed;
        if failure.is_some() {
            break;
        }
    }
    if failure.as_ref().is_some_and(|f| f.kind == kind::CANCELED) && is_canceled(&shared) {
        if let Some(task) = program.cleanup {
            let _ = perform(&shared, &Step::Task(task)).await;
        }
        return shared.execution.borrow_mut().complete(Status::Canceled, None, failure);
    }
    end(&shared, &input, program.rounds, failure, program.fails, output);
}

fn end(shared: &Shared, input: &Input, rounds: u8, failure: Option<Failure>, fails: bool, output: Vec<u8>) {
    let mut execution = shared.execution.borrow_mut();
    if failure.is_some() {
        execution.complete(Status::Failed, None, failure);
    } else if input.round + 1 < rounds {
        let seen = shared.seen.borrow().clone();
        let next = Input { round: input.round + 1, seen, ..input.clone() };
        execution.continue_as_new(Some(next.encode()), None);
    } else if fails {
        execution.complete(Status::Failed, None, Some(Failure::new(APP_FAILURE, "as programmed")));
    } else {
        execution.complete(Status::Completed, Some(output.into()), None);
    }
}

fn is_canceled(shared: &Shared) -> bool {
    shared.execution.borrow().cancel_reason().is_some()
}

pub(crate) fn wait_for<'a>(shared: &'a Shared, ticket: Ticket, event: Option<&'static str>) -> Await<'a> {
    Await { shared, ticket, event, is_done: false }
}

fn perform<'a>(shared: &'a Shared, step: &'a Step) -> Local<'a, Done> {
    Box::pin(async move {
        match step {
            Step::Task(task) => perform_task(shared, *task).await,
            Step::Timer(ms) => match sleep(shared, *ms).await {
                Ok(_) => Done(vec![outcome::TIMER], None),
                Err(failure) => failed(failure),
            },
            Step::Child(child) => perform_child(shared, *child).await,
            Step::Wait { name, timeout_ms } => wait_event(shared, *name, *timeout_ms).await,
            Step::Send { to, name } => send(shared, *to, *name).await,
            Step::Entity(step) => crate::entities::perform(shared, *step).await,
            Step::Status(status) => {
                let refused = shared.execution.borrow_mut().set_custom_status(Some(vec![*status].into()));
                debug_assert!(refused.is_ok(), "a byte is within every limit");
                Done(vec![outcome::STATUS], None)
            }
            Step::All(steps) => {
                let all = steps.iter().map(|step| perform(shared, step)).collect::<Vec<_>>();
                let needed = all.len();
                let mut together = Done(Vec::new(), None);
                for Done(outcome, failure) in several(all, needed).await.into_iter().flatten() {
                    together.0.extend(outcome);
                    together.1 = together.1.or(failure);
                }
                together
            }
            Step::Race(steps) => {
                let racers = steps.iter().map(|step| perform(shared, step)).collect();
                let first = several(racers, 1).await.into_iter().enumerate();
                let mut winner = first.filter_map(|(at, done)| done.map(|done| (at, done)));
                match winner.next() {
                    Some((at, Done(outcome, failure))) => {
                        Done([&[outcome::RACE, at as u8][..], &outcome].concat(), failure)
                    }
                    None => Done(Vec::new(), None),
                }
            }
            Step::Try(step) => Done(perform(shared, step).await.0, None),
        }
    })
}

pub(crate) async fn sleep(shared: &Shared, ms: u64) -> Payload {
    let ticket = {
        let mut execution = shared.execution.borrow_mut();
        let at = Timestamp(execution.now().0 + ms as i64);
        execution.create_timer(at)
    };
    wait_for(shared, ticket, None).await
}

async fn perform_task(shared: &Shared, task: u32) -> Done {
    if !shared.programs.tasks[task as usize].has_key {
        return outcome_of(call_task(shared, task).await);
    }
    let calls = [call_task(shared, task), call_task(shared, task)];
    let [first, second] = calls;
    let (first, second) = (first.await, second.await);
    if let (Ok(first), Ok(second)) = (&first, &second)
        && first != second
    {
        return Done(vec![outcome::KEY_BROKEN], None);
    }
    outcome_of(first.and(second))
}

fn call_task(shared: &Shared, task: u32) -> Await<'_> {
    let ticket = {
        let mut execution = shared.execution.borrow_mut();
        let unique = execution.unique() as u64;
        let behaviour = &shared.programs.tasks[task as usize];
        let has_key = behaviour.has_key;
        execution.schedule_task(TaskScheduled {
            name: "task".into(),
            input: Some(if has_key { keyed_input(task) } else { task_input(task, unique) }),
            key: has_key.then(|| Task::key(task)),
            retry: behaviour.retry.clone(),
            limits: behaviour.limits,
            delivery: if behaviour.delivery.has_barrier() {
                behaviour.delivery.recorded()
            } else {
                String::new()
            },
            ..TaskScheduled::default()
        })
    };
    wait_for(shared, ticket, None)
}

fn outcome_of(result: Payload) -> Done {
    match result {
        // The delivery that made it is left out: it may differ from run to run of the world, not of the code.
        Ok(output) => {
            let output = output.unwrap_or_default();
            Done([&[outcome::TASK], output.get(..4).unwrap_or_default()].concat(), None)
        }
        Err(failure) => failed(failure),
    }
}

pub(crate) async fn perform_child(shared: &Shared, number: u32) -> Done {
    let child = &shared.programs.children[number as usize];
    let ticket = {
        let input = Input { program: child.program, start: StartSalt::of_child(number), ..Input::default() };
        let scheduled = SubOrchestrationScheduled {
            instance: child.id.map_or(String::new(), |id| shared.programs.ids[usize::from(id)].clone()),
            name: "program".into(),
            input: Some(input.encode()),
            retry: child.retry.clone(),
            reuse: child.reuse.to_bits(),
            detached: child.is_detached,
            ..SubOrchestrationScheduled::default()
        };
        shared.execution.borrow_mut().schedule_sub_orchestration(scheduled)
    };
    if child.is_detached {
        return Done(vec![outcome::DETACHED], None);
    }
    match wait_for(shared, ticket, None).await {
        Ok(output) => {
            let output = output.unwrap_or_default();
            let mut bytes = vec![outcome::CHILD];
            bytes.extend_from_slice(&(output.len() as u16).to_le_bytes());
            bytes.extend_from_slice(&output);
            Done(bytes, None)
        }
        // A child with the parent's own id is refused as invalid; to the judge that is a taken id.
        Err(failure) if failure.kind == kind::INVALID => {
            failed(Failure::new(kind::ALREADY_EXISTS, failure.message))
        }
        Err(failure) => failed(failure),
    }
}

async fn wait_event(shared: &Shared, name: u8, timeout_ms: Option<u64>) -> Done {
    let name = EVENT_NAMES[usize::from(name)];
    let waiting = async {
        let ticket = shared.execution.borrow_mut().wait_event(name);
        match wait_for(shared, ticket, Some(name)).await {
            Ok(event) => {
                let salt = EventSalt::decode(&event).unwrap_or(EventSalt(0));
                shared.seen.borrow_mut().push(salt);
                Done([&[outcome::EVENT][..], &salt.0.to_le_bytes()].concat(), None)
            }
            Err(failure) => failed(failure),
        }
    };
    let Some(ms) = timeout_ms else { return waiting.await };
    let timeout = async {
        match sleep(shared, ms).await {
            Ok(_) => Done(vec![outcome::NO_EVENT], None),
            Err(failure) => failed(failure),
        }
    };
    let first = several(vec![Box::pin(waiting), Box::pin(timeout)], 1).await;
    first.into_iter().flatten().next().unwrap_or(Done(Vec::new(), None))
}

async fn send(shared: &Shared, to: u8, name: u8) -> Done {
    // The n-th of its sort, in whatever order an execution that was rewound comes to send it.
    let nth = {
        let mut sent = shared.sent.borrow_mut();
        let count = sent.entry((to, name)).or_default();
        *count += 1;
        *count
    };
    let count = u32::from(to) << 24 | u32::from(name) << 16 | nth;
    let ticket = shared.execution.borrow_mut().send_event(EventSent {
        instance: shared.programs.ids[usize::from(to)].clone(),
        name: EVENT_NAMES[usize::from(name)].into(),
        input: Some(EventSalt::of_execution(shared.sender.get(), count).encode()),
        ..EventSent::default()
    });
    match wait_for(shared, ticket, None).await {
        Ok(_) => Done(vec![outcome::SENT], None),
        Err(failure) => failed(failure),
    }
}
