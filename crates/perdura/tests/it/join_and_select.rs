use futures_util::future::Either as Of;
use futures_util::stream::{FuturesUnordered, StreamExt};
use perdura::prelude::*;
use perdura::select_all;
use perdura::testing::TestRun;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[activity]
async fn square(n: u64) -> Result<u64> {
    Ok(n * n)
}

#[activity]
async fn cube(n: u64) -> Result<u64> {
    Ok(n * n * n)
}

#[orchestration]
async fn sum_of_squares(ctx: Orchestration, n: u64) -> Result<u64> {
    join_all((0..n).map(|i| ctx.call(square, i))).await.into_iter().sum()
}

#[tokio::test]
async fn join_all_gives_the_results_in_the_order_of_the_calls() {
    let end = TestRun::new(sum_of_squares, 100).register(square).run().await;
    assert_eq!(end.output().unwrap(), 328_350);
}

#[orchestration]
async fn nothing(_ctx: Orchestration) -> Result<usize> {
    Ok(join_all(Vec::<std::future::Ready<()>>::new()).await.len())
}

#[tokio::test]
async fn join_all_of_nothing_is_ready_at_once() {
    assert_eq!(TestRun::new(nothing, ()).run().await.output().unwrap(), 0);
}

#[orchestration]
async fn branches(ctx: Orchestration) -> Result<Vec<u64>> {
    let branch = |n| {
        let ctx = ctx.clone();
        async move {
            ctx.timer(SECOND * (4 - n as u32)).await?;
            let inner = join_all([ctx.call(square, n), ctx.call(cube, n)]).await;
            inner.into_iter().sum::<Result<u64>>()
        }
    };
    join_all((1..4).map(branch)).await.into_iter().collect()
}

#[tokio::test]
async fn branches_of_several_steps_go_on_independently() {
    let end = TestRun::new(branches, ()).register(square).register(cube).takes(cube, SECOND * 2).run().await;
    assert_eq!(end.output().unwrap(), [2, 12, 36]);
    assert_eq!(end.elapsed(), SECOND * 5);
}

#[orchestration]
async fn race(ctx: Orchestration) -> Result<(u64, u64)> {
    match select(ctx.call(square, 3), ctx.call(cube, 3)).await {
        Either::First(square, cube) => Ok((square?, cube.await?)),
        Either::Second(cube, square) => Ok((cube?, square.await?)),
    }
}

#[tokio::test]
async fn select_takes_the_one_that_came_first_and_the_other_goes_on() {
    let run = || TestRun::new(race, ()).register(square).register(cube);
    assert_eq!(run().takes(square, SECOND).run().await.output().unwrap(), (27, 9));
    assert_eq!(run().takes(cube, SECOND).run().await.output().unwrap(), (9, 27));
}

#[orchestration]
async fn late_look(ctx: Orchestration) -> Result<u64> {
    let (a, b) = (ctx.call(square, 3).start(), ctx.call(cube, 3).start());
    ctx.timer(SECOND * 10).await?;
    match select(a, b).await {
        Either::First(value, _) | Either::Second(value, _) => value,
    }
}

#[tokio::test]
async fn select_goes_by_arrival_not_by_position_even_when_both_are_there() {
    let run = || TestRun::new(late_look, ()).register(square).register(cube);
    assert_eq!(run().takes(square, SECOND).run().await.output().unwrap(), 27);
    assert_eq!(run().takes(cube, SECOND).run().await.output().unwrap(), 9);
}

#[orchestration]
async fn in_order_of_arrival(ctx: Orchestration) -> Result<Vec<u32>> {
    let mut waits: Vec<_> = [3, 1, 2].into_iter().map(|n| ctx.timer(SECOND * n)).collect();
    let mut names = vec![3, 1, 2];
    let mut order = Vec::new();
    while !waits.is_empty() {
        let (result, at, rest) = select_all(waits).await;
        result?;
        order.push(names.remove(at));
        waits = rest;
    }
    Ok(order)
}

#[tokio::test]
async fn select_all_gives_results_as_they_come() {
    assert_eq!(TestRun::new(in_order_of_arrival, ()).run().await.output().unwrap(), [1, 2, 3]);
}

#[orchestration]
async fn by_combinators_of_others(ctx: Orchestration) -> Result<Vec<u64>> {
    let calls = |range: std::ops::Range<u64>| range.map(|i| ctx.call(square, i));
    let few = futures_util::future::join_all(calls(0..3)).await;
    let many = futures_util::future::join_all(calls(0..50)).await;
    let unordered: Vec<_> = calls(0..4).collect::<FuturesUnordered<_>>().collect().await;
    let buffered: Vec<_> = futures_util::stream::iter(calls(0..5)).buffer_unordered(2).collect().await;
    let (a, b) = tokio::join!(ctx.call(square, 10), ctx.call(cube, 2));
    let first = match futures_util::future::select(ctx.call(square, 11), ctx.timer(SECOND)).await {
        Of::Left((square, _)) => square?,
        Of::Right(_) => 0,
    };
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let speaks = async { sender.send(ctx.call(square, 12).await) };
    let (_, heard) = tokio::join!(speaks, receiver);
    let sum = |results: Vec<Result<u64>>| results.into_iter().sum::<Result<u64>>();
    Ok(vec![sum(few)?, sum(many)?, sum(unordered)?, sum(buffered)?, a?, b?, first, heard??])
}

/// They clone the orchestration's waker and wake it, in its turns: nothing of that comes from outside.
#[tokio::test]
async fn combinators_of_other_crates_work_on_durable_waits() {
    let end = TestRun::new(by_combinators_of_others, ()).register(square).register(cube).run().await;
    assert_eq!(end.output().unwrap(), [5, 40_425, 14, 30, 100, 8, 121, 144]);
    let dir = tempfile::TempDir::new().unwrap();
    let engine = Engine::sqlite(dir.path().join("hub.db")).register(by_combinators_of_others);
    let engine = engine.register(square).register(cube).start().await.unwrap();
    assert_eq!(
        engine.run(by_combinators_of_others, ()).await.unwrap(),
        [5, 40_425, 14, 30, 100, 8, 121, 144]
    );
    engine.shutdown().await;
}

#[orchestration]
async fn selects_by_tokio(ctx: Orchestration) -> Result<u64> {
    tokio::select! {
        biased;
        square = ctx.call(square, 5) => square,
        _ = ctx.timer(SECOND) => Ok(0),
    }
}

/// The budget is that of the task around the engine, which may have used it up.
#[tokio::test]
async fn tokio_select_works_when_the_budget_of_the_thread_is_used_up() {
    let mut spent = false;
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<()>(1);
    std::future::poll_fn(|cx| {
        while !spent {
            sender.try_send(()).unwrap();
            spent = receiver.poll_recv(cx).is_pending();
        }
        let mut run = std::pin::pin!(TestRun::new(selects_by_tokio, ()).mock(square, |n| Ok(n * n)).run());
        match run.as_mut().poll(cx) {
            std::task::Poll::Ready(end) => assert_eq!(end.output().unwrap(), 25),
            std::task::Poll::Pending => panic!("a mock answers at once"),
        }
        std::task::Poll::Ready(())
    })
    .await;
}
