//! Many instances, by a filter.

use super::bed::*;
use crate::in_every_place;

in_every_place![
    a_batch_rewinds_what_matches_and_reports_each,
    a_batch_can_be_interrupted_and_repeated,
    a_dry_run_of_many_changes_nothing,
    a_filter_that_matches_everything_must_be_meant,
    many_are_purged_by_age_and_by_filter,
    a_list_shows_what_a_filter_matches,
    a_list_says_how_many_it_does_not_show,
    a_list_shows_dead_letters_alone,
    a_child_goes_with_its_parent_only_if_both_match,
];

const WHY: [&str; 2] = ["--reason", "the bank is up"];
const ORDERS: [&str; 4] = ["o1", "o2", "o3", "o4"];

async fn orders(place: Place) -> Bed {
    let bed = Bed::failed_orders(&ORDERS).await;
    bed.with_engine(true, async |engine| {
        engine.start(order, "a pen".into()).id("well").await.unwrap().wait().await.unwrap();
        engine.start(waits, ()).id("w").await.unwrap();
    })
    .await;
    bed.at(place).await
}

async fn a_batch_rewinds_what_matches_and_reports_each(place: Place) {
    let mut bed = orders(place).await;
    for nothing in [
        &["--error", "bank.Up"][..],
        &["--name", "other"],
        &["--tag", "shop=shoes"],
        &["--id-prefix", "p"],
        &["--until", "2020-01-01T00:00:00Z"],
        &["--ended-before", "2d"],
        &["--name", "order", "--status", "canceled"],
    ] {
        let shown = bed.shown("rewind", &[nothing, &WHY].concat()).await;
        assert!(shown.starts_with("0 matched, 0 rewound"), "{nothing:?}: {shown}");
    }
    let filter = [
        "--status",
        "failed",
        "--name",
        "order",
        "--error",
        "bank.Down",
        "--tag",
        "shop=books",
        "--since",
        "1h",
        "--rate",
        "1000",
    ];
    let shown = bed.shown("rewind", &[&filter[..], &WHY].concat()).await;
    assert!(shown.contains("\"o3\"  rewound: branch 1, "), "{shown}");
    assert!(shown.contains("4 matched, 4 rewound, 0 refused, 0 left alone"), "{shown}");
    bed.stop_server().await;
    bed.with_engine(true, async |engine| {
        for id in ORDERS {
            assert_eq!(
                engine.instance(id).wait::<String>().await.unwrap(),
                "a book is reserved, a book is paid"
            );
        }
    })
    .await;
}

async fn a_batch_can_be_interrupted_and_repeated(place: Place) {
    let bed = orders(place).await;
    // A limit is an interruption that a test can place.
    let two = bed.json("rewind", &[&["--name", "order", "--limit", "2"][..], &WHY].concat()).await;
    assert_eq!(two[0], serde_json::json!({ "what": "matched", "count": 2 }));
    assert_eq!(two[1..].iter().filter(|line| line["what"] == "rewound").count(), 2);
    let rest = bed.json("rewind", &[&["--name", "order"][..], &WHY].concat()).await;
    let ids: Vec<_> = rest[1..].iter().map(|line| line["instance"].as_str().unwrap()).collect();
    assert_eq!(ids, ["o3", "o4"]);
    let none = bed.shown("rewind", &[&["--name", "order"][..], &WHY].concat()).await;
    assert!(none.starts_with("0 matched"), "{none}");
}

async fn a_dry_run_of_many_changes_nothing(place: Place) {
    let bed = orders(place).await;
    let shown = bed.shown("rewind", &[&["--error", "no route", "--dry-run"][..], &WHY].concat()).await;
    assert!(shown.contains("\"o1\"  would run again: charge; before the failure that ended it"), "{shown}");
    assert!(shown.ends_with("nothing was changed\n"), "{shown}");
    let shown = bed.shown("purge", &["--name", "order", "--dry-run"]).await;
    assert!(shown.contains("\"well\"  would be purged"), "{shown}");
    assert!(shown.contains("5 matched, 5 would be purged, 0 refused, 0 left alone"), "{shown}");
    assert_eq!(bed.statuses(&["o1", "well"]).await, ["Failed", "Completed"]);
}

