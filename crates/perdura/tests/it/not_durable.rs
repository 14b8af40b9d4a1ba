use crate::desk::{Desk, completed, end};
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use perdura::prelude::*;
use perdura::testing::TestRun;
use perdura::{Status, failure::kind};
use std::cell::RefCell;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::time::Duration;

#[orchestration]
async fn awaits_nothing(_ctx: Orchestration) -> Result<()> {
    std::future::pending().await
}

#[orchestration]
async fn awaits_tokio(_ctx: Orchestration) -> Result<()> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
}

#[tokio::test]
async fn awaiting_something_that_is_not_durable_fails_at_once_and_says_what_to_do() {
    for end in [
        TestRun::new(awaits_nothing, ()).run().await.output(),
        TestRun::new(awaits_tokio, ()).run().await.output(),
    ] {
        let error = end.unwrap_err();
        assert_eq!(error.kind(), kind::NOT_DURABLE);
        assert!(error.to_string().contains("ctx.timer"));
    }
}

#[test]
fn a_tokio_timer_outside_of_tokio_is_not_durable_either() {
    let mut desk = Desk::new(&Registry::new().register(awaits_tokio), "awaits_tokio");
    let (status, text) = end(&desk.start(None));
    assert_eq!(status, Status::Failed);
    assert!(text.unwrap_err().starts_with(kind::NOT_DURABLE));
}

#[orchestration]
async fn lets_go_and_awaits_nothing(ctx: Orchestration, what: String) -> Result<()> {
    match what.as_str() {
        "child" => ctx.sub_orchestration(awaits_nothing, ()).id("child").detached().await?,
        "timer" => _ = ctx.timer(Duration::from_secs(1)).now_or_never(),
        "event" => _ = ctx.wait_event::<()>("go").now_or_never(),
        "cancel" => _ = ctx.canceled().now_or_never(),
        _ => {
            let canceled = FuturesUnordered::from_iter([ctx.canceled()]).into_future().now_or_never();
            assert!(canceled.is_none());
        }
    }
    std::future::pending().await
}

#[tokio::test]
async fn a_wait_that_was_let_go_is_no_durable_wait() {
    for what in ["child", "timer", "event", "cancel", "combined"] {
        let end = TestRun::new(lets_go_and_awaits_nothing, what.into()).run().await.output();
        assert_eq!(end.unwrap_err().kind(), kind::NOT_DURABLE, "{what}");
    }
}

const SHORT: Duration = Duration::from_millis(1);

#[orchestration]
async fn awaits_twice(ctx: Orchestration, what: String) -> Result<()> {
    if what == "timer" {
        let mut timer = ctx.timer(Duration::from_secs(1));
        (&mut timer).await?;
        timer.await
    } else {
        let mut go = ctx.wait_event::<()>("go");
        (&mut go).await?;
        go.await
    }
}

#[tokio::test]
async fn a_wait_that_has_given_its_result_fails_instead_of_waiting_for_ever() {
    for what in ["timer", "event"] {
        let run =
            TestRun::new(awaits_twice, what.into()).raise_at(SHORT, "go", &()).raise_at(SHORT, "go", &());
        let error = run.run().await.output().unwrap_err();
        assert_eq!(error.kind(), kind::PANIC, "{what}");
        assert!(error.to_string().contains("polled after it had given its result"), "{error}");
    }
}

#[orchestration]
async fn times_out_by_tokio(ctx: Orchestration) -> Result<()> {
    tokio::time::timeout(Duration::from_secs(3600), ctx.wait_event::<()>("go")).await?
}

#[orchestration]
async fn selects_with_tokio(ctx: Orchestration) -> Result<()> {
    tokio::select! {
        biased;
        done = ctx.call(step, ()) => done,
        () = tokio::time::sleep(Duration::from_secs(3600)) => Ok(()),
    }
}

#[orchestration]
async fn selects_with_a_task(ctx: Orchestration) -> Result<()> {
    tokio::select! {
        biased;
        result = ctx.wait_event("go") => result,
        result = tokio::spawn(async {}) => Ok(result?),
    }
}

#[orchestration]
async fn spawns(ctx: Orchestration) -> Result<()> {
    tokio::spawn(async {});
    ctx.wait_event("go").await
}

