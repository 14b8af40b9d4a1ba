//! What a rewind makes of an instance: the plan, and the state in which the new branch begins.

use super::branches::{BranchRecord, DoneElsewhere, LeftTask};
use super::cut::{self, Because, Cut};
use super::elsewhere::Elsewhere;
use super::error::RewindError;
use super::plan::{ChildPlan, RewindPlan, Subject, TimerPlan, WorkRef};
use super::reuse::{ResultDue, ReuseState};
use super::role::Role;
use super::spare::Spare;
use super::spec::{Head, Replaced, RewindSpec, RewindTo, TimerDue, Timers};
use super::timeline::{Timeline, Work, WorkKind};
use crate::delivery::{Stage, is_hub_key};
use crate::history::{
    Event, EventKind, ExecutionCompleted, ExecutionRewound, SubOrchestrationCompleted,
    SubOrchestrationScheduled, TaskCompleted, TaskScheduled, encode_events,
};
use crate::limits::BRANCHES_MAX;
use crate::partition::{ChildRecord, InstanceRecord, TaskRecord, TimerRecord};
use crate::status::Status;
use crate::time::Timestamp;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// The state in which a branch begins.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    pub(crate) tasks: Vec<(TaskRecord, TaskScheduled)>,
    pub(crate) timers: Vec<TimerRecord>,
    /// Its start lies ahead still.
    pub(crate) start_at: Option<Timestamp>,
    /// With those that run again although they have ended well.
    pub(crate) children: Vec<(ChildRecord, SubOrchestrationScheduled, bool)>,
    pub(crate) inbox: Vec<Event>,
    /// Attempts that the new branch does not show.
    pub(crate) left: Vec<LeftTask>,
    /// Work that other branches have done, as it is known from now on.
    pub(crate) done: Vec<DoneElsewhere>,
    pub(crate) rewound: ExecutionRewound,
    pub(crate) branch: BranchRecord,
    pub(crate) reuse: Option<ReuseState>,
    /// The code had been asked to cancel before the cut, and why.
    pub(crate) cancel_requested: Option<String>,
    /// The branch had ended, then: the instance is as it was, and no branch is opened.
    pub(crate) ended: Option<(Timestamp, ExecutionCompleted)>,
    /// It had been terminated with all its children, and why.
    pub(crate) terminated_all: Option<String>,
}

pub(crate) fn draw_up(
    subject: Subject<'_>,
    spec: &RewindSpec,
    now: Timestamp,
) -> Result<(RewindPlan, Opening), RewindError> {
    let record = subject.record;
    let status = record.status()?;
    let execution = record.execution.id();
    let head = Head { execution, generation: record.generation, branch: record.branch, events: record.tail };
    if spec.head.is_some_and(|expected| expected != head) {
        return Err(RewindError::HeadMoved { now: head });
    }
    if !status.is_terminal() && !spec.force {
        return Err(RewindError::NotEnded { status });
    }
    let from_branch = spec.branch.unwrap_or(record.branch);
    let is_present = from_branch == record.branch;
    if record.history_parts(from_branch).is_none() {
        let branches = record.branches().len() as u32 + 1;
        return Err(RewindError::NoBranch { branch: from_branch, branches });
    }
    if is_present && spec.to == RewindTo::Head {
        return Err(RewindError::AtHead { branch: from_branch });
    }
    let untaken = if is_present { Vec::new() } else { record.untaken(from_branch)? };
    let timeline = Timeline::of(subject.history, if is_present { subject.pending } else { &untaken });
    let end = timeline.last(Role::Ends).and_then(|at| match &timeline.event(at).kind {
        EventKind::ExecutionCompleted(end) => Some((timeline.event(at).at, end)),
        _ => None,
    });
    let then = end.map_or(Some(Status::Running), |(_, end)| end.final_status()).unwrap_or(status);
    let failure = end.and_then(|(_, end)| end.failure.as_ref());
    let mut cut = cut::find(&timeline, &spec.to, then, failure)?;
    let has_ended = end.is_some() && cut.because == Because::Head;
    if !has_ended && record.branches().len() >= BRANCHES_MAX {
        return Err(RewindError::TooManyBranches { limit: BRANCHES_MAX });
    }
    if !has_ended {
        cut = cut::out_of_entities(&timeline, cut, &spec.order.rerun);
    }
    if spec.input.is_some() && cut.at != 0 {
        return Err(RewindError::NotFromBeginning);
    }
    let branch = record.branches().iter().map(|b| b.branch).max().unwrap_or(0) + 1;
    let mut drawing = Drawing {
        record,
        spec,
        now,
        inputs: BTreeMap::new(),
        results: BTreeMap::new(),
        cut_at: cut_time(&timeline, &cut, now),
        timeline: &timeline,
        others: subject.others,
        elsewhere: (!is_present).then(|| Elsewhere::of(subject)),
        plan: RewindPlan {
            head,
            status,
            from_branch,
            branch,
            cut: cut.at as u64,
            because: cut.because.clone(),
            turns_kept: timeline.turns().partition_point(|turn| *turn < cut.at) as u32,
            parents: Vec::new(),
            carried: Vec::new(),
            rerun: Vec::new(),
            in_doubt: Vec::new(),
            reused: Vec::new(),
            dropped: Vec::new(),
            timers: Vec::new(),
            starts: None,
            children: Vec::new(),
            children_asked_again: Vec::new(),
            visible: Vec::new(),
        },
        opening: Opening::default(),
        spare: Spare::default(),
        cut,
    };
    drawing.resolve()?;
    drawing.remember_ended();
    drawing.remember_done();
    if let Some((at, end)) = end.filter(|_| drawing.cut.because == Because::Head) {
        drawing.opening.ended = Some((at, end.clone()));
        drawing.opening.terminated_all = drawing.terminated_all();
        drawing.plan.branch = from_branch;
        drawing.opening.inbox = untaken.clone();
        drawing.opening.cancel_requested = drawing.kept_cancel_reason();
        drawing.events_of_elsewhere();
        // What was done on the branch that is left is not to be done again, should this one be rewound later.
        drawing.opening.reuse = drawing.reuse(Vec::new());
        return Ok((drawing.plan, drawing.opening));
    }
    drawing.fill(subject.pending);
    Ok((drawing.plan, drawing.opening))
}

