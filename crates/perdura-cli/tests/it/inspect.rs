//! `perdura inspect`: what a hub holds, with the engine and without it.

use crate::perdura::{Said, perdura, run};
use perdura::prelude::*;
use perdura::{OrchestrationName, Raw};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

fn inspect(file: &Path, args: &[&str]) -> Said {
    run(perdura().arg("inspect").arg(file).args(args))
}

/// The output of an inspection that went well.
fn shown(file: &Path, args: &[&str]) -> String {
    let said = inspect(file, args);
    assert_eq!((said.code, &said.err[..]), (0, ""));
    said.out
}

fn json(file: &Path, args: &[&str]) -> Vec<Value> {
    let out = shown(file, &[args, &["--json"]].concat());
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[activity]
async fn never_ends() -> Result<()> {
    std::future::pending().await
}

#[activity]
async fn fails() -> Result<()> {
    Err(Error::new("Busy", "come \x1b[31mback"))
}

#[orchestration]
async fn waits(ctx: Orchestration, what: String) -> Result<Raw> {
    let day = Duration::from_secs(86_400);
    ctx.set_status(&format!("waits for {what}"))?;
    match &what[..] {
        "activity" => ctx.call(never_ends, ()).await?,
        "retry" => ctx.call(fails, ()).retry(Retry::attempts(3).backoff(day)).await?,
        "timer" => ctx.timer(day).await?,
        "event" => ctx.wait_event("go").await?,
        "child" => drop(ctx.sub_orchestration(waits, "event".into()).id("the child").await?),
        "many" => drop(join_all((0..50).map(|_| ctx.call(never_ends, ()))).await),
        "nothing" => return Ok(Raw(vec![0xff; 1000].into())),
        text => return Ok(Raw(text.to_owned().into())),
    }
    Ok(Raw::default())
}

/// A hub with one of each, and the engine that still runs on it.
async fn hub(dir: &TempDir) -> (PathBuf, Engine) {
    let path = dir.path().join("hub.db");
    let engine = Engine::sqlite(&path).register(waits).register(never_ends).register(fails);
    let engine = engine.drain_time_max(Duration::ZERO).start().await.unwrap();
    for what in ["activity", "retry", "timer", "event", "child", "many", "nothing", "control \x1b[31m\n"] {
        let id = what.split(' ').next().unwrap();
        let _ = engine.start(waits, what.into()).id(id).tag("kind", "test").await.unwrap();
    }
    let _ = engine.start(waits, "event".into()).id("later").at(in_a_year()).await.unwrap();
    let _ = engine.start(waits, "event".into()).id("suspended").await.unwrap();
    engine.instance("suspended").suspend("a break").await.unwrap();
    let unknown: OrchestrationName<(), ()> = OrchestrationName::new("unknown");
    let _ = engine.start(unknown, ()).id("no code").await.unwrap();
    // A start waits for the first turn too. What comes after it in these two, nobody is told of.
    until_shown(&path, "the child", "waits for event");
    until_shown(&path, "retry", "attempt 2");
    (path, engine)
}

fn in_a_year() -> SystemTime {
    SystemTime::now() + Duration::from_secs(365 * 86_400)
}

/// Each look is a process of its own, so it looks again at once.
fn until_shown(path: &Path, id: &str, text: &str) {
    while !shown(path, &[id]).contains(text) {}
}

/// The lines about one instance in a list.
fn about<'a>(list: &'a str, id: &str) -> Vec<&'a str> {
    let mut lines = list.lines().skip_while(|line| !line.starts_with(&format!("\"{id}\"")));
    let first = lines.next().unwrap();
    std::iter::once(first).chain(lines.take_while(|line| line.starts_with(' '))).collect()
}

