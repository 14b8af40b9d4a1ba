//! Activities that run at most once on workers, by configuration or by tags.

use super::world::*;
use perdura_core::delivery::{Delivery, OnUnknown};
use perdura_proto::orchestrator_action::OrchestratorActionType;
use perdura_proto::*;
use perdura_server::{Server, ServerOptions};
use std::time::Duration;
use tonic::Code;

async fn world(policy: &str) -> World {
    let delivery = Delivery::AtMostOnce(OnUnknown::parse(policy).unwrap());
    World::with(|options| drop(options.deliveries.insert("pay".into(), delivery))).await
}

fn tagged(id: i32, tags: &[(&str, &str)]) -> OrchestratorAction {
    let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let task = ScheduleTaskAction { name: "pay".into(), tags, ..Default::default() };
    action(id, OrchestratorActionType::ScheduleTask(task))
}

/// A worker has the activity of an instance, and the instance waits for it.
async fn paying(world: &World) -> (Worker, Activity) {
    let mut worker = world.worker().await;
    world.start("a", "order").await;
    let turn = worker.turn().await;
    worker.answer(&turn, vec![schedule(0, "pay")]).await.unwrap();
    let activity = worker.activity().await;
    (worker, activity)
}

async fn until_suspended(world: &World) {
    until(world, OrchestrationStatus::Suspended).await;
}

async fn until(world: &World, status: OrchestrationStatus) {
    while world.state("a").await.unwrap().orchestration_status() != status {
        tokio::task::yield_now().await;
    }
}

async fn resolve(world: &World, json: &str) -> Result<(), tonic::Status> {
    let request = RaiseEventRequest {
        instance_id: "a".into(),
        name: "perdura.resolve".into(),
        input: Some(json.into()),
        ..Default::default()
    };
    world.client().await.raise_event(request).await.map(drop)
}

/// The failure that the next turn brings.
async fn failure(worker: &mut Worker) -> TaskFailureDetails {
    let turn = worker.turn().await;
    let failed = turn.request.new_events.iter().find_map(|event| match &event.event_type {
        Some(history_event::EventType::TaskFailed(failed)) => failed.failure_details.clone(),
        _ => None,
    });
    worker.answer(&turn, vec![complete("over")]).await.unwrap();
    failed.expect("a failure")
}

#[tokio::test]
async fn a_worker_that_dies_with_it_leaves_an_unknown_outcome_and_nobody_runs_it_again() {
    let world = world("fail").await;
    let (worker, _) = paying(&world).await;
    drop(worker);
    let mut second = world.worker().await;
    let failed = failure(&mut second).await;
    assert_eq!((failed.error_type.as_str(), failed.is_non_retriable), ("perdura.UnknownOutcome", true));
    assert!(failed.error_message.contains("delivery 1"), "{failed:?}");
}

#[tokio::test]
async fn what_no_worker_took_before_its_stream_ended_goes_to_the_next_one_as_the_first_delivery() {
    let world = world("fail").await;
    let one_at_a_time =
        GetWorkItemsRequest { max_concurrent_activity_work_items: 1, ..GetWorkItemsRequest::default() };
    let mut worker = world.worker_with(one_at_a_time).await;
    world.start("a", "order").await;
    let turn = worker.turn().await;
    worker.answer(&turn, vec![schedule(0, "pay"), schedule(1, "pay")]).await.unwrap();
    let taken = worker.activity().await;
    drop(worker);
    let mut second = world.worker().await;
    let activity = activity_among_turns(&mut second).await;
    assert_eq!(activity.request.tags["perdura.delivery"], "1");
    assert_ne!(activity.request.task_id, taken.request.task_id);
}

