//! Clients: they make requests one after the other, try again when nobody knows what became of one, and use each other's
//! ids.

use crate::invariants::{Asked, Seen};
use crate::life::Input;
use crate::payload::{EventSalt, Input as ProgramInput, StartSalt, task_input, task_of, task_output};
use crate::program::{EVENT_NAMES, reuse};
use crate::report::Fault;
use crate::world::{Event, World};
use perdura_core::history::EventKind;
use perdura_core::partition::{Request as Asking, RequestError, Response, StartRequest};
use perdura_core::rewind::{Head, Replaced, RewindOrder, RewindSpec, RewindTo, Timers};
use perdura_core::{EntityId, ExecutionId, InstanceId, Status, Tags, Timestamp};
use perdura_store::InstanceQuery;

/// The number of the operator, who looks after what is left when faults have ended.
const OPERATOR: u8 = u8::MAX;
const OPERATOR_SENDER: u32 = 1 << 30;
/// Results that are given by hand have the number of this delivery, which no attempt reaches.
const GIVEN_DELIVERY: u32 = 99;

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    left: u8,
    /// Changes when an event may have been delayed: order is promised among acknowledged ones.
    incarnation: u32,
    raised: u32,
    /// The same of signals to entities: incarnation, and how many.
    pub(crate) signals: (u32, u32),
    /// The request that it waits for.
    waits_for: Option<u64>,
    /// The last run that a start answered: its end is what the next wait is for.
    run: Option<(InstanceId, ExecutionId)>,
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) asked: Asked,
    client: u8,
    tries_left: u8,
}

impl Client {
    pub(crate) fn new(requests: u8) -> Client {
        Client { left: requests, incarnation: 0, raised: 0, signals: (0, 0), waits_for: None, run: None }
    }
}

impl World {
    pub(crate) fn next_request(&mut self, client: u8) {
        let me = &mut self.clients[usize::from(client)];
        if me.left == 0 || self.is_healed {
            return;
        }
        me.left -= 1;
        if self.plan.requests_mix.churn > 0 && self.random.clients.below(20) < self.plan.requests_mix.churn {
            return self.churn(client);
        }
        let request = self.draw_request(client);
        // An id that was drawn for a call is not used for another one.
        let is_fresh = matches!(&request, Asking::Start(start) if start.fresh);
        let tries = if is_fresh { 1 } else { self.random.clients.between(1, 4) as u8 };
        self.ask(client, request, tries);
    }

    fn draw_request(&mut self, client: u8) -> Asking {
        let mix = &self.plan.requests_mix;
        let weights = [
            mix.start,
            mix.raise,
            mix.suspend,
            mix.cancel,
            mix.terminate,
            mix.purge,
            mix.wait,
            mix.signal,
            mix.delete,
            mix.rewind,
        ];
        let mut draw = self.random.clients.below(weights.iter().sum());
        let kind = weights.iter().position(|weight| match draw.checked_sub(*weight) {
            Some(rest) => {
                draw = rest;
                false
            }
            None => true,
        });
        let id = self.draw_id();
        if let Some(resolve) = self.resolutions(&id).pop() {
            return resolve;
        }
        let reason = String::from("because");
        let random = &mut self.random.clients;
        match kind {
            Some(1) => self.draw_raise(client, id),
            Some(2) if random.chance(600) => Asking::Suspend { id, reason },
            Some(2) => Asking::Resume { id, reason },
            Some(3) => Asking::Cancel { id, reason },
            Some(4) => Asking::Terminate { id, reason, recurse: random.chance(700) },
            Some(5) => Asking::Purge { id, again: false },
            Some(6) if self.random.clients.chance(300) => Asking::WaitBegun { id },
            Some(6) => match self.clients[usize::from(client)].run.take() {
                Some((id, execution)) => Asking::Wait { id, execution: Some(execution) },
                None => Asking::Wait { id, execution: None },
            },
            Some(7) => self.draw_signal(client),
            Some(8) => self.draw_delete(),
            Some(9) => self.draw_rewind(id),
            _ => self.draw_start(id),
        }
    }

