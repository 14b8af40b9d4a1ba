//! A hub that is not what was written: flipped bytes, missing pages, a missing log.
//!
//! `PERDURA_FLIPS` and `PERDURA_SEED` set how many bytes are flipped, and which.

use crate::process::{Load, PATIENCE, start};
use perdura_durability::{Answer, Command, LoadOptions, Program, Random, Refusal, Step, Transcript};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const EACH: usize = 20;

/// A hub with instances that have ended and instances that wait, in a directory of its own.
struct Sound {
    directory: tempfile::TempDir,
    options: LoadOptions,
}

impl Sound {
    fn make() -> Sound {
        let directory = tempfile::tempdir().unwrap();
        let options = LoadOptions::new(directory.path());
        let mut load = Load::start(&options);
        let work = || Step::Work { ms: 0, failures: 0 };
        for number in 0..EACH {
            let steps = vec![work(), Step::Fan { width: 3, ms: 0 }];
            load.ask(start(&ended(number), Program { steps, seen: Transcript::default() })).unwrap();
            let steps = vec![work(), Step::Collect { count: 1 }, work()];
            load.ask(start(&waiting(number), Program { steps, seen: Transcript::default() })).unwrap();
        }
        for number in 0..EACH {
            load.ask(Command::Wait { id: ended(number) }).unwrap();
        }
        load.shut_down();
        assert!(!with_end(&options.hub, "-wal").exists(), "a hub that was closed is one file");
        Sound { directory, options }
    }

