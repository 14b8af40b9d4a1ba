//! The other verbs, on one instance.

use super::bed::*;
use crate::in_every_place;

in_every_place![
    an_instance_is_suspended_says_why_it_waits_and_is_resumed,
    an_event_is_raised_and_a_cancel_arrives,
    an_instance_is_terminated_started_once_more_and_purged,
    an_instance_that_has_ended_is_not_said_to_be_terminated_suspended_resumed_or_cancelled,
    a_dry_run_refuses_what_the_status_forbids,
];

async fn waiting(place: Place) -> Bed {
    let bed = Bed::after(async |engine| {
        engine.start(waits, ()).id("w").await.unwrap();
        // Its first turn is recorded.
        while engine.instance("w").history().await.unwrap().is_none_or(|events| events.is_empty()) {
            tokio::task::yield_now().await;
        }
    });
    bed.await.at(place).await
}

async fn an_instance_is_suspended_says_why_it_waits_and_is_resumed(place: Place) {
    let bed = waiting(place).await;
    assert!(bed.shown("why", &["w"]).await.contains("waits for an external event"));
    let would = bed.shown("suspend", &["w", "--dry-run"]).await;
    assert_eq!(would, "\"w\"  would be suspended\nnothing was changed\n");
    assert_eq!(bed.shown("suspend", &["w", "--reason", "a look"]).await, "\"w\"  suspended\n");
    let why = bed.shown("why", &["w"]).await;
    assert!(why.contains("whoever suspended it: \"a look\"; resume it"), "{why}");
    let resumed = bed.json("resume", &["w"]).await;
    assert_eq!(resumed, [serde_json::json!({ "instance": "w", "what": "done", "count": 1 })]);
    assert!(!bed.shown("why", &["w"]).await.contains("suspended"));
}

async fn an_event_is_raised_and_a_cancel_arrives(place: Place) {
    let mut bed = waiting(place).await;
    let raised = bed.shown("raise", &["w", "--event", "go", "--data", "\"gone\""]).await;
    assert_eq!(raised, "\"w\"  has the event\n");
    bed.stop_server().await;
    bed.with_engine(true, async |engine| {
        assert_eq!(engine.instance("w").wait::<String>().await.unwrap(), "gone");
    })
    .await;
    let refusal = bed.refused("raise", &["w", "--event", "go"]).await;
    assert!(refusal.contains("is Completed; it takes no more events"), "{refusal}");
    let mut bed = waiting(place).await;
    assert_eq!(bed.shown("cancel", &["w", "--reason", "sold out"]).await, "\"w\"  asked to cancel\n");
    bed.stop_server().await;
    bed.with_engine(true, async |engine| {
        engine.instance("w").wait::<String>().await.unwrap_err();
    })
    .await;
    assert_eq!(bed.statuses(&["w"]).await, ["Canceled"]);
}

async fn an_instance_is_terminated_started_once_more_and_purged(place: Place) {
    let bed = waiting(place).await;
    let refusal = bed.refused("purge", &["w"]).await;
    assert!(refusal.contains("terminate it first"), "{refusal}");
    assert!(bed.refused("restart", &["w"]).await.contains("terminate it first"));
    let terminated = bed.shown("terminate", &["w", "--reason", "enough", "--recursive"]).await;
    assert_eq!(terminated, "\"w\"  terminated\n");
    assert_eq!(bed.shown("why", &["w"]).await, "it has ended, and waits for nothing\n");
    assert_eq!(bed.shown("restart", &["w"]).await, "\"w\"  started once more\n");
    assert_ne!(bed.statuses(&["w"]).await, ["Terminated"]);
    bed.shown("terminate", &["w"]).await;
    assert_eq!(bed.shown("purge", &["w", "--recursive"]).await, "\"w\"  purged\n");
    assert_eq!(bed.statuses(&["w"]).await, ["gone"]);
}

const OF_UNFINISHED: [&str; 4] = ["terminate", "suspend", "resume", "cancel"];

async fn an_instance_that_has_ended_is_not_said_to_be_terminated_suspended_resumed_or_cancelled(
    place: Place,
) {
    let bed = Bed::failed_orders(&["o1", "o2"]).await.at(place).await;
    let before = bed.shown("history", &["o1"]).await;
    for verb in OF_UNFINISHED {
        for json in [&[][..], &["--json"]] {
            let refusal = bed.refused(verb, &[&["o1"], json].concat()).await;
            assert!(refusal.contains("instance \"o1\" is Failed; it takes no more"), "{verb}: {refusal}");
        }
        // Of many, those that have ended are left alone: they are no failure of the verb.
        let many = bed.shown(verb, &["--name", "order", "--status", "failed"]).await;
        assert!(many.contains("\"o2\"  is Failed: left alone"), "{verb}: {many}");
        assert!(many.contains("2 matched, 0 ") && many.contains("0 refused, 2 left alone"), "{verb}: {many}");
    }
    assert_eq!(bed.shown("history", &["o1"]).await, before);
}

async fn a_dry_run_refuses_what_the_status_forbids(place: Place) {
    let bed = Bed::failed_orders(&["o1"]).await;
    bed.with_engine(true, async |engine| {
        engine.start(waits, ()).id("w").await.unwrap();
    })
    .await;
    let bed = bed.at(place).await;
    for verb in OF_UNFINISHED {
        let refusal = bed.refused(verb, &["o1", "--dry-run"]).await;
        assert!(refusal.contains("is Failed; it takes no more"), "{verb}: {refusal}");
    }
    for verb in ["purge", "restart"] {
        let refusal = bed.refused(verb, &["w", "--dry-run"]).await;
        assert!(refusal.contains("terminate it first"), "{verb}: {refusal}");
    }
    bed.shown("terminate", &["w", "--dry-run"]).await;
    bed.shown("purge", &["o1", "--dry-run"]).await;
}
