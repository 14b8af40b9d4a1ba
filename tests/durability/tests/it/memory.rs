//! More instances than fit in memory.

use crate::process::{Load, output, start};
use perdura_durability::{Answer, Command, LoadOptions, Program, Random, Step, Transcript};

const INSTANCES: usize = 300;
const RESIDENT_MAX: usize = 10;

#[test]
fn a_hub_with_room_for_ten_instances_carries_three_hundred_over_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = LoadOptions::new(directory.path());
    options.resident_instances_max = RESIDENT_MAX;
    let mut random = Random::new(9);
    let mut load = Load::start(&options);
    let starts: Vec<u64> = (0..INSTANCES).map(|number| load.send(start(&id(number), program()))).collect();
    for question in starts {
        assert!(matches!(load.outcome(question), Ok(Answer::Started { .. })));
    }
    for round in 0..4 {
        // Each round in another order, so that those at hand are never those that are needed.
        let mut order: Vec<usize> = (0..INSTANCES).collect();
        for at in (1..INSTANCES).rev() {
            order.swap(at, random.from_to(0, at as u64) as usize);
        }
        let raised: Vec<u64> = order
            .iter()
            .map(|number| load.send(Command::Raise { id: id(*number), value: format!("round {round}") }))
            .collect();
        for question in raised {
            assert_eq!(load.outcome(question), Ok(Answer::Done));
        }
        load.kill();
        load = Load::start(&options);
    }
    for number in 0..INSTANCES {
        let seen = output(load.ask(Command::Wait { id: id(number) }));
        assert_eq!(seen.events, ["round 0", "round 1", "round 2", "round 3"], "{}", id(number));
        assert_eq!((seen.done.len(), seen.again), (3, 1));
    }
    load.shut_down();
}

fn id(number: usize) -> String {
    format!("memory-{number}")
}

fn program() -> Program {
    let work = || Step::Work { ms: 1, failures: 0 };
    let collect = |count| Step::Collect { count };
    let steps = vec![collect(1), work(), collect(2), Step::Again, work(), collect(3), work(), collect(4)];
    Program { steps, seen: Transcript::default() }
}
