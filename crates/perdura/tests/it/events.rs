use perdura::prelude::*;
use perdura::testing::TestRun;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[orchestration]
async fn two_answers(ctx: Orchestration) -> Result<(u32, u32)> {
    ctx.timer(SECOND * 10).await?;
    Ok((ctx.wait_event("n").await?, ctx.wait_event("n").await?))
}

#[tokio::test]
async fn events_that_came_early_are_kept_and_handed_out_in_their_order() {
    let end =
        TestRun::new(two_answers, ()).raise_at(SECOND, "n", &1).raise_at(SECOND * 2, "n", &2).run().await;
    assert_eq!(end.output().unwrap(), (1, 2));
}

#[orchestration]
async fn impatient(ctx: Orchestration) -> Result<(Option<u32>, Option<u32>)> {
    let first = ctx.wait_event("n").within(SECOND).await?;
    let second = ctx.wait_event("n").within(SECOND * 5).await?;
    Ok((first, second))
}

#[tokio::test]
async fn a_wait_with_a_limit_ends_without_a_value_and_the_next_one_gets_the_event() {
    let end = TestRun::new(impatient, ()).raise_at(SECOND * 2, "n", &7).run().await;
    assert_eq!(end.output().unwrap(), (None, Some(7)));
    assert_eq!(end.elapsed(), SECOND * 2);
}

#[tokio::test]
async fn an_event_of_the_wrong_type_is_an_error_that_names_it() {
    let end = TestRun::new(impatient, ()).raise_at(SECOND / 2, "n", "seven").run().await;
    assert!(end.output().unwrap_err().to_string().starts_with("event \"n\": expected u32"));
}

#[orchestration]
async fn gives_back(ctx: Orchestration) -> Result<(u32, u32)> {
    let waits = (ctx.wait_event::<u32>("n").start(), ctx.wait_event::<u32>("n").start());
    ctx.timer(SECOND * 3).await?;
    // Both waits have been given their event by now; they go back in the order in which they came.
    drop(waits);
    Ok((ctx.wait_event("n").await?, ctx.wait_event("n").await?))
}

#[tokio::test]
async fn a_wait_that_is_dropped_gives_its_event_back_to_its_place() {
    let end = TestRun::new(gives_back, ()).raise_at(SECOND, "n", &1).raise_at(SECOND, "n", &2).run().await;
    assert_eq!(end.output().unwrap(), (1, 2));
}

#[orchestration]
async fn hands_on(ctx: Orchestration) -> Result<(u32, String)> {
    let first = async {
        let wait = ctx.wait_event::<u32>("n").start();
        ctx.wait_event::<()>("stop").await?;
        drop(wait);
        Ok(())
    };
    let second = async { ctx.wait_event::<u32>("n").await };
    // The second branch is polled first, so that it has to be woken again in the same turn.
    let both = join_all([
        Box::pin(async { second.await.map(Some) }) as Branch<'_>,
        Box::pin(async { first.await.map(|()| None::<u32>) }),
    ]);
    let results = both.await;
    Ok((results.into_iter().flat_map(|r| r.unwrap()).sum(), ctx.instance_id().to_string()))
}

type Branch<'a> = std::pin::Pin<Box<dyn Future<Output = Result<Option<u32>>> + 'a>>;

#[tokio::test]
async fn an_event_given_back_goes_to_a_wait_that_is_already_there() {
    let end = TestRun::new(hands_on, ())
        .raise_at(SECOND, "n", &1)
        .raise_at(SECOND * 2, "stop", &())
        .raise_at(SECOND * 3, "unrelated", &())
        .run()
        .await;
    assert_eq!(end.output().unwrap(), (1, "test".into()));
    assert_eq!(end.elapsed(), SECOND * 2);
}

#[orchestration]
async fn keeps_the_rest(ctx: Orchestration, sum: u32) -> Result<u32> {
    let n: u32 = ctx.wait_event("n").await?;
    if n == 0 {
        return Ok(sum);
    }
    ctx.continue_as_new(sum + n)
}

#[tokio::test]
async fn events_that_nobody_took_are_carried_over_in_order() {
    let run = TestRun::new(keeps_the_rest, 0);
    let run = [5, 6, 0].iter().fold(run, |run, n| run.raise_at(SECOND, "n", n));
    assert_eq!(run.run().await.output().unwrap(), 11);
}

#[orchestration]
async fn never(ctx: Orchestration) -> Result<()> {
    ctx.wait_event("never").await
}

#[tokio::test]
async fn an_orchestration_that_waits_for_ever_is_found_running() {
    let end = TestRun::new(never, ()).run().await;
    assert_eq!(end.status(), perdura::Status::Running);
    assert_eq!(
        end.output().unwrap_err().to_string(),
        "the orchestration has not ended; the last event is ExecutionStarted"
    );
}
