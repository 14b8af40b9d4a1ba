//! Lists for people: all conditions, in the order of keys, in pages.

use super::Place;
use super::fixture::{Owner, insert, row, tail, with_status, writes};
use crate::{EndedQuery, InstanceKind, InstanceQuery};
use perdura_core::partition::InstanceWrite;
use perdura_core::{Status, Timestamp};

/// (id, name, status); the number is the place in the list, from 1, and the time of creation is 1000 later.
const HUB: [(&str, &str, Status); 8] = [
    ("order-1", "order", Status::Running),
    ("order-2", "order", Status::Completed),
    ("refund-1", "refund", Status::Failed),
    ("order-10", "order", Status::Pending),
    ("Order-3", "order", Status::Running),
    ("order_4", "audit", Status::Terminated),
    ("order-\u{10ffff}", "audit", Status::Suspended),
    ("a%b", "order", Status::Canceled),
];

async fn hub(place: &dyn Place) -> Owner {
    let owner = Owner::of(place).await;
    owner
        .commits(writes((1..).zip(HUB).map(|(number, (id, name, status))| {
            let mut write = insert(number, id, 1);
            write.row.name = name.to_owned();
            write.row.status = status;
            write
        })))
        .await;
    owner
}

async fn numbers(owner: &Owner, query: InstanceQuery) -> Vec<u64> {
    let rows = owner.store.query(query, 100).await.expect("query");
    rows.iter().map(|row| row.key.number()).collect()
}

fn all() -> InstanceQuery {
    InstanceQuery::default()
}

fn prefix(prefix: &str) -> InstanceQuery {
    InstanceQuery { id_prefix: Some(prefix.to_owned()), ..all() }
}

pub(super) async fn no_condition_lists_all(place: &dyn Place) {
    assert_eq!(numbers(&hub(place).await, all()).await, [1, 2, 3, 4, 5, 6, 7, 8]);
}

pub(super) async fn entities_are_listed_apart(place: &dyn Place) {
    let owner = Owner::of(place).await;
    let ids = ["?", "@cart@1", "A", "@counter@1", "order@1"];
    owner.commits(writes((1..).zip(ids).map(|(number, id)| insert(number, id, 1)))).await;
    assert_eq!(numbers(&owner, all()).await, [1, 3, 5]);
    let entities = InstanceQuery { kind: InstanceKind::Entity, ..all() };
    assert_eq!(numbers(&owner, entities.clone()).await, [2, 4]);
    let carts = InstanceQuery { id_prefix: Some("@cart@".to_owned()), ..entities.clone() };
    assert_eq!(numbers(&owner, carts).await, [2]);
    let running = InstanceQuery { statuses: vec![Status::Running], ..entities.clone() };
    assert_eq!(numbers(&owner, running).await, [2, 4]);
    let new = InstanceQuery { created_from: Some(Timestamp(1003)), ..entities };
    assert_eq!(numbers(&owner, new).await, [4]);
    assert_eq!(numbers(&owner, prefix("@")).await, [0; 0]);
}

pub(super) async fn each_condition_narrows(place: &dyn Place) {
    let owner = hub(place).await;
    let failed = InstanceQuery { statuses: vec![Status::Failed], ..all() };
    assert_eq!(numbers(&owner, failed).await, [3]);
    let active =
        InstanceQuery { statuses: vec![Status::Suspended, Status::Running, Status::Running], ..all() };
    assert_eq!(numbers(&owner, active).await, [1, 5, 7]);
    let named = InstanceQuery { name: Some("audit".to_owned()), ..all() };
    assert_eq!(numbers(&owner, named).await, [6, 7]);
    let from = InstanceQuery { created_from: Some(Timestamp(1006)), ..all() };
    assert_eq!(numbers(&owner, from).await, [6, 7, 8]);
    let before = InstanceQuery { created_before: Some(Timestamp(1003)), ..all() };
    assert_eq!(numbers(&owner, before).await, [1, 2]);
    let never = InstanceQuery { created_before: Some(Timestamp(i64::MIN)), ..all() };
    assert_eq!(numbers(&owner, never).await, []);
}

