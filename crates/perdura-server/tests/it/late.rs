//! Results of workers that were taken for lost.

use super::world::*;
use perdura_proto::*;
use tonic::Code;

fn failure(text: &str) -> Option<TaskFailureDetails> {
    let (error_type, error_message) = ("E".to_owned(), text.to_owned());
    Some(TaskFailureDetails { error_type, error_message, ..Default::default() })
}

fn failed(activity: &Activity, text: &str) -> ActivityResponse {
    ActivityResponse { result: None, failure_details: failure(text), ..result_of(activity, "") }
}

fn fail() -> OrchestratorAction {
    let end = CompleteOrchestrationAction {
        orchestration_status: OrchestrationStatus::Failed as i32,
        failure_details: failure("over"),
        ..Default::default()
    };
    action(100, orchestrator_action::OrchestratorActionType::CompleteOrchestration(end))
}

/// A worker that has lost its stream and has an activity, which a second worker got and brought to a failure, and with it
/// the instance.
async fn failed_without_it(world: &World) -> (Client, Activity, Worker) {
    let mut first = world.worker().await;
    world.start("a", "order").await;
    let turn = first.turn().await;
    first.answer(&turn, vec![schedule(1, "pay")]).await.unwrap();
    let old = first.activity().await;
    let Worker { client, items } = first;
    drop(items);
    let mut second = world.worker().await;
    let activity = second.activity().await;
    second.client.complete_activity_task(failed(&activity, "the second")).await.unwrap();
    let turn = second.turn().await;
    second.answer(&turn, vec![fail()]).await.unwrap();
    assert_eq!(world.end_of("a").await.orchestration_status(), OrchestrationStatus::Failed);
    (client, old, second)
}

/// The activity that runs again after a rewind; turns before it do what the first one did.
async fn rewound(client: &mut Client, worker: &mut Worker) -> Activity {
    let rewind = RewindInstanceRequest { instance_id: "a".into(), reason: Some("mended".into()) };
    client.rewind_instance(rewind).await.unwrap();
    loop {
        let item = worker.next().await.unwrap();
        match item.request {
            Some(work_item::Request::ActivityRequest(request)) => {
                return Activity { token: item.completion_token, request };
            }
            Some(work_item::Request::OrchestratorRequest(request)) => {
                let new = kinds(&request.new_events);
                assert!(!new.contains(&"TaskFailed".to_owned()), "a result of another branch: {request:?}");
                let is_scheduled = kinds(&request.past_events).contains(&"TaskScheduled".to_owned());
                let actions = if is_scheduled { vec![] } else { vec![schedule(1, "pay")] };
                let turn = Turn { token: item.completion_token, request };
                worker.answer(&turn, actions).await.unwrap();
            }
            other => panic!("not work: {other:?}"),
        }
    }
}

#[tokio::test]
async fn nobody_wants_a_result_of_an_activity_that_has_ended_by_another_and_a_rewind_runs_it_again() {
    let world = World::new().await;
    let (mut client, old, mut second) = failed_without_it(&world).await;
    let late = client.complete_activity_task(failed(&old, "too late")).await;
    assert_eq!(code(late), Code::NotFound);
    let again = rewound(&mut client, &mut second).await;
    second.finish(&again, "7").await.unwrap();
    let turn = second.turn().await;
    assert!(kinds(&turn.request.new_events).contains(&"TaskCompleted".to_owned()));
}

#[tokio::test]
async fn a_worker_from_before_a_rewind_does_not_end_the_attempt_that_runs_after_it() {
    let world = World::new().await;
    let (mut client, old, mut second) = failed_without_it(&world).await;
    let again = rewound(&mut client, &mut second).await;
    let late = client.complete_activity_task(failed(&old, "too late")).await;
    assert_eq!(code(late), Code::NotFound);
    second.finish(&again, "7").await.unwrap();
    let turn = second.turn().await;
    assert!(kinds(&turn.request.new_events).contains(&"TaskCompleted".to_owned()));
}

#[tokio::test]
async fn a_worker_whose_activity_was_given_to_another_may_still_bring_the_first_result() {
    let world = World::new().await;
    let mut first = world.worker().await;
    world.start("a", "order").await;
    let turn = first.turn().await;
    first.answer(&turn, vec![schedule(1, "pay")]).await.unwrap();
    let old = first.activity().await;
    let Worker { mut client, items } = first;
    drop(items);
    let mut second = world.worker().await;
    let activity = second.activity().await;
    client.complete_activity_task(result_of(&old, "7")).await.unwrap();
    assert_eq!(code(second.finish(&activity, "8").await), Code::NotFound);
    let turn = second.turn().await;
    assert!(kinds(&turn.request.new_events).contains(&"TaskCompleted".to_owned()));
}
