//! A process that stands still for a while: a laptop that sleeps, a debugger, a machine without a free core.

use crate::process::{Load, evidence_of, output, start};
use perdura_durability::{Answer, Command, LoadOptions, Program, Step, Transcript, read_evidence};
use std::time::Duration;

const INSTANCES: usize = 40;

#[test]
fn after_sigstop_and_sigcont_timers_fire_late_but_once_and_everything_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let options = LoadOptions::new(directory.path());
    let mut load = Load::start(&options);
    let work = || Step::Work { ms: 20, failures: 1 };
    let steps = vec![work(), Step::Sleep { ms: 300 }, work(), Step::Sleep { ms: 300 }, work(), collect()];
    for number in 0..INSTANCES {
        let program = Program { steps: steps.clone(), seen: Transcript::default() };
        load.ask(start(&format!("pause-{number}"), program)).unwrap();
    }
    evidence_of(&options, INSTANCES);

    load.signal("STOP");
    // What is asked of it meanwhile waits, and is done.
    let raised: Vec<u64> = (0..INSTANCES).map(|number| load.send(raise(number))).collect();
    std::thread::sleep(Duration::from_secs(2));
    load.signal("CONT");

    for question in raised {
        assert_eq!(load.outcome(question), Ok(Answer::Done));
    }
    for number in 0..INSTANCES {
        let seen = output(load.ask(Command::Wait { id: format!("pause-{number}") }));
        assert_eq!((seen.timers, seen.early, seen.done.len()), (2, 0, 3));
        assert_eq!(seen.events, [format!("for {number}")]);
    }
    // Three activities of two attempts each, and no attempt was delivered twice: nobody has died.
    let lines = read_evidence(&options.evidence).unwrap();
    assert_eq!(lines.len(), INSTANCES * 6);
    assert!(lines.iter().all(|line| line.delivery == line.attempt), "{lines:#?}");
    load.shut_down();
}

fn collect() -> Step {
    Step::Collect { count: 1 }
}

fn raise(number: usize) -> Command {
    Command::Raise { id: format!("pause-{number}"), value: format!("for {number}") }
}
