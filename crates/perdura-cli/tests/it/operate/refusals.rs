//! What cannot be done is refused in words that say what to do, and nothing is changed.

use super::bed::*;
use crate::in_every_place;
use crate::perdura::{perdura, run};
use perdura_server::{Credentials, Server, ServerOptions};

in_every_place![every_refusal_says_what_to_do_and_changes_nothing, an_unknown_id_is_said_by_every_verb,];

async fn every_refusal_says_what_to_do_and_changes_nothing(place: Place) {
    let bed = Bed::failed_orders(&["o1"]).await.at(place).await;
    let before = bed.shown("history", &["o1"]).await;
    for (args, expected) in [
        (&["o1", "--from-event", "99"][..], "event 99 is outside its history, which has events 0 to"),
        (&["o1", "--to-turn", "9"], "it has no turn 9; its turns are 1 to"),
        (&["o1", "--to-turn", "0"], "it has no turn 0"),
        (&["o1", "--to-time", "2100-01-01T00:00:00Z"], "nothing would be undone"),
        (&["o1", "--to-time", "teatime"], "write it like 2026-11-21T03:00:00Z"),
        (&["o1", "--before-call", "ship"], "it never called \"ship\""),
        (&["o1", "--to-branch", "3"], "it has no branch 3; it has 1, numbered from 0"),
        (&["o1", "--to-branch", "0"], "branch 0 is the present one"),
        (&["o1", "--set-result", "3=["], "is not JSON"),
        (&["o1", "--set-result", "x=1"], "is no number of an event"),
        (&["o1", "--set-result", "99=1"], "event 99 is outside"),
        (&["o1", "--input", "1"], "--to-beginning"),
        (&["o1", "--to-beginning", "--input", "{"], "is not JSON"),
        (&["o1", "--set-input", "99=1"], "event 99 is outside"),
        (&["o1", "--set-input", "4=1"], "was delivered before the cut"),
        (&["o1", "--set-input", "5"], "expected EVENT=JSON"),
        (&["o1", "--set-result", "5=1", "--set-result", "5=2"], "given an input or a result twice"),
        (&["--name", "order", "--set-input", "5=1"], "name it"),
        (&["o1", "--to-turn", "1", "--from-event", "1"], "cannot be used with"),
        (&["o1", "--canary", "3"], "canaries are for many"),
        (&["o1", "--status", "failed"], "either the instance \"o1\" or a filter, not both"),
        (&["--name", "order", "--set-result", "3=1"], "name it"),
        (&["--name", "order", "--limit", "0"], "would do nothing"),
        (&["--name", "order", "--status", "lost"], "there is no status \"lost\"; one of pending, running"),
        (&["--tag", "shop"], "expected KEY=VALUE"),
        (&[], "name an instance, or a filter; --all for every instance"),
        (&["o1", "o2", "o3"], "unexpected"),
    ] {
        let refusal = bed.refused("rewind", &[args, &["--reason", "r"]].concat()).await;
        assert!(refusal.contains(expected), "{args:?}: {refusal}");
    }
    assert!(bed.refused("rewind", &["o1"]).await.contains("--reason"));
    assert!(bed.refused("diff", &["o1", "--branches", "0", "7"]).await.contains("has no branch 7"));
    assert!(bed.refused("history", &["o1", "--branch", "7"]).await.contains("its branches are 0 to 0"));
    assert!(bed.refused("raise", &["o1", "--event", "go"]).await.contains("is Failed; it takes no more"));
    assert_eq!(bed.shown("history", &["o1"]).await, before);
    assert_eq!(bed.json("branches", &["o1"]).await.len(), 1);
}

