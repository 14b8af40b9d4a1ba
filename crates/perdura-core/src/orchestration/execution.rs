//! The state of one execution as its code sees it.
//!
//! Whoever runs the code feeds it events one by one ([`Execution::accept`]) and lets the code run when asked to
//! ([`Execution::must_run_before`], and once after the last event). All events that one turn brought are accepted before
//! the code runs, so live code and replay see the same.

use super::cancel::CancelRequest;
use super::decision::{ContinueAsNew, Decision, TurnResult, check_sent, describe_recorded, is_incoming};
use super::info::Info;
use super::limits_in_force::LimitsInForce;
use super::mailbox::Mailboxes;
use super::mismatch::Mismatch;
use super::section::Section;
use super::splitmix::splitmix;
use crate::delivery::output_bytes_max;
use crate::failure::{Failure, kind};
use crate::history::{
    Event, EventKind, EventSent, ExecutionCompleted, SubOrchestrationScheduled, TaskScheduled, TimerCreated,
    TurnLimits,
};
use crate::id::{ExecutionId, InstanceId, Tags};
use crate::limits::DELAY_MS_MAX;
use crate::status::Status;
use crate::time::Timestamp;
use bytes::Bytes;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Something that the code can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u32);

/// Tickets that are not in the history have this bit set.
const LOCAL: u32 = 1 << 31;

/// See the [module](self).
#[derive(Debug)]
pub struct Execution {
    info: Info,
    /// What it was started with, until its code takes it: a waiting execution need not keep it.
    input: Option<Bytes>,
    limits: LimitsInForce,
    /// The code met one of them in the present turn.
    limit_met: bool,
    now: Timestamp,
    /// Events of the history so far, those included that the decisions just made will become.
    events: u64,
    /// Bytes that the decisions of the present turn carry.
    turn_bytes: usize,
    /// Decisions that no recorded event has confirmed yet.
    made: VecDeque<Decision>,
    next_id: u32,
    next_local: u32,
    next_uuid: u64,
    /// Something new for the code arrived since it last ran.
    news: bool,
    replaying: bool,
    /// What arrived, until the code takes it.
    results: BTreeMap<Ticket, Arrived>,
    arrivals: u64,
    /// Tickets whose results the code has not been told of since it last ran.
    arrived: Vec<Ticket>,
    /// Tasks, timers and children without a result.
    pending: BTreeSet<Ticket>,
    /// The same, of which the code does not want any.
    gave_up: BTreeSet<Ticket>,
    /// External events that nobody has taken, and who waits for one, by name.
    mailboxes: Mailboxes,
    pub(super) canceled: Option<Box<CancelRequest>>,
    pub(super) section: Option<Box<Section>>,
    custom_status: Option<Bytes>,
    custom_status_changed: bool,
    /// The last event so far says that the execution was rewound.
    rewound: bool,
    ended: bool,
}

#[derive(Debug)]
struct Arrived {
    /// Rises from arrival to arrival.
    order: u64,
    /// The number of the external event, if it is one, so that it can go back to its place.
    event: u64,
    /// The request to cancel ended the wait.
    canceled: bool,
    result: Result<Option<Bytes>, Failure>,
}

impl Execution {
    /// An execution before its first event.
    #[must_use]
    pub fn new(id: InstanceId, limits: Arc<TurnLimits>) -> Execution {
        let info = Info {
            id,
            execution: ExecutionId::default(),
            name: String::new(),
            version: String::new(),
            parent: None,
            tags: Tags::new(),
        };
        Execution {
            info,
            input: None,
            limits: LimitsInForce::new(limits),
            limit_met: false,
            now: Timestamp(0),
            events: 0,
            turn_bytes: 0,
            made: VecDeque::new(),
            next_id: 0,
            next_local: LOCAL,
            next_uuid: 0,
            news: false,
            replaying: false,
            results: BTreeMap::new(),
            arrivals: 0,
            arrived: Vec::new(),
            pending: BTreeSet::new(),
            gave_up: BTreeSet::new(),
            mailboxes: Mailboxes::default(),
            canceled: None,
            section: None,
            custom_status: None,
            custom_status_changed: false,
            rewound: false,
            ended: false,
        }
    }

    // ---- for whoever runs the code ----

