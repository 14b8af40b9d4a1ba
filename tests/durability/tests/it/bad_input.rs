//! Bad input: an error that names field, limit and instance, and nothing written.

use bytes::Bytes;
use perdura::prelude::*;
use perdura::{
    ClientError, Engine, InstanceId, OnExisting, OrchestrationName, Raw, ReusePolicy, SubOrchestration,
    Timestamp,
};
use perdura_core::Limits;
use perdura_core::limits::CONTINUE_AS_NEW_PER_MINUTE;
use perdura_durability::{Evidence, echo, registry};
use perdura_store::InstanceQuery;
use std::path::Path;
use std::time::Duration;

const PAYLOAD_MAX: usize = 4 * 1024 * 1024;

#[activity]
async fn produce(bytes: usize) -> Result<Raw> {
    Ok(Raw(vec![b'x'; bytes].into()))
}

#[activity]
async fn fail_at_length(bytes: usize) -> Result<()> {
    let mut failure = perdura::Failure::new("Long", "ä".repeat(bytes / 2));
    for level in 0..1000 {
        let cause = Some(Box::new(failure));
        failure = perdura::Failure { cause, ..perdura::Failure::new("Long", format!("level {level}")) };
    }
    Err(Error::permanent(Error::from_failure(failure)))
}

#[orchestration]
async fn wait_for_go(ctx: Orchestration) -> Result<String> {
    ctx.wait_event("go").await
}

/// Continues as new for ever.
#[orchestration]
async fn spin(ctx: Orchestration, round: u64) -> Result<u64> {
    ctx.set_status(&round)?;
    ctx.continue_as_new(round + 1)
}

/// Does one thing, and returns the error that it comes to.
#[orchestration]
async fn attempt(ctx: Orchestration, what: String) -> Result<String> {
    let outcome: Result<String> = match what.as_str() {
        "result over the limit" => ctx.call(produce, PAYLOAD_MAX + 1).await.map(|_| "ok".into()),
        "result at the limit" => ctx.call(produce, PAYLOAD_MAX).await.map(|raw| raw.0.len().to_string()),
        "long failure" => ctx.call(fail_at_length, 10 << 20).await.map(|()| "ok".into()),
        "timer in the past" => ctx.timer_at(Timestamp(-5)).await.map(|()| "fired".into()),
        "timer of 0.4 ms" => {
            let began = ctx.now();
            ctx.timer(Duration::from_micros(400)).await?;
            Ok(format!("{}", ctx.now().0 > began.0))
        }
        "timer of 300 years" => {
            ctx.timer(Duration::from_secs(300 * 366 * 86_400)).await.map(|()| "fired".into())
        }
        "timer beyond time" => ctx.timer(Duration::MAX).await.map(|()| "fired".into()),
        "own id" => child(&ctx).id(ctx.instance_id().as_str()).await,
        "own id, replacing" => child(&ctx).id(ctx.instance_id().as_str()).reuse(ReusePolicy::REPLACE).await,
        "child with a bad id" => child(&ctx).id("@x").await,
        "retry without attempts" => retry(&ctx, Retry::attempts(0)).await,
        "retry with factor 0" => retry(&ctx, Retry::attempts(2).factor(0.0)).await,
        "retry with factor NaN" => retry(&ctx, Retry::attempts(2).factor(f64::NAN)).await,
        "retry with factor 1e9" => retry(&ctx, Retry::attempts(2).factor(1e9)).await,
        "retry with max below first" => {
            let policy =
                Retry::attempts(2).backoff(Duration::from_secs(9)).max_backoff(Duration::from_secs(1));
            retry(&ctx, policy).await
        }
        "event without a name" => ctx.wait_event::<String>("").await,
        "too many decisions" => {
            let timers: Vec<_> = (0..200).map(|_| ctx.timer(Duration::from_millis(1)).start()).collect();
            let mut refused = 0;
            let mut text = String::new();
            for timer in timers {
                if let Err(error) = timer.await {
                    refused += 1;
                    text = error.to_string();
                }
            }
            Ok(format!("{refused} refused: {text}"))
        }
        other => Err(Error::new("Unknown", other)),
    };
    Ok(outcome.unwrap_or_else(|error| format!("{}: {error}", error.kind())))
}

