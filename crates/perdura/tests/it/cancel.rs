use perdura::prelude::*;
use perdura::testing::TestRun;
use perdura::{Status, failure::kind};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[activity]
async fn undo(_what: String) -> Result<()> {
    Ok(())
}

#[orchestration]
async fn order(ctx: Orchestration) -> Result<()> {
    let waited = ctx.wait_event::<()>("go").await;
    if ctx.is_canceled() {
        ctx.call(undo, "payment".into()).await?;
        ctx.timer(SECOND).await?;
    }
    waited
}

#[tokio::test]
async fn a_cancelled_orchestration_can_clean_up_and_ends_as_canceled() {
    let end = TestRun::new(order, ()).register(undo).cancel_at(SECOND, "too dear").run().await;
    assert_eq!(end.status(), Status::Canceled);
    assert_eq!(end.output().unwrap_err().to_string(), "too dear");
    assert_eq!(end.calls(undo), ["payment"]);
    assert_eq!(end.elapsed(), SECOND * 2);
}

#[orchestration]
async fn stubborn(ctx: Orchestration) -> Result<u32> {
    let _ = ctx.timer(SECOND * 10).await;
    Ok(1)
}

#[tokio::test]
async fn an_orchestration_may_end_well_although_it_was_cancelled() {
    let end = TestRun::new(stubborn, ()).cancel_at(SECOND, "").run().await;
    assert_eq!((end.status(), end.output().unwrap()), (Status::Completed, 1));
}

#[orchestration]
async fn listens(ctx: Orchestration) -> Result<String> {
    match select(ctx.canceled(), ctx.timer(SECOND * 60)).await {
        Either::First((), _) => Ok(format!("canceled at {}", ctx.now())),
        Either::Second(..) => Ok("done".into()),
    }
}

#[tokio::test]
async fn a_request_to_cancel_can_be_awaited() {
    let end = TestRun::new(listens, ()).cancel_at(SECOND, "").run().await;
    assert!(end.output().unwrap().starts_with("canceled"));
    assert_eq!(TestRun::new(listens, ()).run().await.output().unwrap(), "done");
}

#[orchestration]
async fn fails_like_canceled(_ctx: Orchestration) -> Result<()> {
    Err(Error::new(kind::CANCELED, "somebody else"))
}

#[tokio::test]
async fn an_error_of_a_cancelled_child_does_not_make_its_parent_canceled() {
    let end = TestRun::new(fails_like_canceled, ()).run().await;
    assert_eq!(end.status(), Status::Failed);
}

#[orchestration]
async fn eternal(ctx: Orchestration) -> Result<()> {
    loop {
        ctx.wait_event::<()>("go").await?;
        ctx.set_status("goes on")?;
    }
}

#[tokio::test]
async fn a_request_to_cancel_that_comes_with_what_is_waited_for_is_not_lost() {
    let dir = tempfile::TempDir::new().unwrap();
    let engine = Engine::sqlite(dir.path().join("hub.db")).register(eternal).start().await.unwrap();
    engine.start(eternal, ()).id("e").await.unwrap();
    let instance = engine.instance("e");
    // What comes while it is suspended comes in one turn.
    instance.suspend("to collect").await.unwrap();
    instance.raise("go", &()).await.unwrap();
    instance.cancel("enough").await.unwrap();
    instance.resume("all is there").await.unwrap();
    let error = instance.wait::<()>().await.unwrap_err();
    assert_eq!(error.to_string(), "instance \"e\" is Canceled: perdura.Canceled: enough");
    assert_eq!(instance.get().await.unwrap().unwrap().custom_status::<String>().unwrap(), "goes on");
    engine.shutdown().await;
}
