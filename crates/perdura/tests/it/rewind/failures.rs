//! What ended an instance is undone: failures, tries, compensation, timeouts, terminations.

use super::bed::*;
use perdura::Status;
use perdura::prelude::*;
use perdura::rewind::{Because, Timers};
use std::time::Duration;

on_every_store![
    ext617_dt811_a_retried_activity_gets_its_whole_budget_again,
    ext617_a_retry_loop_in_the_code_begins_with_its_first_try,
    ext444_dt1391_what_the_code_did_after_the_failure_is_dropped,
    dotnet802_a_failure_that_the_code_had_caught_stays_caught,
    js299_two_failed_siblings_both_run_again_and_the_others_do_not,
    dt731_dt151_mssql157_only_the_failed_step_runs_again,
    ext2350_a_pending_timer_gets_the_time_that_was_left,
    ext2350_a_timeout_that_ended_the_instance_begins_anew,
    ext1557_a_bug_of_the_code_itself_is_run_again_and_never_stuck,
    dt731_a_terminated_instance_goes_on_where_it_was,
    dt731_one_that_was_terminated_before_its_start_waits_for_it,
    dt731_a_cancelled_instance_goes_on_as_if_nobody_had_asked,
    dt731_a_completed_instance_does_its_last_turn_again,
    a_caller_that_waits_after_the_rewind_waits_for_the_new_end,
    delivery_counts_go_on_across_a_rewind,
];

#[orchestration]
async fn retried(ctx: Orchestration) -> Result<String> {
    let first = ctx.call(step, "before".into()).await?;
    let policy = Retry::attempts(3).backoff(Duration::from_millis(1));
    Ok(format!("{first}, {}", ctx.call(pay, "retried".into()).retry(policy).await?))
}

async fn ext617_dt811_a_retried_activity_gets_its_whole_budget_again(kind: Kind) {
    let bed = Bed::new(kind, "budget", |r| r.register(retried)).await;
    bed.workshop.breaks("retried", 3 + 2);
    assert_eq!(bed.fails(retried, (), "x").await, "retried is broken");
    bed.rewind("x").await;
    assert_eq!(bed.output("x").await, "before done, retried done");
    assert_eq!((bed.workshop.ran("before"), bed.workshop.ran("retried")), ((1, 1), (6, 1)));
}

#[orchestration]
async fn loops(ctx: Orchestration) -> Result<String> {
    ctx.call(step, "before".into()).await?;
    let mut last = Error::new("Never", "");
    for wait in 1..=3 {
        match ctx.call(pay, "looped".into()).await {
            Ok(done) => return Ok(done),
            Err(error) => last = error,
        }
        if wait < 3 {
            ctx.timer(Duration::from_millis(wait)).await?;
        }
    }
    Err(last)
}

async fn ext617_a_retry_loop_in_the_code_begins_with_its_first_try(kind: Kind) {
    let bed = Bed::new(kind, "loops", |r| r.register(loops)).await;
    bed.workshop.breaks("looped", 3 + 2);
    bed.fails(loops, (), "x").await;
    let plan = bed.engine.instance("x").plan_rewind(&because()).await.unwrap();
    let first_failure = bed.events("x", None).await.iter().position(|name| *name == "TaskFailed");
    assert_eq!(plan.because, Because::Failure { event: first_failure.unwrap() as u64 });
    bed.rewind("x").await;
    assert_eq!(bed.output("x").await, "looped done");
    assert_eq!((bed.workshop.ran("before"), bed.workshop.ran("looped")), ((1, 1), (6, 1)));
}

#[orchestration]
async fn compensates(ctx: Orchestration) -> Result<String> {
    let paid = ctx.call(pay, "paid".into()).await?;
    match ctx.call(step, "shipped".into()).await {
        Ok(shipped) => Ok(format!("{paid}, {shipped}")),
        Err(error) => {
            ctx.call(clean, "refunded".into()).await?;
            Err(error)
        }
    }
}