fn child(ctx: &Orchestration) -> SubOrchestration<String> {
    ctx.sub_orchestration(wait_for_go, ())
}

async fn retry(ctx: &Orchestration, policy: Retry) -> Result<String> {
    ctx.call(produce, 1).retry(policy).await.map(|_| "ok".into())
}

async fn engine(directory: &Path, limits: Limits) -> Engine {
    let evidence = Evidence::open(&directory.join("evidence")).unwrap();
    let registry = registry(evidence)
        .register(wait_for_go)
        .register(spin)
        .register(attempt)
        .register(produce)
        .register(fail_at_length);
    Engine::sqlite(directory.join("hub.db")).registry(registry).limits(limits).start().await.unwrap()
}

fn limits() -> Limits {
    Limits { inbox_events_max: 100, ..Limits::default() }
}

/// Everything that a hub says of its instances.
async fn content(engine: &Engine) -> Vec<String> {
    let mut content = Vec::new();
    for state in engine.list(InstanceQuery::default(), 10_000).await.unwrap() {
        let history = engine.instance(state.id().as_str()).history().await.unwrap();
        content.push(format!("{state:?} {history:?}"));
    }
    content
}

fn text<T: std::fmt::Debug>(outcome: Result<T, ClientError>) -> String {
    outcome.unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_breaks_a_rule_says_which_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path(), limits()).await;
    let _ = engine.start(wait_for_go, ()).id("waits").request_id("r").await.unwrap();
    let _ = engine.start(attempt, "timer in the past".into()).id("done").await.unwrap();
    engine.instance("done").wait::<String>().await.unwrap();
    let before = content(&engine).await;
    let now = Timestamp(before_now());
    let start = |id: &str| engine.start(wait_for_go, ()).id(id);
    let big = || Raw(vec![0; PAYLOAD_MAX + 1].into());

    let long_id = "x".repeat(4016);
    let mut table: Vec<(String, &str)> = Vec::new();
    for (id, problem) in [
        ("", "instance id must not be empty"),
        (long_id.as_str(), "instance id: 4016 bytes, limit 512"),
        ("ab\0c", "instance id: control character at byte 2"),
        ("line\nbreak", "instance id: control character at byte 4"),
        ("@counter@a", "instance id: the prefix \"@\" is reserved"),
        ("__x", "instance id: the prefix \"__\" is reserved"),
    ] {
        let instance = engine.instance(id);
        table.extend([
            (text(start(id).await), problem),
            (text(instance.raise("go", "x").await), problem),
            (text(instance.get().await), problem),
            (text(instance.history().await), problem),
            (text(instance.wait::<String>().await), problem),
            (text(instance.suspend("").await), problem),
            (text(instance.resume("").await), problem),
            (text(instance.cancel("").await), problem),
            (text(instance.terminate("", true).await), problem),
            (text(instance.purge().await), problem),
        ]);
    }
    let waits = engine.instance("waits");
    let done = engine.instance("done");
    let nobody = engine.instance("nobody");
    let named = |name: &'static str| perdura::OrchestrationName::<(), String>::new(name);
    let long_name: &'static str = "n".repeat(257).leak();
    let long_text = "t".repeat(1025);
    let in_a_hundred_years = Timestamp(now.0 + 100 * 366 * 86_400_000);
    table.extend([
        // Names.
        (text(engine.start(named(""), ()).await), "orchestration name must not be empty"),
        (text(engine.start(named(long_name), ()).await), "orchestration name: 257 bytes, limit 256"),
        (text(engine.start(named("a\nb"), ()).await), "orchestration name: control character at byte 1"),
        (text(waits.raise("", "x").await), "event name must not be empty"),
        (text(waits.raise(long_name, "x").await), "event name: 257 bytes, limit 256"),
        (text(start("v").version(&long_text).await), "version: 1025 bytes, limit 1024"),
        (text(start("v").request_id(&long_text).await), "request id: 1025 bytes, limit 1024"),
        (text(waits.suspend(&long_text).await), "reason: 1025 bytes, limit 1024"),
        (
            text(waits.terminate(&"t".repeat(4_194_305), true).await),
            "instance \"waits\", reason: 4194305 bytes, limit 4194304",
        ),
        // Tags.
        (text(tagged(start("t"), 33, "v").await), "tags: 33 entries, limit 32"),
        (text(start("t").tag("", "v").await), "tag key must not be empty"),
        (text(tagged(start("t"), 1, &"v".repeat(257)).await), "tag value: 257 bytes, limit 256"),
        // Payloads.
        (
            text(engine.start(echo, big()).id("big").await),
            "instance \"big\", input: 4194305 bytes, limit 4194304",
        ),
        (text(waits.raise("go", &big()).await), "instance \"waits\", event: 4194305 bytes, limit 4194304"),
        // Ids that are taken, or that nobody has.
        (text(start("waits").request_id("other").await), "instance \"waits\" already exists: Running since "),
        (
            text(engine.start(wait_for_go, ()).id("waits").request_id("r").tag("a", "b").await),
            "start of \"waits\": request id \"r\" was used for a different one; use a new request id",
        ),
        (text(nobody.raise("go", "x").await), "there is no instance \"nobody\""),
        (text(nobody.wait::<String>().await), "there is no instance \"nobody\""),
        (text(nobody.terminate("", true).await), "there is no instance \"nobody\""),
        (text(nobody.purge().await), "there is no instance \"nobody\""),
        // Instances in the wrong state.
        (text(done.raise("go", "x").await), "instance \"done\" is Completed; it takes no more events"),
        (text(waits.purge().await), "instance \"waits\" is Running; terminate it first"),
        // Times.
        (text(start("far").at(in_a_hundred_years).await), "instance \"far\", start at "),
        (text(start("far").at(Timestamp(i64::MAX)).await), "more than ten years ahead"),
    ]);
    for (said, expected) in &table {
        assert!(said.contains(expected), "said {said:?}, expected {expected:?}");
        assert!(said.len() < 400, "an error repeats what it was given: {said}");
    }
    println!("{} bad requests", table.len());

    // What is a matter of course the second time.
    done.terminate("again", true).await.unwrap();
    done.terminate("again", true).await.unwrap();
    done.suspend("").await.unwrap();
    done.resume("").await.unwrap();
    done.cancel("").await.unwrap();
    waits.resume("it runs already").await.unwrap();
    assert_eq!(content(&engine).await, before);
    engine.shutdown().await;
}