#[tokio::test]
async fn what_tokio_gives_fails_at_once_beside_a_durable_wait_too() {
    for end in [
        TestRun::new(times_out_by_tokio, ()).run().await.output(),
        TestRun::new(selects_with_tokio, ()).mock(step, |()| Ok(())).run().await.output(),
        TestRun::new(selects_with_a_task, ()).run().await.output(),
        TestRun::new(spawns, ()).run().await.output(),
    ] {
        let error = end.unwrap_err();
        assert_eq!(error.kind(), kind::NOT_DURABLE, "{error}");
        assert!(error.to_string().contains("instance \"test\""), "{error}");
        assert!(error.to_string().contains(".within(..)"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_an_engine_too() {
    let dir = tempfile::TempDir::new().unwrap();
    let engine =
        Engine::sqlite(dir.path().join("hub.db")).register(times_out_by_tokio).start().await.unwrap();
    let error = engine.run(times_out_by_tokio, ()).await.unwrap_err();
    assert_eq!(error.failure().unwrap().kind, kind::NOT_DURABLE);
    engine.shutdown().await;
}

type Receiver = tokio::sync::oneshot::Receiver<()>;
static CHANNELS: std::sync::Mutex<Vec<Receiver>> = std::sync::Mutex::new(Vec::new());

#[orchestration]
async fn waits_for_a_channel(ctx: Orchestration) -> Result<()> {
    let receiver = CHANNELS.lock().unwrap().pop();
    let foreign = async {
        match receiver {
            Some(receiver) => drop(receiver.await),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        result = ctx.wait_event("go") => result,
        () = foreign => Ok(()),
    }
}

/// The instance is warm and at rest when the channel speaks, and nothing else ever happens to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wake_up_from_outside_fails_an_instance_at_rest() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    CHANNELS.lock().unwrap().push(receiver);
    let dir = tempfile::TempDir::new().unwrap();
    let engine =
        Engine::sqlite(dir.path().join("hub.db")).register(waits_for_a_channel).start().await.unwrap();
    let started = engine.start(waits_for_a_channel, ()).id("a").await.unwrap();
    // The first turn is part of the commit that a start waits for.
    assert_eq!(engine.instance("a").get().await.unwrap().unwrap().status(), Status::Running);
    sender.send(()).unwrap();
    let error = started.wait().await.unwrap_err();
    assert_eq!(error.failure().unwrap().kind, kind::NOT_DURABLE);
    assert!(error.to_string().contains("orchestration \"waits_for_a_channel\", instance \"a\""), "{error}");
    let history = engine.instance("a").history().await.unwrap().unwrap();
    assert_eq!(history.last().unwrap().kind.name(), "ExecutionCompleted");
    engine.shutdown().await;
}

thread_local!(static WAKER: RefCell<Option<Waker>> = const { RefCell::new(None) });

#[orchestration]
async fn waits_for_its_activity_by_a_channel(ctx: Orchestration) -> Result<()> {
    let foreign = std::future::poll_fn(|cx| {
        WAKER.with_borrow_mut(|waker| _ = waker.get_or_insert_with(|| cx.waker().clone()));
        Poll::<()>::Pending
    });
    let call = ctx.call(step, ()).start();
    tokio::select! {
        biased;
        result = ctx.wait_event("go") => result,
        () = foreign => call.await,
    }
}

#[tokio::test]
async fn the_harness_notices_a_wake_up_from_outside() {
    let wake = |()| {
        WAKER.with_borrow(|waker| waker.as_ref().unwrap().wake_by_ref());
        Ok(())
    };
    let end = TestRun::new(waits_for_its_activity_by_a_channel, ()).mock(step, wake).run().await;
    assert_eq!(end.output().unwrap_err().kind(), kind::NOT_DURABLE);
}

thread_local!(static WAKERS: RefCell<Option<mpsc::Sender<Waker>>> = const { RefCell::new(None) });

#[activity]
async fn step() -> Result<()> {
    Ok(())
}

#[orchestration]
async fn mixes(ctx: Orchestration) -> Result<()> {
    let call = ctx.call(step, ()).start();
    let foreign = std::future::poll_fn(|cx| {
        WAKERS.with_borrow(|to| to.as_ref().unwrap().send(cx.waker().clone()).unwrap());
        Poll::<Result<()>>::Pending
    });
    let both: [std::pin::Pin<Box<dyn Future<Output = Result<()>>>>; 2] = [Box::pin(foreign), Box::pin(call)];
    join_all(both).await.into_iter().collect()
}

#[test]
fn a_wake_up_from_outside_is_noticed_at_the_next_turn() {
    let (to, wakers) = mpsc::channel();
    WAKERS.set(Some(to));
    let mut desk = Desk::new(&Registry::new().register(mixes), "mixes");
    desk.start(None);
    std::thread::spawn(move || wakers.recv().unwrap().wake()).join().unwrap();
    let (status, text) = end(&desk.run([completed(0, "null")]));
    assert_eq!(status, Status::Failed);
    assert!(text.unwrap_err().starts_with(kind::NOT_DURABLE));
}

#[orchestration]
async fn yields(ctx: Orchestration) -> Result<u32> {
    let mut polls = 0;
    std::future::poll_fn(|cx| {
        polls += 1;
        cx.waker().wake_by_ref();
        if polls < 5 { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    ctx.timer(Duration::from_secs(1)).await?;
    Ok(polls)
}

#[tokio::test]
async fn code_that_wakes_itself_is_polled_again() {
    assert_eq!(TestRun::new(yields, ()).run().await.output().unwrap(), 5);
}

#[orchestration]
async fn panics(ctx: Orchestration) -> Result<()> {
    ctx.timer(Duration::from_secs(1)).await?;
    panic!("bug number {}", 7)
}

#[tokio::test]
async fn a_panic_fails_the_orchestration_with_its_text() {
    let error = TestRun::new(panics, ()).run().await.output().unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (kind::PANIC, "bug number 7"));
}

thread_local!(static RUNS: RefCell<u32> = const { RefCell::new(0) });

#[orchestration]
async fn random(ctx: Orchestration) -> Result<()> {
    let runs = RUNS.with_borrow_mut(|runs| {
        *runs += 1;
        *runs
    });
    ctx.timer(Duration::from_secs(runs.into())).await
}

#[tokio::test]
#[should_panic(
    expected = "orchestration \"random\" is not deterministic: timer (task 0) has another input or deadline"
)]
async fn the_harness_catches_code_that_is_not_deterministic() {
    TestRun::new(random, ()).run().await;
}
