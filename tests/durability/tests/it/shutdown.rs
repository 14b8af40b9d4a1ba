//! The graceful end.

use crate::process::{Load, evidence_of, output, start};
use perdura_durability::{Answer, Command, LoadOptions, Program, Step, Transcript, read_evidence};

const WIDTH: u32 = 8;

#[test]
fn a_shutdown_lets_running_activities_finish_and_nothing_of_it_runs_again() {
    let directory = tempfile::tempdir().unwrap();
    let options = LoadOptions::new(directory.path());
    let mut load = Load::start(&options);
    load.ask(start("fan", fan_and_work(300))).unwrap();
    let waiter = load.send(Command::Wait { id: "fan".into() });
    evidence_of(&options, WIDTH as usize);

    let shutdown = load.send(Command::Shutdown);
    let late = load.ask(start("late", fan_and_work(0))).unwrap_err();
    assert_eq!((late.kind.as_str(), late.text.as_str()), ("ShuttingDown", "the engine is shutting down"));
    assert_eq!(load.outcome(waiter).unwrap_err().kind, "ShuttingDown");
    assert_eq!(load.outcome(shutdown), Ok(Answer::Done));
    assert_eq!(
        read_evidence(&options.evidence).unwrap().len(),
        WIDTH as usize,
        "work was begun in a shutdown"
    );

    let mut load = restart(load, &options);
    let seen = output(load.ask(Command::Wait { id: "fan".into() }));
    assert_eq!(seen.done.len(), WIDTH as usize + 1);
    assert_eq!(load.ask(Command::Look { id: "late".into() }), Ok(Answer::Nothing));
    let lines = read_evidence(&options.evidence).unwrap();
    assert_eq!(lines.len(), WIDTH as usize + 1, "something ran twice: {lines:#?}");
    assert!(lines.iter().take(WIDTH as usize).all(|line| line.delivery == 1), "{lines:#?}");
}

#[test]
fn what_outlasts_the_drain_time_runs_again_with_a_delivery_count_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = LoadOptions::new(directory.path());
    options.drain_ms = 50;
    let mut load = Load::start(&options);
    load.ask(start("slow", fan_and_work(2000))).unwrap();
    evidence_of(&options, WIDTH as usize);
    assert_eq!(load.ask(Command::Shutdown), Ok(Answer::Done));

    let mut load = restart(load, &options);
    let seen = output(load.ask(Command::Wait { id: "slow".into() }));
    assert!(seen.done.iter().take(WIDTH as usize).all(|done| done.line.delivery == 2), "{seen:#?}");
    assert!(seen.done.iter().all(|done| done.line.attempt == 1), "a shutdown is no failed attempt");
}

fn fan_and_work(ms: u64) -> Program {
    let steps = vec![Step::Fan { width: WIDTH, ms }, Step::Work { ms: 0, failures: 0 }];
    Program { steps, seen: Transcript::default() }
}

fn restart(load: Load, options: &LoadOptions) -> Load {
    load.kill();
    Load::start(options)
}
