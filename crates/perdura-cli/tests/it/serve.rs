//! `perdura serve` as a process: what it refuses, and how it ends.

use super::perdura::perdura;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// What it says when it does not start, and with which code it ends.
fn refusal(arguments: &[&str]) -> (Option<i32>, String) {
    refusal_with(arguments, |_| {})
}

fn refusal_with(arguments: &[&str], change: impl FnOnce(&mut Command)) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = perdura();
    command.arg("serve").arg("--data").arg(directory.path().join("hubs")).args(arguments);
    change(&mut command);
    let output = command.output().unwrap();
    assert!(!directory.path().join("hubs").exists(), "nothing is made by one that does not start");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn settings_that_expose_the_hubs_are_refused_with_what_to_do() {
    let (code, text) = refusal(&["--listen", "0.0.0.0:0"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("--tls-cert") && text.contains("--insecure-no-auth"), "{text}");
}

#[test]
fn a_way_of_delivery_that_cannot_be_is_refused() {
    let (code, text) = refusal(&["--at-most-once", "pay=handler:pay"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("cannot be its own handler"), "{text}");
    for second in [["--at-most-once", "pay=suspend"], ["--precise", "pay"]] {
        let (code, text) = refusal(&["--at-most-once", "pay=fail", second[0], second[1]]);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("activity \"pay\" is named twice"), "{text}");
    }
}

#[test]
fn a_token_that_is_easy_to_guess_is_refused_and_not_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let tokens = directory.path().join("tokens");
    std::fs::write(&tokens, "hunter2\n").unwrap();
    let (code, text) = refusal(&["--listen", "127.0.0.1:0", "--token-file", tokens.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("16") && !text.contains("hunter2"), "{text}");
}

#[test]
fn a_token_that_is_there_but_empty_does_not_open_the_server_to_everybody() {
    let (code, text) = refusal_with(&["--listen", "127.0.0.1:0"], |command| {
        command.env("PERDURA_TOKEN", "");
    });
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("PERDURA_TOKEN is empty"), "{text}");
}

#[test]
fn it_ends_in_good_order_when_asked_to() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = perdura();
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(directory.path());
    let mut server = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().map_while(Result::ok).any(|line| line.starts_with("Listening on ")));
    let asked = Command::new("kill").args(["-TERM", &server.id().to_string()]).status().unwrap();
    assert!(asked.success());
    let status = server.wait().unwrap();
    assert!(status.success(), "it ended with {status}");
}
