//! An unmodified Python program whose activity runs at most once by the server's configuration alone.

use super::process::{Program, Running, Server};
use std::path::Path;
use std::time::{Duration, Instant};

const WORKER: &str = "crates/perdura-cli/tests/sdk/programs/payer.py";
const CLIENT: &str = "crates/perdura-cli/tests/sdk/programs/payment.py";

fn worker(server: &Server, journal: &Path, seconds: &str) -> Running {
    Program::python(WORKER).arg(server.address()).arg(journal).arg(seconds).spawn()
}

fn until_begun(journal: &Path) {
    let began = Instant::now();
    while !std::fs::read_to_string(journal).unwrap_or_default().contains("pay") {
        assert!(began.elapsed() < Duration::from_secs(60), "nobody pays");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A worker dies while it pays; the client says what must come of it, and what has been written so far.
fn dies(policy: &str, input: &str, expected: &str, payments: usize) {
    let server = Server::with(&["--at-most-once", &format!("pay={policy}")]);
    let journal = server.file("journal");
    let slow = worker(&server, &journal, "3600");
    let client = Program::python(CLIENT).arg(server.address()).arg(input).arg(expected).spawn();
    until_begun(&journal);
    slow.kill();
    let _fast = worker(&server, &journal, "0");
    client.wait();
    let text = std::fs::read_to_string(&journal).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("pay")).count(), payments, "{text}");
}

macro_rules! deaths {
    ($($name:ident: $policy:literal, $input:literal, $expected:literal, $payments:literal;)*) => {
        $(
            #[test]
            #[ignore = "needs the Python SDK: scripts/python-sdk, then --ignored"]
            fn $name() {
                dies($policy, $input, $expected, $payments);
            }
        )*
    };
}

deaths! {
    an_unknown_outcome_is_an_error_and_the_retry_policy_of_the_sdk_does_not_run_it: "fail", "1", "nobody knows whether", 1;
    a_suspended_instance_is_completed_by_an_event: "suspend", "complete", "42", 1;
    a_suspended_instance_is_failed_by_an_event: "suspend", "fail", "by the bank", 1;
    a_suspended_instance_runs_once_more_by_an_event: "suspend", "runOnceMore", "paid", 2;
    a_handler_completes: "handler:find", "complete", "42", 1;
    a_handler_fails: "handler:find", "fail", "by the bank", 1;
    a_handler_lets_it_run_once_more: "handler:find", "runOnceMore", "paid", 2;
    a_handler_suspends: "handler:find", "suspend", "suspended", 1;
    a_handler_that_answers_garbage_suspends: "handler:find", "garbage", "suspended", 1;
}
