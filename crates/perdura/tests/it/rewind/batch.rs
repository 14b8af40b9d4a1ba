//! Many at once, and the questions that come before.

use super::bed::*;
use perdura::prelude::*;
use perdura::{Batch, BatchItem, BatchReport, InstanceQuery, Replay, Selection, Status};

on_every_store![
    tctl240_cli717_a_batch_rewinds_what_matches_and_says_what_it_did,
    dbos_java305_a_batch_has_a_rate_and_a_limit,
    a_canary_that_fails_again_stops_the_batch,
    a_dry_run_changes_nothing,
    a_filter_that_matches_everything_must_be_meant,
    children_go_with_their_parents,
    a_child_whose_parent_is_not_in_the_batch_is_refused,
    a_limit_counts_what_can_be_rewound,
    what_was_not_rewound_is_no_canary,
    canaries_may_be_waited_for_without_end,
    check_replay_says_who_would_be_blocked_and_where,
    why_says_what_an_instance_waits_for,
    temporal3006_an_instance_is_paused_keeps_what_arrives_and_goes_on,
    code_that_does_not_fit_blocks_an_instance_until_code_that_fits_is_deployed,
    an_instance_is_started_once_more_and_purged_with_its_family,
];

#[orchestration]
async fn order(ctx: Orchestration, number: u32) -> Result<String> {
    ctx.call(step, format!("reserve {number}")).await?;
    ctx.call(pay, format!("charge {number}")).await
}

async fn failed_orders(kind: Kind, name: &str) -> Bed {
    let bed = Bed::new(kind, name, |r| r.register(order).register(parent)).await;
    for number in 0..5 {
        bed.workshop.breaks(&format!("charge {number}"), 1);
        bed.fails(order, number, &format!("order-{number}")).await;
    }
    bed.start(order, 5, "order-5").await;
    bed.output("order-5").await;
    bed
}

fn all_orders() -> Selection {
    InstanceQuery { name: Some("order".into()), ..Default::default() }.into()
}

fn orders() -> Batch {
    because().batch(all_orders()).unwrap()
}

fn failed_with(text: &str) -> Batch {
    because().batch(Selection { failure: Some(text.into()), ..all_orders() }).unwrap()
}

fn limited(limit: usize) -> Batch {
    because().batch(Selection { limit, ..all_orders() }).unwrap()
}

fn everything() -> Selection {
    Selection { all: true, ..InstanceQuery::default().into() }
}

async fn run(bed: &Bed, batch: &Batch) -> BatchReport {
    let mut seen = 0;
    let report = bed.engine.client().batch(batch, |_, _| seen += 1).await.unwrap();
    assert_eq!(seen, report.items.len());
    report
}

async fn tctl240_cli717_a_batch_rewinds_what_matches_and_says_what_it_did(kind: Kind) {
    let bed = failed_orders(kind, "batch").await;
    let other = failed_with("no such text");
    assert_eq!(run(&bed, &other).await, BatchReport::default());
    let batch = failed_with("is broken");
    assert_eq!(run(&bed, &batch).await.rewound(), 5);
    for number in 0..5 {
        assert_eq!(bed.output(&format!("order-{number}")).await, format!("charge {number} done"));
        assert_eq!(bed.workshop.ran(&format!("reserve {number}")), (1, 1));
    }
    // Once more: there is nothing left.
    assert_eq!(run(&bed, &batch).await, BatchReport::default());
}

async fn dbos_java305_a_batch_has_a_rate_and_a_limit(kind: Kind) {
    let bed = failed_orders(kind, "rate").await;
    let report = run(&bed, &Batch { per_second: Some(50), ..limited(3) }).await;
    assert_eq!(report.rewound(), 3);
}

async fn a_canary_that_fails_again_stops_the_batch(kind: Kind) {
    let bed = failed_orders(kind, "canary").await;
    for number in 0..5 {
        bed.workshop.breaks(&format!("charge {number}"), 1);
    }
    let batch = Batch { canaries: 1, ..orders() };
    let report = run(&bed, &batch).await;
    assert_eq!(report.rewound(), 1);
    assert!(report.stopped.unwrap().contains("is Failed again"));
    let good = limited(1);
    assert_eq!(run(&bed, &good).await.rewound(), 1);
}

