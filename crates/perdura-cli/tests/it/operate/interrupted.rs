//! Commands that do not come to their end: killed with kill -9 half-way and repeated, and without a reader.

use super::bed::*;
use crate::in_every_place;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

in_every_place![
    a_batch_whose_command_is_killed_is_repeated_and_rewinds_nothing_twice,
    a_repeated_batch_knows_by_its_request_id_what_it_has_rewound_before_it_was_killed,
    without_a_reader_every_verb_ends_in_silence,
    a_batch_whose_output_nobody_reads_is_done_to_its_end,
];

const ORDERS: usize = 60;
/// So many are reported before the command is killed.
const SEEN: usize = 5;
/// Slow enough that the kill comes in the middle: all of it would take three seconds.
const RATE: &str = "20";
const WHY: [&str; 4] = ["--reason", "the bank is up", "--name", "order"];

async fn orders(place: Place) -> (Bed, Vec<String>) {
    let ids: Vec<String> = (0..ORDERS).map(|number| format!("o{number}")).collect();
    let bed = Bed::failed_orders(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    (bed.at(place).await, ids)
}

/// Begins a batch and kills its command when some of it is done; says how many were reported.
fn killed_half_way(bed: &Bed, args: &[&str]) -> usize {
    let mut command = bed.command("rewind");
    let mut child =
        command.args(args).args(["--rate", RATE, "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let rewound = |line: &String| serde_json::from_str::<Value>(line).unwrap()["what"] == "rewound";
    let seen = lines.filter(rewound).take(SEEN).count();
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    seen
}

/// Every one of them has been rewound, and none twice.
async fn each_was_rewound_once(bed: &Bed, ids: &[String]) {
    for id in ids {
        let branches = bed.json("branches", &[id]).await;
        assert_eq!(branches.len(), 2, "{id}: {branches:?}");
    }
}

async fn a_batch_whose_command_is_killed_is_repeated_and_rewinds_nothing_twice(place: Place) {
    let (mut bed, ids) = orders(place).await;
    assert_eq!(tokio::task::block_in_place(|| killed_half_way(&bed, &WHY)), SEEN);
    let again = bed.json("rewind", &WHY).await;
    let left = again.iter().filter(|line| line["what"] == "rewound").count();
    // What a server had begun when its caller went away it may still have done.
    assert!(left > 0 && left <= ORDERS - SEEN, "{left} were left");
    each_was_rewound_once(&bed, &ids).await;
    bed.stop_server().await;
    bed.with_engine(true, async |engine| {
        for id in &ids {
            let output: String = engine.instance(id).wait().await.unwrap();
            assert_eq!(output, "a book is reserved, a book is paid");
        }
    })
    .await;
}

async fn a_repeated_batch_knows_by_its_request_id_what_it_has_rewound_before_it_was_killed(place: Place) {
    let (mut bed, ids) = orders(place).await;
    let args = [&WHY[..], &["--request-id", "night"]].concat();
    assert_eq!(tokio::task::block_in_place(|| killed_half_way(&bed, &args)), SEEN);
    // The bank is down still: what was rewound fails again, and matches again.
    bed.stop_server().await;
    bed.with_engine(false, async |engine| {
        for id in &ids {
            engine.instance(id).wait::<String>().await.unwrap_err();
        }
    })
    .await;
    let mut bed = bed.at(place).await;
    let again = bed.json("rewind", &args).await;
    assert_eq!(again.iter().filter(|line| line["what"] == "rewound").count(), ORDERS, "{again:?}");
    each_was_rewound_once(&bed, &ids).await;
    bed.stop_server().await;
}

/// Runs it with a closed pipe as its output.
async fn without_a_reader(bed: &Bed, verb: &str, args: &[&str]) {
    let mut command = bed.command(verb);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.args(args).stdout(writer).stderr(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || command.spawn().unwrap().wait_with_output().unwrap());
    let output = output.await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &said[..]), (Some(0), ""), "{verb} {args:?}");
}

async fn without_a_reader_every_verb_ends_in_silence(place: Place) {
    let bed = Bed::failed_orders(&["o1", "o2"]).await;
    bed.with_engine(false, async |engine| {
        engine.start(waits, ()).id("w").await.unwrap();
    })
    .await;
    let bed = bed.at(place).await;
    bed.shown("rewind", &["o1", "--reason", "r"]).await;
    bed.shown("rewind", &["o1", "--reason", "r", "--to-branch", "0", "--force"]).await;
    for (verb, args) in [
        ("list", &[][..]),
        ("list", &["--json"]),
        ("history", &["o1"]),
        ("history", &["o1", "--json"]),
        ("branches", &["o1"]),
        ("branches", &["o1", "--json"]),
        ("diff", &["o1", "--branches", "0", "1"]),
        ("diff", &["o1", "--branches", "0", "1", "--json"]),
        ("why", &["o1"]),
        ("why", &["w", "--json"]),
        ("rewind", &["o2", "--dry-run", "--reason", "r"]),
        ("rewind", &["--name", "order", "--dry-run", "--reason", "r"]),
        ("suspend", &["w"]),
        ("resume", &["w", "--json"]),
        ("raise", &["w", "--event", "other"]),
        ("cancel", &["w"]),
        ("terminate", &["w"]),
        ("restart", &["w"]),
        ("purge", &["--name", "order"]),
    ] {
        without_a_reader(&bed, verb, args).await;
    }
    assert_eq!(bed.statuses(&["o1", "o2"]).await, ["gone", "gone"]);
}

async fn a_batch_whose_output_nobody_reads_is_done_to_its_end(place: Place) {
    let (bed, ids) = orders(place).await;
    without_a_reader(&bed, "rewind", &WHY).await;
    each_was_rewound_once(&bed, &ids).await;
}
