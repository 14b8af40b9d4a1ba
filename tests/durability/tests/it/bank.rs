//! `kill -9` under a thousand concurrent transfers between entities: no cent, no signal and no lock is lost.
//!
//! `PERDURA_SEED`, `PERDURA_BANK_KILLS` and `PERDURA_TRANSFERS` set the seed, the number of kills and of transfers.

use crate::process::{Load, PATIENCE};
use perdura_durability::{
    Answer, Book, Command, EntityLook, LEDGER, LoadOptions, OPENED_WITH, Program, Random, Refusal, Reuse,
    Step, Transcript, Transfer,
};
use std::collections::HashMap;
use std::time::{Duration, Instant};

const ACCOUNTS: u64 = 16;
/// Clients that each send signals to a book of their own, one after the other.
const SENDERS: usize = 8;

#[test]
fn kill_9_under_a_thousand_transfers_leaves_the_sum_every_signal_and_no_lock() {
    let seed = setting("PERDURA_SEED").unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as u64
    });
    let kills = setting("PERDURA_BANK_KILLS").unwrap_or(25);
    let transfers = setting("PERDURA_TRANSFERS").unwrap_or(1000);
    println!("PERDURA_SEED={seed} PERDURA_BANK_KILLS={kills} PERDURA_TRANSFERS={transfers}");
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random::new(seed);
    let mut options = LoadOptions::new(directory.path());
    options.partitions = random.from_to(1, 4) as u16;
    let mut bank = Bank::new(&mut random, transfers, kills);
    let mut in_the_middle = 0;
    for life in 0..kills {
        options.resident_instances_max = if random.one_in(4) { 20 } else { 50_000 };
        let mut load = Load::start(&options);
        let kill_at = Instant::now() + Duration::from_micros(random.from_to(1_000, 200_000));
        bank.drive(&mut load, life, kill_at);
        for reply in load.kill() {
            bank.hear(reply.number, reply.outcome);
        }
        bank.questions.clear();
        bank.clients.iter_mut().for_each(|client| client.asked = false);
        in_the_middle += u64::from(bank.is_busy());
    }
    println!("{in_the_middle} kills while transfers were under way");
    let mut load = Load::start(&options);
    while bank.is_busy() {
        let heard = bank.answers;
        bank.drive(&mut load, u64::MAX, Instant::now() + PATIENCE);
        assert!(bank.answers > heard, "nothing happens any more: {:?}", load.ask(Command::Entities));
    }
    bank.check(&at_rest(&mut load));
    load.shut_down();
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

/// All entities, when none has anything left to do. The last locks are released by messages that nobody waits for.
fn at_rest(load: &mut Load) -> Vec<EntityLook> {
    let until = Instant::now() + PATIENCE;
    loop {
        let Ok(Answer::Entities(all)) = load.ask(Command::Entities) else { panic!("no list of entities") };
        if all.iter().all(|entity| entity.backlog == 0 && entity.locked_by.is_none()) {
            return all;
        }
        assert!(Instant::now() < until, "something is left to do, or held: {all:?}");
    }
}

fn account(number: u64) -> String {
    format!("account-{number}")
}

fn all_accounts() -> Vec<String> {
    (0..ACCOUNTS).map(account).collect()
}

/// Somebody who asks one thing after the other.
struct Client {
    /// The life of the process in which it begins.
    born: u64,
    errand: Errand,
    /// Something is asked and not answered.
    asked: bool,
}

enum Errand {
    /// Start an instance, and wait for its end.
    Run { id: String, step: Step, started: bool, seen: Option<Transcript> },
    /// Start an instance that would hold accounts for ever, and terminate it in a later life.
    Terminate { id: String, step: Step, started: bool, ends: u64, ended: bool },
    /// Send numbers to a book, each when the one before is acknowledged.
    Send { book: String, next: u64, count: u64 },
}

impl Errand {
    fn is_done(&self) -> bool {
        match self {
            Errand::Run { seen, .. } => seen.is_some(),
            Errand::Terminate { ended, .. } => *ended,
            Errand::Send { next, count, .. } => next == count,
        }
    }

    /// What it asks next, over and over until it has an answer.
    fn command(&self, life: u64) -> Option<Command> {
        match self {
            Errand::Run { id, step, started: false, .. }
            | Errand::Terminate { id, step, started: false, .. } => Some(Command::Start {
                id: id.clone(),
                program: Program { steps: vec![step.clone()], seen: Transcript::default() },
                reuse: Reuse::Fail,
                request: format!("start {id}"),
            }),
            Errand::Run { id, .. } => Some(Command::Wait { id: id.clone() }),
            Errand::Terminate { id, ends, .. } if *ends <= life => {
                Some(Command::Terminate { id: id.clone() })
            }
            Errand::Terminate { .. } => None,
            Errand::Send { book, next, .. } => Some(Command::Signal {
                entity: format!("@Book@{book}"),
                operation: "note".into(),
                value: *next,
                request: format!("line {next}"),
            }),
        }
    }

