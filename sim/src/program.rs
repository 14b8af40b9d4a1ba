//! The orchestrations of a world: small programs, drawn from the seed, that the interpreter runs. Their inputs and
//! outputs carry enough to judge a result without the engine.

use crate::entities::steps::{EntityStep, Section};
use crate::random::Random;
use perdura_core::delivery::{Delivery, OnUnknown};
use perdura_core::history::TimeLimits;
use perdura_core::{OnExisting, RetryPolicy, ReusePolicy};

/// Names of external events.
pub const EVENT_NAMES: [&str; 2] = ["go", "stop"];
/// The kind of the failures that activities and programs make.
pub const APP_FAILURE: &str = "App";

/// One step of a program.
#[derive(Clone, Debug)]
pub enum Step {
    /// An activity, by its number.
    Task(u32),
    /// A timer.
    Timer(u64),
    /// A sub-orchestration, by its number.
    Child(u32),
    /// The next external event of a name, perhaps only for so long.
    Wait {
        /// Index in [`EVENT_NAMES`].
        name: u8,
        /// Longest wait, in ms.
        timeout_ms: Option<u64>,
    },
    /// An event to another instance.
    Send {
        /// Index of an id of the world.
        to: u8,
        /// Index in [`EVENT_NAMES`].
        name: u8,
    },
    /// What the instance says of itself.
    Status(u8),
    /// A step that is about entities, by its number.
    Entity(u32),
    /// All of these at once.
    All(Vec<Step>),
    /// The first of these.
    Race(Vec<Step>),
    /// A step whose failure is caught.
    Try(Box<Step>),
}

/// How an activity behaves.
#[derive(Clone, Debug)]
pub struct Task {
    /// Attempts that fail, from the first one on.
    pub fails: u32,
    /// Its failures must not be retried.
    pub is_fatal: bool,
    /// Its policy.
    pub retry: Option<RetryPolicy>,
    /// Its time limits.
    pub limits: Option<TimeLimits>,
    /// How long an attempt takes, in ms.
    pub takes_ms: u64,
    /// How often it may run.
    pub delivery: Delivery,
    /// It is called twice at once, under an idempotency key that all calls of it in an instance share.
    pub has_key: bool,
}

impl Task {
    /// The key of the activity with this number.
    #[must_use]
    pub fn key(task: u32) -> String {
        format!("key {task}")
    }

    /// Attempts that the policy allows.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.retry.as_ref().map_or(1, |retry| retry.attempts_max)
    }

    /// Least wait after attempt number `attempt` failed, in ms.
    #[must_use]
    pub fn backoff_after(&self, attempt: u32) -> i64 {
        let Some(retry) = &self.retry else { return 0 };
        let wait = retry.backoff_ms as f64 * retry.backoff_factor.powi(attempt as i32 - 1);
        if retry.backoff_ms_max == 0 { wait as i64 } else { (wait as i64).min(retry.backoff_ms_max as i64) }
    }
}

/// How a sub-orchestration is started.
#[derive(Clone, Debug)]
pub struct Child {
    /// Its program.
    pub program: u16,
    /// Index of an id of the world; `None` leaves the id to the engine.
    pub id: Option<u8>,
    /// What to do when the id is taken.
    pub reuse: ReusePolicy,
    /// Its policy.
    pub retry: Option<RetryPolicy>,
    /// Nobody waits for it.
    pub is_detached: bool,
}

/// An orchestration.
#[derive(Clone, Debug)]
pub struct Program {
    /// What it does, in order. The first failure that is not caught ends it.
    pub steps: Vec<Step>,
    /// Generations, by continue-as-new.
    pub rounds: u8,
    /// It fails in the end.
    pub fails: bool,
    /// An activity that it runs when it was asked to cancel.
    pub cleanup: Option<u32>,
}

/// Everything that can run in a world.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    /// Orchestrations; children have higher numbers than their parents, so that nesting ends.
    pub programs: Vec<Program>,
    /// Activities.
    pub tasks: Vec<Task>,
    /// Sub-orchestrations.
    pub children: Vec<Child>,
    /// Instance ids of the world.
    pub ids: Vec<String>,
    /// Entities of the world.
    pub entities: u8,
    /// Steps that are about entities.
    pub entity_steps: Vec<EntityStep>,
    /// The sub-orchestration that entities start.
    pub entity_start: Option<u32>,
    /// An order of an execution is named by its place in the program, not by how many there were before it: an execution that
    /// was rewound may come to it in another order.
    pub names_orders_by_place: bool,
}