async fn a_dry_run_changes_nothing(kind: Kind) {
    let bed = failed_orders(kind, "dry").await;
    let report = run(&bed, &Batch { dry_run: true, ..orders() }).await;
    let planned = |item: &BatchItem| matches!(item, BatchItem::Planned(plan) if plan.rerun[0].name == "pay");
    assert!(report.items.len() == 5 && report.items.iter().all(|(_, item)| planned(item)));
    assert_eq!(bed.engine.instance("order-1").get().await.unwrap().unwrap().status(), Status::Failed);
}

async fn a_filter_that_matches_everything_must_be_meant(kind: Kind) {
    let bed = failed_orders(kind, "all").await;
    let all = because().batch(InstanceQuery::default()).unwrap();
    let refusal = bed.engine.client().batch(&all, |_, _| ()).await.unwrap_err().to_string();
    assert!(refusal.contains("matches every instance"), "{refusal}");
    assert_eq!(run(&bed, &because().batch(everything()).unwrap()).await.rewound(), 5);
}

#[orchestration]
async fn parent(ctx: Orchestration) -> Result<String> {
    ctx.sub_orchestration(order, 9).id("order-9").await
}

async fn children_go_with_their_parents(kind: Kind) {
    let bed = Bed::new(kind, "parents-batch", |r| r.register(order).register(parent)).await;
    bed.workshop.breaks("charge 9", 1);
    bed.fails(parent, (), "p").await;
    let report = run(&bed, &because().batch(everything()).unwrap()).await;
    assert_eq!(bed.output("p").await, "charge 9 done");
    assert_eq!((report.items.len(), bed.workshop.ran("charge 9")), (2, (2, 1)));
}

#[orchestration]
async fn wraps(ctx: Orchestration, number: u32) -> Result<String> {
    ctx.sub_orchestration(order, number).id(format!("order-{number}")).await
}

/// Two failed children of failed parents that are no orders, and older than three failed orders.
async fn orders_after_children(kind: Kind, name: &str) -> Bed {
    let bed = Bed::new(kind, name, |r| r.register(order).register(wraps)).await;
    for number in 0..5 {
        bed.workshop.breaks(&format!("charge {number}"), 1);
        match number {
            0 | 1 => bed.fails(wraps, number, &format!("p-{number}")).await,
            _ => bed.fails(order, number, &format!("order-{number}")).await,
        };
    }
    bed
}

async fn a_child_whose_parent_is_not_in_the_batch_is_refused(kind: Kind) {
    let bed = orders_after_children(kind, "refused-child").await;
    for dry_run in [true, false] {
        let report = run(&bed, &Batch { dry_run, ..limited(1) }).await;
        for (id, item) in &report.items[..2] {
            let BatchItem::Refused(error) = item else { panic!("{id}: {item:?}") };
            let text = error.to_string();
            assert!(text.contains("\"p-") && text.contains("rewind the parent, or take it along"), "{text}");
        }
    }
    // Taken along, it is rewound; no child is then left to anybody.
    let along = because().with_parents().batch(all_orders()).unwrap();
    assert_eq!(run(&bed, &along).await.rewound(), 4);
    assert_eq!(bed.output("p-0").await, "charge 0 done");
}

async fn a_limit_counts_what_can_be_rewound(kind: Kind) {
    let bed = orders_after_children(kind, "limit").await;
    assert_eq!(run(&bed, &limited(2)).await.rewound(), 2);
    assert_eq!(bed.output("order-3").await, "charge 3 done");
    assert_eq!(run(&bed, &limited(2)).await.rewound(), 1);
    assert_eq!(bed.output("order-4").await, "charge 4 done");
}

async fn what_was_not_rewound_is_no_canary(kind: Kind) {
    let bed = orders_after_children(kind, "no-canary").await;
    for number in 2..5 {
        bed.workshop.breaks(&format!("charge {number}"), 1);
    }
    let report = run(&bed, &Batch { canaries: 2, ..orders() }).await;
    assert_eq!(report.rewound(), 2, "{report:?}");
    assert!(report.stopped.unwrap().contains("\"order-2\" is Failed again"));
    assert_eq!(bed.workshop.ran("charge 4"), (1, 0));
}

async fn canaries_may_be_waited_for_without_end(kind: Kind) {
    let bed = failed_orders(kind, "endless").await;
    let batch = Batch { canaries: 1, canaries_wait_max: std::time::Duration::MAX, ..orders() };
    assert_eq!(run(&bed, &batch).await.rewound(), 5);
}