#[tokio::test]
async fn a_result_that_names_another_activity_than_its_token_is_refused_and_harms_nobody() {
    let world = World::new().await;
    let (mut worker, activity) = paying(&world).await;
    let mut elsewhere = result_of(&activity, "stolen");
    elsewhere.instance_id = "b".into();
    let mut another = result_of(&activity, "stolen");
    another.task_id = 1;
    for misnamed in [elsewhere, another] {
        assert_eq!(code(worker.client.complete_activity_task(misnamed).await), Code::InvalidArgument);
    }
    worker.finish(&activity, "7").await.unwrap();
}

/// The next activity. Turns that come before it are answered with nothing.
async fn activity_among_turns(worker: &mut Worker) -> Activity {
    loop {
        let item = worker.next().await.unwrap();
        match item.request {
            Some(work_item::Request::ActivityRequest(request)) => {
                return Activity { token: item.completion_token, request };
            }
            Some(work_item::Request::OrchestratorRequest(request)) => {
                let turn = Turn { token: item.completion_token, request };
                worker.answer(&turn, Vec::new()).await.unwrap();
            }
            other => panic!("not work: {other:?}"),
        }
    }
}

#[tokio::test]
async fn workers_learn_attempt_delivery_and_key_from_tags_and_a_late_result_settles_the_doubt() {
    let world = world("suspend").await;
    let (worker, activity) = paying(&world).await;
    let tags = &activity.request.tags;
    assert_eq!((tags["perdura.delivery"].as_str(), tags["perdura.attempt"].as_str()), ("1", "1"));
    assert!(tags["perdura.idempotency-key"].ends_with("-0"), "{tags:?}");
    assert!(tags["perdura.delivery-token"].ends_with("0000000001"), "{tags:?}");
    let Worker { mut client, items } = worker;
    drop(items);
    until_suspended(&world).await;
    client.complete_activity_task(result_of(&activity, "7")).await.unwrap();
    let mut second = world.worker().await;
    let turn = second.turn().await;
    assert!(kinds(&turn.request.new_events).contains(&"TaskCompleted".to_owned()));
    second.answer(&turn, vec![complete("paid")]).await.unwrap();
    assert_eq!(world.end_of("a").await.output.as_deref(), Some("paid"));
    assert_eq!(code(client.complete_activity_task(result_of(&activity, "7")).await), Code::NotFound);
}

