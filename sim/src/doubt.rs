//! Activities whose hand-overs are committed: workers take what is offered, handlers and operators say what follows when
//! nobody knows whether one ran.

use crate::life::Input;
use crate::payload::{task_of, task_output};
use crate::report::Fault;
use crate::world::{Event, Post, World};
use perdura_core::delivery::{Answer, Stage};
use perdura_core::failure::kind;
use perdura_core::partition::{Request, TaskRef, TaskStart};
use perdura_core::{Failure, InstanceId};

impl World {
    /// An attempt is offered: a worker takes it, or nobody does.
    pub(crate) fn offer(&mut self, post: Post, start: TaskStart) {
        let Some(life) = self.life(post).map(|life| life.number) else { return };
        self.trace.say(self.now, || format!("{post:?} offers {:?}", start.task));
        let ms = self.random.latency.below(self.plan.net_ms + 1);
        if self.fault(Fault::NotStarted, self.plan.faults.not_started) {
            return self.after(ms, Event::Input(post, Input::Unbegun { life, task: start.task }));
        }
        if self.fault(Fault::TakenTwice, self.plan.faults.result_twice) {
            let again = ms + self.random.faults.below(200);
            let start = Box::new(start.clone());
            self.after(again, Event::Input(post, Input::Take { life, start }));
        }
        self.after(ms, Event::Input(post, Input::Take { life, start: Box::new(start) }));
    }

    /// The hand-over of an attempt is durable.
    pub(crate) fn taken(&mut self, post: Post, task: TaskRef) {
        let holding = self.holdings.entry(post).or_default();
        let Some(start) = holding.life.as_mut().and_then(|life| life.taking.remove(&task)) else { return };
        holding.at_work.insert(task);
        self.begin_attempt(post, start);
    }

    /// The handler of an unknown outcome is asked.
    pub(crate) fn ask_handler(&mut self, post: Post, start: TaskStart) {
        self.trace.say(self.now, || format!("{post:?} asks what became of {:?}", start.task));
        let ms = self.random.latency.below(self.plan.net_ms + 100);
        let faults = &self.plan.faults;
        let (lost, not_started) = (faults.worker_lost, faults.not_started);
        if self.fault(Fault::NotStarted, not_started) {
            return self.after(ms, Event::Input(post, Input::TaskNotStarted(start.task)));
        }
        if self.fault(Fault::WorkerLost, lost) {
            return self.after(ms, Event::Input(post, Input::TaskLost(start.task)));
        }
        let Some(question) = &start.question else { return };
        let delivery = question.attempts.last().map_or(0, |attempt| attempt.delivery);
        let answer = match self.random.clients.below(6) {
            0 => Err("it is not registered".to_owned()),
            _ => Ok(self.verdict(&question.input, delivery)),
        };
        self.note_permission(&start.instance, start.task.task, answer.as_ref().ok());
        self.after(ms, Event::Input(post, Input::TaskAnswered(start.task, answer)));
    }

    /// What somebody says who has looked.
    fn verdict(&mut self, input: &Option<bytes::Bytes>, delivery: u32) -> Answer {
        let behaviour = task_of(input).and_then(|task| self.programs.tasks.get(task as usize));
        let may_succeed = behaviour.is_some_and(|task| task.fails == 0);
        match self.random.clients.below(4) {
            0 if may_succeed => Answer::Complete(Some(task_output(input, delivery))),
            0 | 1 => Answer::Fail(Failure::new(kind::UNKNOWN_OUTCOME, "it did not run")),
            2 => Answer::Suspend("nobody can tell".into()),
            _ => Answer::RunOnceMore,
        }
    }

    fn note_permission(&mut self, id: &InstanceId, task: u32, answer: Option<&Answer>) {
        if answer == Some(&Answer::RunOnceMore) {
            self.checker.permitted(id, task);
        }
    }

    /// What to say about the tasks of an instance that are suspended in doubt.
    pub(crate) fn resolutions(&mut self, id: &InstanceId) -> Vec<Request> {
        let Some(seen) = self.checker.mirror.by_id(id) else { return Vec::new() };
        let tasks = seen.record.tasks.iter().filter_map(|task| {
            let once = task.once.as_ref().filter(|once| once.stage() == Stage::Suspended)?;
            let delivery = once.attempts.last().map_or(0, |attempt| attempt.delivery);
            assert_eq!(delivery, task.delivery, "the attempt in doubt is the last one");
            Some((task.id, delivery, seen.input_of_task(task.id)))
        });
        let tasks: Vec<_> = tasks.collect();
        let mut requests = Vec::new();
        for (task, delivery, input) in tasks {
            let answer = self.verdict(&input, delivery);
            self.note_permission(id, task, Some(&answer));
            let (id, by) = (id.clone(), "somebody".to_owned());
            requests.push(Request::Resolve { id, task: Some(task), answer, by });
        }
        requests
    }
}
