//! `kill -9` at random moments under load.
//!
//! `PERDURA_SEED`, `PERDURA_KILLS` and `PERDURA_INSTANCES` set the seed, the number of kills and the size of the load.

use crate::process::{Load, PATIENCE};
use perdura_durability::{
    Answer, Audit, Command, Done, Line, LoadOptions, Program, Random, Refusal, Reuse, Step, Transcript,
    read_evidence,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

/// Questions under way at once; waits for an end do not count.
const UNDER_WAY_MAX: usize = 48;

#[test]
fn kill_9_at_random_moments_loses_nothing_that_was_acknowledged_and_completes_all() {
    let seed = setting("PERDURA_SEED").unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as u64
    });
    let kills = setting("PERDURA_KILLS").unwrap_or(100);
    let instances = setting("PERDURA_INSTANCES").unwrap_or(1000);
    println!("PERDURA_SEED={seed} PERDURA_KILLS={kills} PERDURA_INSTANCES={instances}");
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random::new(seed);
    let mut options = LoadOptions::new(directory.path());
    options.partitions = random.from_to(1, 4) as u16;
    let mut driver = Driver::new(&mut random, instances, kills);
    let mut in_the_middle = Vec::new();
    for life in 0..kills {
        // A small resident limit now and then: cold instances are read from the file in the middle of it all.
        options.resident_instances_max = if random.one_in(4) { 20 } else { 50_000 };
        let mut load = Load::spawn(&options);
        let at_the_start = random.one_in(10);
        if !at_the_start {
            load.ready().unwrap();
        }
        let moment = match random.from_to(0, 3) {
            0 => random.from_to(1_000, 10_000),
            1 | 2 => random.from_to(10_000, 100_000),
            _ => random.from_to(100_000, 200_000),
        };
        let moment = if at_the_start { moment / 4 } else { moment };
        let kill_at = Instant::now() + Duration::from_micros(moment);
        if at_the_start {
            std::thread::sleep(Duration::from_micros(moment));
        } else {
            driver.drive(&mut load, life, kill_at);
        }
        for reply in load.kill() {
            driver.hear(reply.number, reply.outcome);
        }
        driver.forget_questions();
        in_the_middle.push(driver.in_the_middle());
    }
    in_the_middle.sort_unstable();
    let (fewest, most) = (in_the_middle.first(), in_the_middle.last());
    let median = in_the_middle.get(in_the_middle.len() / 2);
    println!("instances in the middle of their work at a kill: {median:?}, from {fewest:?} to {most:?}");
    let mut load = Load::start(&options);
    driver.drive_to_the_end(&mut load);
    driver.check_answers_again(&mut load);
    let audits = driver.audit(&mut load);
    load.shut_down();
    let evidence = read_evidence(&options.evidence).unwrap();
    println!("{} attempts of activities, {} results", evidence.len(), driver.results().count());
    driver.check_transcripts();
    check_histories(&audits);
    check_evidence(&evidence, driver.results());
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

/// An instance of the load, and what its client knows of it.
struct Subject {
    id: String,
    program: Program,
    /// The life of the process in which it may be started.
    born: u64,
    /// The answer of its start: generation and execution.
    started: Option<(u32, String)>,
    repeats_start: bool,
    events: Vec<SentEvent>,
    suspension: Option<Suspension>,
    output: Option<Transcript>,
    /// What was asked and not answered.
    busy: HashSet<What>,
}

struct SentEvent {
    value: String,
    /// The life of the process in which it may be sent.
    born: u64,
    asked: u32,
    acknowledged: bool,
    /// It was refused because its receiver had ended, which an earlier sending made possible.
    too_late: bool,
}

#[derive(Default)]
struct Suspension {
    ends: u64,
    began: bool,
    ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    Start,
    StartAgain,
    Wait,
    Suspend,
    Resume,
    Event(usize),
}

struct Driver {
    subjects: Vec<Subject>,
    questions: HashMap<u64, (usize, What)>,
    next: usize,
}

impl Driver {
    fn new(random: &mut Random, instances: u64, lives: u64) -> Driver {
        let subjects = (0..instances).map(|number| subject(random, number, lives)).collect();
        Driver { subjects, questions: HashMap::new(), next: 0 }
    }

    /// Keeps the load busy until a moment.
    fn drive(&mut self, load: &mut Load, life: u64, until: Instant) {
        loop {
            self.ask_more(load, life);
            match load.reply_before(until) {
                Some(reply) => self.hear(reply.number, reply.outcome),
                None => break,
            }
        }
    }