#[tokio::test]
async fn any_sdk_resolves_by_an_event_and_garbage_is_refused() {
    let world = world("suspend").await;
    let (worker, activity) = paying(&world).await;
    drop(worker);
    until_suspended(&world).await;
    assert_eq!(code(resolve(&world, r#"{"perhaps": 1}"#).await), Code::InvalidArgument);
    assert_eq!(code(resolve(&world, r#"{"task": 7, "complete": 1}"#).await), Code::FailedPrecondition);
    let resume = ResumeRequest { instance_id: "a".into(), reason: None };
    assert_eq!(code(world.client().await.resume_instance(resume).await), Code::FailedPrecondition);
    resolve(&world, r#"{"by": "ada", "runOnceMore": true}"#).await.unwrap();
    let mut second = world.worker().await;
    let again = activity_among_turns(&mut second).await;
    assert_eq!(again.request.tags["perdura.delivery"], "2");
    assert_eq!(
        again.request.tags["perdura.idempotency-key"],
        activity.request.tags["perdura.idempotency-key"]
    );
    drop(second);
    until_suspended(&world).await;
    resolve(&world, r#"{"complete": {"receipt": 7}}"#).await.unwrap();
    let mut third = world.worker().await;
    let turn = third.turn().await;
    let done = turn.request.new_events.iter().find_map(|event| match &event.event_type {
        Some(history_event::EventType::TaskCompleted(done)) => done.result.clone(),
        _ => None,
    });
    assert_eq!(done.as_deref(), Some(r#"{"receipt": 7}"#));
}

#[tokio::test]
async fn a_handler_is_an_activity_like_any_other() {
    let world = world("handler:find").await;
    let (worker, activity) = paying(&world).await;
    drop(worker);
    let mut second = world.worker().await;
    let asked = second.activity().await;
    assert_eq!(asked.request.name, "find");
    let question: serde_json::Value = serde_json::from_str(asked.request.input.as_deref().unwrap()).unwrap();
    assert_eq!((&question["activity"], &question["input"]), (&"pay".into(), &1.into()));
    assert_eq!(question["attempts"][0]["delivery"], 1);
    assert!(question["attempts"][0]["worker"].as_str().unwrap().starts_with("127.0.0.1"), "{question}");
    let key = &activity.request.tags["perdura.idempotency-key"];
    assert_eq!(question["idempotencyKey"].as_str(), Some(key.as_str()));
    second.finish(&asked, r#"{"complete": 7}"#).await.unwrap();
    let turn = second.turn().await;
    assert!(kinds(&turn.request.new_events).contains(&"TaskCompleted".to_owned()));
}

#[tokio::test]
async fn what_a_worker_gives_back_may_have_begun() {
    let world = world("fail").await;
    let (mut worker, activity) = paying(&world).await;
    let abandon = AbandonActivityTaskRequest { completion_token: activity.token.clone() };
    worker.client.abandon_task_activity_work_item(abandon).await.unwrap();
    assert_eq!(failure(&mut worker).await.error_type, "perdura.UnknownOutcome");
}

#[tokio::test]
async fn a_tag_makes_it_so_and_a_policy_that_nobody_knows_fails_the_instance() {
    let world = World::new().await;
    let mut worker = world.worker().await;
    world.start("a", "order").await;
    let turn = worker.turn().await;
    worker.answer(&turn, vec![tagged(0, &[("perdura.at-most-once", "fail")])]).await.unwrap();
    worker.activity().await;
    drop(worker);
    let mut second = world.worker().await;
    assert_eq!(failure(&mut second).await.error_type, "perdura.UnknownOutcome");

    world.start("b", "order").await;
    let turn = second.turn().await;
    second.answer(&turn, vec![tagged(0, &[("perdura.at-most-once", "perhaps")])]).await.unwrap();
    let failed = world.end_of("b").await.failure_details.unwrap();
    assert!(failed.error_message.contains("use fail, suspend or handler:NAME"), "{failed:?}");
}

#[tokio::test]
async fn many_are_handed_over_side_by_side() {
    let world = world("fail").await;
    let mut worker = world.worker().await;
    world.start("a", "order").await;
    let turn = worker.turn().await;
    worker.answer(&turn, (0..200).map(|id| schedule(id, "pay")).collect()).await.unwrap();
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 200 {
        seen.insert(worker.activity().await.request.task_id);
    }
}

#[tokio::test]
async fn what_is_handed_over_for_good_does_not_wait_for_the_end_of_other_work() {
    const OTHERS: i32 = 300;
    let world = world("fail").await;
    let mut worker = world.worker().await;
    world.start("a", "order").await;
    let turn = worker.turn().await;
    let large = |id| {
        let task = ScheduleTaskAction {
            name: "other".into(),
            input: Some("x".repeat(20_000)),
            ..Default::default()
        };
        action(id, OrchestratorActionType::ScheduleTask(task))
    };
    let actions = std::iter::once(schedule(0, "pay")).chain((1..=OTHERS).map(large));
    worker.answer(&turn, actions.collect()).await.unwrap();
    let mut client = world.client().await;
    let mut others = 0;
    while worker.activity().await.request.name != "pay" {
        others += 1;
        // Gives the hand-over time to be committed.
        let request = GetInstanceRequest { instance_id: "a".into(), get_inputs_and_outputs: false };
        client.get_instance(request).await.unwrap();
    }
    assert!(others < OTHERS, "it came last");
}

#[tokio::test]
async fn no_two_workers_get_an_activity_under_one_count_also_if_one_gives_it_back() {
    let world = World::new().await;
    let mut worker = world.worker().await;
    world.start("a", "order").await;
    let turn = worker.turn().await;
    worker.answer(&turn, vec![schedule(0, "pay")]).await.unwrap();
    for delivery in 1..=2 {
        let activity = worker.activity().await;
        assert_eq!(activity.request.tags["perdura.delivery"], delivery.to_string());
        let abandon = AbandonActivityTaskRequest { completion_token: activity.token.clone() };
        worker.client.abandon_task_activity_work_item(abandon).await.unwrap();
        assert_eq!(worker.finish(&activity, "1").await.unwrap_err().code(), Code::NotFound);
    }
}

#[tokio::test]
async fn a_worker_that_outlives_its_server_settles_the_doubt_by_its_result_and_nobody_else_does() {
    for fails in [false, true] {
        let world = World::with(|options| {
            options.deliveries.insert("pay".into(), Delivery::AtMostOnce(OnUnknown::Suspend));
            options.drain_time_max = Duration::ZERO;
        })
        .await;
        let (_worker, activity) = paying(&world).await;
        let World { server, directory } = world;
        server.shutdown().await;
        let mut options = ServerOptions::new(directory.path().join("hubs"));
        options.listen = vec!["127.0.0.1:0".parse().unwrap()];
        let world = World { server: Server::start(options).await.unwrap(), directory };
        let mut client = world.client().await;
        let mut worker = world.worker().await;
        until_suspended(&world).await;
        let guessed = ActivityResponse { completion_token: "0".repeat(32), ..result_of(&activity, "0") };
        let another = ActivityResponse { task_id: 1, ..result_of(&activity, "0") };
        for stolen in [guessed, another] {
            assert_eq!(code(client.complete_activity_task(stolen).await), Code::NotFound);
        }
        let mut result = result_of(&activity, "7");
        if fails {
            let details = TaskFailureDetails { error_type: "E".into(), ..Default::default() };
            result = ActivityResponse { result: None, failure_details: Some(details), ..result };
        }
        client.complete_activity_task(result.clone()).await.unwrap();
        let turn = worker.turn().await;
        let told = if fails { "TaskFailed" } else { "TaskCompleted" };
        assert!(kinds(&turn.request.new_events).contains(&told.to_owned()));
        assert_eq!(code(client.complete_activity_task(result).await), Code::NotFound, "it has come");
        worker.answer(&turn, vec![complete("paid")]).await.unwrap();
        assert_eq!(world.end_of("a").await.output.as_deref(), Some("paid"));
    }
}

#[tokio::test]
async fn the_result_of_a_worker_that_goes_on_counts_after_its_instance_has_failed_and_was_rewound() {
    let world = world("suspend").await;
    let mut worker = world.worker().await;
    world.start("a", "order").await;
    let turn = worker.turn().await;
    worker.answer(&turn, vec![schedule(0, "pay"), schedule(1, "fails")]).await.unwrap();
    let (one, other) = (worker.activity().await, worker.activity().await);
    let (paying, fails) = if one.request.name == "pay" { (one, other) } else { (other, one) };
    let details = || TaskFailureDetails { error_type: "E".into(), ..Default::default() };
    let failed = ActivityResponse { result: None, failure_details: Some(details()), ..result_of(&fails, "") };
    worker.client.complete_activity_task(failed).await.unwrap();
    let turn = worker.turn().await;
    let end = CompleteOrchestrationAction {
        orchestration_status: OrchestrationStatus::Failed as i32,
        failure_details: Some(details()),
        ..Default::default()
    };
    worker
        .answer(&turn, vec![action(100, OrchestratorActionType::CompleteOrchestration(end))])
        .await
        .unwrap();
    world.end_of("a").await;
    let rewind = RewindInstanceRequest { instance_id: "a".into(), reason: Some("again".into()) };
    worker.client.rewind_instance(rewind).await.unwrap();
    until_suspended(&world).await;
    worker.finish(&paying, "7").await.unwrap();
    until(&world, OrchestrationStatus::Running).await;
}