#[orchestration]
async fn changes(ctx: Orchestration) -> Result<String> {
    if is_mended(&ctx) {
        ctx.timer(std::time::Duration::ZERO).await?;
    }
    ctx.call(step, "one".into()).await?;
    ctx.wait_event("go").await
}

async fn check_replay_says_who_would_be_blocked_and_where(kind: Kind) {
    let bed = Bed::new(kind, "replay", |r| r.register(changes)).await;
    bed.start(changes, (), "x").await;
    bed.until("x", |_| bed.workshop.ran("one").1 == 1).await;
    let check = || async { bed.engine.check_replay(InstanceQuery::default(), 10).await.unwrap() };
    assert_eq!(check().await[0].replay, Replay::Agrees);
    bed.workshop.deploys();
    let checked = check().await;
    let Replay::Diverges(mismatch) = &checked[0].replay else { panic!("{checked:?}") };
    assert_eq!((mismatch.event, checked[0].id.as_str()), (2, "x"));
    assert!(mismatch.expected.contains("\"step\"") && mismatch.actual.contains("timer"));
    // Nothing came of it.
    assert_eq!(bed.workshop.ran("one"), (1, 1));
}

async fn why_says_what_an_instance_waits_for(kind: Kind) {
    let bed = Bed::new(kind, "why", |r| r.register(changes)).await;
    bed.start(changes, (), "x").await;
    bed.engine.instance("x").suspend("a look").await.unwrap();
    let waits = bed.engine.instance("x").why().await.unwrap().unwrap();
    assert!(waits.iter().any(|wait| wait.to_string().contains("suspended it: \"a look\"; resume it")));
    assert_eq!(bed.engine.instance("y").why().await.unwrap(), None);
}

async fn temporal3006_an_instance_is_paused_keeps_what_arrives_and_goes_on(kind: Kind) {
    let bed = Bed::new(kind, "paused", |r| r.register(changes)).await;
    bed.start(changes, (), "x").await;
    let instance = bed.engine.instance("x");
    instance.suspend("a look").await.unwrap();
    instance.raise("go", "on").await.unwrap();
    bed.until("x", |state| state.status() == Status::Suspended).await;
    instance.resume("enough seen").await.unwrap();
    assert_eq!(bed.output("x").await, "on");
}

async fn code_that_does_not_fit_blocks_an_instance_until_code_that_fits_is_deployed(kind: Kind) {
    let bed = Bed::new(kind, "blocked", |r| r.register(changes)).await;
    bed.start(changes, (), "x").await;
    bed.until("x", |_| bed.workshop.ran("one").1 == 1).await;
    bed.workshop.deploys();
    let bed = bed.restart().await;
    bed.engine.instance("x").raise("go", "on").await.unwrap();
    bed.until("x", |state| state.blocked().is_some()).await;
    let waits = bed.engine.instance("x").why().await.unwrap().unwrap();
    let missing = waits[0].missing.as_ref().unwrap();
    assert!(
        missing.contains("its history has activity \"step\"") && missing.contains("its code did"),
        "{missing}"
    );
    assert_ne!(bed.engine.instance("x").get().await.unwrap().unwrap().status(), Status::Failed);
    bed.workshop.withdraws();
    let bed = bed.restart().await;
    assert_eq!(bed.output("x").await, "on");
    assert_eq!(bed.workshop.ran("one"), (1, 1));
}

async fn an_instance_is_started_once_more_and_purged_with_its_family(kind: Kind) {
    let bed = Bed::new(kind, "once-more", |r| r.register(order).register(parent)).await;
    bed.start(parent, (), "p").await;
    bed.output("p").await;
    let instance = bed.engine.instance("p");
    assert!(bed.engine.instance("nobody").restart().await.is_err());
    assert_eq!(instance.purge_family().await.unwrap(), 2);
    assert_eq!(bed.engine.instance("order-9").get().await.unwrap().map(|_| ()), None);
    bed.start(order, 1, "o").await;
    bed.output("o").await;
    bed.engine.instance("o").restart().await.unwrap();
    bed.output("o").await;
    assert_eq!(bed.workshop.ran("charge 1"), (2, 2));
}
