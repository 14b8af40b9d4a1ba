//! The service for operators, with workers connected.

use super::world::*;
use perdura_proto::operator::operator_client::OperatorClient;
use perdura_proto::operator::report::What;
use perdura_proto::operator::*;
use perdura_proto::{
    ActivityFilter, CompleteOrchestrationAction, GetWorkItemsRequest, OrchestrationFilter,
    OrchestrationStatus, OrchestratorAction, TaskFailureDetails, WorkItemFilters, orchestrator_action,
};
use tonic::transport::Channel;
use tonic::{Code, Request, Streaming};

async fn operator(world: &World) -> OperatorClient<Channel> {
    OperatorClient::new(world.channel().await)
}

fn fail(message: &str) -> OrchestratorAction {
    let details = TaskFailureDetails {
        error_type: "bank.Down".into(),
        error_message: message.into(),
        ..Default::default()
    };
    let end = CompleteOrchestrationAction {
        orchestration_status: OrchestrationStatus::Failed as i32,
        failure_details: Some(details),
        ..Default::default()
    };
    action(100, orchestrator_action::OrchestratorActionType::CompleteOrchestration(end))
}

/// Instances that have failed, and their worker.
async fn failed(world: &World, ids: &[&str]) -> Worker {
    let mut worker = world.worker().await;
    for id in ids {
        world.start(id, "order").await;
        let turn = worker.turn().await;
        worker.answer(&turn, vec![fail("no route to host")]).await.unwrap();
        world.end_of(id).await;
    }
    worker
}

fn one(id: &str) -> Option<Target> {
    Some(Target { target: Some(target::Target::Instance(id.into())) })
}

fn failed_orders() -> Option<Target> {
    let selection = Selection { name: "order".into(), error: "bank.Down".into(), ..Selection::default() };
    Some(Target { target: Some(target::Target::Selection(selection)) })
}

fn because(target: Option<Target>) -> RewindRequest {
    RewindRequest { target, by: "ada".into(), reason: "mended".into(), ..RewindRequest::default() }
}

async fn all(mut reports: Streaming<Report>) -> Vec<(String, What)> {
    let mut seen = Vec::new();
    while let Some(report) = within(reports.message()).await.unwrap() {
        seen.push((report.instance, report.what.unwrap()));
    }
    seen
}

async fn status(world: &World, id: &str) -> OrchestrationStatus {
    world.state(id).await.unwrap().orchestration_status()
}

#[tokio::test]
async fn a_canary_that_fails_again_keeps_the_rest_as_it_is_and_one_that_completes_lets_it_follow() {
    let world = World::new().await;
    let ids = ["o1", "o2", "o3"];
    let mut worker = failed(&world, &ids).await;
    let request = RewindRequest { canaries: 1, ..because(failed_orders()) };
    let again = tokio::spawn({
        let (mut operator, request) = (operator(&world).await, request.clone());
        async move { all(operator.rewind(request).await.unwrap().into_inner()).await }
    });
    let turn = worker.turn().await;
    worker.answer(&turn, vec![fail("still no route")]).await.unwrap();
    let reports = within(again).await.unwrap();
    assert_eq!(reports[0], (String::new(), What::Matched(3)));
    assert!(matches!(&reports[1], (id, What::Rewound(done)) if id == "o1" && done.branch == 1));
    assert!(
        matches!(&reports[2].1, What::Stopped(why) if why.contains("\"o1\" is Failed again")),
        "{reports:?}"
    );
    assert_eq!(reports.len(), 3);
    for id in ids {
        assert_eq!(status(&world, id).await, OrchestrationStatus::Failed);
    }
    let well = tokio::spawn({
        let mut operator = operator(&world).await;
        async move { all(operator.rewind(request).await.unwrap().into_inner()).await }
    });
    for _ in ids {
        let turn = worker.turn().await;
        worker.answer(&turn, vec![complete("\"paid\"")]).await.unwrap();
    }
    let reports = within(well).await.unwrap();
    assert_eq!(reports.iter().filter(|(_, what)| matches!(what, What::Rewound(_))).count(), 3);
    for id in ids {
        assert_eq!(world.end_of(id).await.orchestration_status(), OrchestrationStatus::Completed);
    }
}

