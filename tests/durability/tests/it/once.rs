//! Activities under SIGKILL: one that runs at most once leaves one line in its file, and no two attempts share a count.

use crate::process::{Load, output, start};
use perdura_durability::{Answer, Command, Line, LoadOptions, Mode, Program, Random, Step, read_evidence};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const MODES: [(&str, Mode); 3] =
    [("once", Mode::AtMostOnce), ("precise", Mode::Precise), ("often", Mode::AtLeastOnce)];
const WIDTH: u32 = 3;
const STEPS: u32 = 4;
/// Instances of each mode that are under way together.
const UNDER_WAY: usize = 3;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

fn program(mode: Mode) -> Program {
    let step = |number| Step::Append { width: WIDTH, ms: u64::from(number % 3), mode };
    Program { steps: (0..STEPS).map(step).collect(), ..Program::default() }
}

#[test]
fn kill_9_at_random_moments_makes_no_activity_run_twice_that_runs_at_most_once() {
    let seed = setting("PERDURA_SEED").unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as u64
    });
    let kills = setting("PERDURA_KILLS").unwrap_or(100);
    println!("PERDURA_SEED={seed} PERDURA_KILLS={kills}");
    let mut random = Random::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let options = LoadOptions::new(directory.path());
    let mut ids: Vec<(String, Mode)> = Vec::new();
    let mut ended = BTreeSet::new();
    for _ in 0..kills {
        let mut load = Load::start(&options);
        // Whatever has ended makes room for another; those of earlier lives may have been started or not.
        let mut waits = Vec::new();
        let open: Vec<_> = ids.iter().filter(|(id, _)| !ended.contains(id)).cloned().collect();
        for (id, mode) in &open {
            load.send(start(id, program(*mode)));
            waits.push((load.send(Command::Wait { id: id.clone() }), id.clone()));
        }
        for (name, mode) in MODES {
            for _ in open.iter().filter(|(_, of)| *of == mode).count()..UNDER_WAY {
                let id = format!("{name} {}", ids.len());
                load.send(start(&id, program(mode)));
                waits.push((load.send(Command::Wait { id: id.clone() }), id.clone()));
                ids.push((id, mode));
            }
        }
        let kill_at = Instant::now() + Duration::from_micros(random.from_to(0, 60_000));
        let mut heard = Vec::new();
        while let Some(reply) = load.reply_before(kill_at) {
            heard.push(reply);
        }
        heard.extend(load.kill());
        for reply in heard {
            if let Some((_, id)) = waits.iter().find(|(number, _)| *number == reply.number)
                && matches!(reply.outcome, Ok(Answer::Instance { .. }))
            {
                ended.insert(id.clone());
            }
        }
    }
    let mut load = Load::start(&options);
    let (mut unknown, mut known) = (0, 0);
    let mut done: Vec<Line> = Vec::new();
    for (id, mode) in &ids {
        // The start may have been lost with its process.
        let _ = load.ask(start(id, program(*mode)));
        let seen = output(load.ask(Command::Wait { id: id.clone() }));
        assert_eq!(seen.done.len() as u32 + seen.unknown, WIDTH * STEPS, "{id}");
        assert!(*mode == Mode::AtMostOnce || seen.unknown == 0, "{id}");
        unknown += seen.unknown;
        known += seen.done.len();
        done.extend(seen.done.into_iter().map(|done| done.line));
    }
    load.shut_down();
    let evidence = read_evidence(&options.evidence).unwrap();
    println!(
        "{} lines, {known} results, {unknown} outcomes unknown, {} instances",
        evidence.len(),
        ids.len()
    );
    let (mut deliveries, mut tasks) = (BTreeSet::new(), BTreeSet::new());
    for line in &evidence {
        let task = (line.execution.clone(), line.task);
        assert!(deliveries.insert((task.clone(), line.delivery)), "two attempts share a count: {line:?}");
        let is_new = tasks.insert(task);
        assert!(is_new || !line.instance.starts_with("once"), "it ran twice: {line:?}");
        let is_first = is_new || line.delivery > 1;
        assert!(is_first || !line.instance.starts_with("precise"), "count 1, but not the first: {line:?}");
    }
    for line in &done {
        assert!(evidence.contains(line), "a result without an attempt: {line:?}");
    }
    assert!(kills < 50 || unknown > 0, "no kill has hit an activity: the test proves nothing");
}
