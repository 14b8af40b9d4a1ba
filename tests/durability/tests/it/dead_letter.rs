//! An orchestration whose code ends the process each time: in the end it is set aside, and the others go on.

use crate::process::{Load, output, start};
use perdura_durability::{Answer, Command, LoadOptions, Program, Step};
use std::time::{Duration, Instant};

const LOST_MAX: u32 = 4;
/// How long a process is given to end itself.
const LIFE: Duration = Duration::from_secs(20);

/// What an instance is suspended or blocked by, once it says something; `None` if the process ends before.
fn problem_of(load: &mut Load, id: &str) -> Option<String> {
    let until = Instant::now() + LIFE;
    load.send(Command::Look { id: id.into() });
    while let Some(reply) = load.reply_before(until) {
        match reply.outcome {
            Ok(Answer::Instance { status, problem, .. }) if status == "Suspended" => {
                return problem.or(Some(status));
            }
            Ok(Answer::Instance { .. }) => drop(load.send(Command::Look { id: id.into() })),
            _ => {}
        }
    }
    None
}

#[test]
fn a_turn_that_ends_its_process_each_time_is_a_dead_letter_in_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let options = LoadOptions { lost_workers_max: LOST_MAX, ..LoadOptions::new(directory.path()) };
    // Its turn is due to a result that is not durable when the process ends for the first time.
    let killer = Program { steps: vec![Step::Work { ms: 1, failures: 0 }, Step::Die], ..Program::default() };
    let steps = vec![Step::Work { ms: 20, failures: 0 }; 3];
    let other = Program { steps, ..Program::default() };
    let mut load = Load::start(&options);
    for id in ["other 1", "other 2"] {
        load.ask(start(id, other.clone())).unwrap();
    }
    load.send(start("killer", killer));
    let mut deaths = 0;
    while problem_of(&mut load, "killer").is_none() {
        deaths += 1;
        assert!(deaths < 20, "it is tried for ever");
        // It may end before it says that it runs.
        load = Load::spawn(&options);
    }
    println!("{deaths} deaths");
    assert!(deaths > LOST_MAX);
    for id in ["other 1", "other 2"] {
        assert_eq!(output(load.ask(Command::Wait { id: id.into() })).done.len(), 3);
    }
    load.shut_down();
}
