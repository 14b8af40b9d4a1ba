use perdura::prelude::*;
use perdura::testing::TestRun;
use perdura::{ActivityName, InstanceId, OnExisting, Raw, ReusePolicy, Status, failure::kind};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

#[activity]
async fn greet(name: String) -> Result<String> {
    Ok(format!("Hello, {name}!"))
}

#[orchestration]
pub async fn hello(ctx: Orchestration, name: String) -> Result<String> {
    ctx.call(greet, name).await
}

#[activity]
async fn charge(cents: u64) -> Result<String> {
    if cents == 13 {
        Err(Error::new("CardDeclined", "no"))?
    }
    let _: u8 = cents.to_string().parse()?;
    Ok("paid".into())
}

#[tokio::test]
async fn an_orchestration_returns_what_its_activity_returns() {
    let end = TestRun::new(hello, "world".into()).register(greet).run().await;
    assert_eq!((end.status(), end.output().unwrap()), (Status::Completed, "Hello, world!".into()));
}

#[tokio::test]
async fn an_activity_can_be_called_directly() {
    assert_eq!(greet::call("you".into()).await.unwrap(), "Hello, you!");
}

#[orchestration]
async fn pay(ctx: Orchestration, cents: u64) -> Result<String> {
    let retry = Retry::attempts(4).backoff(Duration::from_secs(10)).factor(3.0).non_retryable("CardDeclined");
    ctx.call(charge, cents).retry(retry).await
}

#[tokio::test]
async fn a_failing_activity_is_retried_in_virtual_time_and_its_last_error_is_seen() {
    let attempts = Rc::new(RefCell::new(0));
    let count = attempts.clone();
    let end = TestRun::new(pay, 5)
        .mock(charge, move |_| {
            *count.borrow_mut() += 1;
            Err(Error::new("Busy", format!("attempt {}", count.borrow())))
        })
        .run()
        .await;
    assert_eq!(end.status(), Status::Failed);
    assert_eq!(end.output().unwrap_err().to_string(), "attempt 4");
    assert_eq!(*attempts.borrow(), 4);
    assert_eq!(end.elapsed(), Duration::from_secs(10 + 30 + 60));
}