fn before_now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

fn tagged<O>(mut start: perdura::Start<O>, count: usize, value: &str) -> perdura::Start<O> {
    for number in 0..count {
        start = start.tag(format!("tag {number}"), value);
    }
    start
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_orchestration_asks_for_in_vain_is_an_error_that_it_can_catch() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits { decisions_per_turn_max: 100, ..limits() };
    let engine = engine(directory.path(), limits).await;
    for (what, expected) in [
        ("result at the limit", "4194304"),
        (
            "result over the limit",
            "perdura.Limit: result of task 0 of \"result over the limit\": 4194305 bytes, limit 4194304",
        ),
        ("timer in the past", "fired"),
        ("timer of 0.4 ms", "true"),
        ("timer of 300 years", "perdura.Limit: "),
        ("timer beyond time", "perdura.Limit: "),
        ("own id", "perdura.InvalidArgument: a child cannot have the instance id of its parent"),
        ("own id, replacing", "perdura.InvalidArgument: a child cannot have the instance id of its parent"),
        ("child with a bad id", "perdura.InvalidArgument: instance id: the prefix \"@\" is reserved"),
        ("retry without attempts", "perdura.InvalidArgument: retry policy: attempts_max must be at least 1"),
        ("retry with factor 0", "perdura.InvalidArgument: retry policy: backoff_factor must be a number"),
        ("retry with factor NaN", "perdura.InvalidArgument: retry policy: backoff_factor must be a number"),
        ("retry with factor 1e9", "perdura.InvalidArgument: retry policy: backoff_factor must be a number"),
        (
            "retry with max below first",
            "perdura.InvalidArgument: retry policy: backoff_ms_max must not be less",
        ),
        ("event without a name", "perdura.InvalidArgument: event name must not be empty"),
        ("too many decisions", "100 refused: "),
    ] {
        let _ = engine.start(attempt, what.into()).id(what).await.unwrap();
        let instance = engine.instance(what);
        let wait = tokio::time::timeout(Duration::from_secs(20), instance.wait::<String>());
        let said = wait.await.unwrap_or_else(|_| panic!("{what} hangs")).unwrap();
        assert!(said.contains(expected), "{what}: said {said:?}, expected {expected:?}");
    }
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_ten_megabytes_and_a_thousand_causes_is_cut_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path(), limits()).await;
    let _ = engine.start(attempt, "long failure".into()).id("long").await.unwrap();
    let said: String = engine.instance("long").wait().await.unwrap();
    assert!(said.starts_with("Long: level 999"), "{said:.100}");
    let history = engine.instance("long").history().await.unwrap().unwrap();
    assert!(format!("{history:?}").len() < 100_000);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_over_the_limit_are_refused_and_those_that_were_taken_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path(), limits()).await;
    let _ = engine.start(wait_for_go, ()).id("full").await.unwrap();
    engine.instance("full").suspend("so that events wait").await.unwrap();
    engine.instance("full").suspend("twice is as good as once").await.unwrap();
    let mut taken = 0;
    let refusal = loop {
        match engine.instance("full").raise("go", &format!("event {taken}")).await {
            Ok(()) => taken += 1,
            Err(error) => break error.to_string(),
        }
        assert!(taken <= 100, "no limit");
    };
    assert_eq!(refusal, "instance \"full\": 100 events wait for it already; let it take some first");
    println!("{taken} events taken");
    assert!(taken >= 98);
    engine.instance("full").resume("").await.unwrap();
    assert_eq!(engine.instance("full").wait::<String>().await.unwrap(), "event 0");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_ids_are_different_instances_and_come_back_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path(), limits()).await;
    let emoji = "😀".repeat(128);
    let ids = [
        "case",
        "CASE",
        "case ",
        " case",
        "caf\u{e9}",
        "cafe\u{301}",
        "../../x",
        "'; drop table instance; --",
        "<script>",
        "%00",
        "%",
        "_",
        "a:b",
        "\u{202e}",
        "\u{feff}",
        emoji.as_str(),
    ];
    for id in ids {
        let started = engine.start(wait_for_go, ()).id(id).await.unwrap();
        assert_eq!((started.id().as_str(), started.outcome().to_string().as_str()), (id, "created"));
    }
    for id in ids {
        engine.instance(id).raise("go", id).await.unwrap();
        assert_eq!(engine.instance(id).wait::<String>().await.unwrap(), id);
    }
    let mut listed: Vec<InstanceId> =
        engine.list(InstanceQuery::default(), 100).await.unwrap().iter().map(|state| state.id()).collect();
    listed.sort();
    let mut expected: Vec<InstanceId> = ids.iter().map(|id| InstanceId::new(id).unwrap()).collect();
    expected.sort();
    assert_eq!(listed, expected);
    let prefix = InstanceQuery { id_prefix: Some("%".into()), ..InstanceQuery::default() };
    assert_eq!(engine.list(prefix, 100).await.unwrap().len(), 2, "a prefix is not a pattern");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn event_names_are_compared_byte_by_byte() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path(), limits()).await;
    let _ = engine.start(wait_for_go, ()).id("case").await.unwrap();
    for (name, value) in [("GO", "upper"), ("go ", "space"), ("go", "exact")] {
        engine.instance("case").raise(name, value).await.unwrap();
    }
    assert_eq!(engine.instance("case").wait::<String>().await.unwrap(), "exact");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_come_back_byte_for_byte_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let payloads: [&[u8]; 11] = [
        b"",
        b"\0",
        b"a\0b",
        b"\"\\ud800\"",
        b"\xed\xa0\x80",
        b"\xff\xfe\xff",
        br#"{"a":1,"a":2}"#,
        b"1e400",
        b"-0",
        b"9223372036854775808",
        b"NaN",
    ];
    let all: Bytes = (0..=u8::MAX).collect::<Vec<_>>().into();
    let at_the_limit: Bytes = (0..PAYLOAD_MAX).map(|at| (at * 7) as u8).collect::<Vec<_>>().into();
    let mut payloads: Vec<Bytes> = payloads.iter().map(|payload| Bytes::from_static(payload)).collect();
    payloads.extend([all, at_the_limit]);
    let first = engine(directory.path(), limits()).await;
    for (number, payload) in payloads.iter().enumerate() {
        let started = first.start(echo, Raw(payload.clone())).id(format!("echo-{number}")).await.unwrap();
        assert_eq!(started.wait().await.unwrap().0, payload, "payload {number}");
    }
    first.shutdown().await;
    let second = engine(directory.path(), limits()).await;
    for (number, payload) in payloads.iter().enumerate() {
        let state = second.instance(&format!("echo-{number}")).get().await.unwrap().unwrap();
        assert_eq!(&state.output::<Raw>().unwrap().0, payload, "payload {number}");
    }
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_orchestration_waits_and_says_what_for_until_it_is_registered() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hub.db");
    let first = Engine::sqlite(&path).start().await.unwrap();
    let elsewhere: OrchestrationName<(), String> = OrchestrationName::new("wait_for_go");
    let _ = first.start(elsewhere, ()).id("early").await.unwrap();
    // The first turn is part of the commit that a start waits for.
    let state = first.instance("early").get().await.unwrap().unwrap();
    let blocked = state.blocked().unwrap();
    assert!(blocked.contains("orchestration \"wait_for_go\" is not registered here"), "{blocked}");
    first.instance("early").raise("go", "kept").await.unwrap();
    first.shutdown().await;
    let second = Engine::sqlite(&path).register(wait_for_go).start().await.unwrap();
    assert_eq!(second.instance("early").wait::<String>().await.unwrap(), "kept");
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_in_the_past_begins_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path(), limits()).await;
    for (number, at) in [i64::MIN, -62_135_596_800_000, -1, 0, 1].into_iter().enumerate() {
        let start = engine.start(echo, Raw("x".into())).id(format!("past-{number}")).at(Timestamp(at));
        assert_eq!(start.await.unwrap().wait().await.unwrap().0, "x");
    }
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_instance_is_gone_and_its_id_is_free() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path(), limits()).await;
    let begin =
        || engine.start(wait_for_go, ()).id("again").reuse(ReusePolicy::FAIL.when_terminal(OnExisting::Fail));
    let _ = begin().await.unwrap();
    engine.instance("again").terminate("", true).await.unwrap();
    assert!(text(begin().await).contains("already exists: Terminated"));
    engine.instance("again").purge().await.unwrap();
    assert!(engine.instance("again").get().await.unwrap().is_none());
    assert!(engine.instance("again").history().await.unwrap().is_none());
    assert!(text(engine.instance("again").purge().await).contains("there is no instance"));
    assert_eq!(begin().await.unwrap().outcome().to_string(), "created");
    engine.shutdown().await;
}

