//! No room left.

use crate::process::{Load, PATIENCE, output, start};
use crate::small_disk::SmallDisk;
use perdura_durability::{Answer, Command, LoadOptions, Program, Step, Transcript};
use perdura_sqlite::SqliteStore;
use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};

const INSTANCES: usize = 40;

/// Fills it to the last byte.
fn fill(disk: &SmallDisk) {
    let mut filler = OpenOptions::new().append(true).create(true).open(disk.filler()).unwrap();
    for size in [1 << 16, 1 << 12, 1 << 8, 1] {
        while filler.write_all(&vec![0; size]).is_ok() {}
    }
}

#[test]
fn on_a_full_disk_callers_are_told_and_when_there_is_room_the_engine_goes_on_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = LoadOptions::new(directory.path());
    let test = "space::on_a_full_disk_callers_are_told_and_when_there_is_room_the_engine_goes_on_by_itself";
    let Some(disk) = SmallDisk::mount(directory.path().join("disk"), 48 << 20, test) else { return };
    options.hub = disk.place.join("hub.db");
    let mut load = Load::start(&options);
    let mut hub = Clients::default();
    hub.start_many(&mut load, "before");
    assert_eq!(hub.refused.len(), 0);

    for round in 0..3 {
        fill(&disk);
        hub.use_until_refused(&mut load, &format!("full-{round}"));
        if round == 1 {
            // A process that dies of it, or is restarted because of it, finds everything as it was.
            load.kill();
            disk.free();
            load = Load::start(&options);
        } else {
            disk.free();
        }
        hub.use_until_accepted(&mut load, &format!("free-{round}"));
    }
    hub.check(load, &options);
}

#[test]
fn when_the_log_has_filled_the_disk_a_little_room_is_enough_to_use_its_space_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = LoadOptions::new(directory.path());
    let test = "space::when_the_log_has_filled_the_disk_a_little_room_is_enough_to_use_its_space_again";
    let Some(disk) = SmallDisk::mount(directory.path().join("disk"), 7 << 20, test) else { return };
    options.hub = disk.place.join("hub.db");
    disk.take(5 << 19);
    let mut load = Load::start(&options);
    let mut hub = Clients::default();
    hub.use_until_refused(&mut load, "log");
    disk.free();
    hub.use_until_accepted(&mut load, "free");
    // The log alone would need several times the disk.
    for number in 0..500 {
        assert!(hub.use_and_purge(&mut load, &format!("on-{number}")), "after {number} instances");
    }
    hub.check(load, &options);
}

#[test]
fn a_file_that_may_not_grow_refuses_until_it_may() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = LoadOptions::new(directory.path());
    options.file_bytes_max = Some(1 << 20);
    let mut load = Load::start(&options);
    let mut hub = Clients::default();
    hub.use_until_refused(&mut load, "small");
    load.kill();
    options.file_bytes_max = None;
    let mut load = Load::start(&options);
    hub.use_until_accepted(&mut load, "large");
    hub.check(load, &options);
}

/// What the clients of a hub were told.
#[derive(Default)]
struct Clients {
    started: Vec<String>,
    /// Those that were told that nothing was written.
    refused: Vec<String>,
}

impl Clients {
    fn start(&mut self, load: &mut Load, id: String) -> bool {
        match load.ask(start(&id, program())) {
            Ok(Answer::Started { outcome, .. }) => {
                assert_eq!(outcome, "created");
                self.started.push(id);
                true
            }
            Err(refusal) => {
                assert!(refusal.text.contains("storage is full"), "not clear: {refusal:?}");
                assert_eq!(refusal.kind, "Unavailable", "nothing was written, and it is known: {refusal:?}");
                self.refused.push(id);
                false
            }
            other => panic!("{other:?}"),
        }
    }

    fn start_many(&mut self, load: &mut Load, name: &str) {
        for number in 0..INSTANCES {
            self.start(load, format!("{name}-{number}"));
        }
    }

    fn use_until_refused(&mut self, load: &mut Load, name: &str) {
        let mut refusals = 0;
        for number in 0.. {
            refusals += u32::from(!self.start(load, format!("{name}-{number}")));
            if refusals == 5 {
                break;
            }
            assert!(number < 100_000, "the disk is never full");
        }
        // What was acknowledged can be read all the while.
        let id = self.started[0].clone();
        assert!(matches!(load.ask(Command::Look { id }), Ok(Answer::Instance { .. })));
    }

    /// Uses an instance from its start to its end and leaves nothing of it. Says whether there was room.
    fn use_and_purge(&mut self, load: &mut Load, id: &str) -> bool {
        if !self.start(load, id.into()) {
            return false;
        }
        let (id, value) = (id.to_owned(), "go".into());
        assert_eq!(load.ask(Command::Raise { id: id.clone(), value }), Ok(Answer::Done));
        output(load.ask(Command::Wait { id: id.clone() }));
        let purged = load.ask(Command::Purge { id }) == Ok(Answer::Done);
        self.started.pop();
        purged
    }

    /// Each partition finds out by itself that there is room again, so one success proves little.
    fn use_until_accepted(&mut self, load: &mut Load, name: &str) {
        let until = Instant::now() + PATIENCE;
        let mut in_a_row = 0;
        for number in 0.. {
            if self.start(load, format!("{name}-{number}")) {
                in_a_row += 1;
            } else {
                in_a_row = 0;
                std::thread::sleep(Duration::from_millis(20));
            }
            if in_a_row == INSTANCES {
                return;
            }
            assert!(Instant::now() < until, "it does not go on by itself");
        }
    }

    fn check(&self, mut load: Load, options: &LoadOptions) {
        println!("{} started, {} refused", self.started.len(), self.refused.len());
        for id in &self.refused {
            let look = load.ask(Command::Look { id: id.clone() });
            assert_eq!(look, Ok(Answer::Nothing), "{id} was refused, and is there");
        }
        for id in &self.started {
            assert_eq!(load.ask(Command::Raise { id: id.clone(), value: "go".into() }), Ok(Answer::Done));
        }
        for id in &self.started {
            let seen = output(load.ask(Command::Wait { id: id.clone() }));
            assert_eq!((seen.events.as_slice(), seen.done.len()), (["go".to_owned()].as_slice(), 1), "{id}");
        }
        load.shut_down();
        let store = SqliteStore::open_read_only(&options.hub).unwrap();
        assert_eq!(store.check(), Ok(Vec::new()));
    }
}

/// Some kilobytes of program, so that the disk is soon full.
fn program() -> Program {
    let mut steps = vec![Step::Collect { count: 1 }, Step::Work { ms: 0, failures: 0 }];
    steps.extend((0..300).map(|_| Step::Collect { count: 1 }));
    Program { steps, seen: Transcript::default() }
}