impl Programs {
    /// The programs of a seed.
    #[must_use]
    pub fn draw(random: &mut Random, programs: u8, ids: u8, entities: u8) -> Programs {
        let ids = (0..ids).map(|i| format!("i{i}")).collect();
        let mut drawn = Programs { ids, entities, ..Programs::default() };
        for number in 0..programs {
            let mut steps: Vec<Step> =
                (0..random.between(1, 3)).map(|_| drawn.step(random, number, programs, 2)).collect();
            if entities > 0 && random.chance(150) {
                let section = Section { keeps: true, ..Section::draw(random, entities) };
                steps.push(drawn.entity_step(EntityStep::Section(section)));
            }
            let rounds = if random.chance(350) { random.between(2, 4) as u8 } else { 1 };
            let cleanup = random.chance(400).then(|| drawn.task(random));
            drawn.programs.push(Program { steps, rounds, fails: random.chance(120), cleanup });
        }
        if entities > 0 {
            let program = random.below(u64::from(programs)) as u16;
            let reuse = ReusePolicy::FAIL;
            drawn.children.push(Child { program, id: None, reuse, retry: None, is_detached: true });
            drawn.entity_start = Some(drawn.children.len() as u32 - 1);
        }
        drawn
    }

    fn step(&mut self, random: &mut Random, program: u8, programs: u8, depth: u8) -> Step {
        let several = |me: &mut Programs, random: &mut Random| {
            (0..random.between(2, 3)).map(|_| me.step(random, program, programs, depth - 1)).collect()
        };
        if self.entities > 0 && random.chance(350) {
            let mut step = EntityStep::draw(random, self.entities);
            if let EntityStep::Section(section) = &mut step
                && program + 1 < programs
                && random.chance(300)
            {
                section.child = Some(self.child(random, program, programs));
            }
            return self.entity_step(step);
        }
        let name = random.below(2) as u8;
        match random.below(if depth > 0 { 20 } else { 14 }) {
            0..4 => Step::Task(self.task(random)),
            4..6 => Step::Timer(*random.pick(&[0, 7, 60, 700, 4000])),
            6..9 if program + 1 < programs => Step::Child(self.child(random, program, programs)),
            6..11 => {
                let timeout_ms = random.chance(600).then(|| random.between(1, 3000));
                Step::Wait { name, timeout_ms }
            }
            11..13 => Step::Send { to: random.below(self.ids.len() as u64) as u8, name },
            13 => Step::Status(random.draw() as u8),
            14..16 => Step::All(several(self, random)),
            16..18 => Step::Race(several(self, random)),
            _ => Step::Try(Box::new(self.step(random, program, programs, depth - 1))),
        }
    }

    fn entity_step(&mut self, step: EntityStep) -> Step {
        self.entity_steps.push(step);
        Step::Entity(self.entity_steps.len() as u32 - 1)
    }

    fn task(&mut self, random: &mut Random) -> u32 {
        let retry = random.chance(500).then(|| retry(random));
        let limits = random.chance(350).then(|| TimeLimits {
            attempt_ms: random.between(20, 2000),
            total_ms: if random.chance(300) { random.between(100, 5000) } else { 0 },
            heartbeat_ms: 0,
        });
        // Nothing is drawn for it, so that the seeds stay what they were.
        let has_key = self.tasks.len() % 4 == 3;
        self.tasks.push(Task {
            has_key,
            fails: if random.chance(400) { random.between(1, 4) as u32 } else { 0 },
            is_fatal: random.chance(80),
            retry,
            limits,
            takes_ms: *random.pick(&[0, 3, 30, 300]),
            delivery: match random.below(10) {
                0..5 => Delivery::AtLeastOnce,
                5 => Delivery::Precise,
                6 | 7 => Delivery::AtMostOnce(OnUnknown::Fail),
                8 => Delivery::AtMostOnce(OnUnknown::Suspend),
                _ => Delivery::AtMostOnce(OnUnknown::Handler("find".into())),
            },
        });
        self.tasks.len() as u32 - 1
    }

    fn child(&mut self, random: &mut Random, program: u8, programs: u8) -> u32 {
        self.children.push(Child {
            program: random.between(u64::from(program) + 1, u64::from(programs) - 1) as u16,
            id: random.chance(300).then(|| random.below(self.ids.len() as u64) as u8),
            reuse: reuse(random),
            retry: random.chance(300).then(|| retry(random)),
            is_detached: random.chance(150),
        });
        self.children.len() as u32 - 1
    }
}

/// One of the policies for taken ids.
pub fn reuse(random: &mut Random) -> ReusePolicy {
    match random.below(6) {
        0 => ReusePolicy::USE_EXISTING,
        1 => ReusePolicy::REPLACE,
        2 => ReusePolicy::FAIL.when_terminal(OnExisting::Replace),
        3 => ReusePolicy::USE_EXISTING.when_terminal(OnExisting::Replace),
        _ => ReusePolicy::FAIL,
    }
}

fn retry(random: &mut Random) -> RetryPolicy {
    RetryPolicy {
        attempts_max: random.between(1, 4) as u32,
        backoff_ms: random.between(1, 1500),
        backoff_factor: *random.pick(&[1.0, 2.0]),
        backoff_ms_max: if random.chance(500) { 2000 } else { 0 },
        jitter: *random.pick(&[0.0, 0.3]),
        non_retryable_kinds: Vec::new(),
    }
}