    fn drive_to_the_end(&mut self, load: &mut Load) {
        while self.subjects.iter().any(|subject| subject.output.is_none()) {
            self.ask_more(load, u64::MAX);
            match load.reply_before(Instant::now() + PATIENCE) {
                Some(reply) => self.hear(reply.number, reply.outcome),
                None => self.tell_who_is_stuck(load),
            }
        }
        // Events that were sent twice, and starts that were repeated, may still be under way.
        while self.under_way() > 0 {
            let reply = load.reply_before(Instant::now() + PATIENCE).expect("the last answers");
            self.hear(reply.number, reply.outcome);
        }
    }

    fn tell_who_is_stuck(&self, load: &mut Load) -> ! {
        for subject in self.subjects.iter().filter(|subject| subject.output.is_none()).take(20) {
            let look = load.ask(Command::Look { id: subject.id.clone() });
            println!("{} does not end: {:?}\n  {look:?}", subject.id, subject.program);
        }
        panic!("nothing happens any more");
    }

    fn in_the_middle(&self) -> usize {
        self.subjects.iter().filter(|subject| subject.started.is_some() && subject.output.is_none()).count()
    }

    fn under_way(&self) -> usize {
        self.questions.values().filter(|(_, what)| *what != What::Wait).count()
    }

    fn ask_more(&mut self, load: &mut Load, life: u64) {
        let mut under_way = self.under_way();
        for _ in 0..self.subjects.len() {
            if under_way >= UNDER_WAY_MAX {
                break;
            }
            let at = self.next;
            self.next = (self.next + 1) % self.subjects.len();
            for (what, command) in self.subjects[at].wishes(life) {
                let number = load.send(command);
                self.questions.insert(number, (at, what));
                if let What::Event(event) = what {
                    self.subjects[at].events[event].asked += 1;
                }
                self.subjects[at].busy.insert(what);
                under_way += usize::from(what != What::Wait);
            }
        }
    }

    fn hear(&mut self, number: u64, outcome: Result<Answer, Refusal>) {
        let Some((at, what)) = self.questions.remove(&number) else { return };
        let subject = &mut self.subjects[at];
        subject.busy.remove(&what);
        subject.hear(what, outcome);
    }

    /// Whatever was not answered before the process died never will be.
    fn forget_questions(&mut self) {
        self.questions.clear();
        self.subjects.iter_mut().for_each(|subject| subject.busy.clear());
    }

    /// A retried start gets the answer of the first one, and a result that was told once is told again.
    fn check_answers_again(&mut self, load: &mut Load) {
        for subject in &mut self.subjects {
            let started = load.ask(subject.start());
            subject.hear(What::StartAgain, started);
            let ended = load.ask(Command::Wait { id: subject.id.clone() });
            subject.hear(What::Wait, ended);
        }
    }

    fn audit(&self, load: &mut Load) -> Vec<(String, Audit)> {
        let audit = |subject: &Subject| match load.ask(Command::Audit { id: subject.id.clone() }) {
            Ok(Answer::Audited(audit)) => (subject.id.clone(), audit),
            other => panic!("no history of {}: {other:?}", subject.id),
        };
        self.subjects.iter().map(audit).collect()
    }

    fn results(&self) -> impl Iterator<Item = &Done> {
        self.subjects.iter().filter_map(|subject| subject.output.as_ref()).flat_map(|seen| &seen.done)
    }

    fn check_transcripts(&self) {
        for subject in &self.subjects {
            subject.check();
        }
    }
}

impl Subject {
    fn start(&self) -> Command {
        Command::Start {
            id: self.id.clone(),
            program: self.program.clone(),
            reuse: Reuse::Fail,
            request: format!("start {}", self.id),
        }
    }