async fn ext444_dt1391_what_the_code_did_after_the_failure_is_dropped(kind: Kind) {
    let bed = Bed::new(kind, "compensates", |r| r.register(compensates)).await;
    bed.workshop.breaks("shipped", 1);
    assert_eq!(bed.fails(compensates, (), "x").await, "shipped is broken");
    let plan = bed.engine.instance("x").plan_rewind(&because()).await.unwrap();
    // The refund has been made: the operator is told.
    assert_eq!((plan.visible.len(), plan.rerun[0].name.as_str()), (1, "step"));
    bed.rewind("x").await;
    assert_eq!(bed.output("x").await, "paid done, shipped done");
    assert_eq!((bed.workshop.ran("paid"), bed.workshop.ran("refunded")), ((1, 1), (1, 1)));
}

#[orchestration]
async fn catches(ctx: Orchestration) -> Result<String> {
    let caught = ctx.call(step, "caught".into()).await.is_err();
    let way = if caught { "the long way" } else { "the short way" };
    ctx.call(step, way.into()).await?;
    ctx.call(pay, "unhandled".into()).await
}

async fn dotnet802_a_failure_that_the_code_had_caught_stays_caught(kind: Kind) {
    let bed = Bed::new(kind, "catches", |r| r.register(catches)).await;
    bed.workshop.breaks("caught", 1);
    bed.workshop.breaks("unhandled", 1);
    assert_eq!(bed.fails(catches, (), "x").await, "unhandled is broken");
    bed.rewind("x").await;
    assert_eq!(bed.output("x").await, "unhandled done");
    assert_eq!((bed.workshop.ran("caught"), bed.workshop.ran("the short way")), ((1, 0), (0, 0)));
}

#[orchestration]
async fn fans_out(ctx: Orchestration) -> Result<String> {
    let calls = ["one", "two", "three", "four"].map(|name| ctx.call(step, name.into()));
    let done: Vec<String> = perdura::join_all(calls).await.into_iter().collect::<Result<_>>()?;
    Ok(done.join(", "))
}

async fn js299_two_failed_siblings_both_run_again_and_the_others_do_not(kind: Kind) {
    let bed = Bed::new(kind, "siblings", |r| r.register(fans_out)).await;
    bed.workshop.breaks("two", 1);
    bed.workshop.breaks("four", 1);
    bed.fails(fans_out, (), "x").await;
    bed.rewind("x").await;
    assert_eq!(bed.output("x").await, "one done, two done, three done, four done");
    let ran = ["one", "two", "three", "four"].map(|name| bed.workshop.ran(name));
    assert_eq!(ran, [(1, 1), (2, 1), (1, 1), (2, 1)]);
}

#[orchestration]
async fn three_steps(ctx: Orchestration) -> Result<String> {
    let mut done = Vec::new();
    for name in ["one", "two", "three"] {
        done.push(ctx.call(step, name.into()).await?);
    }
    Ok(done.join(", "))
}

async fn dt731_dt151_mssql157_only_the_failed_step_runs_again(kind: Kind) {
    let bed = Bed::new(kind, "three", |r| r.register(three_steps)).await;
    bed.workshop.breaks("two", 2);
    bed.fails(three_steps, (), "x").await;
    bed.rewind("x").await;
    assert_eq!(bed.failure("x").await, "two is broken");
    bed.rewind("x").await;
    assert_eq!(bed.output("x").await, "one done, two done, three done");
    assert_eq!(["one", "two", "three"].map(|name| bed.workshop.ran(name)), [(1, 1), (3, 1), (1, 1)]);
}

#[orchestration]
async fn with_deadline(ctx: Orchestration) -> Result<String> {
    let deadline = ctx.timer(Duration::from_secs(3600)).start();
    let work = async { ctx.call(step, "slow".into()).await };
    let done = work.await?;
    drop(deadline);
    Ok(done)
}

