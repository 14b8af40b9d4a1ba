//! Workers: they run attempts of activities, and answer once, twice, late or never.

use crate::life::Input;
use crate::payload::{task_of, task_output};
use crate::program::APP_FAILURE;
use crate::report::Fault;
use crate::world::{Event, Post, World};
use perdura_core::partition::TaskStart;
use perdura_core::{Failure, PartitionId};

impl World {
    /// An attempt, or the handler that is asked about one, shall run on the node.
    pub(crate) fn start_task(&mut self, post: Post, start: TaskStart) {
        if start.question.is_some() {
            self.ask_handler(post, start);
        } else if start.has_barrier {
            self.offer(post, start);
        } else {
            if start.is_taken {
                self.holdings.entry(post).or_default().at_work.insert(start.task);
            }
            self.begin_attempt(post, start);
        }
    }

    /// A worker of the node begins with an attempt.
    pub(crate) fn begin_attempt(&mut self, post: Post, start: TaskStart) {
        self.stats.attempts += 1;
        self.trace.mix(&[6, start.task.key.0, u64::from(start.task.task), u64::from(start.task.delivery)]);
        self.trace.say(self.now, || format!("{post:?} starts {:?} attempt {}", start.task, start.attempt));
        let now = self.store_now();
        let is_owner = self.owner(PartitionId(post.partition)) == post;
        self.checker.task_started(&start, is_owner, now);
        if let Some(life) = self.life(post) {
            life.partition.task_began(start.task, now);
        }
        let Some(task) = task_of(&start.scheduled.input) else { return };
        let Some(behaviour) = self.programs.tasks.get(task as usize) else { return };
        let has_limit = behaviour.limits.is_some();
        let takes = behaviour.takes_ms;
        if has_limit && self.fault(Fault::WorkerHangs, self.plan.faults.worker_hangs) {
            return;
        }
        let faults = &self.plan.faults;
        let (late, twice, survives) = (faults.result_late, faults.result_twice, faults.worker_survives);
        let (lost, not_started) = (faults.worker_lost, faults.not_started);
        let mut ms = takes + self.random.latency.below(self.plan.net_ms + 1);
        if self.fault(Fault::ResultLate, late) {
            ms += self.random.faults.between(100, 4_000);
        }
        if !(start.has_barrier || start.is_taken) && self.fault(Fault::NotStarted, not_started) {
            let input = Input::TaskNotStarted(start.task);
            return self.after(ms, Event::Input(post, input));
        }
        if self.fault(Fault::WorkerLost, lost) {
            self.after(ms, Event::Input(post, Input::TaskLost(start.task)));
            // What was taken for lost may answer all the same.
            if self.random.faults.chance(500) {
                return;
            }
            ms += self.random.faults.below(2_000);
        }
        let survives = self.random.faults.chance(survives);
        let boot = self.nodes[usize::from(post.node)].boot;
        let start = Box::new(start);
        if self.fault(Fault::ResultTwice, twice) {
            let again = ms + self.random.faults.below(3_000);
            self.after(again, Event::Finished { node: post.node, boot, survives, start: start.clone() });
        }
        self.after(ms, Event::Finished { node: post.node, boot, survives, start });
    }

    /// An attempt is over. Its result goes to whoever owns the partition now.
    pub(crate) fn finished(&mut self, node: u8, boot: u32, survives: bool, start: TaskStart) {
        if self.nodes[usize::from(node)].boot != boot && !survives {
            return;
        }
        let input = &start.scheduled.input;
        let behaviour = task_of(input).and_then(|task| self.programs.tasks.get(task as usize));
        let result = match behaviour {
            // What an operator rewinds for has been mended.
            Some(task) if start.attempt <= task.fails && start.task.branch == 0 => {
                let failure = Failure::new(APP_FAILURE, "as programmed");
                self.checker.task_failed(&start);
                Err(if task.is_fatal { failure.non_retryable() } else { failure })
            }
            _ => Ok(Some(task_output(input, start.task.delivery))),
        };
        // A worker answers to its own process. One that has outlived it, or whose process lost the partition, is heard by
        // the next owner.
        let partition = start.task.key.partition();
        let home = Post { node, partition: partition.0 };
        self.holdings.entry(home).or_default().at_work.remove(&start.task);
        let lives = self.holdings.get(&home).is_some_and(|holding| holding.life.is_some());
        let post = if lives { home } else { self.owner(partition) };
        self.after(0, Event::Input(post, Input::TaskDone(start.task, result)));
    }
}