#[tokio::test]
async fn an_error_of_a_kind_that_is_not_retried_is_final() {
    let end = TestRun::new(pay, 13).register(charge).run().await;
    assert_eq!(end.output().unwrap_err().kind(), "CardDeclined");
    assert_eq!(end.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn any_error_can_leave_an_activity_and_keeps_its_type() {
    let end = TestRun::new(pay, 300).register(charge).run().await;
    assert_eq!(end.output().unwrap_err().kind(), "core::num::error::ParseIntError");
}

#[orchestration]
async fn slow(ctx: Orchestration) -> Result<String> {
    let call = ctx.call(charge, 1).timeout(Duration::from_secs(5)).tag("a", "b");
    match call.await {
        Err(error) if error.is_timeout() => Ok("timeout".into()),
        other => other,
    }
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_fails_with_a_timeout() {
    let end = TestRun::new(slow, ()).register(charge).takes(charge, Duration::from_secs(6)).run().await;
    assert_eq!((end.output().unwrap(), end.elapsed()), ("timeout".into(), Duration::from_secs(5)));
}

#[orchestration]
async fn bad_policy(ctx: Orchestration) -> Result<String> {
    ctx.call(charge, 1).retry(Retry::attempts(2).factor(f64::NAN)).await
}

#[tokio::test]
async fn a_policy_that_makes_no_sense_is_an_error_at_the_call() {
    let error = TestRun::new(bad_policy, ()).run().await.output().unwrap_err();
    assert_eq!(error.kind(), kind::INVALID);
    assert_eq!(error.to_string(), "retry policy: backoff_factor must be a number from 1 to 1000");
}

static SHOUT: ActivityName<Raw, Raw> = ActivityName::new("shout").version("2");

#[orchestration]
async fn by_name(ctx: Orchestration, text: Raw) -> Result<Raw> {
    ctx.call(&SHOUT, text).await
}

#[tokio::test]
async fn an_activity_can_be_called_by_name_with_bytes_that_are_not_json() {
    let end = TestRun::new(by_name, Raw("{not json".into()))
        .mock(&SHOUT, |raw| Ok(Raw([&raw.0[..], b"!"].concat().into())))
        .run()
        .await;
    assert_eq!(end.output().unwrap(), Raw("{not json!".into()));
}

#[orchestration]
async fn family(ctx: Orchestration) -> Result<Vec<String>> {
    let first = ctx.sub_orchestration(hello, "a".into()).id("child").start();
    let second = ctx.sub_orchestration(hello, "b".into()).id("child").await;
    let shared = ReusePolicy::USE_EXISTING.when_terminal(OnExisting::Fail);
    let third = ctx.sub_orchestration(hello, "c".into()).id("child").reuse(shared).await;
    let first = first.await?;
    let again = ctx.sub_orchestration(hello, "d".into()).id("child").await?;
    ctx.sub_orchestration(hello, "e".into()).detached().await?;
    ctx.send_event(&InstanceId::new("nobody")?, "hey", "you")?;
    Ok(vec![first, second.unwrap_err().to_string(), third?, again])
}

#[tokio::test]
async fn a_child_with_a_taken_id_fails_while_the_other_is_active_and_replaces_it_afterwards() {
    let end = TestRun::new(family, ()).register(hello).register(greet).run().await;
    let expected = ["Hello, a!", "instance \"child\" exists and is Pending", "Hello, a!", "Hello, d!"];
    assert_eq!(end.output().unwrap(), expected);
}

#[orchestration]
async fn parent_of_itself(ctx: Orchestration) -> Result<()> {
    ctx.sub_orchestration(parent_of_itself, ()).id(ctx.instance_id().as_str()).detached().await
}

#[tokio::test]
async fn a_detached_child_that_is_refused_says_so() {
    let error = TestRun::new(parent_of_itself, ()).run().await.output().unwrap_err();
    assert_eq!(error.kind(), kind::INVALID);
}

#[orchestration]
async fn count_down(ctx: Orchestration, n: u32) -> Result<String> {
    ctx.set_status(&n)?;
    ctx.timer(Duration::from_secs(1)).await?;
    if n == 0 {
        return Ok(format!("{} on {}", ctx.instance_id(), ctx.now()));
    }
    ctx.continue_as_new(n - 1)
}

#[tokio::test]
async fn continue_as_new_begins_again_with_an_empty_history() {
    let end = TestRun::new(count_down, 3).id("launch").run().await;
    assert_eq!(end.output().unwrap(), "launch on 2025-06-15T15:06:44.000Z");
    assert_eq!((end.generation(), end.turns(), end.elapsed()), (3, 2, Duration::from_secs(4)));
    assert_eq!(end.custom_status::<u32>().unwrap(), 0);
}

#[orchestration]
async fn ids(ctx: Orchestration) -> Result<(String, String)> {
    let first = ctx.new_uuid();
    ctx.timer(Duration::from_secs(1)).await?;
    Ok((first, ctx.new_uuid()))
}

#[tokio::test]
async fn uuids_differ_from_each_other_and_have_the_form_of_version_4() {
    let (a, b) = TestRun::new(ids, ()).run().await.output().unwrap();
    assert_ne!(a, b);
    for id in [a, b] {
        assert_eq!((id.len(), &id[14..15]), (36, "4"));
        assert!("89ab".contains(&id[19..20]), "{id}");
    }
}

#[orchestration]
async fn ignores_a_call(ctx: Orchestration) -> Result<String> {
    drop(ctx.call(greet, "nobody".into()));
    drop(ctx.call(greet, "a".into()).start());
    ctx.call(greet, "b".into()).await
}

#[tokio::test]
async fn a_call_that_was_dropped_is_harmless() {
    let end = TestRun::new(ignores_a_call, ()).register(greet).run().await;
    assert_eq!(end.output().unwrap(), "Hello, b!");
    assert_eq!(end.calls(greet), ["a", "b"]);
}

#[orchestration]
async fn waits_for_its_parent(ctx: Orchestration) -> Result<()> {
    let parent = ctx.parent().map(|id| id.to_string()).unwrap_or_default();
    ctx.sub_orchestration(begins_a_cycle, ()).id(parent).reuse(ReusePolicy::USE_EXISTING).await
}

#[orchestration]
async fn begins_a_cycle(ctx: Orchestration) -> Result<()> {
    ctx.sub_orchestration(waits_for_its_parent, ()).id("kid").await
}

#[tokio::test]
async fn a_child_that_waits_for_its_parent_is_an_error_that_names_both() {
    let error = TestRun::new(begins_a_cycle, ()).register(waits_for_its_parent).run().await;
    let error = error.output().unwrap_err();
    assert_eq!(error.kind(), kind::INVALID);
    let text = error.to_string();
    assert!(text.starts_with("sub-orchestration \"kid\": \"kid\" cannot wait for \"test\""), "{text}");
}

#[orchestration]
async fn names_no_child(ctx: Orchestration) -> Result<[String; 2]> {
    let refused = ctx.sub_orchestration(hello, "a".into()).id("").await.unwrap_err();
    let detached = ctx.sub_orchestration(hello, "a".into()).id("").detached().await.unwrap_err();
    Ok([refused.to_string(), detached.to_string()])
}

#[tokio::test]
async fn a_child_without_a_name_that_was_given_one_is_an_error() {
    let said = TestRun::new(names_no_child, ()).register(hello).run().await.output().unwrap();
    assert_eq!(said, ["instance id of the sub-orchestration must not be empty"; 2]);
}