fn check_list(list: &str) {
    for (id, wait) in [
        ("activity", "    waits for activity never_ends (task 0), scheduled 2"),
        ("retry", "    waits for activity fails (task 0), attempt 2 at 2"),
        ("timer", "    waits for timer 0 at 2"),
        ("event", "    waits for an external event"),
        ("child", "    waits for child \"the child\", attempt 1"),
        ("many", "    … and for 40 more"),
        ("later", "    waits for its start at 2"),
        ("suspended", "    waits for being resumed (suspended: \"a break\")"),
        ("no code", "    waits for a repair since 2"),
        ("nothing", "    output: (1000 bytes, not text)"),
        ("control", "    output: control \\u{1b}[31m\\n"),
    ] {
        let lines = about(list, id);
        assert!(lines.iter().any(|line| line.starts_with(wait)), "{id}: {lines:#?}");
    }
    assert!(about(list, "activity")[0].contains("  waits Running, started 2"));
    assert!(about(list, "control")[0].contains(", ended 2"));
    assert!(about(list, "timer")[1].contains("says: \"waits for timer\""));
    let commands = |c: char| c.is_control() && c != '\n';
    assert!(!list.contains(commands), "{list:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_is_shown_while_the_engine_runs_and_after_its_end() {
    let dir = TempDir::new().unwrap();
    let (path, engine) = hub(&dir).await;
    let list = shown(&path, &[]);
    assert!(list.starts_with(&format!("{}: 12 instances (2 Completed, ", path.display())), "{list}");
    check_list(&list);
    engine.shutdown().await;
    check_list(&shown(&path, &[]));
    let one = shown(&path, &["retry"]);
    assert!(one.contains("  waits for activity fails (task 0), attempt 2 at "), "{one}");
    assert!(one.contains("after Busy: come \\u{1b}[31mback"), "{one}");
    for (number, event) in
        ["TurnStarted", "ExecutionStarted waits \"retry\"", "TaskScheduled 0 fails"].iter().enumerate()
    {
        let line = one.lines().find(|line| line.starts_with(&format!("  {number:>6}  "))).unwrap();
        assert!(line.ends_with(event), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_is_an_object_a_line_and_whole() {
    let dir = TempDir::new().unwrap();
    let (path, engine) = hub(&dir).await;
    let lines = json(&path, &[]);
    assert_eq!(lines[0]["instances"], 12);
    assert_eq!(lines[0]["by_status"]["Completed"], 2);
    assert_eq!(lines.len(), 13);
    let find = |id: &str| lines.iter().find(|line| line["id"] == id).unwrap();
    assert_eq!(find("control")["output"], "control \x1b[31m\n");
    assert_eq!(find("nothing")["output"]["hex"], "ff".repeat(1000));
    assert_eq!(find("many")["waits_for"].as_array().unwrap().len(), 50);
    assert_eq!(find("the child")["parents"][0], "child");
    assert_eq!(find("timer")["tags"]["kind"], "test");
    let one = json(&path, &["timer"]);
    assert_eq!((&one[0]["id"], &one[1]["event"]), (&"timer".into(), &0.into()));
    assert_eq!(one.last().unwrap()["kind"], "TimerCreated");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_can_be_narrowed() {
    let dir = TempDir::new().unwrap();
    let (path, engine) = hub(&dir).await;
    let list = shown(&path, &["--status", "SUSPENDED"]);
    assert!(
        list.lines().skip(1).all(|line| line.starts_with(' ') || line.starts_with("\"suspended\"")),
        "{list}"
    );
    let list = shown(&path, &["--limit", "1"]);
    assert_eq!(list.lines().filter(|line| line.starts_with('"')).count(), 1);
    assert!(list.ends_with("… and 11 more; see --limit and --status\n"), "{list}");
    let said = inspect(&path, &["--status", "odd"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("one of pending, running, suspended, "), "{}", said.err);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_or_not_a_hub_is_an_error_that_says_so() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("hub.db");
    Engine::sqlite(&path).start().await.unwrap().shutdown().await;
    assert!(shown(&path, &[]).ends_with("hub.db: 0 instances (none)\n"));
    let image = dir.path().join("image.png");
    fs::write(&image, [&b"\x89PNG\r\n\x1a\n"[..], &[7; 5000]].concat()).unwrap();
    let empty = dir.path().join("empty");
    fs::write(&empty, "").unwrap();
    for (file, args, why) in [
        (&path, &["ghost"][..], "there is no instance \"ghost\""),
        (&path, &[""], "instance id must not be empty"),
        (&dir.path().join("missing.db"), &[], "there is no such file"),
        (&dir.path().to_path_buf(), &[], "it is a directory"),
        (&image, &[], "it is not an SQLite file"),
        (&empty, &[], "the file is empty"),
    ] {
        let said = inspect(file, args);
        assert_eq!((said.code, &said.out[..]), (1, ""), "{}", file.display());
        assert!(said.err.starts_with("perdura: ") && said.err.contains(why), "{}", said.err);
        assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    }
    assert!(!dir.path().join("missing.db").exists());
}

#[test]
fn a_hub_is_shown_while_another_process_has_it_and_after_that_was_killed() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    for n in 0..100 {
        fs::write(dir.path().join(n.to_string()), "content").unwrap();
    }
    let mut worker = perdura()
        .args(["demo", "--worker", "--hold-at", "50", "--dir"])
        .arg(dir.path())
        .arg("--out")
        .arg(&out)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(worker.stdout.take().unwrap()).lines();
    assert!(lines.map(Result::unwrap).any(|line| line == "\"half_way\""));
    let hub = out.join(".perdura/hub.db");
    let check = |list: String| {
        assert!(list.contains(": 2 instances (2 Running)\n"), "{list}");
        assert!(
            about(&list, "archive").iter().any(|line| line.contains("waits for child \"archive:")),
            "{list}"
        );
        assert!(list.contains("    waits for activity archive_file (task "), "{list}");
    };
    check(shown(&hub, &[]));
    worker.kill().unwrap();
    worker.wait().unwrap();
    // Twice: looking changes nothing.
    check(shown(&hub, &[]));
    check(shown(&hub, &[]));
    let one = shown(&hub, &["archive"]);
    assert!(one.contains(" SubOrchestrationScheduled "), "{one}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_has_seen_enough_is_not_an_error() {
    let dir = TempDir::new().unwrap();
    let (path, engine) = hub(&dir).await;
    let script = format!(
        "'{}' inspect '{}' | true; echo ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_perdura"),
        path.display()
    );
    let said: Said = std::process::Command::new("bash").args(["-c", &script]).output().unwrap().into();
    assert_eq!((&said.out[..], &said.err[..]), ("0\n", ""));
    engine.shutdown().await;
}