pub(super) async fn conditions_combine(place: &dyn Place) {
    let owner = hub(place).await;
    let query = InstanceQuery {
        kind: InstanceKind::Orchestration,
        statuses: vec![Status::Running, Status::Completed, Status::Pending],
        name: Some("order".to_owned()),
        id_prefix: Some("order-".to_owned()),
        created_from: Some(Timestamp(1002)),
        created_before: Some(Timestamp(1004)),
        after: None,
    };
    assert_eq!(numbers(&owner, query.clone()).await, [2]);
    assert_eq!(numbers(&owner, InstanceQuery { id_prefix: None, ..query.clone() }).await, [2]);
    assert_eq!(numbers(&owner, InstanceQuery { statuses: vec![], ..query.clone() }).await, [2]);
    let window = InstanceQuery { statuses: vec![], id_prefix: None, name: None, ..query };
    assert_eq!(numbers(&owner, window).await, [2, 3]);
}

pub(super) async fn prefixes_are_compared_byte_by_byte(place: &dyn Place) {
    let owner = hub(place).await;
    assert_eq!(numbers(&owner, prefix("")).await, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(numbers(&owner, prefix("order-")).await, [1, 2, 4, 7]);
    assert_eq!(numbers(&owner, prefix("order-1")).await, [1, 4]);
    assert_eq!(numbers(&owner, prefix("order-\u{10ffff}")).await, [7]);
    assert_eq!(numbers(&owner, prefix("O")).await, [5]);
    assert_eq!(numbers(&owner, prefix("a%")).await, [8]);
    assert_eq!(numbers(&owner, prefix("%")).await, []);
    assert_eq!(numbers(&owner, prefix("_")).await, []);
}

/// Instances 1 to 4, created at 1007, 1003, 1003 and 1001.
async fn out_of_order(place: &dyn Place) -> Owner {
    let owner = Owner::of(place).await;
    let created = [(1, 1007), (2, 1003), (3, 1003), (4, 1001)];
    owner
        .commits(writes(created.map(|(number, at)| {
            let mut write = insert(number, &format!("i{number}"), 1);
            write.row.created_at = Timestamp(at);
            write
        })))
        .await;
    owner
}

pub(super) async fn the_order_is_that_of_creation_and_then_of_keys(place: &dyn Place) {
    let owner = out_of_order(place).await;
    assert_eq!(numbers(&owner, all()).await, [4, 2, 3, 1]);
    assert_eq!(numbers(&owner, prefix("i")).await, [4, 2, 3, 1]);
    let running = InstanceQuery { statuses: vec![Status::Running], ..all() };
    assert_eq!(numbers(&owner, running).await, [4, 2, 3, 1]);
}

pub(super) async fn a_page_begins_after_the_last_even_of_the_same_moment(place: &dyn Place) {
    let owner = out_of_order(place).await;
    let ways = [all(), prefix("i"), InstanceQuery { statuses: vec![Status::Running], ..all() }];
    for way in ways {
        let after = |at: i64, number: u64| InstanceQuery {
            after: Some((Timestamp(at), super::fixture::key(number))),
            ..way.clone()
        };
        assert_eq!(numbers(&owner, after(1003, 2)).await, [3, 1]);
        assert_eq!(numbers(&owner, after(1001, 4)).await, [2, 3, 1]);
        assert_eq!(numbers(&owner, after(1007, 1)).await, []);
    }
}

pub(super) async fn pages_follow_each_other(place: &dyn Place) {
    let owner = hub(place).await;
    let active = vec![Status::Running, Status::Pending, Status::Suspended];
    let ways = [
        (all(), vec![1, 2, 3, 4, 5, 6, 7, 8]),
        (prefix("order-"), vec![1, 2, 4, 7]),
        (InstanceQuery { statuses: active, ..all() }, vec![1, 4, 5, 7]),
        (InstanceQuery { created_from: Some(Timestamp(1002)), ..all() }, vec![2, 3, 4, 5, 6, 7, 8]),
    ];
    for (mut query, expected) in ways {
        let mut seen = Vec::new();
        loop {
            let page = owner.store.query(query.clone(), 3).await.expect("query");
            assert!(page.len() <= 3);
            let Some(last) = page.last() else { break };
            query.after = Some((last.created_at, last.key));
            seen.extend(page.iter().map(|row| row.key.number()));
        }
        assert_eq!(seen, expected, "{query:?}");
    }
}

pub(super) async fn a_changed_status_changes_the_list(place: &dyn Place) {
    let owner = hub(place).await;
    let write = InstanceWrite {
        expected: tail(1),
        row: with_status(row(1, "order-1", 1), Status::Failed),
        history: None,
        drop_generations_before: None,
    };
    owner.commits(writes([write])).await;
    let failed = InstanceQuery { statuses: vec![Status::Failed], ..all() };
    assert_eq!(numbers(&owner, failed).await, [1, 3]);
    let running = InstanceQuery { statuses: vec![Status::Running], ..all() };
    assert_eq!(numbers(&owner, running).await, [5]);
}

pub(super) async fn a_limit_of_zero_gives_nothing(place: &dyn Place) {
    let owner = hub(place).await;
    assert_eq!(owner.store.query(all(), 0).await, Ok(vec![]));
    assert_eq!(owner.store.query(prefix("order"), 0).await, Ok(vec![]));
}

/// Ids by status and end; one has not ended.
async fn some_ended(place: &dyn Place) -> Owner {
    let owner = Owner::of(place).await;
    let ends = [
        ("b", Status::Completed, Some(50)),
        ("a", Status::Completed, Some(50)),
        ("c", Status::Failed, Some(40)),
        ("d", Status::Running, None),
        ("e", Status::Terminated, Some(60)),
    ];
    owner
        .commits(writes((1..).zip(ends).map(|(number, (id, status, at))| {
            let mut write = insert(number, id, 1);
            write.row.status = status;
            write.row.completed_at = at.map(Timestamp);
            write
        })))
        .await;
    owner
}

async fn ids_ended(owner: &Owner, query: EndedQuery, limit: usize) -> Vec<String> {
    let ended = owner.store.ended(query, limit).await.expect("a list of what has ended");
    ended.into_iter().map(|(at, id)| format!("{id}{}", at.0)).collect()
}

pub(super) async fn what_has_ended_is_listed_by_its_end_and_then_by_id(place: &dyn Place) {
    let owner = some_ended(place).await;
    let any = EndedQuery::default();
    assert_eq!(ids_ended(&owner, any.clone(), 10).await, ["c40", "a50", "b50", "e60"]);
    assert_eq!(ids_ended(&owner, any.clone(), 0).await, Vec::<String>::new());
    let window = EndedQuery {
        completed_from: Some(Timestamp(50)),
        completed_before: Some(Timestamp(60)),
        ..any.clone()
    };
    assert_eq!(ids_ended(&owner, window, 10).await, ["a50", "b50"]);
    let statuses = vec![Status::Failed, Status::Terminated, Status::Running];
    assert_eq!(ids_ended(&owner, EndedQuery { statuses, ..any.clone() }, 10).await, ["c40", "e60"]);
    let never = EndedQuery { completed_before: Some(Timestamp(i64::MIN)), ..any };
    assert_eq!(ids_ended(&owner, never, 10).await, Vec::<String>::new());
}

pub(super) async fn pages_of_what_has_ended_follow_each_other(place: &dyn Place) {
    let owner = some_ended(place).await;
    let mut query = EndedQuery::default();
    let mut seen = Vec::new();
    loop {
        let page = owner.store.ended(query.clone(), 1).await.expect("a page");
        let Some(last) = page.last() else { break };
        seen.push(last.1.to_string());
        query.after = Some(last.clone());
    }
    assert_eq!(seen, ["c", "a", "b", "e"]);
}
