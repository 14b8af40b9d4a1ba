//! Instances are found by key and by id.

use super::Place;
use super::fixture::{Owner, insert, key, writes};
use crate::Lookup;
use perdura_core::InstanceId;

fn id(id: &str) -> InstanceId {
    InstanceId::new(id).expect("a good id")
}

pub(super) async fn answers_come_in_the_order_asked(place: &dyn Place) {
    let owner = Owner::of(place).await;
    owner.commits(writes([insert(1, "a", 1), insert(2, "b", 1)])).await;
    let wanted = vec![
        Lookup::Id(id("b")),
        Lookup::Key(key(9)),
        Lookup::Key(key(1)),
        Lookup::Id(id("c")),
        Lookup::Key(key(2)),
        Lookup::Id(id("b")),
    ];
    let found = owner.store.find(wanted).await.expect("find");
    let found: Vec<_> = found.iter().map(|row| row.as_ref().map(|row| row.id.as_str())).collect();
    assert_eq!(found, [Some("b"), None, Some("a"), None, Some("b"), Some("b")]);
    assert_eq!(owner.store.find(vec![]).await, Ok(vec![]));
}

async fn keeps_apart(place: &dyn Place, ids: &[&str]) {
    let owner = Owner::of(place).await;
    owner.commits(writes((1..).zip(ids).map(|(number, id)| insert(number, id, 1)))).await;
    for (number, id) in (1..).zip(ids) {
        let found = owner.find_id(id).await;
        assert_eq!(found.as_ref().map(|row| row.key.number()), Some(number), "{id:?}");
        assert_eq!(found.as_ref().map(|row| row.id.as_str()), Some(*id));
    }
}

pub(super) async fn ids_are_compared_byte_by_byte(place: &dyn Place) {
    // Upper and lower case, and the two Unicode forms of é.
    keeps_apart(place, &["a", "A", "a ", " a", "straße", "STRASSE", "caf\u{e9}", "cafe\u{301}", "ı", "i"])
        .await;
}

pub(super) async fn odd_ids_are_kept(place: &dyn Place) {
    keeps_apart(
        place,
        &[
            "../../x",
            "'; drop table instance; --",
            "%",
            "_",
            "%00",
            "\\",
            "😀",
            "\u{10ffff}",
            "\u{feff}x",
            "1",
            "1.0",
        ],
    )
    .await;
}

pub(super) async fn the_longest_id_is_kept(place: &dyn Place) {
    let long = "ü".repeat(256);
    let other = format!("{}ü", "ü".repeat(254));
    keeps_apart(place, &[&long, &other]).await;
}
