//! The atomic start, under a crowd.

use crate::process::Load;
use perdura::{Engine, OnExisting, ReusePolicy, Status};
use perdura_core::partition::StartOutcome;
use perdura_durability::{
    Answer, Command, Evidence, LoadOptions, Program, Random, Refusal, Reuse, Step, Transcript, carry_out,
    registry,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const CROWD: usize = 200;

fn waits() -> Program {
    Program { steps: vec![Step::Collect { count: 1 }], seen: Transcript::default() }
}

async fn engine(directory: &std::path::Path) -> Engine {
    let evidence = Evidence::open(&directory.join("evidence")).unwrap();
    Engine::sqlite(directory.join("hub.db")).registry(registry(evidence)).start().await.unwrap()
}

/// What a crowd of clients hears that starts one id at once: outcomes and executions, or errors.
async fn crowd(
    engine: &Engine,
    id: &str,
    policy: ReusePolicy,
) -> Vec<Result<(StartOutcome, String), String>> {
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(CROWD));
    let tasks: Vec<_> = (0..CROWD)
        .map(|_| {
            let (client, id, barrier) = (engine.client(), id.to_owned(), barrier.clone());
            tokio::spawn(async move {
                barrier.wait().await;
                match client.start(carry_out, waits()).id(id).reuse(policy).await {
                    Ok(started) => Ok((started.outcome(), started.execution_id().to_string())),
                    Err(error) => Err(error.to_string()),
                }
            })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

fn count(answers: &[Result<(StartOutcome, String), String>], outcome: StartOutcome) -> usize {
    answers.iter().filter(|answer| answer.as_ref().is_ok_and(|(o, _)| *o == outcome)).count()
}

fn executions(answers: &[Result<(StartOutcome, String), String>]) -> BTreeSet<&String> {
    answers.iter().flatten().map(|(_, execution)| execution).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_hundred_concurrent_starts_exactly_one_hears_created_whatever_the_policy() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path()).await;

    let answers = crowd(&engine, "fail", ReusePolicy::FAIL).await;
    assert_eq!(count(&answers, StartOutcome::Created), 1);
    let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
    assert_eq!(refused.filter(|text| text.contains("\"fail\" already exists: ")).count(), CROWD - 1);

    let answers = crowd(&engine, "use", ReusePolicy::USE_EXISTING).await;
    assert_eq!(count(&answers, StartOutcome::Created), 1);
    assert_eq!(count(&answers, StartOutcome::Existing), CROWD - 1);
    assert_eq!(executions(&answers).len(), 1);

    let answers = crowd(&engine, "replace", ReusePolicy::REPLACE).await;
    assert_eq!(count(&answers, StartOutcome::Created), 1);
    assert_eq!(count(&answers, StartOutcome::Replaced), CROWD - 1);
    assert_eq!(executions(&answers).len(), CROWD);

    let once = ReusePolicy::FAIL.when_terminal(OnExisting::Replace).when_active(OnExisting::UseExisting);
    let answers = crowd(&engine, "once", once).await;
    assert_eq!((count(&answers, StartOutcome::Created), executions(&answers).len()), (1, 1));
    engine.instance("once").terminate("the test goes on", true).await.unwrap();
    let answers = crowd(&engine, "once", once).await;
    assert_eq!((count(&answers, StartOutcome::Replaced), executions(&answers).len()), (1, 1));
    assert_eq!(count(&answers, StartOutcome::Existing), CROWD - 1);

    for id in ["fail", "use", "replace", "once"] {
        let state = engine.instance(id).get().await.unwrap().unwrap();
        assert!(!state.status().is_terminal(), "{id}: {}", state.status());
        engine.instance(id).raise("e", "go").await.unwrap();
        let seen: Transcript = engine.instance(id).wait().await.unwrap();
        assert_eq!(seen.events, ["go"], "{id}");
        let ended = engine.instance(id).get().await.unwrap().unwrap();
        assert_eq!((ended.status(), ended.execution_id()), (Status::Completed, state.execution_id()), "{id}");
    }
    engine.shutdown().await;
}

/// The answers by request id, after every request got one although the process was killed again and again.
fn crowd_with_kills(seed: u64, size: usize, reuse: Reuse) -> BTreeMap<usize, Result<Answer, Refusal>> {
    println!("seed {seed}, {reuse:?}");
    let directory = tempfile::tempdir().unwrap();
    let options = LoadOptions::new(directory.path());
    let mut random = Random::new(seed);
    let mut answers: BTreeMap<usize, Result<Answer, Refusal>> = BTreeMap::new();
    for life in 0.. {
        let mut load = Load::start(&options);
        let asked: BTreeMap<u64, usize> = (0..size)
            .map(|request| {
                let command = Command::Start {
                    id: "one".into(),
                    program: waits(),
                    reuse,
                    request: format!("request {request}"),
                };
                (load.send(command), request)
            })
            .collect();
        // Every one is asked again in every life, so those that have an answer get it again.
        let last = life == 6;
        let until = match last {
            true => Duration::from_secs(60),
            false => Duration::from_micros(random.from_to(0, 15_000)),
        };
        let until = Instant::now() + until;
        let mut heard = Vec::new();
        while heard.len() < size {
            match load.reply_before(until) {
                Some(reply) => heard.push(reply),
                None => break,
            }
        }
        assert!(!last || heard.len() == size, "only {} answers", heard.len());
        heard.extend(load.kill());
        for reply in heard {
            let request = asked[&reply.number];
            let created_at_is_cut = |outcome: Result<Answer, Refusal>| {
                outcome.map_err(|refusal| Refusal { text: String::new(), ..refusal })
            };
            let outcome = created_at_is_cut(reply.outcome);
            let first = answers.entry(request).or_insert_with(|| outcome.clone());
            assert_eq!(*first, outcome, "request {request} has two answers");
        }
        if last {
            break;
        }
    }
    answers
}

fn outcomes(answers: &BTreeMap<usize, Result<Answer, Refusal>>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers.values() {
        let name = match answer {
            Ok(Answer::Started { outcome, .. }) => outcome.clone(),
            Err(refusal) => refusal.kind.clone(),
            other => panic!("not the answer of a start: {other:?}"),
        };
        *counts.entry(name).or_default() += 1;
    }
    counts
}

#[test]
fn retried_starts_keep_their_answers_while_the_process_is_killed_and_one_is_created() {
    for seed in 0..4 {
        let answers = crowd_with_kills(seed, CROWD, Reuse::Fail);
        assert_eq!(outcomes(&answers), [("Refused".into(), CROWD - 1), ("created".into(), 1)].into());
        let answers = crowd_with_kills(seed, CROWD, Reuse::UseExisting);
        assert_eq!(outcomes(&answers), [("created".into(), 1), ("existing".into(), CROWD - 1)].into());
    }
}

#[test]
fn a_retried_replacing_start_replaces_once() {
    for seed in 0..4 {
        // An instance remembers its last sixteen starts.
        let answers = crowd_with_kills(seed, 16, Reuse::Replace);
        assert_eq!(outcomes(&answers), [("created".into(), 1), ("replaced".into(), 15)].into());
        let generations: BTreeSet<u32> = answers
            .values()
            .map(|answer| match answer {
                Ok(Answer::Started { generation, .. }) => *generation,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(generations, (1..=16).collect());
    }
}
