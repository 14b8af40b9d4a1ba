//! Activities that run at most once, on a real store: what happens when their process ends.

use perdura::delivery::{AT_MOST_ONCE_TAG, Delivery, OnUnknown, UnknownOutcome, Verdict, handlers};
use perdura::prelude::*;
use perdura::sqlite::Transaction;
use perdura::{ActivityName, Client, ClientError, Status, failure};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;
use tokio::sync::Semaphore;

/// How often activities have begun, and what they wait for.
#[derive(Default)]
struct Bench {
    begun: AtomicU32,
    deliveries: std::sync::Mutex<Vec<(u32, String, String)>>,
    verdict: std::sync::Mutex<Option<Verdict>>,
    asked: std::sync::Mutex<Option<UnknownOutcome>>,
}

#[derive(Clone)]
struct Gate(Arc<Semaphore>);

async fn work(ctx: ActivityContext, n: u32) -> Result<u32> {
    let bench: &Arc<Bench> = ctx.data();
    let token = ctx.delivery_token();
    bench.deliveries.lock().unwrap().push((ctx.delivery(), ctx.idempotency_key(), token.to_string()));
    bench.begun.fetch_add(1, Ordering::SeqCst);
    ctx.data::<Gate>().0.acquire().await.unwrap().forget();
    Ok(n)
}

#[activity(at_most_once)]
async fn pay(ctx: ActivityContext, n: u32) -> Result<u32> {
    work(ctx, n).await
}

#[activity(at_most_once = "suspend")]
async fn pay_or_suspend(ctx: ActivityContext, n: u32) -> Result<u32> {
    work(ctx, n).await
}

#[activity(at_most_once = "handler:find")]
async fn pay_or_ask(ctx: ActivityContext, n: u32) -> Result<u32> {
    work(ctx, n).await
}

#[activity(precise)]
async fn count(ctx: ActivityContext, n: u32) -> Result<u32> {
    work(ctx, n).await
}

#[activity]
async fn plain(ctx: ActivityContext, n: u32) -> Result<u32> {
    work(ctx, n).await
}

#[activity]
async fn find(ctx: ActivityContext, asked: UnknownOutcome) -> Result<Verdict> {
    let bench: &Arc<Bench> = ctx.data();
    *bench.asked.lock().unwrap() = Some(asked);
    let verdict = bench.verdict.lock().unwrap().take();
    verdict.ok_or_else(|| Error::new("NoIdea", "the ledger does not answer"))
}

static BY_NAME: ActivityName<u32, u32> = ActivityName::new("plain");

#[orchestration]
async fn order(ctx: Orchestration, how: String) -> Result<u32> {
    match how.as_str() {
        "fail" => ctx.call(pay, 7).await,
        "suspend" => ctx.call(pay_or_suspend, 7).await,
        "handler" => ctx.call(pay_or_ask, 7).await,
        "precise" => ctx.call(count, 7).await,
        "called" => ctx.call(plain, 7).at_most_once(OnUnknown::Fail).retry(Retry::attempts(5)).await,
        "caught" => match ctx.call(pay, 7).await {
            Err(error) if error.is_unknown_outcome() => Ok(0),
            other => other,
        },
        "nobody" => ctx.call(plain, 7).at_most_once(OnUnknown::Handler("nobody".into())).await,
        "bad tag" => ctx.call(plain, 7).tag(AT_MOST_ONCE_TAG, "perhaps").await,
        "bad handler" => ctx.call(plain, 7).at_most_once(OnUnknown::Handler(String::new())).await,
        _ => ctx.call(&BY_NAME, 7).await,
    }
}

#[orchestration]
async fn many(ctx: Orchestration, n: u32) -> Result<u32> {
    let paid: Vec<u32> =
        join_all((0..n).map(|n| ctx.call(pay, n))).await.into_iter().collect::<Result<_>>()?;
    Ok(paid.into_iter().sum())
}

/// A program on a file, whose processes come and go.
struct Program {
    dir: TempDir,
    bench: Arc<Bench>,
}

impl Program {
    fn new() -> Program {
        Program { dir: TempDir::new().unwrap(), bench: Arc::default() }
    }

    fn builder(&self, gate: &Gate) -> perdura::EngineBuilder {
        Engine::sqlite(self.dir.path().join("hub.db"))
            .data(self.bench.clone())
            .data(gate.clone())
            .register(order)
            .register(many)
            .register(pay)
            .register(pay_or_suspend)
            .register(pay_or_ask)
            .register(count)
            .register(plain)
            .register(find)
    }

