//! The walk-through of the guide: its commands are run, and print what it says.

use super::bed::*;
use crate::perdura::run;
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
