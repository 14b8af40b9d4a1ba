//! What clients do with many instances, and with families of them.

use crate::elsewhere::*;
use perdura_core::history::{EventKind, SubOrchestrationScheduled};
use perdura_core::orchestration::Decision;
use perdura_core::partition::{RequestError, StartOutcome, StartRequest};
use perdura_core::{Status, Tags};
use perdura_engine::{Act, Batch, BatchItem, Bulk, BulkDone, Client, EngineError, RestartUnder, Selection};
use perdura_store::sim::SimStore;
use perdura_store::{EndedQuery, InstanceQuery, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Runs every turn: `stay` waits for ever, `tree` has a child `leaf`, everything else completes.
fn worker(world: Elsewhere) -> (Client, JoinHandle<()>) {
    let client = world.client.clone();
    let runs = tokio::spawn(async move {
        // All of it, the engine too.
        let mut world = world;
        while let Some(away) = world.turns.recv().await {
            let began = matches!(away.turn.events[1].kind, EventKind::ExecutionStarted(_));
            let decisions = match away.turn.name.as_str() {
                "stay" => vec![],
                "tree" if began => vec![Decision::ScheduleSubOrchestration(SubOrchestrationScheduled {
                    name: "leaf".into(),
                    ..Default::default()
                })],
                _ => vec![complete()],
            };
            let _ = away.done(decisions).await;
        }
    });
    (client, runs)
}

fn ids(page: &perdura_engine::Page) -> Vec<&str> {
    page.instances.iter().map(|listed| listed.record.id.as_str()).collect()
}

#[tokio::test]
async fn pages_go_through_all_partitions_in_the_order_of_creation() {
    let world = Elsewhere::start(3).await;
    let store = world.store.clone();
    let (client, _runs) = worker(world);
    let mut expected = Vec::new();
    for number in 0..20 {
        store.set_clock(perdura_core::Timestamp(2_000_000 + number));
        let name = format!("i{}", (number * 7) % 20);
        let tags: Tags =
            [("colour".to_owned(), if number % 2 == 0 { "red" } else { "blue" }.to_owned())].into();
        client.start(StartRequest { tags, ..start(&name, "stay") }).await.unwrap();
        expected.push(name);
    }
    for tags in [Tags::new(), [("colour".to_owned(), "red".to_owned())].into()] {
        let (mut seen, mut next) = (Vec::new(), None);
        loop {
            let page = client.page(InstanceQuery::default(), &tags, 3, next.as_deref()).await.unwrap();
            assert!(page.instances.len() <= 3);
            seen.extend(ids(&page).into_iter().map(str::to_owned));
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        let every = if tags.is_empty() { 1 } else { 2 };
        assert_eq!(seen, expected.iter().step_by(every).cloned().collect::<Vec<_>>());
    }
    let odd = client.page(InstanceQuery::default(), &Tags::new(), 3, Some("../x")).await;
    assert_eq!(odd.unwrap_err().to_string(), "\"../x\" is not a page of this list; begin the list anew");
}

#[tokio::test]
async fn the_input_of_an_instance_is_known_before_and_after_its_first_turn() {
    let mut world = Elsewhere::start(1).await;
    let request = StartRequest { input: Some("42".into()), ..start("x", "x") };
    world.client.start(request).await.unwrap();
    let away = world.turn().await;
    for _ in 0..2 {
        let (record, started) = world.client.get_started(&id("x")).await.unwrap().unwrap();
        assert_eq!((record.id.as_str(), started.input), ("x", Some("42".into())));
        let _ = away.done(vec![complete()]).await;
        world.client.wait_begun(id("x")).await.unwrap();
    }
    assert!(world.client.get_started(&id("y")).await.unwrap().is_none());
}

#[tokio::test]
async fn an_instance_starts_once_more_with_what_it_began_with() {
    let (client, _runs) = worker(Elsewhere::start(2).await);
    let tags: Tags = [("a".to_owned(), "b".to_owned())].into();
    let request = StartRequest {
        input: Some("42".into()),
        tags: tags.clone(),
        version: "2".into(),
        ..start("x", "leaf")
    };
    let first = client.start(request).await.unwrap();
    client.wait(id("x"), None).await.unwrap();
    let again = client.restart(&id("x"), RestartUnder::SameId).await.unwrap();
    assert_eq!(again.outcome, StartOutcome::Replaced);
    assert_ne!(again.execution, first.execution);
    client.restart(&id("x"), RestartUnder::Id(id("y"))).await.unwrap();
    let other = client.restart(&id("x"), RestartUnder::RandomId).await.unwrap().id;
    for copy in [id("x"), id("y"), other] {
        let (record, started) = client.get_started(&copy).await.unwrap().unwrap();
        assert_eq!((record.name.as_str(), record.version.as_str(), record.tags), ("leaf", "2", tags.clone()));
        assert_eq!(started.input, Some("42".into()));
    }
    client.start(start("z", "stay")).await.unwrap();
    client.wait_begun(id("z")).await.unwrap();
    let refused = client.restart(&id("z"), RestartUnder::SameId).await.unwrap_err();
    assert_eq!(refused, RequestError::NotEnded { id: id("z"), status: Status::Running }.into());
    client.restart(&id("z"), RestartUnder::RandomId).await.unwrap();
    let missing = client.restart(&id("nobody"), RestartUnder::SameId).await.unwrap_err();
    assert_eq!(missing, RequestError::NotFound { id: id("nobody") }.into());
}

#[tokio::test]
async fn a_family_is_purged_from_the_leaves_and_nobody_else_with_it() {
    let (client, _runs) = worker(Elsewhere::start(3).await);
    for name in ["a", "b"] {
        client.start(start(name, "tree")).await.unwrap();
        client.wait(id(name), None).await.unwrap();
    }
    assert_eq!(client.list(InstanceQuery::default(), 10).await.unwrap().len(), 4);
    assert_eq!(client.purge_family(id("a")).await.unwrap(), 2);
    let left = client.list(InstanceQuery::default(), 10).await.unwrap();
    assert!(left.len() == 2 && left.iter().all(|listed| listed.record.id.starts_with('b')));
    client.start(start("s", "stay")).await.unwrap();
    client.wait_begun(id("s")).await.unwrap();
    let refused = client.purge_family(id("s")).await.unwrap_err();
    assert_eq!(refused, RequestError::NotEnded { id: id("s"), status: Status::Running }.into());
    assert!(matches!(
        client.purge_family(id("a")).await,
        Err(EngineError::Refused(RequestError::NotFound { .. }))
    ));
}

#[tokio::test]
async fn many_are_asked_by_filter_and_the_time_is_kept() {
    let (client, _runs) = worker(Elsewhere::start(3).await);
    for number in 0..250 {
        client.start(start(&format!("leaf{number}"), "leaf")).await.unwrap();
    }
    for number in 0..5 {
        client.start(start(&format!("stay{number}"), "stay")).await.unwrap();
        client.wait_begun(id(&format!("stay{number}"))).await.unwrap();
    }
    for number in 0..250 {
        client.wait(id(&format!("leaf{number}")), None).await.unwrap();
    }
    let ended = client.ended(EndedQuery::default(), 1000).await.unwrap();
    assert!(ended.len() == 250 && ended.is_sorted());
    let (all, tags) = (InstanceQuery::default(), Tags::new());
    let purge = Bulk::Purge { recurse: false };
    let nothing = client.ask_all(all.clone(), &tags, &purge, Some(Duration::ZERO)).await.unwrap();
    assert_eq!(nothing, BulkDone { done: 0, refused: 0, is_complete: false });
    let running = InstanceQuery { statuses: vec![Status::Running], ..all.clone() };
    let none = client.ask_all(running, &tags, &purge, None).await.unwrap();
    assert_eq!(none, BulkDone { done: 0, refused: 0, is_complete: true });
    let purged = client.ask_all(all.clone(), &tags, &purge, None).await.unwrap();
    assert_eq!(purged, BulkDone { done: 250, refused: 0, is_complete: true });
    let end = Bulk::Terminate { reason: "enough".into(), recurse: true };
    assert_eq!(client.ask_all(all.clone(), &tags, &end, None).await.unwrap().done, 5);
    let left = client.list(all, 1000).await.unwrap();
    assert!(left.len() == 5 && left.iter().all(|listed| listed.record.status() == Ok(Status::Terminated)));
}

fn suspend_all() -> Batch {
    let select = Selection { all: true, ..InstanceQuery::default().into() };
    Batch::new(select, Act::Bulk(Bulk::Suspend { reason: "a look".into() }))
}

/// Instances that wait, in the order of their creation.
async fn waiting(names: &[&str]) -> (Client, JoinHandle<()>) {
    let world = Elsewhere::start(2).await;
    let store = world.store.clone();
    let (client, runs) = worker(world);
    for (number, name) in (1..).zip(names) {
        store.set_clock(perdura_core::Timestamp(2_000_000 + number));
        client.start(start(name, "stay")).await.unwrap();
        client.wait_begun(id(name)).await.unwrap();
    }
    (client, runs)
}

async fn statuses(client: &Client) -> Vec<Status> {
    let listed = client.list(InstanceQuery::default(), 100).await.unwrap();
    listed.iter().map(|listed| listed.record.status().unwrap()).collect()
}

#[tokio::test]
async fn a_batch_of_any_verb_reports_each_instance_and_changes_nothing_when_it_is_dry() {
    let (client, _runs) = waiting(&["a", "b"]).await;
    client.start(start("c", "leaf")).await.unwrap();
    client.wait(id("c"), None).await.unwrap();
    let dry = client.batch(&Batch { dry_run: true, ..suspend_all() }, |_, _| ()).await.unwrap();
    assert_eq!(dry.items, [(id("a"), BatchItem::Would), (id("b"), BatchItem::Would)]);
    assert!(!statuses(&client).await.contains(&Status::Suspended));
    let done = client.batch(&suspend_all(), |_, _| ()).await.unwrap();
    assert_eq!(done.items, [(id("a"), BatchItem::Done(1)), (id("b"), BatchItem::Done(1))]);
    let mut after = statuses(&client).await;
    after.sort();
    assert_eq!(after, [Status::Completed, Status::Suspended, Status::Suspended]);
    let unmeant = Batch::new(InstanceQuery::default(), suspend_all().act);
    assert_eq!(client.batch(&unmeant, |_, _| ()).await, Err(EngineError::NoCondition));
}

#[tokio::test]
async fn a_batch_ends_when_nobody_takes_its_items_any_more() {
    let (client, _runs) = waiting(&["a", "b", "c"]).await;
    let batch = Batch { per_second: Some(1), ..suspend_all() };
    let ids = client.batch_ids(&batch).await.unwrap();
    let (items, mut done) = tokio::sync::mpsc::channel(1);
    let run = tokio::spawn({
        let client = client.clone();
        async move { client.batch_into(&batch, &ids, items).await }
    });
    assert_eq!(done.recv().await, Some((id("a"), BatchItem::Done(1))));
    drop(done);
    assert_eq!(run.await.unwrap(), Ok(None));
    assert_eq!(statuses(&client).await, [Status::Suspended, Status::Running, Status::Running]);
    // And it can be repeated.
    client.batch(&suspend_all(), |_, _| ()).await.unwrap();
    assert_eq!(statuses(&client).await, [Status::Suspended; 3]);
}

#[tokio::test]
async fn an_engine_whose_start_is_given_up_lets_go_of_the_store() {
    let store: Arc<dyn Store> = Arc::new(SimStore::new(2));
    let held = Arc::downgrade(&store);
    Elsewhere::give_up(store).await;
    while held.strong_count() > 0 {
        tokio::task::yield_now().await;
    }
}