    /// Ends, removes and makes an instance anew, twice, all at once: several runs of one id come and go within one batch.
    /// At best when a timer of it is due, and its row is being read.
    fn churn(&mut self, client: u8) {
        let (now, reason) = (self.store_now(), String::from("churn"));
        let due = |seen: &Seen| seen.record.timers.iter().map(|timer| timer.fire_at).min();
        let soon = |seen: &Seen| Some((due(seen).filter(|at| *at > now.0)?, seen.row.id.clone()));
        let next = self.checker.mirror.instances().filter_map(soon).min();
        let (at, id) = next.unwrap_or_else(|| (now.0, self.draw_id()));
        let mut wait = (at - now.0).min(2_000) as u64 + self.random.clients.below(self.plan.read_ms + 1);
        for step in 0..self.random.clients.between(2, 6) {
            let (id, reason) = (id.clone(), reason.clone());
            let request = match step % 3 {
                0 => Asking::Terminate { id, reason, recurse: false },
                1 => Asking::Purge { id, again: false },
                _ => self.draw_start(id),
            };
            self.ask_later(client, request, 1, wait);
            wait += self.random.clients.below(3);
        }
    }

    /// An id of the world; at times one of a child that the engine named.
    fn draw_id(&mut self) -> InstanceId {
        if self.random.clients.chance(150) {
            let orchestrations = || self.checker.mirror.instances().filter(|seen| !seen.is_entity());
            let at = self.random.clients.below(orchestrations().count() as u64) as usize;
            if let Some(seen) = orchestrations().nth(at) {
                return seen.row.id.clone();
            }
        }
        let ids = &self.programs.ids;
        let id = self.random.clients.below(ids.len() as u64) as usize;
        named(&ids[id])
    }

    fn draw_raise(&mut self, client: u8, id: InstanceId) -> Asking {
        let me = &mut self.clients[usize::from(client)];
        me.raised += 1;
        let salt = EventSalt::of_client(u32::from(client) << 16 | me.incarnation, me.raised);
        let name = (*self.random.clients.pick(&EVENT_NAMES)).to_owned();
        Asking::Raise { id, name, input: Some(salt.encode()), event_id: String::new() }
    }

    fn draw_rewind(&mut self, id: InstanceId) -> Asking {
        self.start_salts += 1;
        let request_id = format!("w{}", self.start_salts);
        let random = &mut self.random.clients;
        let timers = *random.pick(&[Timers::Extend, Timers::Keep, Timers::Restart]);
        let order = RewindOrder {
            by: "somebody".into(),
            reason: "because".into(),
            request_id,
            timers: timers.into(),
            with_parents: random.chance(300),
            ..RewindOrder::default()
        };
        let mut order = order;
        order.no_reuse = random.chance(120);
        if random.chance(120) {
            order.rerun.push("task".into());
        }
        let mut spec = RewindSpec { order, force: random.chance(400), ..RewindSpec::default() };
        let (to, branch) = match random.below(20) {
            0..8 => (RewindTo::Auto, None),
            8..11 => (RewindTo::Turn(random.between(1, 4) as u32), None),
            11..14 => (RewindTo::Beginning, None),
            14..16 => (RewindTo::Head, Some(random.below(3) as u32)),
            16 => (RewindTo::Turn(random.between(1, 4) as u32), Some(random.below(3) as u32)),
            17 => (RewindTo::Call((*random.pick(&["task", "program"])).into()), None),
            _ => (RewindTo::Event(random.below(12)), None),
        };
        (spec.to, spec.branch) = (to, branch);
        spec.order.drop_events = random.chance(100);
        self.draw_by_hand(&id, &mut spec);
        Asking::Rewind { id, spec: Box::new(spec) }
    }

