//! Transactional activities under SIGKILL: what they write is there exactly once for each completion.

use crate::process::{Load, output, start};
use perdura_durability::{Answer, Command, LoadOptions, Program, Random, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const WIDTH: u32 = 4;
const STEPS: usize = 5;
/// Instances that are under way together.
const UNDER_WAY: usize = 4;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

fn program() -> Program {
    Program { steps: vec![Step::Deposit { width: WIDTH }; STEPS], ..Program::default() }
}

#[test]
fn kill_9_at_random_moments_leaves_the_writes_of_each_transactional_activity_exactly_once() {
    let seed = setting("PERDURA_SEED").unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as u64
    });
    let kills = setting("PERDURA_KILLS").unwrap_or(60);
    println!("PERDURA_SEED={seed} PERDURA_KILLS={kills}");
    let mut random = Random::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let options = LoadOptions::new(directory.path());
    let mut ids: Vec<String> = Vec::new();
    let mut ended = BTreeSet::new();
    for _ in 0..kills {
        let mut load = Load::start(&options);
        let mut open: Vec<String> = ids.iter().filter(|id| !ended.contains(*id)).cloned().collect();
        while open.len() < UNDER_WAY {
            ids.push(format!("deposits {}", ids.len()));
            open.extend(ids.last().cloned());
        }
        let mut waits = BTreeMap::new();
        for id in open {
            load.send(start(&id, program()));
            waits.insert(load.send(Command::Wait { id: id.clone() }), id);
        }
        let kill_at = Instant::now() + Duration::from_micros(random.from_to(0, 30_000));
        let mut heard = Vec::new();
        while let Some(reply) = load.reply_before(kill_at) {
            heard.push(reply);
        }
        heard.extend(load.kill());
        let over = heard.into_iter().filter(|reply| matches!(reply.outcome, Ok(Answer::Instance { .. })));
        ended.extend(over.filter_map(|reply| waits.get(&reply.number).cloned()));
    }
    let mut load = Load::start(&options);
    let mut completions = BTreeSet::new();
    let mut again = 0;
    for id in &ids {
        // The start may have been lost with its process.
        let _ = load.ask(start(id, program()));
        let seen = output(load.ask(Command::Wait { id: id.clone() }));
        assert_eq!(seen.done.len(), WIDTH as usize * STEPS, "{id}");
        for done in seen.done {
            let line = done.line;
            again += u32::from(line.delivery > 1);
            assert!(completions.insert((line.instance, line.execution, line.task, line.delivery)));
        }
    }
    load.shut_down();
    let hub = rusqlite::Connection::open(&options.hub).unwrap();
    let mut statement = hub.prepare("SELECT instance, execution, task, delivery FROM ledger").unwrap();
    let ledger = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
    let ledger: Vec<(String, String, u32, u32)> = ledger.unwrap().collect::<Result<_, _>>().unwrap();
    let total: u32 = hub.query_row("SELECT n FROM total", (), |row| row.get(0)).unwrap();
    println!("{} deposits of {} instances, {again} of them handed out again", ledger.len(), ids.len());
    assert_eq!(ledger.len(), completions.len());
    assert_eq!(ledger.into_iter().collect::<BTreeSet<_>>(), completions);
    assert_eq!(total as usize, completions.len());
    assert!(kills < 50 || again > 0, "no kill has hit an activity: the test proves nothing");
}