async fn an_unknown_id_is_said_by_every_verb(place: Place) {
    let bed = Bed::failed_orders(&[]).await.at(place).await;
    for (verb, args) in [
        ("rewind", &["--reason", "r"][..]),
        ("rewind", &["--reason", "r", "--dry-run"]),
        ("branches", &[]),
        ("history", &[]),
        ("diff", &["--branches", "0", "1"]),
        ("why", &[]),
        ("suspend", &[]),
        ("suspend", &["--dry-run"]),
        ("resume", &[]),
        ("cancel", &[]),
        ("terminate", &[]),
        ("restart", &[]),
        ("restart", &["--reuse-results"]),
        ("purge", &[]),
        ("purge", &["--recursive"]),
        ("raise", &["--event", "go"]),
    ] {
        let refusal = bed.refused(verb, &[&["nobody"], args].concat()).await;
        assert!(refusal.contains("there is no instance \"nobody\""), "{verb} {args:?}: {refusal}");
        let refusal = bed.refused(verb, &[&["@x"], args].concat()).await;
        assert!(!refusal.is_empty(), "{verb}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_is_not_there_or_in_use_is_said() {
    let bed = Bed::failed_orders(&["o1"]).await;
    let args = ["o1", "--reason", "r"];
    bed.with_engine(false, async |_| {
        let refusal = bed.refused("rewind", &args).await;
        assert!(refusal.contains("is in use by process"), "{refusal}");
        // To look is always allowed.
        bed.shown("why", &["o1"]).await;
        bed.shown("rewind", &[&args[..], &["--dry-run"]].concat()).await;
    })
    .await;
    let nowhere = run(perdura().args(["rewind", "nowhere.db"]).args(args));
    assert!(nowhere.code != 0 && nowhere.err.contains("there is no hub file nowhere.db"), "{}", nowhere.err);
    assert!(!std::path::Path::new("nowhere.db").exists());
    let none = run(perdura().args(["rewind", "--server", "http://127.0.0.1:1"]).args(args));
    assert!(none.code != 0 && none.err.contains("no server answers at http://127.0.0.1:1"), "{}", none.err);
    let nothing = run(perdura().args(["why"]));
    assert!(nothing.code != 0 && nothing.err.contains("name a hub file, or a server"), "{}", nothing.err);
    let canary = bed.refused("rewind", &["--name", "order", "--canary", "1", "--reason", "r"]).await;
    assert!(canary.contains("no engine serves this hub; start it, or do without canaries"), "{canary}");
    let replay = run(perdura().arg("check-replay"));
    assert!(replay.code == 2 && replay.err.contains("engine.check_replay"), "{}", replay.err);
    let json = run(perdura().args(["check-replay", "--json"]));
    let said: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert!(said["why"].as_str().unwrap().contains("engine.check_replay"), "{said}");
    assert_eq!((json.code, &said["what"], &json.err[..]), (2, &"refused".into(), ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_gets_the_token_that_it_wants_and_finds_the_hub_that_is_meant() {
    const TOKEN: &str = "a-token-for-the-tests";
    let bed = Bed::failed_orders(&["o1"]).await;
    let mut options = ServerOptions::new(bed.dir.path());
    options.listen = vec!["127.0.0.1:0".parse().unwrap()];
    options.credentials = Credentials::tokens([TOKEN]).unwrap();
    let server = Server::start(options).await.unwrap();
    let url = format!("http://{}", server.addresses()[0]);
    let why = |args: &[&str], variable: Option<&str>| {
        let mut command = perdura();
        command.args(["why", "--server", &url, "o1"]).args(args).env_remove("PERDURA_TOKEN");
        variable.map(|token| command.env("PERDURA_TOKEN", token));
        tokio::task::block_in_place(|| run(&mut command))
    };
    let file = bed.dir.path().join("token");
    std::fs::write(&file, format!("\n{TOKEN}\n")).unwrap();
    let file = file.to_str().unwrap();
    for refused in [why(&[], None), why(&[], Some("another-token-entirely"))] {
        assert!(refused.code != 0 && refused.err.contains("needs a valid token"), "{}", refused.err);
    }
    for said in [why(&[], Some(TOKEN)), why(&["--token-file", file], None)] {
        assert_eq!((said.code, &said.out[..]), (0, "it has ended, and waits for nothing\n"), "{}", said.err);
    }
    let other = why(&["--hub", "other", "--token-file", file], None);
    assert!(other.code != 0 && other.err.contains("there is no task hub \"other\""), "{}", other.err);
    server.shutdown().await;
}
