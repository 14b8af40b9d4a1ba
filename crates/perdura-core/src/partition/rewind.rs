//! Rewinds of instances: the history is read, the plan drawn up and applied in one step; children and parents follow by
//! messages.

use super::control::Ended;
use super::effect::Need;
use super::events::Events;
use super::instance::{Child, Instance, Task, TurnState};
use super::message::{Body, Message, RewindChild, RewindParent, StartChild};
use super::record::InstanceRecord;
use super::request::{ReplyToken, RequestError, Response};
use super::rewind_family::digest;
use super::wakes::Wake;
use super::{Bug, HistoryName, Parked, Partition, Request};
use crate::failure::{Failure, kind};
use crate::history::{Event, ParentLink, SubOrchestrationScheduled, encode_events};
use crate::id::{InstanceId, InstanceKey};
use crate::rewind::{
    Because, Opening, ReturnRecord, RewindError, RewindOrder, RewindSpec, RewindTo, Subject, draw_up,
};
use crate::status::Status;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A rewind that waits for histories.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) asked: Parked,
    pub(super) spec: RewindSpec,
    /// A child that begins anew, however it ended.
    anew: bool,
    /// The history of the present branch, while that of another one is being read.
    present: Option<Vec<Event>>,
    /// Those of the other branches that it needs, as far as they are read.
    others: BTreeMap<u32, Option<Vec<Event>>>,
}

impl Awaited {
    pub(super) fn new(asked: Parked, spec: RewindSpec, anew: bool) -> Awaited {
        Awaited { asked, spec, anew, present: None, others: BTreeMap::new() }
    }
}

/// Returns to older branches that an instance remembers.
const RETURNS_MAX: usize = 100;

impl Partition {
    /// Whether a rewind of this instance is under way: it takes no turn meanwhile.
    pub(super) fn is_held(&self, key: InstanceKey) -> bool {
        !self.rewinds.is_empty() && self.rewinds.contains_key(&key)
    }

    /// A client asks for a rewind. What can be refused at once is.
    pub(super) fn rewind_by_client(&mut self, token: ReplyToken, request: Request, key: InstanceKey) {
        let Request::Rewind { id, spec } = &request else { return };
        let Some(instance) = self.instances.get(&key) else { return };
        let answer = repeated(&instance.record, &spec.order.request_id);
        if let Some(answer) = answer.filter(|_| !self.planted(Bug::RewindTwice)) {
            return self.reply(token, Ok(answer));
        }
        if instance.is_active() && !spec.force && !self.planted(Bug::RewindWithoutForce) {
            let (id, error) = (id.clone(), RewindError::NotEnded { status: instance.status });
            return self.reply(token, Err(RequestError::Rewind { id, error: Box::new(error) }));
        }
        let spec = (**spec).clone();
        self.await_history(key, Awaited::new(Parked::Request(token, request), spec, false));
    }

    pub(super) fn await_history(&mut self, key: InstanceKey, awaited: Awaited) {
        self.rewinds.entry(key).or_default().push_back(awaited);
        self.want_history(key);
    }

    /// The history of the present branch was read. Says whether a rewind used it up: what was read is no use to anybody
    /// else then.
    pub(super) fn rewind_with(&mut self, key: InstanceKey, history: &[Event]) -> bool {
        let Some(instance) = self.instances.get(&key).filter(|_| self.is_held(key)) else { return false };
        let is_whole = instance.unwritten.is_empty() && history.len() as u64 == instance.record.tail;
        if !is_whole {
            self.want_history(key);
            return true;
        }
        let (present, generation) = (instance.record.branch, instance.record.generation);
        let Some(awaited) = self.rewinds.get_mut(&key).and_then(|queue| queue.front_mut()) else {
            return false;
        };
        let other = awaited.spec.branch.filter(|branch| *branch != present);
        if let Some(other) = other.filter(|branch| instance.record.history_parts(*branch).is_some()) {
            let mut branches = instance.record.branches_to_use(other);
            branches.insert(other);
            awaited.present = Some(history.to_vec());
            awaited.others = branches.iter().map(|branch| (*branch, None)).collect();
            for branch in branches {
                let parts = instance.record.history_parts(branch).unwrap_or_default();
                self.needs.push(Need::History { key, generation, branch, parts });
            }
            return true;
        }
        self.apply_rewind(key, history, &[], &BTreeMap::new())
    }