/// When the kept part ended.
fn cut_time(timeline: &Timeline<'_>, cut: &Cut, now: Timestamp) -> Timestamp {
    if cut.at < timeline.recorded { timeline.event(cut.at).at } else { now }
}

/// What is to become of work that was scheduled before the cut and is open there.
pub(super) enum Open {
    /// This result is delivered.
    Given(Option<Bytes>),
    /// Its recorded result is delivered.
    Carried(usize),
    /// Another branch has its result.
    DoneBy { holder: u32, end: u64 },
    /// It runs, with another input perhaps.
    Runs(Option<Option<Bytes>>),
}

pub(super) struct Drawing<'a> {
    pub(super) record: &'a InstanceRecord,
    pub(super) spec: &'a RewindSpec,
    now: Timestamp,
    pub(super) timeline: &'a Timeline<'a>,
    /// The present branch, if another one is rewound.
    pub(super) elsewhere: Option<Elsewhere<'a>>,
    /// Histories of other branches than those two.
    pub(super) others: &'a BTreeMap<u32, Vec<Event>>,
    pub(super) cut: Cut,
    cut_at: Timestamp,
    /// New inputs and results, by the event that scheduled the work.
    inputs: BTreeMap<usize, Option<Bytes>>,
    pub(super) results: BTreeMap<usize, Option<Bytes>>,
    pub(super) spare: Spare,
    pub(super) plan: RewindPlan,
    pub(super) opening: Opening,
}

