use crate::desk::Desk;
use perdura::prelude::*;
use perdura::{Failure, InstanceId, failure::kind};
use perdura_core::ExecutionId;
use perdura_core::history::ExecutionStarted;
use perdura_core::orchestration::TurnOutcome;
use perdura_engine::{ActivityEnd, ActivityHost, ActivityTask};
use std::sync::Arc;

#[orchestration(name = "ship", version = "1")]
async fn ship_old(_ctx: Orchestration) -> Result<u32> {
    Ok(1)
}

#[orchestration(name = "ship", version = "2")]
async fn ship(_ctx: Orchestration) -> Result<u32> {
    Ok(2)
}

#[activity(name = "mail.send")]
async fn send(ctx: ActivityContext, to: String) -> Result<String> {
    Ok(format!("{to} by {}, attempt {}, delivery {}", ctx.data::<&str>(), ctx.attempt(), ctx.delivery()))
}

fn task(name: &str, input: Option<&str>) -> ActivityTask {
    ActivityTask {
        instance: InstanceId::new("i").unwrap(),
        execution: ExecutionId(1),
        task: 0,
        name: name.into(),
        version: None,
        orchestration_version: String::new(),
        input: input.map(|text| text.to_owned().into()),
        tags: Default::default(),
        trace: None,
        attempt: 2,
        delivery: 3,
        lost: 0,
        last_heartbeat: None,
        origin: 0,
        step: None,
        branch: 0,
        epoch: 0,
        hand_over: None,
        canceled: Default::default(),
        began: Arc::new(|| {}),
        details_bytes_max: usize::MAX,
        heartbeat: Arc::new(|_| {}),
    }
}

fn failure_of(end: ActivityEnd) -> Failure {
    match end {
        ActivityEnd::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_instance_runs_exactly_its_version() {
    let registry = Registry::new().register(ship_old).register(ship);
    let mut desk = Desk::new(&registry, "ship");
    desk.version = "2".into();
    assert_eq!(crate::desk::end(&desk.start(None)).1.unwrap(), "2");
    let mut desk = Desk::new(&registry, "ship");
    let outcome = desk.outcome([ExecutionStarted::default().into()]);
    let expected = "orchestration \"ship\" is not registered here, only \"ship\" version \"1\", \"ship\" version \"2\"; \
         register it, and the instance goes on";
    assert_eq!(outcome, TurnOutcome::CannotRun(expected.into()));
}

#[test]
fn an_input_that_does_not_decode_fails_the_orchestration_and_names_it() {
    let registry = Registry::new().register(crate::calls::hello);
    let mut desk = Desk::new(&registry, "hello");
    let (_, text) = crate::desk::end(&desk.start(Some("42")));
    assert_eq!(
        text.unwrap_err(),
        "perdura.Payload: input of orchestration \"hello\": expected alloc::string::String: invalid type: integer `42`, \
         expected a string at line 1 column 2"
    );
}

#[tokio::test]
async fn an_activity_reads_its_attempt_and_the_state_of_the_application() {
    let registry = Registry::new().register(send).data("smtp");
    let end = registry.run(task("mail.send", Some("\"ada\""))).await;
    assert_eq!(end, ActivityEnd::Completed(Some("\"ada by smtp, attempt 2, delivery 3\"".into())));
}

#[tokio::test]
async fn an_activity_that_is_unknown_or_gets_a_bad_input_says_so() {
    let registry = Registry::new().register(send);
    let failure = failure_of(registry.run(task("mail.sent", None)).await);
    assert_eq!(failure.to_string(), "perdura.NotRegistered: activity \"mail.sent\" is not registered here");
    assert!(!failure.non_retryable);
    let failure = failure_of(registry.run(task("mail.send", None)).await);
    assert!(failure.non_retryable && failure.kind == kind::PAYLOAD);
    assert!(
        failure.message.starts_with(
            "input of activity \"mail.send\": expected alloc::string::String, and there is none"
        )
    );
}

#[test]
#[should_panic(expected = "orchestration \"ship\" version \"2\" is registered twice")]
fn a_name_and_version_cannot_be_registered_twice() {
    let _ = Registry::new().register(ship).register(ship);
}