async fn ext2350_a_pending_timer_gets_the_time_that_was_left(kind: Kind) {
    let bed = Bed::new(kind, "deadline", |r| r.register(with_deadline)).await;
    bed.workshop.breaks("slow", 1);
    bed.fails(with_deadline, (), "x").await;
    let instance = bed.engine.instance("x");
    let due = |plan: perdura::rewind::RewindPlan| (plan.timers[0].was.0, plan.timers[0].due.0);
    let (was, extended) = due(instance.plan_rewind(&because()).await.unwrap());
    assert!(extended >= was && extended < was + 3_000_000, "{was} became {extended}");
    let (was, kept) = due(instance.plan_rewind(&because().timers(Timers::Keep)).await.unwrap());
    assert_eq!(kept, was);
    let (_, anew) = due(instance.plan_rewind(&because().timers(Timers::Restart)).await.unwrap());
    assert!(anew >= extended);
    bed.rewind("x").await;
    assert_eq!(bed.output("x").await, "slow done");
}

#[orchestration]
async fn times_out(ctx: Orchestration) -> Result<String> {
    match select(ctx.wait_event::<String>("answer"), ctx.timer(Duration::from_millis(1500))).await {
        Either::First(answer, _) => answer,
        Either::Second(..) => Err(Error::new("Late", "nobody answered")),
    }
}

async fn ext2350_a_timeout_that_ended_the_instance_begins_anew(kind: Kind) {
    let bed = Bed::new(kind, "timeout", |r| r.register(times_out)).await;
    assert_eq!(bed.fails(times_out, (), "x").await, "nobody answered");
    let instance = bed.engine.instance("x");
    let plan = instance.plan_rewind(&because()).await.unwrap();
    assert!(plan.timers[0].due.0 >= plan.timers[0].was.0 + 1000, "{plan:?}");
    bed.rewind("x").await;
    instance.raise("answer", "yes").await.unwrap();
    assert_eq!(bed.output("x").await, "yes");
}

#[orchestration]
async fn has_a_bug(ctx: Orchestration) -> Result<String> {
    let done = ctx.call(step, "good".into()).await?;
    if is_mended(&ctx) { Ok(done) } else { panic!("a bug") }
}

async fn ext1557_a_bug_of_the_code_itself_is_run_again_and_never_stuck(kind: Kind) {
    let bed = Bed::new(kind, "bug", |r| r.register(has_a_bug)).await;
    assert_eq!(bed.fails(has_a_bug, (), "x").await, "a bug");
    let plan = bed.engine.instance("x").plan_rewind(&because()).await.unwrap();
    assert_eq!(plan.because, Because::LastTurn);
    bed.rewind("x").await;
    assert_eq!(bed.failure("x").await, "a bug");
    bed.workshop.deploys();
    bed.rewind("x").await;
    assert_eq!(bed.output("x").await, "good done");
    assert_eq!(bed.workshop.ran("good"), (1, 1));
}

#[orchestration]
async fn waits_for_go(ctx: Orchestration) -> Result<String> {
    let done = ctx.call(step, "first".into()).await?;
    ctx.set_status("waiting")?;
    let go: String = ctx.wait_event("go").await?;
    Ok(format!("{done}, {go}"))
}

async fn dt731_a_terminated_instance_goes_on_where_it_was(kind: Kind) {
    let bed = Bed::new(kind, "terminated", |r| r.register(waits_for_go)).await;
    bed.start(waits_for_go, (), "x").await;
    let instance = bed.engine.instance("x");
    bed.until("x", |state| state.custom_status::<Option<String>>().unwrap().is_some()).await;
    instance.suspend("a look").await.unwrap();
    instance.raise("go", "gone").await.unwrap();
    instance.terminate("by mistake", true).await.unwrap();
    let plan = instance.plan_rewind(&because()).await.unwrap();
    assert_eq!(plan.because, Because::Termination);
    // What was acknowledged before the termination comes again.
    bed.rewind("x").await;
    assert_eq!(bed.output("x").await, "first done, gone");
    assert_eq!(bed.workshop.ran("first"), (1, 1));
}