    /// A process in which activities wait.
    async fn stuck(&self) -> Engine {
        self.builder(&Gate(Arc::new(Semaphore::new(0)))).start().await.unwrap()
    }

    /// A process in which they do not. The one before may need a moment to end.
    async fn free(&self) -> Engine {
        loop {
            match self.builder(&Gate(Arc::new(Semaphore::new(100)))).start().await {
                Ok(engine) => return engine,
                Err(ClientError::Engine(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn until_begun(&self, n: u32) {
        while self.bench.begun.load(Ordering::SeqCst) < n {
            tokio::task::yield_now().await;
        }
    }

    fn begun(&self) -> u32 {
        self.bench.begun.load(Ordering::SeqCst)
    }

    /// A process begins with an order, and dies while its activity runs; another one takes over.
    async fn crash(&self, how: &str) -> Engine {
        let first = self.stuck().await;
        first.start(order, how.into()).id("a").await.unwrap();
        self.until_begun(1).await;
        drop(first);
        self.free().await
    }
}

async fn until_status(client: &Client, status: Status) {
    while client.instance("a").get().await.unwrap().unwrap().status() != status {
        tokio::task::yield_now().await;
    }
}

fn kind_of(error: &ClientError) -> String {
    match error {
        ClientError::NotCompleted { failure, .. } => failure.kind.clone(),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_activity_that_may_have_run_does_not_run_again_and_the_code_learns_it() {
    for how in ["fail", "called"] {
        let program = Program::new();
        let second = program.crash(how).await;
        let error = second.instance("a").wait::<u32>().await.unwrap_err();
        assert_eq!((kind_of(&error).as_str(), program.begun()), (failure::kind::UNKNOWN_OUTCOME, 1), "{how}");
        second.shutdown().await;
    }
    let program = Program::new();
    let second = program.crash("caught").await;
    assert_eq!(second.instance("a").wait::<u32>().await.unwrap(), 0);
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_rewinds_what_failed_so_and_it_runs_with_the_next_count_and_the_same_key() {
    let program = Program::new();
    let second = program.crash("fail").await;
    let instance = second.instance("a");
    instance.wait::<u32>().await.unwrap_err();
    instance.rewind(perdura::Rewind::by("ada", "looked at the ledger")).await.unwrap();
    assert_eq!(instance.wait::<u32>().await.unwrap(), 7);
    let seen = program.bench.deliveries.lock().unwrap().clone();
    assert_eq!((seen[0].0, seen[1].0), (1, 2));
    assert_eq!(seen[0].1, seen[1].1);
    assert!(seen[0].2 < seen[1].2, "{seen:?}");
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_its_turn_when_the_process_died_has_not_begun_and_runs() {
    let program = Program::new();
    let gate = Gate(Arc::new(Semaphore::new(0)));
    let first = program.builder(&gate).running_activities_max(1).start().await.unwrap();
    first.start(many, 5).id("a").await.unwrap();
    program.until_begun(1).await;
    drop(first);
    let second = program.free().await;
    let error = second.instance("a").wait::<u32>().await.unwrap_err();
    assert_eq!(kind_of(&error), failure::kind::UNKNOWN_OUTCOME);
    second.instance("a").rewind(perdura::Rewind::by("ada", "again")).await.unwrap();
    assert_eq!(second.instance("a").wait::<u32>().await.unwrap(), 10);
    // Only the one that had begun was run again, on the operator's word.
    assert_eq!(program.begun(), 6);
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_instance_waits_for_a_word_and_goes_on_as_it_says() {
    let verdicts = [
        (Verdict::complete(&42_u32).unwrap(), Ok(42), 1),
        (Verdict::Fail { kind: "Refused".into(), message: "m".into() }, Err("Refused"), 1),
        (Verdict::RunOnceMore, Ok(7), 2),
    ];
    for (verdict, expected, begun) in verdicts {
        let program = Program::new();
        let second = program.crash("suspend").await;
        let (client, instance) = (second.client(), second.instance("a"));
        until_status(&client, Status::Suspended).await;
        let why = instance.why().await.unwrap().unwrap();
        assert!(why.iter().any(|wait| wait.to_string().contains("the outcome of activity")), "{why:?}");
        assert!(instance.resume("go on").await.unwrap_err().to_string().contains("resolve"));
        assert_eq!(program.begun(), 1);
        instance.resolve(None, verdict, "ada: saw the ledger").await.unwrap();
        let end = instance.wait::<u32>().await;
        assert_eq!(end.as_ref().map_err(kind_of).copied(), expected.map_err(str::to_owned));
        assert_eq!(program.begun(), begun);
        second.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_answers_in_place_of_the_activity() {
    let verdicts = [
        (Some(Verdict::complete(&42_u32).unwrap()), Status::Completed, 1),
        (Some(Verdict::Fail { kind: "Refused".into(), message: "m".into() }), Status::Failed, 1),
        (Some(Verdict::RunOnceMore), Status::Completed, 2),
        (Some(Verdict::Suspend("ask the bank".into())), Status::Suspended, 1),
        (None, Status::Suspended, 1),
    ];
    for (verdict, status, begun) in verdicts {
        let program = Program::new();
        *program.bench.verdict.lock().unwrap() = verdict;
        let second = program.crash("handler").await;
        until_status(&second.client(), status).await;
        assert_eq!(program.begun(), begun);
        let asked = program.bench.asked.lock().unwrap().take().expect("the handler was asked");
        assert_eq!((asked.activity.as_str(), asked.input::<u32>().unwrap()), ("pay_or_ask", 7));
        assert_eq!((asked.attempts.len(), asked.attempts[0].delivery), (1, 1));
        assert!(asked.attempts[0].worker.starts_with("process "), "{asked:?}");
        assert_eq!(asked.idempotency_key, program.bench.deliveries.lock().unwrap()[0].1);
        second.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ready_made_handler_finds_a_file_or_lets_the_activity_run_once_more() {
    static FIND: ActivityName<UnknownOutcome, Verdict> = ActivityName::new("find");
    for (content, output, begun) in [(Some("42"), 42, 1), (None, 7, 2)] {
        let program = Program::new();
        let first = program.stuck().await;
        first.start(order, "handler".into()).id("a").await.unwrap();
        program.until_begun(1).await;
        drop(first);
        let path = program.dir.path().join("effect");
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let registry = perdura::Registry::new()
            .data(program.bench.clone())
            .data(Gate(Arc::new(Semaphore::new(100))))
            .register(order)
            .register(pay_or_ask)
            .register_activity(&FIND, handlers::file(move |_| path.clone()));
        let second = loop {
            let builder = Engine::sqlite(program.dir.path().join("hub.db")).registry(registry.clone());
            match builder.start().await {
                Ok(engine) => break engine,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        assert_eq!(second.instance("a").wait::<u32>().await.unwrap(), output);
        assert_eq!(program.begun(), begun);
        second.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_handler_suspends_and_says_so() {
    let program = Program::new();
    let second = program.crash("nobody").await;
    until_status(&second.client(), Status::Suspended).await;
    let why = format!("{:?}", second.instance("a").why().await.unwrap());
    assert!(why.contains("is not registered"), "{why}");
    assert_eq!(program.begun(), 1);
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_precise_count_says_how_often_it_may_have_begun() {
    let program = Program::new();
    let second = program.crash("precise").await;
    assert_eq!(second.instance("a").wait::<u32>().await.unwrap(), 7);
    let seen = program.bench.deliveries.lock().unwrap().clone();
    assert_eq!(seen.iter().map(|(delivery, ..)| *delivery).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(seen[0].1, seen[1].1);
    assert!(seen[0].2 < seen[1].2);
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_names_activities_that_say_nothing_themselves() {
    let program = Program::new();
    let gate = Gate(Arc::new(Semaphore::new(0)));
    let policy = Delivery::AtMostOnce(OnUnknown::Suspend);
    let first = program.builder(&gate).delivery("plain", policy).start().await.unwrap();
    first.start(order, "by name".into()).id("a").await.unwrap();
    program.until_begun(1).await;
    drop(first);
    // What was decided when it was scheduled counts, not what the next process is told.
    let second = program.free().await;
    until_status(&second.client(), Status::Suspended).await;
    assert_eq!(program.begun(), 1);
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_nobody_knows_is_an_error_at_the_call() {
    let program = Program::new();
    let engine = program.free().await;
    for how in ["bad tag", "bad handler"] {
        let error = engine.run(order, how.into()).await.unwrap_err();
        assert_eq!(kind_of(&error), failure::kind::INVALID, "{how}");
    }
    engine.shutdown().await;
}

#[test]
#[should_panic(expected = "delivery of activity \"plain\"")]
fn a_handler_without_a_name_is_an_error_when_the_engine_is_built() {
    let policy = Delivery::AtMostOnce(OnUnknown::Handler(String::new()));
    drop(Engine::sqlite("x").delivery("plain", policy));
}

#[orchestration]
async fn keyed(ctx: Orchestration, key: String) -> Result<u32> {
    let call = |n: u32| ctx.call(plain, n).idempotency_key(key.clone());
    let both: Vec<u32> = join_all([call(7), call(7)]).await.into_iter().collect::<Result<_>>()?;
    let third = call(7).await?;
    match call(8).await {
        Err(error) if error.kind() == failure::kind::KEY_REUSED => {}
        other => return Err(Error::new("Unexpected", format!("{other:?}"))),
    }
    ctx.wait_event::<()>("go").await?;
    Ok(both.iter().sum::<u32>() + third)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_under_one_key_run_once_and_events_with_one_id_come_once() {
    let program = Program::new();
    let engine = program.builder(&Gate(Arc::new(Semaphore::new(100)))).register(keyed).start().await.unwrap();
    let started = engine.start(keyed, "k".into()).id("a").await.unwrap();
    let instance = engine.instance("a");
    for _ in 0..3 {
        instance.raise_once("go", &(), "the first").await.unwrap();
    }
    assert_eq!(started.wait().await.unwrap(), 21);
    assert_eq!(program.begun(), 1);
    let raised = instance.history().await.unwrap().unwrap();
    assert_eq!(raised.iter().filter(|event| event.kind.name() == "EventRaised").count(), 1);
    for key in [String::new(), "k".repeat(513)] {
        let error = engine.run(keyed, key).await.unwrap_err();
        assert_eq!(kind_of(&error), failure::kind::INVALID);
    }
    engine.shutdown().await;
}

#[orchestration]
async fn keyed_in_hub(ctx: Orchestration, (key, n): (String, u32)) -> Result<u32> {
    ctx.call(plain, n).idempotency_key_in_hub(key).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_the_hub_is_one_execution_for_all_and_outlives_those_who_called() {
    let program = Program::new();
    let gate = Gate(Arc::new(Semaphore::new(0)));
    let engine = program.builder(&gate).register(keyed_in_hub).start().await.unwrap();
    let call = |id: &str, key: &str, n: u32| engine.start(keyed_in_hub, (key.to_owned(), n)).id(id);
    let first = call("a", "k", 7).await.unwrap();
    program.until_begun(1).await;
    let second = call("b", "k", 7).await.unwrap();
    gate.0.add_permits(1);
    assert_eq!((first.wait().await.unwrap(), second.wait().await.unwrap()), (7, 7));
    let refusal = call("perdura.key/plain/free", "k", 7).await.unwrap_err().to_string();
    assert!(refusal.contains("the prefix \"perdura.key/\" is reserved"), "{refusal}");
    engine.instance("a").purge().await.unwrap();
    assert_eq!(call("a", "k", 7).await.unwrap().wait().await.unwrap(), 7);
    assert_eq!(program.begun(), 1);
    let error = call("c", "k", 8).await.unwrap().wait().await.unwrap_err();
    assert_eq!(kind_of(&error), failure::kind::KEY_REUSED);
    for key in [String::new(), "k".repeat(513)] {
        let error = call("d", &key, 7).await.unwrap().wait().await.unwrap_err();
        assert_eq!(kind_of(&error), failure::kind::INVALID);
        engine.instance("d").purge().await.unwrap();
    }
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_the_hub_are_removed_when_their_time_is_over() {
    let program = Program::new();
    let gate = Gate(Arc::new(Semaphore::new(100)));
    let kept = std::time::Duration::from_millis(1);
    let engine = program.builder(&gate).register(keyed_in_hub).hub_keys_kept(kept).start().await.unwrap();
    assert_eq!(engine.run(keyed_in_hub, ("k".into(), 7)).await.unwrap(), 7);
    while engine.instance("perdura.key/plain/k").get().await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(engine.run(keyed_in_hub, ("k".into(), 8)).await.unwrap(), 8);
    engine.shutdown().await;
}

#[activity(name = "a/b")]
async fn with_a_slash(_: ActivityContext) -> Result<String> {
    Ok("a/b".into())
}

#[activity(name = "a")]
async fn without_one(_: ActivityContext) -> Result<String> {
    Ok("a".into())
}

#[orchestration]
async fn slashes(ctx: Orchestration) -> Result<(String, String)> {
    let one = ctx.call(with_a_slash, ()).idempotency_key_in_hub("c").await?;
    Ok((one, ctx.call(without_one, ()).idempotency_key_in_hub("b/c").await?))
}

#[tokio::test]
async fn keys_of_two_activities_are_apart_although_a_name_has_a_slash() {
    let dir = tempfile::TempDir::new().unwrap();
    let engine = Engine::sqlite(dir.path().join("hub.db")).register(slashes);
    let engine = engine.register(with_a_slash).register(without_one).start().await.unwrap();
    assert_eq!(engine.run(slashes, ()).await.unwrap(), ("a/b".to_owned(), "a".to_owned()));
    engine.start(slashes, ()).id("s").await.unwrap();
    let refusal = engine.instance("s").raise_once("go", &(), "").await.unwrap_err().to_string();
    assert!(refusal.contains("event id must not be empty"), "{refusal}");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewind_that_does_not_name_a_call_of_unknown_outcome_leaves_it_so_and_one_that_does_goes_on_with_its_step()
 {
    let because = || perdura::Rewind::by("ada", "looked at the ledger");
    for named in [because().to_beginning().rerun("pay"), because().before_call("pay")] {
        let program = Program::new();
        let second = program.crash("fail").await;
        let instance = second.instance("a");
        instance.wait::<u32>().await.unwrap_err();
        instance.rewind(because().to_beginning()).await.unwrap();
        let error = instance.wait::<u32>().await.unwrap_err();
        assert_eq!((kind_of(&error).as_str(), program.begun()), (failure::kind::UNKNOWN_OUTCOME, 1));
        instance.rewind(named).await.unwrap();
        assert_eq!(instance.wait::<u32>().await.unwrap(), 7);
        let seen = program.bench.deliveries.lock().unwrap().clone();
        assert_eq!((seen[0].0, seen[1].0, seen.len()), (1, 2, 2));
        assert_eq!(seen[0].1, seen[1].1);
        second.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_result_of_an_activity_that_still_runs_counts_after_its_instance_was_terminated_and_rewound() {
    let program = Program::new();
    let gate = Gate(Arc::new(Semaphore::new(0)));
    let engine = program.builder(&gate).start().await.unwrap();
    engine.start(order, "suspend".into()).id("a").await.unwrap();
    program.until_begun(1).await;
    let instance = engine.instance("a");
    instance.terminate("by mistake", false).await.unwrap();
    instance.rewind(perdura::Rewind::by("ada", "it was right")).await.unwrap();
    until_status(&engine.client(), Status::Suspended).await;
    gate.0.add_permits(1);
    assert_eq!(instance.wait::<u32>().await.unwrap(), 7);
    assert_eq!(program.begun(), 1);
    engine.shutdown().await;
}

#[activity(transactional)]
fn write_down(_: &Transaction<'_>, n: u32) -> Result<u32> {
    Ok(n)
}

#[orchestration]
async fn writes(ctx: Orchestration, n: u32) -> Result<u32> {
    ctx.call(write_down, n).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_activity_says_of_itself_comes_before_the_configuration() {
    let program = Program::new();
    let gate = Gate(Arc::new(Semaphore::new(0)));
    let suspend = || Delivery::AtMostOnce(OnUnknown::Suspend);
    let builder = || {
        let builder = program.builder(&gate).register(writes).register(write_down);
        builder.delivery("pay", suspend()).delivery("write_down", suspend())
    };
    let engine = builder().start().await.unwrap();
    engine.start(order, "fail".into()).id("a").await.unwrap();
    engine.start(writes, 3).id("b").await.unwrap();
    assert_eq!(engine.instance("b").wait::<u32>().await.unwrap(), 3);
    for (id, delivery) in [("a", "fail"), ("b", "at-least-once")] {
        let history = engine.instance(id).history().await.unwrap();
        let text = format!("{history:?}");
        assert!(text.contains(&format!("delivery: {delivery:?}")), "{text}");
    }
    drop(engine);
}