    /// What its clients ask next.
    fn wishes(&self, life: u64) -> Vec<(What, Command)> {
        let id = || self.id.clone();
        let mut wishes = Vec::new();
        if self.started.is_none() {
            if self.born <= life {
                wishes.push((What::Start, self.start()));
            }
        } else if self.output.is_none() {
            wishes.push((What::Wait, Command::Wait { id: id() }));
            if self.repeats_start {
                wishes.push((What::StartAgain, self.start()));
            }
            let mut may_send = true;
            if let Some(suspension) = &self.suspension {
                may_send = suspension.began;
                let all_sent = self.events.iter().all(|event| event.acknowledged);
                if !suspension.began {
                    wishes.push((What::Suspend, Command::Suspend { id: id() }));
                } else if !suspension.ended && all_sent && suspension.ends <= life {
                    wishes.push((What::Resume, Command::Resume { id: id() }));
                }
            }
            for (at, event) in self.events.iter().enumerate() {
                if may_send && !event.acknowledged && !event.too_late && event.born <= life {
                    let value = event.value.clone();
                    wishes.push((What::Event(at), Command::Raise { id: id(), value }));
                }
            }
        }
        wishes.retain(|(what, _)| !self.busy.contains(what));
        wishes
    }

    fn hear(&mut self, what: What, outcome: Result<Answer, Refusal>) {
        match (what, outcome) {
            (What::Start | What::StartAgain, Ok(Answer::Started { outcome, generation, execution })) => {
                assert_eq!(outcome, "created", "{}", self.id);
                let answer = (generation, execution);
                assert_eq!(*self.started.get_or_insert(answer.clone()), answer, "{}", self.id);
                self.repeats_start &= what != What::StartAgain;
            }
            (What::Wait, Ok(Answer::Instance { status, start_generation, output, problem, .. })) => {
                assert_eq!((status.as_str(), problem), ("Completed", None), "{}", self.id);
                assert_eq!(Some(start_generation), self.started.as_ref().map(|(generation, _)| *generation));
                assert!(output.is_some(), "{} has no output", self.id);
                if self.output.is_some() {
                    assert_eq!(self.output, output, "{} tells another result than before", self.id);
                }
                self.output = output;
            }
            (What::Suspend, Ok(Answer::Done)) => self.suspension.as_mut().unwrap().began = true,
            (What::Resume, Ok(Answer::Done)) => self.suspension.as_mut().unwrap().ended = true,
            (What::Event(at), Ok(Answer::Done)) => self.events[at].acknowledged = true,
            (What::Event(at), Err(refusal)) if self.events[at].asked > 1 => {
                assert!(refusal.text.contains("takes no more events"), "{}: {refusal:?}", self.id);
                self.events[at].too_late = true;
            }
            (what, outcome) => panic!("{}: {what:?} came to {outcome:?}", self.id),
        }
    }

    fn check(&self) {
        let seen = self.output.as_ref().unwrap();
        let id = &self.id;
        let mut expected = Expected::default();
        expected.add(&self.program.steps);
        let failures: Vec<u32> = seen.done.iter().map(|done| done.failures).collect();
        assert_eq!(failures, expected.failures, "{id}: activities");
        assert_eq!((seen.timers, seen.early), (expected.timers, 0), "{id}: timers, early ones");
        assert_eq!(seen.again, expected.again, "{id}: continued as new");
        assert_eq!(seen.children, expected.children, "{id}: children");
        for event in &self.events {
            let taken = seen.events.iter().filter(|value| **value == event.value).count() as u32;
            if event.asked == 1 {
                assert_eq!(taken, 1, "{id}: event {} was asked for once", event.value);
            } else {
                assert!((1..=event.asked).contains(&taken), "{id}: event {}: {taken}", event.value);
            }
        }
        let sent: HashSet<&String> = self.events.iter().map(|event| &event.value).collect();
        assert!(seen.events.iter().all(|value| sent.contains(value)), "{id}: an event that nobody sent");
    }
}

/// What a program must have done in the end.
#[derive(Default)]
struct Expected {
    failures: Vec<u32>,
    timers: u32,
    again: u32,
    children: u32,
}

impl Expected {
    fn add(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Work { failures, .. } => self.failures.push(*failures),
                Step::Fan { width, .. } => self.failures.extend((0..*width).map(|_| 0)),
                Step::Sleep { .. } => self.timers += 1,
                Step::Child { steps } => {
                    self.children += 1;
                    self.add(steps);
                }
                Step::Again => self.again += 1,
                Step::Collect { .. } | Step::Race { .. } => {}
                Step::Append { .. }
                | Step::Deposit { .. }
                | Step::Die
                | Step::Transfer(_)
                | Step::Audit { .. }
                | Step::Hold { .. } => {}
            }
        }
    }
}

