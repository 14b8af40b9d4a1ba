//! One process has a hub at a time.

use crate::process::{Load, output, start};
use perdura_durability::{Command, LoadOptions, Program, Step, Transcript};

#[test]
fn a_second_process_is_told_who_has_the_hub_and_gets_it_when_the_first_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let options = LoadOptions::new(directory.path());
    let mut first = Load::start(&options);
    first.ask(start("a", waits_for_one_event())).unwrap();

    let refusal = Load::spawn(&options).ready().unwrap_err();
    assert_eq!(refusal.kind, "Store");
    let holder = format!("hub.db is in use by process {} on host ", first.id());
    assert!(refusal.text.contains(&holder), "{}", refusal.text);
    assert!(refusal.text.ends_with("stop that process, or open another file"), "{}", refusal.text);

    // The refused attempt has not disturbed the first.
    first.ask(start("b", waits_for_one_event())).unwrap();
    first.kill();
    let mut second = Load::start(&options);
    for id in ["a", "b"] {
        second.ask(Command::Raise { id: id.into(), value: "now".into() }).unwrap();
        assert_eq!(output(second.ask(Command::Wait { id: id.into() })).events, ["now"]);
    }
    second.shut_down();
    Load::start(&options).shut_down();
}

fn waits_for_one_event() -> Program {
    Program { steps: vec![Step::Collect { count: 1 }], seen: Transcript::default() }
}