impl Drawing<'_> {
    /// Finds the work that the operator gives new inputs and results.
    fn resolve(&mut self) -> Result<(), RewindError> {
        for Replaced { event, payload } in &self.spec.results {
            let work = self.named(*event)?;
            if work.ended.is_some_and(|(end, _)| end < self.cut.at) {
                return Err(RewindError::ResultKept { event: *event });
            }
            if self.results.insert(work.scheduled, payload.clone()).is_some() {
                return Err(RewindError::GivenTwice { event: *event });
            }
        }
        for Replaced { event, payload } in &self.spec.inputs {
            let work = self.named(*event)?;
            let fixed = |why| Err(RewindError::InputFixed { event: *event, why });
            if work.kind == WorkKind::Child {
                return fixed(
                    "a child has a history of its own, which can be rewound to its beginning with another input",
                );
            }
            if work.scheduled >= self.cut.at {
                return fixed("the cut is before it, and the code gives it an input again");
            }
            if work.ended.is_some_and(|(end, _)| end < self.cut.at) {
                return Err(RewindError::ResultKept { event: *event });
            }
            if self.record.knows_result_of(&self.timeline.event(work.scheduled).kind) {
                return fixed(
                    "a call under its idempotency key has ended well, and this would be another one",
                );
            }
            let is_given = self.inputs.insert(work.scheduled, payload.clone()).is_some();
            if is_given || self.results.contains_key(&work.scheduled) {
                return Err(RewindError::GivenTwice { event: *event });
            }
        }
        Ok(())
    }

    fn named(&self, event: u64) -> Result<Work, RewindError> {
        let last = self.timeline.len().saturating_sub(1) as u64;
        let at = usize::try_from(event).ok().filter(|at| *at < self.timeline.len());
        let at = at.ok_or(RewindError::NoEvent { event, last })?;
        let takes = |work: &&Work| matches!(work.kind, WorkKind::Activity | WorkKind::Child);
        let work = self.timeline.work_at(at).filter(takes).ok_or(RewindError::NotWork { event })?;
        match &self.timeline.event(work.scheduled).kind {
            EventKind::SubOrchestrationScheduled(child) if is_hub_key(&child.instance) => {
                Err(RewindError::KeyOfHub { event, instance: child.instance.clone() })
            }
            _ => Ok(*work),
        }
    }

    fn fill(&mut self, pending: &[Event]) {
        let (carried, given, due) = self.open_work();
        self.opening.start_at = self.start();
        self.plan.starts = self.opening.start_at;
        self.deliver((carried, given));
        self.events_of_elsewhere();
        self.opening.reuse = self.reuse(due);
        let untaken = (!pending.is_empty()).then(|| encode_events(pending.to_vec()));
        let replaced = |map: &BTreeMap<usize, Option<Bytes>>| {
            let pairs = map.iter();
            pairs.map(|(at, payload)| Replaced { event: *at as u64, payload: payload.clone() }).collect()
        };
        let order = &self.spec.order;
        self.opening.rewound = ExecutionRewound {
            by: order.by.clone(),
            reason: order.reason.clone(),
            from_branch: self.plan.from_branch,
            inputs: replaced(&self.inputs),
            results: replaced(&self.results),
            timers: self.plan.timers.iter().map(|t| TimerDue { event: t.event, at: t.due.0 }).collect(),
        };
        self.opening.branch = BranchRecord {
            branch: self.plan.branch,
            parent: self.plan.from_branch,
            cut: self.plan.cut,
            at: self.now.0,
            by: order.by.clone(),
            reason: order.reason.clone(),
            request_id: order.request_id.clone(),
            status: u32::from(self.plan.status as u8),
            untaken,
            left: self.elsewhere.as_ref().map(|_| self.record.branch),
        };
        self.opening.cancel_requested = self.kept_cancel_reason();
    }

    fn kept_cancel_reason(&self) -> Option<String> {
        match &self.timeline.event(self.kept_cancel()?).kind {
            EventKind::CancelRequested(request) => Some(request.reason.clone()),
            _ => None,
        }
    }

    fn terminated_all(&self) -> Option<String> {
        (0..self.timeline.recorded).rev().find_map(|at| match &self.timeline.event(at).kind {
            EventKind::ExecutionTerminated(end) if end.recurse => Some(end.reason.clone()),
            _ => None,
        })
    }

    fn kept_cancel(&self) -> Option<usize> {
        (0..self.cut.at).rev().find(|at| self.timeline.role(*at) == Role::Cancels)
    }

    /// Work that is open at the cut; gives the events of results that are delivered, new results, and those of other
    /// branches.
    fn open_work(&mut self) -> (BTreeSet<usize>, Vec<Event>, Vec<ResultDue>) {
        let canceled = self.kept_cancel();
        self.find_spare();
        let (mut carried, mut given, mut due) = (BTreeSet::new(), Vec::new(), Vec::new());
        for work in &self.timeline.work {
            let is_over = work.ended.is_some_and(|(end, _)| end < self.cut.at);
            // A request to cancel ends whatever is waited for.
            let canceled = canceled.is_some_and(|at| work.scheduled < at);
            if work.scheduled >= self.cut.at || is_over || canceled {
                continue;
            }
            if work.kind == WorkKind::Timer {
                self.timer(work);
                continue;
            }
            let becomes = self.what_becomes_of(work);
            self.remember_deliveries(work, &becomes);
            match becomes {
                Open::Given(payload) => given.push(completion(self.now, work, payload)),
                Open::Carried(end) => drop(carried.insert(end)),
                Open::DoneBy { holder, end } => {
                    let is_child = work.kind == WorkKind::Child;
                    due.push(ResultDue { task: work.id, is_child, holder, end });
                    self.plan.reused.push(self.reference(work));
                }
                Open::Runs(input) => self.run(work, input),
            }
        }
        (carried, given, due)
    }

    /// The branch that scheduled work of the branch that is rewound.
    pub(super) fn origin(&self, work: &Work) -> u32 {
        self.record.origin_on(self.plan.from_branch, work.scheduled as u64)
    }

    fn what_becomes_of(&mut self, work: &Work) -> Open {
        if let Some(payload) = self.results.get(&work.scheduled) {
            return Open::Given(payload.clone());
        }
        let input = self.inputs.get(&work.scheduled).cloned();
        let named = self.spec.order.rerun.iter().any(|name| name == self.timeline.name(work));
        match work.ended {
            Some((end, true)) if input.is_none() && !named && self.cut.rerun != Some(work.scheduled) => {
                Open::Carried(end)
            }
            _ if input.is_some() || named || self.cut.rerun == Some(work.scheduled) => Open::Runs(input),
            _ => match self.elsewhere.as_ref().and_then(|elsewhere| elsewhere.result(work)) {
                Some((end, output)) if self.given(work) == self.given_here(work, end) => Open::Given(output),
                _ => {
                    let done = self.done_by(work).map(|done| (done.holder, done.end));
                    let done = done.or_else(|| self.spare_for(work));
                    done.map_or(Open::Runs(None), |(holder, end)| Open::DoneBy { holder, end })
                }
            },
        }
    }

    /// Whether the operator wants this very work to run again; who gives it another input does.
    pub(super) fn is_named(&self, work: &Work) -> bool {
        self.cut.rerun == Some(work.scheduled) || self.inputs.contains_key(&work.scheduled)
    }

    fn run(&mut self, work: &Work, input: Option<Option<Bytes>>) {
        let reference = self.reference(work);
        match &self.timeline.event(work.scheduled).kind {
            EventKind::TaskScheduled(scheduled) => {
                let mut scheduled = scheduled.clone();
                if let Some(input) = input.or_else(|| self.input_given_before(work)) {
                    scheduled.input = input;
                }
                let once = self.once(work, &scheduled);
                let in_doubt = once.as_ref().is_some_and(|once| once.stage() == Stage::Out);
                let of_plan = if in_doubt { &mut self.plan.in_doubt } else { &mut self.plan.rerun };
                of_plan.push(reference);
                let record = TaskRecord {
                    once,
                    step: scheduled.step.map(Box::new),
                    id: work.id,
                    event: work.scheduled as u64,
                    attempt: 1,
                    delivery: self.delivery(work),
                    scheduled_at: self.now.0,
                    ..TaskRecord::default()
                };
                self.opening.tasks.push((record, scheduled));
            }
            EventKind::SubOrchestrationScheduled(scheduled) => {
                self.plan.rerun.push(reference);
                self.plan.children.push(ChildPlan {
                    event: work.scheduled as u64,
                    task: work.id,
                    instance: scheduled.instance.clone(),
                });
                let record = ChildRecord {
                    id: work.id,
                    event: work.scheduled as u64,
                    instance: scheduled.instance.clone(),
                    attempt: 1,
                    not_before: 0,
                    retry: scheduled.retry.clone(),
                    ..ChildRecord::default()
                };
                let again = work.ended.is_some_and(|(_, well)| well);
                self.opening.children.push((record, scheduled.clone(), again));
            }
            _ => self.plan.rerun.push(reference),
        }
    }

    /// The input that an earlier rewind, which is kept, has given the work.
    fn input_given_before(&self, work: &Work) -> Option<Option<Bytes>> {
        self.timeline.given_input(work, self.cut.at).map(|(_, input)| input.clone())
    }

    /// Earlier rewinds, which are kept, with this work open at their cuts; the latest first.
    fn rewinds_kept_since(&self, work: &Work) -> impl Iterator<Item = &ExecutionRewound> {
        let kept = (work.scheduled..self.cut.at).rev();
        kept.filter_map(|at| match &self.timeline.event(at).kind {
            EventKind::ExecutionRewound(rewound) => Some(rewound),
            _ => None,
        })
    }

    fn timer(&mut self, work: &Work) {
        let created = self.timeline.event(work.scheduled);
        let EventKind::TimerCreated(timer) = &created.kind else { return };
        let event = work.scheduled as u64;
        let given = self.rewinds_kept_since(work).flat_map(|rewound| &rewound.timers);
        let given = given.filter(|due| due.event == event).map(|due| due.at).next();
        let was = Timestamp(given.unwrap_or(timer.fire_at));
        let due = self.due(was, self.cut_at, timer.fire_at.saturating_sub(created.at.0));
        self.opening.timers.push(TimerRecord { id: timer.id, fire_at: due.0 });
        self.plan.timers.push(TimerPlan { event, timer: timer.id, was, due });
    }

    /// When something is due that was due then, and of which the rest was left at a time.
    fn due(&self, was: Timestamp, stopped: Timestamp, whole: i64) -> Timestamp {
        let now = self.now.0;
        let left = was.0.saturating_sub(stopped.0);
        match self.spec.order.timers() {
            Timers::Keep => was,
            Timers::Extend if left > 0 => Timestamp(now.saturating_add(left)),
            Timers::Extend | Timers::Restart => Timestamp(now.saturating_add(whole)),
        }
    }

    /// When it starts, if it was stopped before its start.
    fn start(&self) -> Option<Timestamp> {
        if !self.timeline.turns().is_empty() {
            return None;
        }
        let stopped = self.timeline.recorded.checked_sub(1).map_or(self.now, |at| self.timeline.event(at).at);
        let begins = (self.cut.at..self.timeline.len()).map(|at| self.timeline.event(at));
        let mut start = begins.filter_map(|event| match &event.kind {
            EventKind::ExecutionStarted(started) => Some((event.at, Timestamp(started.start_at?))),
            _ => None,
        });
        let (at, was) = start.find(|(_, was)| *was > stopped)?;
        Some(self.due(was, stopped, was.0.saturating_sub(at.0))).filter(|due| *due > self.now)
    }

    /// What the new branch finds in its inbox.
    fn deliver(&mut self, (carried, given): (BTreeSet<usize>, Vec<Event>)) {
        for at in self.cut.at..self.timeline.len() {
            let role = self.timeline.role(at);
            let is_carried = match role {
                Role::Begins => true,
                Role::External => !self.spec.order.drop_events,
                Role::Succeeds(..) => carried.contains(&at),
                _ => false,
            };
            if is_carried {
                self.plan.carried.push(at as u64);
                let mut event = self.timeline.event(at).clone();
                if let EventKind::ExecutionStarted(started) = &mut event.kind {
                    if let Some(input) = &self.spec.input {
                        started.input.clone_from(input);
                    }
                    if let Some(at) = self.opening.start_at {
                        started.start_at = Some(at.0);
                    }
                }
                self.opening.inbox.push(event);
            } else if !matches!(role, Role::Turn | Role::Notes | Role::Ends) {
                self.plan.dropped.push(at as u64);
                let is_timer = matches!(role, Role::Schedules(WorkKind::Timer, _));
                if role.is_decision() && !is_timer {
                    self.plan.visible.push(at as u64);
                }
            }
        }
        self.opening.inbox.extend(given);
    }

    /// A rewind to another branch takes along the events from outside that only the present branch has.
    fn events_of_elsewhere(&mut self) {
        if let Some(elsewhere) = self.elsewhere.as_ref().filter(|_| !self.spec.order.drop_events) {
            self.opening.inbox.extend(elsewhere.external_events(self.timeline));
        }
    }

    pub(super) fn reference(&self, work: &Work) -> WorkRef {
        WorkRef {
            event: work.scheduled as u64,
            task: work.id,
            kind: work.kind,
            name: self.timeline.name(work).to_owned(),
        }
    }
}

/// The completion of work by somebody else than a worker: no attempt of it has a number.
fn completion(at: Timestamp, work: &Work, output: Option<Bytes>) -> Event {
    match work.kind {
        WorkKind::Child => Event::new(at, SubOrchestrationCompleted { id: work.id, output }),
        _ => Event::new(at, TaskCompleted { id: work.id, output, ..TaskCompleted::default() }),
    }
}
