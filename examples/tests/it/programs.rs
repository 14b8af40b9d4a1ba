//! Each example as a program, run twice on the same new hub: the second time it finds what the first one left.

use std::process::Command;
use tempfile::TempDir;

/// What both runs print.
fn output(program: &str) -> [String; 2] {
    let dir = TempDir::new().unwrap();
    let run = || {
        let output = Command::new(program).current_dir(dir.path()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {}\n{errors}", output.status);
        assert_eq!(errors, "", "{program}");
        String::from_utf8(output.stdout).unwrap()
    };
    [run(), run()]
}

/// What both runs print alike.
fn same_output(program: &str) -> String {
    let [first, second] = output(program);
    assert_eq!(first, second, "{program}");
    first
}

#[test]
fn chaining() {
    let text = same_output(env!("CARGO_BIN_EXE_chaining"));
    assert_eq!(text, "shipped from shelf 7 for order 42 against receipt for 1999 cents\n");
}

#[test]
fn fan_out() {
    assert_eq!(same_output(env!("CARGO_BIN_EXE_fan_out")), "1000 words\n");
}

#[test]
fn eternal_loop() {
    let [first, second] = output(env!("CARGO_BIN_EXE_eternal_loop"));
    let outcomes = [(first, "the janitor is created"), (second, "the janitor is replaced")];
    for (text, outcome) in outcomes {
        let lines: Vec<&str> = text.lines().collect();
        let [start, rounds @ .., end] = &lines[..] else { panic!("{text}") };
        assert_eq!(*start, outcome);
        for (number, round) in rounds.iter().enumerate() {
            assert_eq!(*round, format!("round {}", number + 1));
        }
        assert!(!rounds.is_empty(), "{text}");
        assert_eq!(*end, format!("stopped before round {}", rounds.len() + 1));
    }
}

#[test]
fn human_interaction() {
    for text in output(env!("CARGO_BIN_EXE_human_interaction")) {
        for line in
            ["Approved { by: \"ada\" }", "to the manager: nobody has decided about a boat", "Escalated"]
        {
            assert!(text.lines().any(|found| found == line), "{text}");
        }
    }
}

#[test]
fn monitor() {
    let text = same_output(env!("CARGO_BIN_EXE_monitor"));
    assert!(text.ends_with("look 4 at job 7\ndone after 4 looks\n"), "{text}");
}

#[test]
fn saga() {
    let [text, _] = output(env!("CARGO_BIN_EXE_saga"));
    let expected = "booked a flight\nbooked a hotel\nconfirmed 2 bookings\n\
        booked a flight\nbooked a hotel\nundid a room on the moon\nundid a hotel\nundid a flight\n";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.contains("is Failed: SoldOut: no room on the moon\n"), "{text}");
    assert!(text.contains("undid a hotel\nundid a flight\ninstance "), "{text}");
    assert!(text.ends_with("is Canceled: perdura.Canceled: the traveller is ill\n"), "{text}");
}

#[test]
fn event_batching() {
    let [first, second] = output(env!("CARGO_BIN_EXE_event_batching"));
    assert!(first.starts_with("200 callers created 1 aggregator\n"), "{first}");
    assert!(second.starts_with("200 callers created 0 aggregator\n"), "{second}");
}

#[test]
fn counter() {
    assert_eq!(same_output(env!("CARGO_BIN_EXE_counter")), "4 visits, 3 of them to the front page\nNone\n");
}

#[test]
fn bank_transfer() {
    for text in output(env!("CARGO_BIN_EXE_bank_transfer")) {
        let lines: Vec<&str> = text.lines().collect();
        let [first, last] = lines[..] else { panic!("{text}") };
        assert_eq!(first, "while they are under way: 10000 cents");
        assert!(last.starts_with("after ") && last.ends_with(" refused: 10000 cents"), "{text}");
    }
}

#[test]
fn rate_limiter() {
    assert_eq!(same_output(env!("CARGO_BIN_EXE_rate_limiter")), "1015, politely\n");
}

#[test]
fn shopping_cart() {
    let text = same_output(env!("CARGO_BIN_EXE_shopping_cart"));
    let expected = "to ada: do you still want a boat and an oar?\n\
        to ada: a boat and an oar on the way\nEmptyCart: there is nothing in it\n";
    assert_eq!(text, expected);
}

#[test]
fn ledger() {
    let text = same_output(env!("CARGO_BIN_EXE_ledger"));
    assert_eq!(text, "ada paid 3 times\nbob paid 2 times\n5 bookings, 5200 cents in all accounts\n");
}