#[tokio::test]
async fn a_place_where_no_hub_can_be_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("picture.png"), b"\x89PNG\r\n\x1a\n and so on, for longer than a header is").unwrap();
    let other = rusqlite::Connection::open(at("other.db")).unwrap();
    other.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(other);
    for (path, expected) in [
        (at("no/such/directory/hub.db"), "there is no directory"),
        (directory.path().to_owned(), "it is a directory; name a file"),
        (at("picture.png"), "picture.png is not a Perdura hub: it is not an SQLite file"),
        (at("other.db"), "other.db is not a Perdura hub: it is the SQLite file of another program"),
    ] {
        let said = text(Engine::sqlite(&path).start().await.map(drop));
        assert!(said.contains(expected), "said {said:?}, expected {expected:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tight_loop_of_continue_as_new_is_held_back_and_starves_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path(), limits()).await;
    let _ = engine.start(spin, 0).id("spins").await.unwrap();
    let round = || async {
        let state = engine.instance("spins").get().await.unwrap().unwrap();
        state.custom_status::<Option<u32>>().unwrap().unwrap_or(0)
    };
    let until = std::time::Instant::now() + Duration::from_secs(40);
    let mut others = 0;
    while round().await < CONTINUE_AS_NEW_PER_MINUTE - 1 {
        engine.run(echo, Raw("meanwhile".into())).await.unwrap();
        others += 1;
        assert!(std::time::Instant::now() < until, "{} rounds", round().await);
    }
    for _ in 0..20 {
        engine.run(echo, Raw("afterwards".into())).await.unwrap();
    }
    let rounds = round().await;
    println!("{rounds} rounds, {others} others in between");
    assert!(rounds <= CONTINUE_AS_NEW_PER_MINUTE + 1, "{rounds} rounds in a minute");
    engine.instance("spins").terminate("", true).await.unwrap();
    engine.shutdown().await;
}