    /// What an operator reads off a history: numbers of events, times, inputs and results of activities. It is for this
    /// history only.
    fn draw_by_hand(&mut self, id: &InstanceId, spec: &mut RewindSpec) {
        let random = &mut self.random.clients;
        let seen = self.checker.mirror.by_id(id).filter(|seen| !seen.history.is_empty());
        let Some(seen) = seen.filter(|_| spec.branch.is_none()) else {
            if matches!(spec.to, RewindTo::Event(_) | RewindTo::Call(_)) {
                spec.to = RewindTo::Auto;
            }
            return;
        };
        if spec.to == RewindTo::Auto && random.chance(100) {
            let at = random.below(seen.history.len() as u64) as usize;
            spec.to = RewindTo::Time(seen.history[at].at);
        }
        let programs = self.programs.programs.len() as u64;
        let another = |input: &ProgramInput, program| ProgramInput { program, ..input.clone() }.encode();
        // Another program may ask entities for what the first one has asked for already: not judged.
        let may_change = spec.to == RewindTo::Beginning && self.plan.entities == 0;
        if may_change && random.chance(400) {
            let program = random.below(programs) as u16;
            spec.input = seen.input.as_ref().map(|input| Some(another(input, program)));
        }
        let numbered = (0..).zip(&seen.history);
        let scheduled: Vec<_> = numbered
            .filter_map(|(event, kind)| match &kind.kind {
                EventKind::TaskScheduled(task) => Some((event, task.input.clone())),
                _ => None,
            })
            .collect();
        if !scheduled.is_empty() && random.chance(150) {
            let (event, input) = random.pick(&scheduled);
            spec.results.push(Replaced { event: *event, payload: Some(task_output(input, GIVEN_DELIVERY)) });
        }
        if !scheduled.is_empty() && random.chance(150) {
            let (event, input) = random.pick(&scheduled);
            let task = task_of(input).unwrap_or_default();
            let other = task_input(task, 1 << 63 | u64::from(self.start_salts));
            spec.inputs.push(Replaced { event: *event, payload: Some(other) });
        }
        let runs_again = matches!(spec.to, RewindTo::Event(_) | RewindTo::Call(_));
        if runs_again || spec.input.is_some() || !spec.results.is_empty() || !spec.inputs.is_empty() {
            let (generation, branch) = (seen.record.generation, seen.record.branch);
            let execution = seen.record.execution.id();
            spec.head = Some(Head { execution, generation, branch, events: seen.record.tail });
        }
        if runs_again || !spec.inputs.is_empty() {
            let execution = seen.record.execution.to_bytes();
            self.checker.by_hand.insert(execution);
        }
    }

    fn draw_start(&mut self, id: InstanceId) -> Asking {
        self.start_salts += 1;
        let start = StartSalt(self.start_salts);
        let now = self.store_now();
        let random = &mut self.random.clients;
        let fresh = random.chance(100);
        let program = random.below(self.programs.programs.len() as u64) as u16;
        let input = ProgramInput { program, start, ..ProgramInput::default() };
        let reuse = reuse(random);
        let request = StartRequest {
            id: if fresh { named(&format!("fresh{}", start.0)) } else { id },
            fresh,
            name: "program".into(),
            version: String::new(),
            input: Some(input.encode()),
            tags: Tags::new(),
            start_at: random.chance(150).then(|| Timestamp(now.0 + random.below(3_000) as i64)),
            reuse,
            // The engine's client draws one when the caller gives none: it names the call, not the caller's intent.
            request_id: format!("r{}", start.0),
            execution: None,
            trace: None,
        };
        self.checker.start_asked(start, reuse);
        Asking::Start(request)
    }

    /// Sends a request to the owner of its partition.
    fn ask(&mut self, client: u8, request: Asking, tries_left: u8) {
        let ms = self.random.latency.below(self.plan.net_ms + 1);
        self.ask_later(client, request, tries_left, ms);
    }

    /// Sends a request that is so many ms on its way.
    fn ask_later(&mut self, client: u8, request: Asking, tries_left: u8, ms: u64) {
        self.tokens += 1;
        let token = self.tokens;
        self.stats.requests += 1;
        self.trace.mix(&[4, u64::from(client), token]);
        self.trace.say(self.now, || format!("client {client} asks {token}: {request:?}"));
        let asked = self.checker.asked(&request);
        let waits = request.waits();
        self.requests.insert(token, Request { asked, client, tries_left });
        let post = self.owner(request.id().partition(self.plan.partitions));
        self.after(ms, Event::Input(post, Input::Request(token, request)));
        if client != OPERATOR {
            self.clients[usize::from(client)].waits_for = Some(token);
            let patience = if waits {
                self.random.clients.between(500, 8_000)
            } else {
                self.random.clients.between(100, 2_500)
            };
            self.after(patience, Event::Timeout { client, token });
        }
    }

    /// An answer leaves for its client; `None`: nobody knows.
    pub(crate) fn answer_later(&mut self, token: u64, answer: Option<Result<Response, RequestError>>) {
        if self.fault(Fault::ReplyLost, self.plan.faults.reply_lost) {
            return;
        }
        let ms = self.random.latency.below(self.plan.net_ms + 1);
        self.after(ms, Event::Answer { token, answer });
    }