    /// A copy to be damaged.
    fn copy(&self, name: &str) -> LoadOptions {
        let place = self.directory.path().join(name);
        std::fs::create_dir_all(&place).unwrap();
        let options = LoadOptions::new(&place);
        for end in ["", "-wal"] {
            let _ = std::fs::copy(with_end(&self.options.hub, end), with_end(&options.hub, end));
        }
        options
    }
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn ended(number: usize) -> String {
    format!("ended-{number}")
}

fn waiting(number: usize) -> String {
    format!("waiting-{number}")
}

/// What a damaged hub made of its instances: how often each of these came to pass.
type Tally = BTreeMap<&'static str, usize>;

/// Uses every instance of a hub that may be damaged. Anything is allowed but a wrong result, a panic, or silence.
fn use_all(options: &LoadOptions, tally: &mut Tally) {
    let mut count = |what| *tally.entry(what).or_default() += 1;
    let mut load = Load::spawn(options);
    if let Err(refusal) = load.ready() {
        assert!(refusal.text.contains("hub.db"), "not clear: {refusal:?}");
        return count("hub refused");
    }
    count("hub opened");
    for number in 0..EACH {
        match load.ask(Command::Look { id: ended(number) }) {
            Ok(Answer::Instance { status, output: Some(seen), .. }) => {
                assert_eq!((status.as_str(), seen.done.len()), ("Completed", 4), "{}", ended(number));
                assert!(seen.done.iter().all(|done| done.line.instance == ended(number)));
                count("ended and right");
            }
            other => count(problem(&ended(number), other)),
        }
        let raised = load.ask(Command::Raise { id: waiting(number), value: "go".into() });
        match raised {
            Ok(_) => count(end_of(&mut load, &waiting(number))),
            other => count(problem(&waiting(number), other)),
        }
    }
    let _ = load.send(Command::Shutdown);
    load.kill();
}

/// How an instance ends that has been given what it waited for.
fn end_of(load: &mut Load, id: &str) -> &'static str {
    let until = Instant::now() + PATIENCE / 6;
    loop {
        let look = load.ask(Command::Look { id: id.into() });
        match look.clone() {
            Ok(Answer::Instance { status, output: Some(seen), .. }) if status == "Completed" => {
                assert_eq!(
                    (seen.events.as_slice(), seen.done.len()),
                    (["go".to_owned()].as_slice(), 2),
                    "{id}"
                );
                return "waited and right";
            }
            Ok(Answer::Instance { problem: None, .. }) => {}
            other => return problem(id, other),
        }
        if Instant::now() > until {
            // Where not even the block can be written, the record stays as it was, and each request says why.
            let other = load.ask(Command::Suspend { id: id.into() });
            assert!(other.is_err(), "{id} neither ends nor says why; {look:?}; the next request: {other:?}");
            return problem(id, other);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn problem(id: &str, answer: Result<Answer, Refusal>) -> &'static str {
    match answer {
        Ok(Answer::Nothing) => "instance not found",
        Err(refusal) if refusal.text.contains("there is no instance") => "instance not found",
        Ok(Answer::Instance { problem: Some(problem), .. }) => {
            let clear = ["cannot be read", "the store refuses to write it"];
            assert!(clear.iter().any(|text| problem.contains(text)), "{id}: not clear: {problem}");
            "instance blocked"
        }
        Err(refusal) => {
            let clear = ["damaged", "malformed", "cannot work at present", "not known whether"];
            assert!(clear.iter().any(|word| refusal.text.contains(word)), "{id}: not clear: {refusal:?}");
            "request refused"
        }
        other => panic!("{id}: {other:?}"),
    }
}

#[test]
fn a_flipped_byte_never_makes_a_wrong_result_a_panic_or_silence() {
    let setting = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let (seed, flips) = (setting("PERDURA_SEED").unwrap_or(27), setting("PERDURA_FLIPS").unwrap_or(100));
    println!("PERDURA_SEED={seed} PERDURA_FLIPS={flips}");
    let sound = Sound::make();
    let bytes = std::fs::read(&sound.options.hub).unwrap();
    let mut random = Random::new(seed);
    let mut tally = Tally::new();
    for flip in 0..flips {
        let options = sound.copy("flipped");
        let at = random.from_to(0, bytes.len() as u64 - 1) as usize;
        let bit = 1 << random.from_to(0, 7);
        let mut damaged = bytes.clone();
        damaged[at] ^= bit;
        std::fs::write(&options.hub, damaged).unwrap();
        println!("flip {flip}: byte {at} of {}, bit {bit:#04x}", bytes.len());
        use_all(&options, &mut tally);
        std::fs::remove_dir_all(options.hub.parent().unwrap()).unwrap();
    }
    println!("{tally:#?}");
}

#[test]
fn a_file_that_was_cut_or_lost_its_log_opens_or_says_what_is_wrong() {
    let sound = Sound::make();
    let length = std::fs::metadata(&sound.options.hub).unwrap().len();
    for length in [0, 1, 50, 100, 4095, 4096, 8192, length / 2, length - 4096, length - 1] {
        let options = sound.copy("cut");
        let file = std::fs::OpenOptions::new().write(true).open(&options.hub).unwrap();
        file.set_len(length).unwrap();
        let mut tally = Tally::new();
        use_all(&options, &mut tally);
        println!("cut to {length}: {tally:?}");
        std::fs::remove_dir_all(options.hub.parent().unwrap()).unwrap();
    }

    // A process was killed, and somebody thought that the log is a temporary file.
    let options = sound.copy("no-log");
    let mut load = Load::start(&options);
    for number in 0..EACH {
        load.ask(Command::Raise { id: waiting(number), value: "go".into() }).unwrap();
        load.ask(Command::Wait { id: waiting(number) }).unwrap();
    }
    load.kill();
    std::fs::remove_file(with_end(&options.hub, "-wal")).unwrap();
    let mut tally = Tally::new();
    use_all(&options, &mut tally);
    println!("without its log: {tally:?}");
    assert_eq!(tally.get("hub opened"), Some(&1));
}

#[test]
fn a_log_with_a_flipped_byte_loses_its_end_and_nothing_before_it() {
    let sound = Sound::make();
    let options = sound.copy("log");
    let mut load = Load::start(&options);
    for number in 0..EACH {
        load.ask(Command::Raise { id: waiting(number), value: "go".into() }).unwrap();
        load.ask(Command::Wait { id: waiting(number) }).unwrap();
    }
    load.kill();
    let log = with_end(&options.hub, "-wal");
    let bytes = std::fs::read(&log).unwrap();
    // Behind the commits there is only room for more.
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let mut random = Random::new(5);
    for _ in 0..10 {
        let mut damaged = bytes.clone();
        damaged[random.from_to(0, used as u64) as usize] ^= 1;
        let again = sound.copy("log-flipped");
        std::fs::copy(&options.hub, &again.hub).unwrap();
        std::fs::write(with_end(&again.hub, "-wal"), damaged).unwrap();
        let mut load = Load::start(&again);
        for number in 0..EACH {
            // Those whose end is in the lost part go on from where they were before.
            let _ = load.ask(Command::Raise { id: waiting(number), value: "go".into() });
            assert_eq!(end_of(&mut load, &waiting(number)), "waited and right");
        }
        load.kill();
        std::fs::remove_dir_all(again.hub.parent().unwrap()).unwrap();
    }
}

#[test]
fn a_damaged_instance_is_set_aside_and_the_others_run() {
    let sound = Sound::make();
    for (name, statement) in [
        (
            "its record",
            "UPDATE instance SET record = CAST(substr(record, 1, 20) || x'ff' || substr(record, 22) AS BLOB) WHERE id = ?1",
        ),
        ("its record is cut", "UPDATE instance SET record = substr(record, 1, 30) WHERE id = ?1"),
        ("its record is empty", "UPDATE instance SET record = x'' WHERE id = ?1"),
        ("another tail", "UPDATE instance SET tail = tail + 1 WHERE id = ?1"),
        ("another name", "UPDATE instance SET name = 'else' WHERE id = ?1"),
        ("no such status", "UPDATE instance SET status = 99 WHERE id = ?1"),
        ("a generation below 0", "UPDATE instance SET generation = -1 WHERE id = ?1"),
        ("a name that is no text", "UPDATE instance SET name = CAST(x'ff' AS TEXT) WHERE id = ?1"),
        (
            "its history",
            "UPDATE history SET events = CAST(substr(events, 1, 9) || x'ff' || substr(events, 11) AS BLOB) WHERE instance_key = (SELECT key FROM instance WHERE id = ?1)",
        ),
        (
            "its history is gone",
            "DELETE FROM history WHERE instance_key = (SELECT key FROM instance WHERE id = ?1)",
        ),
    ] {
        let options = sound.copy("aside");
        let file = Connection::open(&options.hub).unwrap();
        assert!(file.execute(statement, [waiting(7)]).unwrap() > 0, "{name}");
        drop(file);
        let mut load = Load::start(&options);
        for number in (0..EACH).filter(|number| *number != 7) {
            load.ask(Command::Raise { id: waiting(number), value: "go".into() }).unwrap();
            assert_eq!(end_of(&mut load, &waiting(number)), "waited and right", "{name}");
        }
        let raised = load.ask(Command::Raise { id: waiting(7), value: "go".into() });
        let said = match raised {
            Ok(_) => match end_of(&mut load, &waiting(7)) {
                "instance blocked" => "blocked".into(),
                other => panic!("{name}: {other}"),
            },
            Err(refusal) => refusal.text,
        };
        println!("{name}: {said}");
        assert!(said == "blocked" || said.contains("\"waiting-7\" is damaged"), "{name}: {said}");
        // It holds up nobody, whatever is asked of it, and what its message recommends works.
        for command in [
            Command::Terminate { id: waiting(7) },
            Command::Suspend { id: waiting(7) },
            Command::Wait { id: waiting(7) },
        ] {
            let refusal = load.ask(command).unwrap_err();
            assert!(refusal.text.contains("\"waiting-7\" is damaged"), "{name}: {refusal:?}");
        }
        assert_eq!(load.ask(Command::Purge { id: waiting(7) }), Ok(Answer::Done), "{name}");
        load.ask(start(&waiting(7), Program::default())).unwrap();
        load.ask(Command::Wait { id: waiting(7) }).unwrap();
        load.shut_down();
        std::fs::remove_dir_all(options.hub.parent().unwrap()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_instance_is_listed_as_such_beside_the_others() {
    let sound = Sound::make();
    for column in ["status = 99", "generation = -1", "record = x''"] {
        let options = sound.copy("listed");
        let file = Connection::open(&options.hub).unwrap();
        file.execute(&format!("UPDATE instance SET {column} WHERE id = ?1"), [waiting(7)]).unwrap();
        drop(file);
        let engine = perdura::Engine::sqlite(&options.hub).start().await.unwrap();
        let states = engine.list(perdura::InstanceQuery::default(), 1000).await.unwrap();
        assert_eq!(states.len(), 2 * EACH, "{column}");
        let damaged: Vec<_> = states.iter().filter(|state| state.damaged().is_some()).collect();
        assert_eq!(damaged.len(), 1, "{column}");
        assert_eq!(damaged[0].id().as_str(), waiting(7), "{column}");
        engine.shutdown().await;
        std::fs::remove_dir_all(options.hub.parent().unwrap()).unwrap();
    }
}