    /// The rewind that has the history of the present branch, and waits for this one of another branch.
    fn waits_for_other(&mut self, (key, generation, branch): HistoryName) -> Option<&mut Awaited> {
        let same = self.instances.get(&key).is_some_and(|i| i.record.generation == generation);
        let front = self.rewinds.get_mut(&key).and_then(|queue| queue.front_mut());
        front.filter(|awaited| same && awaited.present.is_some() && awaited.others.contains_key(&branch))
    }

    /// Takes the history of a branch that is not the present one, if a rewind waits for it.
    pub(super) fn rewind_with_other(&mut self, name: HistoryName, history: &[Event]) {
        let (key, _, branch) = name;
        let Some(awaited) = self.waits_for_other(name) else { return };
        awaited.others.insert(branch, Some(history.to_vec()));
        if awaited.others.values().any(Option::is_none) {
            return;
        }
        let (Some(present), Some(rewound)) = (awaited.present.take(), awaited.spec.branch) else { return };
        let others = std::mem::take(&mut awaited.others).into_iter();
        let mut others: BTreeMap<_, _> = others.filter_map(|(branch, read)| Some((branch, read?))).collect();
        let history = others.remove(&rewound).unwrap_or_default();
        // A turn that was away may have come back meanwhile, or a client may have ended the instance: then the present
        // history is read again.
        let stays = |instance: &Instance| {
            instance.unwritten.is_empty() && instance.record.tail == present.len() as u64
        };
        let is_present = self.instances.get(&key).is_some_and(|instance| stays(instance));
        if !is_present || !self.apply_rewind(key, &history, &present, &others) {
            // What else waited for the history of the present branch waits still.
            self.want_history(key);
        }
    }

    /// The history of a branch that is not the present one cannot be read: a rewind that waits for it is refused. The
    /// instance needs it for nothing else.
    pub(super) fn refuse_rewind_with_other(&mut self, name: HistoryName, what: &str) {
        let (key, _, branch) = name;
        if self.waits_for_other(name).is_none() {
            return;
        }
        if let Some(awaited) = self.take_rewind(key) {
            let error = RewindError::BranchDamaged { branch, what: what.to_owned() };
            self.answer_rewind(key, awaited.asked, Err(error));
            self.after_rewind(key);
            self.want_history(key);
        }
    }

