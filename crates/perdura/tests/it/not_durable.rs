use crate::desk::{Desk, completed, end};
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