#[tokio::test]
async fn a_rewind_does_what_the_plan_said_and_not_to_a_head_that_has_moved() {
    let world = World::new().await;
    let mut worker = failed(&world, &["o1"]).await;
    let mut operator = operator(&world).await;
    let dry = RewindRequest { dry_run: true, ..because(one("o1")) };
    let planned = all(operator.rewind(dry).await.unwrap().into_inner()).await;
    let What::Planned(plan) = &planned[0].1 else { panic!("{planned:?}") };
    assert_eq!((planned.len(), &plan.status[..], plan.branch), (1, "Failed", 1));
    let request = RewindRequest { head: plan.head.clone(), ..because(one("o1")) };
    let done = all(operator.rewind(request.clone()).await.unwrap().into_inner()).await;
    assert!(
        matches!(&done[..], [(_, What::Planned(same)), (_, What::Rewound(_))] if same == plan),
        "{done:?}"
    );
    let turn = worker.turn().await;
    worker.answer(&turn, vec![fail("again")]).await.unwrap();
    world.end_of("o1").await;
    let refused = operator.rewind(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("its history moved on"), "{refused}");
}

async fn missing(world: &World, id: &str) -> String {
    let why = operator(world).await.why(InstanceRequest { instance: id.into() }).await.unwrap();
    let waits = why.into_inner().waits.into_iter().map(|wait| wait.missing);
    waits.collect::<Vec<_>>().join(" | ")
}

/// Work reaches the queue a moment after the commit that made it.
async fn until_missing(world: &World, id: &str, what: &str) {
    while missing(world, id).await != what {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn why_knows_whether_a_worker_serves_the_name_is_busy_or_has_it() {
    let world = World::new().await;
    world.start("o1", "order").await;
    until_missing(&world, "o1", "no worker serves orchestration \"order\": start one").await;
    let filters = WorkItemFilters {
        orchestrations: vec![OrchestrationFilter { name: "order".into(), versions: vec![] }],
        activities: vec![ActivityFilter { name: "reserve".into(), versions: vec![] }],
        entities: vec![],
    };
    let request = GetWorkItemsRequest {
        max_concurrent_orchestration_work_items: 1,
        max_concurrent_activity_work_items: 1,
        max_concurrent_entity_work_items: 1,
        work_item_filters: Some(filters),
        ..Default::default()
    };
    let mut worker = world.worker_with(request).await;
    let turn = worker.turn().await;
    until_missing(&world, "o1", "a worker has it").await;
    for id in ["o2", "o3"] {
        world.start(id, "order").await;
    }
    let full = "the queue is full: the workers that serve orchestration \"order\" are busy, and 1 others came before it";
    until_missing(&world, "o3", full).await;
    worker.answer(&turn, vec![schedule(0, "charge")]).await.unwrap();
    worker.turn().await;
    until_missing(&world, "o1", "no worker serves activity \"charge\": start one").await;
}

#[tokio::test]
async fn a_call_without_a_target_or_with_nonsense_is_refused() {
    let world = World::new().await;
    let mut operator = operator(&world).await;
    assert_eq!(code(operator.rewind(because(None)).await), Code::InvalidArgument);
    let nothing = ControlRequest { target: one("x"), ..ControlRequest::default() };
    assert_eq!(code(operator.control(nothing).await), Code::InvalidArgument);
    for (statuses, created_from, expected) in [
        (vec!["lost".to_owned()], None, "there is no status \"lost\""),
        (vec![], Some(prost_types::Timestamp { seconds: 0, nanos: -1 }), "created_from"),
        (vec!["failed".to_owned()], None, "the filter matches every instance"),
    ] {
        let selection = Selection { statuses, created_from, ..Selection::default() };
        let target = Some(Target { target: Some(target::Target::Selection(selection)) });
        let refused = operator.rewind(because(target)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(expected), "{refused}");
    }
    for bad in ["", "@x", "a\0"] {
        assert_eq!(code(operator.rewind(because(one(bad))).await), Code::InvalidArgument, "{bad:?}");
    }
    let mut nowhere = Request::new(InstanceRequest { instance: "x".into() });
    nowhere.metadata_mut().insert("taskhub", "../x".parse().unwrap());
    assert_eq!(code(operator.why(nowhere).await), Code::InvalidArgument);
}
