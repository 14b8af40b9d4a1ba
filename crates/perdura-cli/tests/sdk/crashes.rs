//! Workers and servers that die.

use super::process::{Program, Running, Server};
use std::path::Path;
use std::time::{Duration, Instant};

const WORKER: &str = "crates/perdura-cli/tests/sdk/programs/worker.py";
const LOAD: &str = "crates/perdura-cli/tests/sdk/programs/load.py";

fn worker(server: &Server, journal: &Path, seconds: &str) -> Running {
    Program::python(WORKER).arg(server.address()).arg(journal).arg(seconds).spawn()
}

fn load(server: &Server, count: &str) -> Running {
    Program::python(LOAD).arg(server.address()).arg(count).spawn()
}

/// Waits until the journal has so many lines.
fn until_lines(journal: &Path, count: usize) {
    let began = Instant::now();
    while std::fs::read_to_string(journal).unwrap_or_default().lines().count() < count {
        assert!(began.elapsed() < Duration::from_secs(60), "the workers did not get there");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
#[ignore = "needs the Python SDK: scripts/python-sdk, then --ignored"]
fn an_activity_whose_worker_is_killed_is_run_by_another() {
    let server = Server::new();
    let journal = server.file("journal");
    let slow = worker(&server, &journal, "3600");
    let load = load(&server, "1");
    until_lines(&journal, 1);
    slow.kill();
    let _fast = worker(&server, &journal, "0");
    load.wait();
    let text = std::fs::read_to_string(&journal).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("began 0 ")).count(), 2, "{text}");
    assert_eq!(text.lines().count(), 6, "nothing else ran twice: {text}");
}

#[test]
#[ignore = "needs the Python SDK: scripts/python-sdk, then --ignored"]
fn two_workers_share_the_work_and_one_carries_on_alone() {
    let server = Server::new();
    let journal = server.file("journal");
    let (first, _second) = (worker(&server, &journal, "0.01"), worker(&server, &journal, "0.01"));
    let load = load(&server, "50");
    until_lines(&journal, 100);
    first.kill();
    load.wait();
    let text = std::fs::read_to_string(&journal).unwrap();
    let mut workers: Vec<_> = text.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    workers.sort_unstable();
    workers.dedup();
    assert_eq!(workers.len(), 2, "both had work");
}

#[test]
#[ignore = "needs the Python SDK: scripts/python-sdk, then --ignored"]
fn a_server_that_is_killed_under_load_loses_nothing_and_everybody_comes_back() {
    let mut server = Server::new();
    let journal = server.file("journal");
    let _workers = [worker(&server, &journal, "0.01"), worker(&server, &journal, "0.01")];
    let load = load(&server, "100");
    for lines in [50, 150, 300] {
        until_lines(&journal, lines);
        server.kill();
        server.start();
    }
    load.wait();
}
