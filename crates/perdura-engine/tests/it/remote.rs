//! Turns and activities that workers elsewhere run.

use crate::elsewhere::*;
use bytes::Bytes;
use perdura_core::history::TaskScheduled;
use perdura_core::orchestration::Decision;
use perdura_core::{PartitionId, Status};
use perdura_engine::{ActivityEnd, NotRecorded, Receipt};

#[tokio::test]
async fn an_instance_runs_to_its_end_elsewhere() {
    let mut world = Elsewhere::start(1).await;
    world.client.start(start("x", "x")).await.unwrap();
    let first = world.turn().await;
    assert_eq!(world.client.get(&id("x")).await.unwrap().unwrap().status(), Ok(Status::Pending));
    let task = TaskScheduled { id: 3, name: "pay".into(), trace: Some("t".into()), ..Default::default() };
    first.done(vec![Decision::ScheduleTask(task)]).await.unwrap();
    assert_eq!(first.done(vec![complete()]).await, Err(NotRecorded::Unwanted), "an outcome is taken once");
    let record = world.client.wait_begun(id("x")).await.unwrap();
    assert_eq!(record.status(), Ok(Status::Running));

    let lost = world.attempt().await;
    assert_eq!((lost.task.task, lost.task.attempt, lost.task.delivery), (3, 1, 1));
    assert_eq!((lost.task.version, lost.task.trace), (None, Some(Bytes::from("t"))));
    lost.end.send(ActivityEnd::Lost { reason: "the stream broke".into() }).unwrap();
    let again = world.attempt().await;
    assert_eq!((again.task.attempt, again.task.delivery), (1, 2));
    again.end.send(ActivityEnd::Completed(Some("paid".into()))).unwrap();

    let second = world.turn().await;
    assert_eq!((news(&second), second.history.len()), (vec!["TaskCompleted"], 3));
    second.done(vec![complete()]).await.unwrap();
    let record = world.client.wait(id("x"), None).await.unwrap();
    assert_eq!(record.status(), Ok(Status::Completed));
    world.engine.shutdown().await;
}

#[tokio::test]
async fn a_turn_that_nobody_ran_comes_again() {
    let mut world = Elsewhere::start(1).await;
    world.client.start(start("x", "x")).await.unwrap();
    let first = world.turn().await;
    world.client.raise_event(id("x"), "go".into(), None).await.unwrap();
    first.returns.unrun(first.turn.ticket());
    let second = world.turn().await;
    assert_eq!(news(&second), ["ExecutionStarted", "EventRaised"]);
    assert_eq!(first.done(vec![complete()]).await, Err(NotRecorded::Unwanted));
    second.done(vec![complete()]).await.unwrap();
}

#[tokio::test]
async fn whoever_has_a_turn_is_told_when_nobody_waits_for_it() {
    let mut world = Elsewhere::start(1).await;
    world.client.start(start("x", "x")).await.unwrap();
    let away = world.turn().await;
    world.client.terminate(id("x"), "enough".into(), true).await.unwrap();
    while world.forgotten.recv().await.unwrap() != away.turn.key {}
    assert_eq!(away.done(vec![complete()]).await, Err(NotRecorded::Unwanted));
    let record = world.client.wait(id("x"), None).await.unwrap();
    assert_eq!(record.status(), Ok(Status::Terminated));
}

#[tokio::test]
async fn an_outcome_from_an_earlier_life_is_not_taken_for_one_of_this_life() {
    let mut world = Elsewhere::start(1).await;
    world.client.start(start("x", "x")).await.unwrap();
    let before = world.turn().await;
    // Somebody else takes the partition: the next commit fails, and the partition is loaded again.
    world.store.acquire_now(PartitionId(0), 7).unwrap();
    world.client.start(start("y", "y")).await.unwrap();
    let mut after = world.turn().await;
    while after.turn.id != id("x") {
        after = world.turn().await;
    }
    assert_eq!(after.turn.ticket(), before.turn.ticket(), "numbers begin again");
    assert_eq!(before.done(vec![]).await, Err(NotRecorded::Unwanted));
    after.done(vec![complete()]).await.unwrap();
    let record = world.client.wait(id("x"), None).await.unwrap();
    assert_eq!(record.status(), Ok(Status::Completed));
}

#[tokio::test]
async fn whoever_brings_a_result_is_told_when_it_is_durable_and_hears_of_a_lost_commit() {
    let mut world = Elsewhere::start(1).await;
    world.client.start(start("x", "x")).await.unwrap();
    let task = || Decision::ScheduleTask(TaskScheduled { id: 3, name: "pay".into(), ..Default::default() });
    let lost = world.turn().await;
    world.store.acquire_now(PartitionId(0), 7).unwrap();
    assert_eq!(lost.done(vec![task()]).await, Err(NotRecorded::Lost));
    let turn = world.turn().await;
    turn.done(vec![task()]).await.unwrap();
    let stored = || world.store.query_now(&Default::default(), 10).remove(0);
    let after_turn = stored();
    assert_eq!(after_turn.status, Status::Running);

    let paid = || ActivityEnd::Completed(Some("paid".into()));
    let (receipt, recorded) = Receipt::new();
    world.attempts.recv().await.unwrap().end.send(ActivityEnd::Brought(Box::new(paid()), receipt)).unwrap();
    assert_eq!(recorded.wait().await, Ok(()));
    assert_ne!(stored(), after_turn, "the store has it");
}

#[tokio::test]
async fn a_result_that_comes_too_late_is_said_to_be_unwanted() {
    let mut world = Elsewhere::start(1).await;
    world.client.start(start("x", "x")).await.unwrap();
    let task = TaskScheduled { id: 3, name: "pay".into(), ..Default::default() };
    world.turn().await.done(vec![Decision::ScheduleTask(task)]).await.unwrap();
    let attempt = world.attempt().await;
    world.client.terminate(id("x"), "enough".into(), true).await.unwrap();
    let (receipt, recorded) = Receipt::new();
    let end = Box::new(ActivityEnd::Completed(None));
    attempt.end.send(ActivityEnd::Brought(end, receipt)).unwrap();
    assert_eq!(recorded.wait().await, Err(NotRecorded::Unwanted));
}