fn check_histories(audits: &[(String, Audit)]) {
    for (id, audit) in audits {
        assert_eq!((audit.ends, audit.last.as_str()), (1, "ExecutionCompleted"), "{id}");
        let asked: HashSet<_> = audit.asked.iter().collect();
        let answered: HashSet<_> = audit.answered.iter().collect();
        assert_eq!(asked.len(), audit.asked.len(), "{id}: a task number came twice");
        assert_eq!(answered.len(), audit.answered.len(), "{id}: a task has two results");
        assert!(answered.is_subset(&asked), "{id}: a result for a task that was never scheduled");
    }
}

/// Every attempt that ran has a delivery count of its own, and none ran after the one whose result was recorded.
fn check_evidence<'a>(evidence: &[Line], results: impl Iterator<Item = &'a Done>) {
    let mut runs: BTreeMap<(&str, u32), Vec<&Line>> = BTreeMap::new();
    for line in evidence {
        runs.entry((&line.execution, line.task)).or_default().push(line);
    }
    for done in results {
        let line = &done.line;
        let ran = runs.remove(&(line.execution.as_str(), line.task)).unwrap_or_default();
        let rises = ran
            .windows(2)
            .all(|pair| pair[0].delivery < pair[1].delivery && pair[0].attempt <= pair[1].attempt);
        assert!(rises, "delivery counts do not rise: {ran:#?}");
        assert_eq!(ran.last(), Some(&line), "an attempt ran after the recorded result: {ran:#?}");
        assert_eq!(line.attempt, done.failures + 1, "attempts do not follow the policy: {ran:#?}");
        let attempts: HashSet<u32> = ran.iter().map(|line| line.attempt).collect();
        assert_eq!(attempts.len() as u32, line.attempt, "an attempt was left out: {ran:#?}");
    }
    assert!(runs.is_empty(), "activities ran that nobody asked for: {runs:#?}");
}

fn subject(random: &mut Random, number: u64, lives: u64) -> Subject {
    // A fifth at once, so that there is a crowd from the beginning; the others over all lives.
    let born = if number.is_multiple_of(5) { 0 } else { random.number() % lives.max(1) };
    let mut events = 0;
    let mut steps = Vec::new();
    let mut suspension = None;
    match number % 8 {
        0 => steps.extend((0..random.from_to(1, 6)).map(|_| work(random))),
        1 => steps.extend([fan(random), work(random), fan(random)]),
        2 => steps.extend((0..random.from_to(1, 4)).flat_map(|_| [sleep(random), work(random)])),
        3 => {
            let failures = random.from_to(1, 4) as u32;
            steps.extend([Step::Work { ms: random.from_to(0, 10), failures }, work(random)]);
        }
        4 => {
            events = random.from_to(1, 5) as usize;
            steps.push(work(random));
            for count in 1..=events {
                steps.push(Step::Collect { count });
                steps.push(if random.one_in(2) { Step::Again } else { work(random) });
            }
        }
        5 => {
            let grandchild = Step::Child { steps: vec![work(random), sleep(random)] };
            let child = Step::Child { steps: vec![fan(random), grandchild, Step::Again, work(random)] };
            steps.extend([work(random), child, Step::Child { steps: vec![sleep(random)] }]);
        }
        6 => {
            events = random.from_to(2, 4) as usize;
            steps.push(work(random));
            steps.extend((1..events).map(|_| Step::Race { ms: random.from_to(1, 60) }));
            steps.extend([Step::Again, work(random), Step::Collect { count: events }]);
        }
        _ => {
            events = random.from_to(1, 3) as usize;
            suspension = Some(Suspension { ends: born + random.from_to(1, 6), ..Suspension::default() });
            steps.extend([work(random), fan(random), sleep(random), Step::Collect { count: events }]);
        }
    }
    let sent = (0..events).map(|event| SentEvent {
        value: format!("event {event} of {number}"),
        born: born + random.from_to(0, 5),
        asked: 0,
        acknowledged: false,
        too_late: false,
    });
    Subject {
        id: format!("load-{number}"),
        program: Program { steps, seen: Transcript::default() },
        born,
        started: None,
        repeats_start: number.is_multiple_of(7),
        events: sent.collect(),
        suspension,
        output: None,
        busy: HashSet::new(),
    }
}

fn work(random: &mut Random) -> Step {
    Step::Work { ms: random.from_to(0, 30), failures: u32::from(random.one_in(6)) }
}

fn fan(random: &mut Random) -> Step {
    Step::Fan { width: random.from_to(1, 8) as u32, ms: random.from_to(0, 30) }
}

fn sleep(random: &mut Random) -> Step {
    Step::Sleep { ms: random.from_to(1, 200) }
}