    pub(crate) fn answered(&mut self, token: u64, answer: Option<Result<Response, RequestError>>) {
        let Some(request) = self.requests.get(&token) else { return };
        let client = request.client;
        self.trace.mix(&[5, token, u64::from(matches!(answer, Some(Ok(_))))]);
        self.trace.say(self.now, || format!("client {client} hears {token}: {answer:?}"));
        if client == OPERATOR || self.clients[usize::from(client)].waits_for != Some(token) {
            return;
        }
        match answer {
            Some(answer) => {
                if let Ok(Response::Started(started)) = answer {
                    self.clients[usize::from(client)].run = Some((started.id, started.execution));
                }
                self.go_on(client);
            }
            None => self.in_doubt(client, token),
        }
    }

    pub(crate) fn timed_out(&mut self, client: u8, token: u64) {
        if self.clients[usize::from(client)].waits_for != Some(token) {
            return;
        }
        if let Some(request) = self.requests.get(&token)
            && request.asked.request.waits()
        {
            let id = request.asked.request.id().clone();
            let post = self.owner(id.partition(self.plan.partitions));
            self.after(0, Event::Input(post, Input::StopWaiting(token, id)));
        }
        self.in_doubt(client, token);
    }

    /// Nobody knows what became of a request: it is made again if that does no harm.
    fn in_doubt(&mut self, client: u8, token: u64) {
        let Some(request) = self.requests.get(&token) else { return };
        let again = request.asked.request.clone();
        let tries_left = request.tries_left - 1;
        if let Asking::Raise { .. } = again {
            self.clients[usize::from(client)].incarnation += 1;
            self.clients[usize::from(client)].raised = 0;
        }
        let is_tried_again = again.is_idempotent() && tries_left > 0 && !self.is_healed;
        if matches!(again, Asking::Signal(_)) && !is_tried_again {
            let (incarnation, _) = self.clients[usize::from(client)].signals;
            self.clients[usize::from(client)].signals = (incarnation + 1, 0);
        }
        if is_tried_again {
            self.ask(client, again.for_another_life(), tries_left);
        } else {
            self.go_on(client);
        }
    }

    fn go_on(&mut self, client: u8) {
        self.clients[usize::from(client)].waits_for = None;
        let pause = match self.random.clients.below(3) {
            0 => 0,
            1 => self.random.clients.below(100),
            _ => self.random.clients.below(2_000),
        };
        self.after(pause, Event::Next(client));
    }

    /// Resumes what is suspended, and gives events to whatever may wait for one, until everything has ended.
    pub(crate) fn operate(&mut self) {
        if self.look_for_rest() {
            return;
        }
        let statuses = vec![Status::Pending, Status::Running, Status::Suspended];
        let rows = self.store.query_now(&InstanceQuery { statuses, ..InstanceQuery::default() }, 1000);
        let waits_long = self.now > self.plan.heal_at + 5_000;
        let history_max = self.plan.limits.history_events_max;
        for row in rows.into_iter().filter(|row| EntityId::of_instance(&row.id).is_none()) {
            let id = row.id;
            // It takes no more events, so what waits for one waits in vain.
            let is_full = row.tail >= history_max - history_max / 10;
            let resolutions = self.resolutions(&id);
            if !resolutions.is_empty() {
                for resolve in resolutions {
                    self.ask(OPERATOR, resolve, 1);
                }
            } else if row.status == Status::Suspended {
                self.ask(OPERATOR, Asking::Resume { id, reason: "healed".into() }, 1);
            } else if waits_long && is_full {
                let reason = "its history is full".to_owned();
                self.ask(OPERATOR, Asking::Terminate { id, reason, recurse: false }, 1);
            } else if waits_long && self.now.is_multiple_of(3) {
                for name in EVENT_NAMES {
                    self.tokens += 1;
                    let salt = EventSalt::of_client(OPERATOR_SENDER + self.tokens as u32, 0);
                    let raise = Asking::Raise {
                        id: id.clone(),
                        name: name.to_owned(),
                        input: Some(salt.encode()),
                        event_id: String::new(),
                    };
                    self.ask(OPERATOR, raise, 1);
                }
            }
        }
        let pause = if waits_long { 1_000 } else { 250 };
        self.after(pause, Event::Operate);
    }
}

fn named(id: &str) -> InstanceId {
    InstanceId::new(id).unwrap_or_else(|invalid| panic!("{id:?}: {invalid}"))
}