async fn dt731_a_cancelled_instance_goes_on_as_if_nobody_had_asked(kind: Kind) {
    let bed = Bed::new(kind, "cancelled", |r| r.register(waits_for_go)).await;
    bed.start(waits_for_go, (), "x").await;
    let instance = bed.engine.instance("x");
    bed.until("x", |state| state.custom_status::<Option<String>>().unwrap().is_some()).await;
    instance.cancel("by mistake").await.unwrap();
    bed.until("x", |state| state.status() == Status::Canceled).await;
    let plan = instance.plan_rewind(&because()).await.unwrap();
    assert_eq!(plan.because, Because::Cancellation);
    bed.rewind("x").await;
    instance.raise("go", "gone").await.unwrap();
    assert_eq!(bed.output("x").await, "first done, gone");
}

#[orchestration]
async fn concludes(ctx: Orchestration) -> Result<String> {
    let done = ctx.call(step, "data".into()).await?;
    Ok(if is_mended(&ctx) { format!("right: {done}") } else { format!("wrong: {done}") })
}

async fn dt731_a_completed_instance_does_its_last_turn_again(kind: Kind) {
    let bed = Bed::new(kind, "concludes", |r| r.register(concludes)).await;
    bed.start(concludes, (), "x").await;
    assert_eq!(bed.output("x").await, "wrong: data done");
    bed.workshop.deploys();
    bed.rewind("x").await;
    assert_eq!(bed.output("x").await, "right: data done");
    assert_eq!(bed.workshop.ran("data"), (1, 1));
}

async fn a_caller_that_waits_after_the_rewind_waits_for_the_new_end(kind: Kind) {
    let bed = Bed::new(kind, "waiter", |r| r.register(waits_for_go)).await;
    bed.start(waits_for_go, (), "x").await;
    let instance = bed.engine.instance("x");
    instance.terminate("by mistake", true).await.unwrap();
    bed.rewind("x").await;
    assert!(!instance.get().await.unwrap().unwrap().status().is_terminal());
    let waits = instance.wait::<String>();
    let (output, raised) = tokio::join!(waits, instance.raise("go", "gone"));
    raised.unwrap();
    assert_eq!(output.unwrap(), "first done, gone");
}

async fn delivery_counts_go_on_across_a_rewind(kind: Kind) {
    let bed = Bed::new(kind, "deliveries", |r| r.register(retried)).await;
    bed.workshop.breaks("retried", 4);
    bed.fails(retried, (), "x").await;
    bed.rewind("x").await;
    bed.output("x").await;
    assert_eq!(bed.workshop.deliveries("retried"), [1, 2, 3, 4, 5]);
}

async fn dt731_one_that_was_terminated_before_its_start_waits_for_it(kind: Kind) {
    let bed = Bed::new(kind, "before-its-start", |r| r.register(waits_for_go)).await;
    let state = async |bed: &Bed| bed.engine.instance("x").get().await.unwrap().unwrap();
    bed.start(waits_for_go, (), "now").await;
    let now = bed.engine.instance("now").get().await.unwrap().unwrap().created_at();
    let at = perdura::Timestamp(now.0 + 3_600_000);
    bed.engine.start(waits_for_go, ()).id("x").at(at).await.unwrap();
    for timers in [perdura::rewind::Timers::Extend, perdura::rewind::Timers::Keep] {
        let instance = bed.engine.instance("x");
        instance.terminate("by mistake", true).await.unwrap();
        let plan = instance.plan_rewind(&because().timers(timers)).await.unwrap();
        assert!(plan.starts.is_some_and(|starts| starts >= at && starts.0 - at.0 < 600_000), "{plan:?}");
        instance.rewind(because().timers(timers)).await.unwrap();
        assert_eq!(state(&bed).await.status(), perdura::Status::Pending);
    }
    let bed = bed.restart().await;
    let instance = bed.engine.instance("x");
    instance.suspend("a look").await.unwrap();
    instance.resume("seen").await.unwrap();
    let why = instance.why().await.unwrap().unwrap();
    assert!(why.iter().any(|wait| wait.what.starts_with("its start")), "{why:?}");
    assert!(!bed.events("x", None).await.contains(&"TurnStarted"));
    instance.cancel("no more").await.unwrap();
    bed.failure("x").await;
}
