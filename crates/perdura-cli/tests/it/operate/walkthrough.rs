//! The walk-through of the guide: its commands are run, and print what it says, on a hub file and on a server that runs.

use super::bed::*;
use crate::perdura::run;
use perdura_remote::{Connection, Worker};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/rewind.md");
/// Here the guide starts the program again, and the bank is up.
const PROGRAM: &str = "```sh\nyour-program\n```";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_night_when_the_bank_was_down_goes_as_the_guide_says() {
    let guide = std::fs::read_to_string(GUIDE).unwrap();
    let (before, after) = guide.split_once(PROGRAM).expect("the guide starts the program once");
    let ids: Vec<String> = (1..=500).map(|number| format!("order-{number}")).collect();
    let bed = Bed::after(async |engine| {
        for id in &ids {
            engine.start(order, format!("book of {id}")).id(id).await.unwrap();
        }
        for id in &ids {
            engine.instance(id).wait::<String>().await.unwrap_err();
        }
    })
    .await;
    std::fs::rename(bed.file(), bed.dir.path().join("hub.db")).unwrap();
    assert!(follow(before, bed.dir.path()) >= 5);
    std::fs::rename(bed.dir.path().join("hub.db"), bed.file()).unwrap();
    bed.with_engine(true, async |engine| {
        for id in &ids {
            let output: String = engine.instance(id).wait().await.unwrap();
            assert_eq!(output, format!("book of {id} is reserved, book of {id} is paid"));
        }
    })
    .await;
    std::fs::rename(bed.file(), bed.dir.path().join("hub.db")).unwrap();
    assert!(follow(after, bed.dir.path()) >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_server_it_goes_as_the_guide_says_and_nothing_is_stopped() {
    let guide = std::fs::read_to_string(GUIDE).unwrap();
    let (before, after) = guide.split_once(PROGRAM).expect("the guide starts the program once");
    let bed = Bed::after(async |_| {}).await.at(Place::Server).await;
    let connection = Connection::new(&bed.url().unwrap()).unwrap();
    let worker = async |is_up| -> Worker { connection.worker(orders(is_up)).start().await.unwrap() };
    let (client, down) = (connection.client(), worker(false).await);
    let mut started = Vec::new();
    for number in 1..=500 {
        let id = format!("order-{number}");
        started.push(client.start(order, format!("book of {id}")).id(id).await.unwrap());
    }
    for failing in &started {
        failing.wait().await.unwrap_err();
    }
    // The worker that cannot reach the bank is stopped, not the server.
    down.shutdown().await;
    assert!(follow(&for_a_server(before, &bed), bed.dir.path()) >= 5);
    let up = worker(true).await;
    for (number, paid) in (1..).zip(&started) {
        let book = format!("book of order-{number}");
        assert_eq!(paid.wait().await.unwrap(), format!("{book} is reserved, {book} is paid"));
    }
    assert!(follow(&for_a_server(after, &bed), bed.dir.path()) >= 2);
    up.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_fails_again_keeps_the_others_from_being_rewound() {
    let ids = ["o1", "o2", "o3", "o4", "o5"];
    let bed = Bed::failed_orders(&ids).await.at(Place::Server).await;
    let connection = Connection::new(&bed.url().unwrap()).unwrap();
    let careful = ["--name", "order", "--canary", "2", "--reason", "the bank is up"];
    let down = connection.worker(orders(false)).start().await.unwrap();
    let said = bed.said("rewind", &careful).await;
    assert!(
        said.code != 0 && said.out.contains("stopped: canary \"o1\" is Failed again: bank.Down"),
        "{}",
        said.out
    );
    assert!(said.out.contains("5 matched, 2 rewound, 0 refused, 3 left alone"), "{}", said.out);
    down.shutdown().await;
    let up = connection.worker(orders(true)).start().await.unwrap();
    let said = bed.shown("rewind", &careful).await;
    assert!(said.contains("5 matched, 5 rewound, 0 refused, 0 left alone"), "{said}");
    for id in ids {
        let order = connection.client().instance::<String>(id);
        assert_eq!(order.wait().await.unwrap(), "a book is reserved, a book is paid");
    }
    up.shutdown().await;
}

/// The same text for a server: its address takes the place of the file, which is only looked at.
fn for_a_server(text: &str, bed: &Bed) -> String {
    let (url, mut out) = (bed.url().unwrap(), String::new());
    for line in text.lines() {
        let line = match line.starts_with("$ perdura inspect ") || line.starts_with("hub.db: ") {
            true => line.replace("hub.db", "default.db"),
            false => line.replace("hub.db", &format!("--server {url}")),
        };
        let line = line.replace("done; it goes on when an engine is started", "done; it goes on");
        let missing = "no worker serves activity \"charge\": start one";
        writeln!(out, "{}", line.replace("if no engine serves the hub, start one", missing)).unwrap();
    }
    out
}

/// Runs the commands of a text; says how many there were.
fn follow(text: &str, directory: &Path) -> usize {
    let mut commands = 0;
    for block in text.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        for step in block.split("$ ").skip(1) {
            let (command, expected) = step.split_once('\n').unwrap();
            assert_eq!(without_times(&shell(command, directory)), without_times(expected), "{command}");
            commands += 1;
        }
    }
    commands
}

fn shell(command: &str, directory: &Path) -> String {
    let perdura = Path::new(env!("CARGO_BIN_EXE_perdura")).parent().unwrap();
    let path = std::env::join_paths(
        std::iter::once(perdura.to_owned()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let said = run(Command::new("sh")
        .args(["-c", command])
        .current_dir(directory)
        .env("PATH", path.unwrap())
        .env("USER", "ada"));
    said.out + &said.err
}

/// Every point of time is the same.
fn without_times(text: &str) -> String {
    const LIKE: &[u8] = b"dddd-dd-ddTdd:dd:dd.dddZ";
    let is_time = |at: usize| {
        let found = text.as_bytes().get(at..at + LIKE.len());
        found.is_some_and(|found| {
            found.iter().zip(LIKE).all(|(c, like)| if *like == b'd' { c.is_ascii_digit() } else { c == like })
        })
    };
    let (mut out, mut at) = (String::new(), 0);
    while let Some(c) = text[at..].chars().next() {
        if is_time(at) {
            out.push_str("TIME");
            at += LIKE.len();
        } else {
            out.push(c);
            at += c.len_utf8();
        }
    }
    out
}