    /// The rewind of an instance that is next.
    fn take_rewind(&mut self, key: InstanceKey) -> Option<Awaited> {
        let queue = self.rewinds.get_mut(&key)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            self.rewinds.remove(&key);
        }
        next
    }

    /// Draws up the plan and applies it, or refuses. Says whether the instance was changed.
    fn apply_rewind(
        &mut self,
        key: InstanceKey,
        history: &[Event],
        present: &[Event],
        others: &BTreeMap<u32, Vec<Event>>,
    ) -> bool {
        let Some(awaited) = self.take_rewind(key) else { return false };
        let Some(instance) = self.instances.get(&key) else { return false };
        let awaited = match awaited {
            // It was rewound meanwhile, or has ended well.
            Awaited { asked: Parked::Message(message, envelope), anew: false, .. }
                if !has_ended_badly(instance.status) =>
            {
                self.apply_message(message, envelope, Some(key));
                self.after_rewind(key);
                return false;
            }
            awaited => awaited,
        };
        // The first of two equal requests may have been done while the second one waited for the history.
        if let Parked::Request(..) = &awaited.asked
            && let Some(answer) = repeated(&instance.record, &awaited.spec.order.request_id)
            && !self.planted(Bug::RewindTwice)
        {
            self.answer_rewind(key, awaited.asked, Ok(answer));
            self.after_rewind(key);
            return false;
        }
        let (record, pending) = (instance.whole_record(), instance.pending());
        let awaited = self.misread(awaited);
        let subject = Subject { record: &record, history, pending: &pending, present, others };
        let mut drawn = draw_up(subject, &awaited.spec, self.now);
        if let (Err(RewindError::NoFailedChild { .. }), Parked::Message(..)) = (&drawn, &awaited.asked) {
            // The parent was ended before it learnt of its child's end.
            drawn = draw_up(subject, &RewindSpec { to: RewindTo::Auto, ..awaited.spec.clone() }, self.now);
        }
        if let Parked::Message(_, Some(envelope)) = &awaited.asked {
            self.open.consumed.push(*envelope);
        }
        let (changed, answer) = match drawn {
            Ok((plan, opening)) => {
                let answer = Response::Rewound { branch: plan.branch, cut: plan.cut };
                if opening.ended.is_some() {
                    self.return_to_end(key, &awaited.spec.order, plan.branch, history.len() as u64, opening);
                } else {
                    self.open_branch(key, &awaited, opening, &plan.because);
                }
                (true, Ok(answer))
            }
            Err(error) => (false, Err(error)),
        };
        self.answer_rewind(key, awaited.asked, answer);
        self.after_rewind(key);
        changed
    }

    /// The next rewind of the instance, or its next turn.
    fn after_rewind(&mut self, key: InstanceKey) {
        if self.is_held(key) {
            self.want_history(key);
        } else {
            self.enqueue(key);
        }
    }

    fn answer_rewind(&mut self, key: InstanceKey, asked: Parked, answer: Result<Response, RewindError>) {
        match (asked, answer) {
            (Parked::Request(token, request), answer) => {
                let id = request.id().clone();
                let answer = answer.map_err(|error| RequestError::Rewind { id, error: Box::new(error) });
                self.reply(token, answer);
            }
            // A child that cannot begin anew with its history begins without.
            (Parked::Message(Message { body: Some(Body::StartChild(start)), .. }, _), Err(_)) => {
                let id = self.instances.get(&key).map(|instance| instance.id.clone());
                if let Some(id) = id {
                    self.start_child(&id, start, Some(key));
                }
            }
            // A child that cannot be rewound has failed again.
            (Parked::Message(message, _), Err(error)) => {
                if let Some(Body::RewindChild(child)) = message.body
                    && let Some(StartChild { parent: Some(link), .. }) = child.start
                {
                    let failure = self.instances.get(&key).and_then(|i| i.record.failure.clone());
                    let what = format!("the child could not be rewound: {error}");
                    let failure = Failure { cause: failure, ..Failure::new(kind::INVALID, what) };
                    self.answer_parent(link, None, Some(failure.non_retryable()));
                }
            }
            (Parked::Message(..), Ok(_)) => {}
        }
    }

    /// The branch that is left holds nothing any more, and nobody waits for what it has outstanding.
    fn leave_branch(&mut self, key: InstanceKey) {
        if self.planted(Bug::RewindLeaksLock)
            && let Some(instance) = self.instances.get_mut(&key)
        {
            instance.record.section = None;
        }
        self.release_section(key);
        self.drop_outstanding(key);
        self.forget_history(key);
        self.trial_over(key);
        if let Some(instance) = self.instances.get_mut(&key) {
            (instance.record.trial, instance.record.suspended_in_doubt) = (None, false);
        }
    }

    /// The instance goes on, on a new branch.
    fn open_branch(&mut self, key: InstanceKey, awaited: &Awaited, mut opening: Opening, because: &Because) {
        let (now, keeps_end) = (self.now, self.planted(Bug::RewindKeepsTheEnd));
        let stays_suspended = self.planted(Bug::RewindStaysSuspended);
        self.spoil(&mut opening);
        self.leave_branch(key);
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let by_parent = match &awaited.asked {
            Parked::Message(Message { body: Some(Body::RewindChild(child)), .. }, _) => {
                child.start.as_ref().and_then(|start| start.parent.clone())
            }
            Parked::Message(Message { body: Some(Body::StartChild(start)), .. }, _) => start.parent.clone(),
            _ => None,
        };
        if let Some(link) = &by_parent {
            instance.relink(link);
        }
        instance.away = None;
        instance.inbox = Events::from(opening.inbox);
        instance.turn = TurnState::Idle;
        instance.reuse = None;
        let begins = *because == Because::Beginning || opening.start_at.is_some();
        instance.status = if begins { Status::Pending } else { Status::Running };
        let cut = opening.branch.cut;
        let record = &mut instance.record;
        let rewinds = record.rewinds.get_or_insert_default();
        opening.left.drain(..).for_each(|task| rewinds.leave(task));
        rewinds.reuse = opening.reuse;
        rewinds.done = std::mem::take(&mut opening.done);
        record.branch = opening.branch.branch;
        match &awaited.spec.input {
            Some(input) if awaited.anew => record.made_for = digest(input.as_ref()),
            // An operator has said which one counts.
            _ if awaited.spec.branch.is_some() => record.made_for.clear(),
            _ => {}
        }
        rewinds.branches.push(opening.branch);
        rewinds.order = Some(awaited.spec.order.clone());
        record.tail = cut;
        (record.completed_at, record.block) = (0, None);
        record.start_at = opening.start_at.map_or(0, |at| at.0);
        if !keeps_end {
            (record.output, record.failure) = (None, None);
        }
        record.suspended = record.suspended.take().filter(|_| stays_suspended);
        record.cancel_requested = opening.cancel_requested;
        // The code says it again when it has come to where it goes on.
        (record.awaits_untold, record.given_up) = (true, Vec::new());
        record.failed.clear();
        let parents = record.parents.clone();
        instance.permit_left_calls(cut, &opening.tasks, &awaited.spec);
        instance.append(Event::new(now, opening.rewound));
        if let Some(at) = opening.start_at {
            self.wakes.add(at, key, Wake::Start);
        }
        for timer in &opening.timers {
            let at = crate::Timestamp(timer.fire_at);
            instance.timers.insert(timer.id, at);
            self.wakes.add(at, key, Wake::Timer(timer.id));
        }
        let mut limited = Vec::new();
        for (record, scheduled) in opening.tasks {
            limited.push(record.id);
            instance.tasks.insert(record.id, Task::new(record, Some(Arc::new(scheduled))));
        }
        self.forgotten.push(key);
        self.mark_dirty(key);
        for id in limited {
            self.watch_limits(key, id);
        }
        self.hand_out_tasks(key);
        if let Some(link) = by_parent {
            self.look_for_cycle(key, link);
        }
        let order = &awaited.spec.order;
        for (record, scheduled, again) in opening.children {
            self.take_child_along(key, record, &scheduled, again);
        }
        if order.with_parents && !self.planted(Bug::RewindLeavesParents) {
            for link in parents {
                let body = RewindParent { link: Some(link.clone()), order: Some(order.clone()) };
                self.send(&InstanceId::recorded(&link.instance), Body::RewindParent(Box::new(body)));
            }
        }
    }

    /// A child that the new branch waits for: it is rewound if it ended badly, created if it is gone.
    pub(super) fn take_child_along(
        &mut self,
        key: InstanceKey,
        record: super::ChildRecord,
        scheduled: &SubOrchestrationScheduled,
        again: bool,
    ) {
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let order = instance.record.rewinds.as_ref().and_then(|rewinds| rewinds.order.clone());
        let order = RewindOrder { with_parents: false, ..order.unwrap_or_default() };
        let link = instance.link(record.id, record.attempt);
        let kept = scheduled.retry.is_some().then(|| Arc::new(scheduled.clone()));
        instance.children.insert(record.id, Child { record, scheduled: kept });
        let start = StartChild {
            name: scheduled.name.clone(),
            version: scheduled.version.clone(),
            input: scheduled.input.clone(),
            detached: false,
            parent: Some(link),
            reuse: scheduled.reuse,
            tags: scheduled.tags.clone(),
            trace: scheduled.trace.clone(),
            start_at: None,
            order: None,
        };
        let body = RewindChild { start: Some(start), order: Some(order), again };
        self.send(&InstanceId::recorded(&scheduled.instance), Body::RewindChild(Box::new(body)));
    }

    /// The instance is again what it was at the end of a branch.
    fn return_to_end(
        &mut self,
        key: InstanceKey,
        order: &RewindOrder,
        branch: u32,
        tail: u64,
        mut opening: Opening,
    ) {
        let now = self.now;
        let children = self.children_of(key);
        self.leave_branch(key);
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let Some((at, end)) = opening.ended else { return };
        let was_active = instance.is_active();
        let (from, untaken) = (instance.record.branch, instance.pending());
        instance.away = None;
        instance.inbox = Events::from(opening.inbox);
        instance.turn = TurnState::Idle;
        instance.reuse = None;
        instance.status = end.final_status().unwrap_or(Status::Failed);
        let record = &mut instance.record;
        (record.branch, record.tail) = (branch, tail);
        record.made_for.clear();
        record.completed_at = at.0;
        (record.output, record.failure) = (end.output, end.failure.map(Box::new));
        (record.suspended, record.cancel_requested) = (None, opening.cancel_requested);
        record.failed.clear();
        record.block = None;
        let rewinds = record.rewinds.get_or_insert_default();
        opening.left.drain(..).for_each(|task| rewinds.leave(task));
        rewinds.reuse = opening.reuse;
        rewinds.done = std::mem::take(&mut opening.done);
        rewinds.returns.push(ReturnRecord {
            branch,
            at: now.0,
            by: order.by.clone(),
            reason: order.reason.clone(),
            request_id: order.request_id.clone(),
            from,
            untaken: (!untaken.is_empty()).then(|| encode_events(untaken)),
        });
        let too_many = rewinds.returns.len().saturating_sub(RETURNS_MAX);
        rewinds.returns.drain(..too_many);
        let waiters = std::mem::take(&mut instance.waiters);
        let record = instance.final_record();
        let (id, status) = (instance.id.clone(), instance.status);
        self.forgotten.push(key);
        self.mark_dirty(key);
        for waiter in waiters {
            let record = Box::new(record.clone());
            let answer = if waiter.for_begin { Response::Begun(record) } else { Response::Ended(record) };
            self.reply(waiter.token, Ok(answer));
        }
        // Whoever waited for the branch that was left hears of the end that counts now.
        let failure = record.failure.map(|failure| *failure);
        let failure = Ended::failure_for_parent(&id, status, failure);
        for parent in record.parents.into_iter().filter(|_| was_active) {
            self.answer_parent(parent, record.output.clone(), failure.clone());
        }
        // That end was to reach all children.
        if let Some(reason) = opening.terminated_all {
            self.terminate_children(children, &reason);
        }
    }

    /// An instance begins anew: rewinds that wait look at it again.
    pub(super) fn restart_rewinds(&mut self, key: InstanceKey) {
        if let Some(queue) = self.rewinds.get_mut(&key) {
            queue.iter_mut().for_each(|awaited| awaited.present = None);
            self.want_history(key);
        }
    }

    /// An instance was purged while rewinds of it waited.
    pub(super) fn forget_rewinds(&mut self, key: InstanceKey) {
        for awaited in self.rewinds.remove(&key).unwrap_or_default() {
            match awaited.asked {
                Parked::Request(token, request) => {
                    self.reply(token, Err(RequestError::NotFound { id: request.id().clone() }));
                }
                Parked::Message(message, envelope) => self.apply_message(message, envelope, None),
            }
        }
    }

    /// A history that a rewind waits for cannot be read.
    pub(super) fn refuse_rewinds(&mut self, key: InstanceKey, what: &str) {
        for awaited in self.rewinds.remove(&key).unwrap_or_default() {
            match awaited.asked {
                Parked::Request(token, request) => {
                    let (id, what) = (request.id().clone(), what.to_owned());
                    self.reply(token, Err(RequestError::Damaged { id, what }));
                }
                Parked::Message(message, envelope) => self.keep_for_damaged(message, envelope),
            }
        }
    }

    /// Whether an instance was started by this run of a parent, on whatever branch.
    pub(super) fn is_child_of_run(&self, key: InstanceKey, link: &ParentLink) -> bool {
        let Some(instance) = self.instances.get(&key) else { return false };
        instance.record.parents.iter().any(|parent| parent.is_same_run(link))
    }
}

pub(super) fn has_ended_badly(status: Status) -> bool {
    status.is_terminal() && status != Status::Completed
}

/// The answer to a rewind that was made before.
fn repeated(record: &InstanceRecord, request_id: &str) -> Option<Response> {
    let rewinds = record.rewinds.as_ref().filter(|_| !request_id.is_empty())?;
    let branches = rewinds.branches.iter().filter(|made| made.request_id == request_id);
    let made = branches.map(|made| Response::Rewound { branch: made.branch, cut: made.cut });
    let returned = rewinds.returns.iter().filter(|made| made.request_id == request_id);
    let returned = returned.map(|made| Response::Rewound { branch: made.branch, cut: record.tail });
    made.chain(returned).next()
}