    /// Whether the code must run before `event` is accepted.
    #[must_use]
    pub fn must_run_before(&self, event: &Event) -> bool {
        self.news && !is_incoming(&event.kind)
    }

    /// Whether something new waits for the code.
    #[must_use]
    pub fn must_run(&self) -> bool {
        self.news
    }

    /// To be called when the code is about to run. What becomes new while it runs (an event that one wait gave back and
    /// another took) asks for one more run.
    pub fn running(&mut self) {
        self.news = false;
        self.arrived.clear();
    }

    /// Tickets whose results came since the code last ran, in order of arrival.
    #[must_use]
    pub fn arrived(&self) -> &[Ticket] {
        &self.arrived
    }

    /// How many events the history has when the decisions made so far are recorded: where the next turn begins.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.events
    }

    /// Whether the code has decided to end.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Says whether the events that follow are history (true) or new.
    pub fn set_replaying(&mut self, replaying: bool) {
        self.replaying = replaying;
    }

    /// Takes the next event of the history, or a new one.
    pub fn accept(&mut self, event: &Event) -> Result<(), Mismatch> {
        let number = self.events;
        match &event.kind {
            EventKind::TurnStarted(turn) => {
                self.expect_nothing_made("the next turn")?;
                self.limits.begin_turn(turn.limits, self.replaying);
                self.limit_met = false;
                self.now = self.now.max(event.at);
                self.turn_bytes = 0;
                self.rewound = false;
                self.events += 1;
            }
            recorded if describe_recorded(recorded).is_some() => self.confirm(recorded)?,
            incoming => {
                self.events += 1;
                self.news |= self.take_in(number, incoming);
            }
        }
        Ok(())
    }

    /// To be called after the last event of the history, before the new ones.
    pub fn end_of_history(&mut self) -> Result<(), Mismatch> {
        // What it said of itself last may have been said after the cut.
        self.custom_status_changed = self.rewound;
        self.expect_nothing_made("no more decisions")
    }

    fn expect_nothing_made(&self, instead: &str) -> Result<(), Mismatch> {
        match self.made.front() {
            None => Ok(()),
            Some(made) => Err(Mismatch {
                event: self.events - self.made.len() as u64,
                expected: instead.into(),
                actual: made.describe(),
            }),
        }
    }

    fn confirm(&mut self, recorded: &EventKind) -> Result<(), Mismatch> {
        let event = self.events - self.made.len() as u64;
        let expected = || describe_recorded(recorded).unwrap_or_default();
        match self.made.pop_front() {
            Some(made) if made.matches(recorded) => Ok(()),
            Some(made) => Err(Mismatch { event, expected: expected(), actual: made.describe() }),
            // The end of an execution may be the engine's doing: a termination.
            None if matches!(recorded, EventKind::ExecutionCompleted(_)) => {
                self.events += 1;
                Ok(())
            }
            None => Err(Mismatch { event, expected: expected(), actual: "nothing".into() }),
        }
    }

    /// Takes in an event from outside; says whether the code has to see it.
    fn take_in(&mut self, number: u64, event: &EventKind) -> bool {
        match event {
            EventKind::ExecutionStarted(started) => {
                self.info.name.clone_from(&started.name);
                self.info.version.clone_from(&started.version);
                self.input.clone_from(&started.input);
                self.info.parent = started.parent.clone().map(Box::new);
                self.info.tags.clone_from(&started.tags);
                let bytes = <[u8; 16]>::try_from(&started.execution[..]).unwrap_or_default();
                self.info.execution = ExecutionId(u128::from_be_bytes(bytes));
                true
            }
            EventKind::TaskCompleted(done) => self.resolve(done.id, Ok(done.output.clone())),
            EventKind::TaskFailed(failed) => {
                self.resolve(failed.id, Err(failed.failure.clone().unwrap_or_default()))
            }
            EventKind::SubOrchestrationCompleted(done) => self.resolve(done.id, Ok(done.output.clone())),
            EventKind::SubOrchestrationFailed(failed) => {
                self.resolve(failed.id, Err(failed.failure.clone().unwrap_or_default()))
            }
            EventKind::EntityOperationCompleted(done) => self.resolve(done.id, Ok(done.output.clone())),
            EventKind::EntityOperationFailed(failed) => {
                self.resolve(failed.id, Err(failed.failure.clone().unwrap_or_default()))
            }
            EventKind::EntityLockGranted(granted) => {
                self.lock_granted(Ticket(granted.id));
                self.resolve(granted.id, Ok(None))
            }
            EventKind::TimerFired(fired) => self.resolve(fired.id, Ok(None)),
            EventKind::EventRaised(raised) => {
                if let Some((ticket, input)) = self.mailboxes.put(&raised.name, number, raised.input.clone())
                {
                    self.arrive(ticket, number, Ok(input));
                }
                true
            }
            EventKind::CancelRequested(request) => self.cancel(&request.reason),
            EventKind::ExecutionRewound(_) => {
                self.rewound = true;
                false
            }
            _ => false,
        }
    }

    fn resolve(&mut self, id: u32, result: Result<Option<Bytes>, Failure>) -> bool {
        self.gave_up.remove(&Ticket(id));
        let known = self.pending.remove(&Ticket(id));
        if known {
            self.arrive(Ticket(id), 0, result);
        }
        known
    }

    /// A result comes for a ticket that the code may already be waiting for.
    fn arrive(&mut self, ticket: Ticket, event: u64, result: Result<Option<Bytes>, Failure>) {
        self.put_result(ticket, event, result);
        self.arrived.push(ticket);
    }

    fn put_result(&mut self, ticket: Ticket, event: u64, result: Result<Option<Bytes>, Failure>) {
        self.arrivals += 1;
        self.results.insert(ticket, Arrived { order: self.arrivals, event, canceled: false, result });
    }

    /// Everything that is waited for ends with a request to cancel. Gives its place among the arrivals.
    pub(super) fn end_waits(&mut self, reason: &str) -> u64 {
        self.arrivals += 1;
        let arrival = self.arrivals;
        let waits = self.mailboxes.take_waiting();
        for ticket in std::mem::take(&mut self.pending).into_iter().chain(waits) {
            self.end_wait(ticket, reason);
            self.arrived.push(ticket);
        }
        arrival
    }

    pub(super) fn end_wait(&mut self, ticket: Ticket, reason: &str) {
        self.put_result(ticket, 0, Err(Failure::new(kind::CANCELED, reason).non_retryable()));
        if let Some(arrived) = self.results.get_mut(&ticket) {
            arrived.canceled = true;
        }
    }

    /// What the code did since the last call. An end carries over the external events that nobody took.
    pub fn take_result(&mut self) -> TurnResult {
        let mut decisions = Vec::from(std::mem::take(&mut self.made));
        if let Some(Decision::ContinueAsNew(next)) = decisions.last_mut() {
            next.carry_over = self.mailboxes.take_events();
            let (bytes, limit) = (next.carried_bytes(), self.limits.get().inbox_bytes);
            if bytes > limit {
                let message =
                    format!("events that nobody took, to be carried over: {bytes} bytes, limit {limit}");
                let failure = Failure::new(kind::LIMIT, message).non_retryable();
                decisions.pop();
                let end = ExecutionCompleted::new(Status::Failed, None, Some(failure));
                decisions.push(Decision::Complete(end));
            }
        }
        let changed = std::mem::take(&mut self.custom_status_changed);
        TurnResult {
            decisions,
            custom_status: changed.then(|| self.custom_status.clone()),
            limits_met: self.limit_met.then(|| *self.limits.get()),
            awaits_event: Some(self.mailboxes.has_waiters()),
            gave_up: self.gave_up.iter().map(|ticket| ticket.0).collect(),
            ..TurnResult::default()
        }
    }

    // ---- for the code ----

    /// What the execution knows of itself.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// What it was started with, for its code, which asks once.
    pub fn take_input(&mut self) -> Option<Bytes> {
        self.input.take()
    }

    /// The time of the present turn.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether the code runs over its past.
    #[must_use]
    pub fn is_replaying(&self) -> bool {
        self.replaying
    }

    /// A number that no other call of any execution gets, and every replay gets again.
    pub fn unique(&mut self) -> u128 {
        self.next_uuid += 1;
        let mut x = (self.info.execution.0 >> 64) as u64 ^ self.next_uuid;
        let high = splitmix(&mut x);
        let mut y = self.info.execution.0 as u64 ^ high.rotate_left(32) ^ self.next_uuid;
        u128::from(high) << 64 | u128::from(splitmix(&mut y))
    }

    /// Sets what the execution says of itself. One over the payload limit is refused.
    pub fn set_custom_status(&mut self, status: Option<Bytes>) -> Result<(), Failure> {
        self.check_payload("custom status", &status)?;
        if self.custom_status != status {
            self.custom_status = status;
            self.custom_status_changed = true;
        }
        Ok(())
    }

    /// Schedules an activity.
    pub fn schedule_task(&mut self, task: TaskScheduled) -> Ticket {
        if let Some(over) = self.wait_is_over() {
            return over;
        }
        let checked = self.check_payload("input", &task.input).map(|()| task.encoded_len());
        self.decide(checked, |id| Decision::ScheduleTask(TaskScheduled { id, ..task }))
    }

    /// Schedules a child.
    pub fn schedule_sub_orchestration(&mut self, child: SubOrchestrationScheduled) -> Ticket {
        if !child.detached
            && let Some(over) = self.wait_is_over()
        {
            return over;
        }
        let own = child.instance == self.info.id.as_str();
        let checked = self.check_payload("input", &child.input).and_then(|()| match own {
            true => Err(Failure::new(kind::INVALID, "a child cannot have the instance id of its parent")),
            false => Ok(child.encoded_len()),
        });
        self.decide(checked, |id| {
            Decision::ScheduleSubOrchestration(SubOrchestrationScheduled { id, ..child })
        })
    }

    /// Sets a timer.
    pub fn create_timer(&mut self, fire_at: Timestamp) -> Ticket {
        if let Some(over) = self.wait_is_over() {
            return over;
        }
        let checked = match fire_at.0.saturating_sub(self.now.0) > DELAY_MS_MAX {
            true => Err(Failure::new(kind::LIMIT, "timer: more than ten years ahead")),
            false => Ok(0),
        };
        self.decide(checked, |id| Decision::CreateTimer(TimerCreated { id, fire_at: fire_at.0 }))
    }

    /// Sends an event to another instance. There is nothing to wait for, but the ticket tells of a refusal.
    pub fn send_event(&mut self, event: EventSent) -> Ticket {
        let checked = self.check_payload("event", &event.input).and_then(|()| check_sent(&event));
        let ticket = self.decide(checked, |id| Decision::SendEvent(EventSent { id, ..event }));
        self.nothing_to_wait_for(ticket);
        ticket
    }

    /// A decision that was taken is all there is to it.
    pub(super) fn nothing_to_wait_for(&mut self, ticket: Ticket) {
        if self.pending.remove(&ticket) {
            self.put_result(ticket, 0, Ok(None));
        }
    }

    pub(super) fn is_pending(&self, ticket: Ticket) -> bool {
        self.pending.contains(&ticket)
    }

    /// Waits for the next external event of a name. Waits of one name are served in the order in which they began.
    pub fn wait_event(&mut self, name: &str) -> Ticket {
        if let Some(over) = self.wait_is_over() {
            return over;
        }
        let ticket = self.local_ticket();
        if let Some((number, input)) = self.mailboxes.take_or_wait(name, ticket) {
            self.put_result(ticket, number, Ok(input));
        }
        ticket
    }

    /// Ends a wait for an event. An event that was already assigned to it goes to the next wait of the name, or back to
    /// its place.
    pub fn stop_waiting(&mut self, name: &str, ticket: Ticket) {
        self.mailboxes.stop_waiting(name, ticket);
        if let Some(Arrived { event, result: Ok(input), .. }) = self.take_arrived(ticket)
            && let Some((next, input)) = self.mailboxes.put(name, event, input)
        {
            self.arrive(next, event, Ok(input));
            self.news = true;
        }
    }

    /// Nobody waits for the result of a task, a timer or a child any more: it is dropped when it comes, and the code
    /// does not run for it.
    pub fn abandon(&mut self, ticket: Ticket) {
        self.gave_up.extend(self.pending.take(&ticket));
        self.take_arrived(ticket);
    }

    /// The result of a ticket, once.
    pub fn take(&mut self, ticket: Ticket) -> Option<Result<Option<Bytes>, Failure>> {
        let arrived = self.take_arrived(ticket)?;
        if arrived.canceled {
            self.hear_cancel();
        }
        Some(arrived.result)
    }

    fn take_arrived(&mut self, ticket: Ticket) -> Option<Arrived> {
        let arrived = self.results.remove(&ticket);
        if self.results.is_empty() {
            // An empty tree keeps a node; while the instance waits, for days perhaps, it shall not.
            self.results = BTreeMap::new();
        }
        arrived
    }

    /// When the result of a ticket came, relative to others; `None` if it has not come.
    #[must_use]
    pub fn arrival(&self, ticket: Ticket) -> Option<u64> {
        self.results.get(&ticket).map(|arrived| arrived.order)
    }

    /// Ends the execution.
    pub fn complete(&mut self, status: Status, output: Option<Bytes>, failure: Option<Failure>) {
        let most = output_bytes_max(self.info.id.as_str(), self.limits.payload_bytes_max());
        let end = match self.check_size("output", &output, most) {
            Ok(()) => ExecutionCompleted::new(status, output, failure.map(Failure::within_limits)),
            Err(limit) => ExecutionCompleted::new(Status::Failed, None, Some(limit)),
        };
        self.end(Decision::Complete(end));
    }

    /// Begins again with a new input.
    pub fn continue_as_new(&mut self, input: Option<Bytes>, version: Option<String>) {
        match self.check_payload("input", &input) {
            Ok(()) => {
                self.end(Decision::ContinueAsNew(ContinueAsNew {
                    input,
                    version,
                    ..ContinueAsNew::default()
                }));
            }
            Err(limit) => {
                self.end(Decision::Complete(ExecutionCompleted::new(Status::Failed, None, Some(limit))));
            }
        }
    }

    fn end(&mut self, decision: Decision) {
        if !self.ended {
            self.ended = true;
            self.events += 1;
            self.made.push_back(decision);
        }
    }

    /// `checked` is the size of what the decision carries, or why it is refused.
    pub(super) fn decide(
        &mut self,
        checked: Result<usize, Failure>,
        decision: impl FnOnce(u32) -> Decision,
    ) -> Ticket {
        let bytes_max = self.limits.get().turn_bytes;
        let failure = match checked {
            Err(failure) => failure,
            Ok(bytes) if self.turn_bytes.saturating_add(bytes) as u64 > bytes_max => Failure::new(
                kind::LIMIT,
                format!(
                    "inputs and events of one turn: limit {bytes_max} bytes; wait for some of them first"
                ),
            ),
            Ok(_) if self.ended => Failure::new(kind::CANCELED, "the execution has ended"),
            Ok(_) if self.events >= self.limits.get().history_events => Failure::new(
                kind::LIMIT,
                format!(
                    "history: {} events, limit {}; continue as new",
                    self.events,
                    self.limits.get().history_events
                ),
            ),
            Ok(_) if self.made.len() as u64 >= self.limits.get().decisions_per_turn => Failure::new(
                kind::LIMIT,
                format!("decisions in one turn: limit {}; wait for some of them first", self.made.len()),
            ),
            Ok(bytes) => {
                self.turn_bytes += bytes;
                return self.decide_always(decision);
            }
        };
        self.limit_met |= failure.kind == kind::LIMIT;
        let ticket = self.local_ticket();
        self.put_result(ticket, 0, Err(failure.non_retryable()));
        ticket
    }

    /// A decision that no limit refuses: it ends something.
    pub(super) fn decide_always(&mut self, decision: impl FnOnce(u32) -> Decision) -> Ticket {
        let id = self.next_id;
        self.next_id += 1;
        self.events += 1;
        self.made.push_back(decision(id));
        self.pending.insert(Ticket(id));
        Ticket(id)
    }

    pub(super) fn local_ticket(&mut self) -> Ticket {
        self.next_local += 1;
        Ticket(self.next_local)
    }

    pub(super) fn check_payload(&mut self, field: &str, payload: &Option<Bytes>) -> Result<(), Failure> {
        self.check_size(field, payload, self.limits.payload_bytes_max())
    }

    fn check_size(&mut self, field: &str, payload: &Option<Bytes>, limit: usize) -> Result<(), Failure> {
        let bytes = payload.as_ref().map_or(0, Bytes::len);
        if bytes <= limit {
            return Ok(());
        }
        self.limit_met = true;
        let message = format!("{field} of {:?}: {bytes} bytes, limit {limit}", self.info.id);
        Err(Failure::new(kind::LIMIT, message).non_retryable())
    }
}