async fn a_filter_that_matches_everything_must_be_meant(place: Place) {
    let bed = orders(place).await;
    for args in [&["--status", "failed"][..], &["--limit", "3"], &["--rate", "5"]] {
        let refusal = bed.refused("rewind", &[args, &WHY].concat()).await;
        assert!(refusal.contains("the filter matches every instance; name a condition"), "{refusal}");
    }
    assert_eq!(bed.statuses(&ORDERS).await, ["Failed"; 4]);
    let shown = bed.shown("rewind", &[&["--all"][..], &WHY].concat()).await;
    assert!(shown.contains("4 matched, 4 rewound"), "{shown}");
    let shown = bed.shown("terminate", &["--all", "--reason", "closing"]).await;
    assert!(shown.contains("5 matched, 5 terminated"), "{shown}");
    assert_eq!(bed.statuses(&["w"]).await, ["Terminated"]);
}

async fn many_are_purged_by_age_and_by_filter(place: Place) {
    let bed = orders(place).await;
    assert!(bed.shown("purge", &["--ended-before", "1d"]).await.starts_with("0 matched"));
    let now = "2100-01-01T00:00:00Z";
    let shown = bed.shown("purge", &["--ended-before", now, "--status", "completed", "--recursive"]).await;
    assert!(shown.contains("\"well\"  purged") && shown.contains("1 matched, 1 purged"), "{shown}");
    assert!(bed.shown("purge", &["--error", "bank.Down"]).await.contains("4 matched, 4 purged"));
    assert_eq!(bed.statuses(&["o1", "well", "w"]).await, ["gone", "gone", "Running"]);
}

async fn a_list_shows_what_a_filter_matches(place: Place) {
    let bed = orders(place).await;
    let shown = bed.shown("list", &["--error", "bank.Down", "--limit", "1"]).await;
    assert!(
        shown.starts_with("\"o1\"  order Failed, started ") && shown.contains("failed: bank.Down: no route")
    );
    assert_eq!(shown.lines().count(), 2, "{shown}");
    let all = bed.json("list", &[]).await;
    let ids: Vec<_> = all.iter().map(|line| line["instance"].as_str().unwrap()).collect();
    assert_eq!(ids, ["o1", "o2", "o3", "o4", "well", "w"]);
    assert_eq!((&all[0]["tags"]["shop"], &all[5]["ended"]), (&"books".into(), &serde_json::Value::Null));
    assert!(bed.refused("list", &["o1"]).await.contains("perdura history"));
}

async fn a_list_says_how_many_it_does_not_show(place: Place) {
    let bed = Bed::after(async |engine| {
        for number in 0..103 {
            engine.start(waits, ()).id(format!("w{number}")).await.unwrap();
        }
    });
    let bed = bed.await.at(place).await;
    for json in [&[][..], &["--json"]] {
        let said = bed.said("list", json).await;
        assert_eq!((said.code, said.out.lines().count()), (0, 100), "{}", said.err);
        assert_eq!(said.err, "perdura: 3 more are not shown; see --limit\n");
        let asked = bed.said("list", &[&["--limit", "101"], json].concat()).await;
        assert_eq!((asked.out.lines().count(), &asked.err[..]), (101, ""));
    }
}

async fn a_list_shows_dead_letters_alone(place: Place) {
    let bed = Bed::failed_orders(&ORDERS).await;
    bed.with_engine(true, async |engine| {
        let _ = engine.start(poisoned, ()).id("poisoned").await.unwrap().wait().await;
    })
    .await;
    let bed = bed.at(place).await;
    let dead = bed.json("list", &["--dead-letter"]).await;
    let ids: Vec<_> = dead.iter().map(|line| line["instance"].as_str().unwrap()).collect();
    assert_eq!(ids, ["poisoned"]);
}

async fn a_child_goes_with_its_parent_only_if_both_match(place: Place) {
    let bed = Bed::after(async |engine| {
        engine.start(parent, ()).id("p").await.unwrap().wait().await.unwrap_err();
    });
    let bed = bed.await.at(place).await;
    for dry_run in [&["--dry-run"][..], &[]] {
        let refusal = bed.refused("rewind", &[&["--name", "order"][..], &WHY, dry_run].concat()).await;
        assert!(
            refusal.contains("\"child\"  refused: ") && refusal.contains("rewind the parent"),
            "{refusal}"
        );
        assert!(refusal.contains("1 matched, 0 rewound, 1 refused, 0 left alone"), "{refusal}");
    }
    let both = bed.shown("rewind", &[&["--all", "--dry-run"][..], &WHY].concat()).await;
    assert!(both.contains("\"child\"  goes with its parent \"p\""), "{both}");
    assert!(
        both.contains("2 matched, 1 would be rewound, 1 with a parent, 0 refused, 0 left alone"),
        "{both}"
    );
    bed.shown("rewind", &[&["--all"][..], &WHY].concat()).await;
    assert_eq!(bed.statuses(&["p", "child"]).await, ["Running", "Running"]);
}