    fn hear(&mut self, outcome: Result<Answer, Refusal>) {
        match (self, outcome) {
            (
                Errand::Run { started, .. } | Errand::Terminate { started, .. },
                Ok(Answer::Started { outcome, .. }),
            ) => {
                assert_eq!(outcome, "created");
                *started = true;
            }
            (Errand::Run { id, seen, .. }, Ok(Answer::Instance { status, output, problem, .. })) => {
                assert_eq!((status.as_str(), problem), ("Completed", None), "{id}");
                *seen = Some(output.expect("an output"));
            }
            (Errand::Terminate { ended, .. }, Ok(Answer::Done)) => *ended = true,
            (Errand::Send { next, .. }, Ok(Answer::Done)) => *next += 1,
            (_, outcome) => panic!("{outcome:?}"),
        }
    }
}

struct Bank {
    clients: Vec<Client>,
    questions: HashMap<u64, usize>,
    answers: u64,
    transfers: u64,
}

impl Bank {
    fn new(random: &mut Random, transfers: u64, lives: u64) -> Bank {
        let mut clients = Vec::new();
        let mut add = |born, errand| clients.push(Client { born, errand, asked: false });
        let run = |id, step| Errand::Run { id, step, started: false, seen: None };
        for number in 0..transfers {
            let from = random.from_to(0, ACCOUNTS - 1);
            let to = (from + random.from_to(1, ACCOUNTS - 1)) % ACCOUNTS;
            let cents = random.from_to(0, OPENED_WITH / 2);
            let transfer = Transfer { number, from: account(from), to: account(to), cents };
            add(0, run(format!("transfer-{number}"), Step::Transfer(transfer)));
        }
        for life in 0..lives {
            add(life, run(format!("audit-{life}"), Step::Audit { accounts: all_accounts() }));
            if random.one_in(3) {
                let accounts = vec![account(random.from_to(0, 7)), account(random.from_to(8, ACCOUNTS - 1))];
                let (id, step) = (format!("holder-{life}"), Step::Hold { accounts, ms: 3_600_000 });
                add(life, Errand::Terminate { id, step, started: false, ends: life + 1, ended: false });
            }
        }
        for sender in 0..SENDERS {
            add(0, Errand::Send { book: format!("book-{sender}"), next: 0, count: 300 });
        }
        Bank { clients, questions: HashMap::new(), answers: 0, transfers }
    }

    fn is_busy(&self) -> bool {
        self.clients.iter().any(|client| !client.errand.is_done())
    }

    /// Keeps everybody busy until a moment, or until all is done.
    fn drive(&mut self, load: &mut Load, life: u64, until: Instant) {
        for at in 0..self.clients.len() {
            self.ask(load, life, at);
        }
        while self.is_busy() {
            let Some(reply) = load.reply_before(until) else { break };
            if let Some(at) = self.hear(reply.number, reply.outcome) {
                self.ask(load, life, at);
            }
        }
    }

    fn ask(&mut self, load: &mut Load, life: u64, at: usize) {
        let client = &mut self.clients[at];
        if client.asked || client.born > life || client.errand.is_done() {
            return;
        }
        if let Some(command) = client.errand.command(life) {
            client.asked = true;
            self.questions.insert(load.send(command), at);
        }
    }

    fn hear(&mut self, number: u64, outcome: Result<Answer, Refusal>) -> Option<usize> {
        let at = self.questions.remove(&number)?;
        self.clients[at].asked = false;
        self.clients[at].errand.hear(outcome);
        self.answers += 1;
        Some(at)
    }

    fn check(&self, entities: &[EntityLook]) {
        let all = OPENED_WITH * ACCOUNTS;
        let (mut audits, mut moved) = (0, 0);
        for client in &self.clients {
            let Errand::Run { seen: Some(seen), .. } = &client.errand else { continue };
            assert!(seen.sums.iter().all(|sum| *sum == all), "an audit saw {:?}", seen.sums);
            audits += seen.sums.len();
            moved += seen.transfers.iter().filter(|there_was_enough| **there_was_enough).count();
        }
        println!("{moved} of {} transfers had an effect; {audits} audits", self.transfers);
        let state = |id: &str| entities.iter().find(|entity| entity.id == id).and_then(|e| e.state.clone());
        let balance = |account: String| {
            state(&format!("@Account@{account}"))
                .map_or(OPENED_WITH, |state| state["cents"].as_u64().unwrap())
        };
        assert_eq!(all_accounts().into_iter().map(balance).sum::<u64>(), all, "{entities:?}");
        let lines = |book: &str| {
            let state = state(&format!("@Book@{book}")).unwrap_or_else(|| panic!("there is no book {book}"));
            serde_json::from_value::<Book>(state).unwrap().lines
        };
        for client in &self.clients {
            if let Errand::Send { book, count, .. } = &client.errand {
                assert_eq!(lines(book), (0..*count).collect::<Vec<_>>(), "{book}");
            }
        }
        let mut ledger = lines(LEDGER);
        ledger.sort_unstable();
        assert_eq!(ledger, (0..self.transfers).collect::<Vec<_>>());
    }
}
