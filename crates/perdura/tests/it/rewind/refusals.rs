//! What cannot be done is refused, says what to do, and changes nothing.

use super::bed::*;
use perdura::Rewind;
use perdura::prelude::*;

on_every_store![
    every_refusal_says_what_to_do_and_changes_nothing,
    an_instance_that_runs_is_left_alone,
    what_a_key_of_the_hub_has_returned_is_replaced_for_all_who_use_it,
];

#[orchestration]
async fn one_step(ctx: Orchestration) -> Result<String> {
    ctx.timer(std::time::Duration::ZERO).await?;
    ctx.call(step, "kept".into()).await?;
    ctx.call(step, "one".into()).await
}

async fn every_refusal_says_what_to_do_and_changes_nothing(kind: Kind) {
    let bed = Bed::new(kind, "refusals", |r| r.register(one_step)).await;
    bed.workshop.breaks("one", 1);
    bed.fails(one_step, (), "x").await;
    let before = bed.events("x", None).await;
    let at = |name: &str| before.iter().position(|event| *event == name).unwrap() as u64;
    let timer = at("TimerCreated");
    let kept = at("TaskCompleted");
    let failed = at("TaskFailed");
    let called = before.iter().rposition(|event| *event == "TaskScheduled").unwrap() as u64;
    let cases: Vec<(Rewind, &str)> = vec![
        (because().to_event(999), "event 999 is outside its history"),
        (because().to_turn(0), "it has no turn 0; its turns are 1 to"),
        (because().to_turn(99), "it has no turn 99"),
        (because().to_time(perdura::Timestamp(i64::MAX)), "nothing would be undone"),
        (because().before_call("nothing"), "it never called \"nothing\""),
        (because().to_branch(7), "it has no branch 7; it has 1, numbered from 0"),
        (because().to_branch(0), "branch 0 is the present one"),
        (because().replace_result(timer, "x"), "belongs to no activity or sub-orchestration"),
        (because().replace_result(kept, "x"), "was delivered before the cut; rewind to an earlier point"),
        (because().replace_input(kept, "x"), "was delivered before the cut"),
        (because().to_beginning().replace_input(kept, "x"), "the code gives it an input again"),
        (because().replace_result(999, "x"), "event 999 is outside"),
        (because().replace_result(failed, "x").replace_result(failed, "y"), "twice; give it one"),
        (because().replace_result(failed, "x").replace_result(called, "y"), "twice; give it one"),
        (because().replace_input(failed, "x").replace_input(called, "y"), "twice; give it one"),
        (because().replace_input(failed, "x").replace_result(failed, "y"), "twice; give it one"),
        (because().input("x"), "only in a rewind to the beginning"),
        (Rewind::by("ada\n", ""), "control"),
        (Rewind::by("ada", &"r".repeat(2000)), "reason: 2000 bytes, limit 1024"),
        (because().replace_result(kept, &"r".repeat(5 << 20)), "replaced payload"),
        (because().to_beginning().input(&"r".repeat(5 << 20)), "input"),
        (because().before_call(""), "it never called \"\""),
        (because().rerun(""), "name of what runs again"),
    ];
    let instance = bed.engine.instance("x");
    for (rewind, expected) in cases {
        let refusal = instance.rewind(rewind.clone()).await.unwrap_err().to_string();
        assert!(refusal.contains(expected), "{refusal:?} instead of {expected:?}");
        let planned = instance.plan_rewind(&rewind).await.map(|plan| plan.because);
        assert_eq!(planned.map_err(|error| error.to_string()), Err(refusal));
    }
    assert_eq!(bed.events("x", None).await, before);
    assert!(instance.branches().await.unwrap().unwrap().is_empty());
    let nobody = bed.engine.instance("nobody").rewind(because()).await.unwrap_err().to_string();
    assert_eq!(nobody, "there is no instance \"nobody\"");
}

#[orchestration]
async fn waits(ctx: Orchestration) -> Result<String> {
    ctx.wait_event("go").await
}

async fn an_instance_that_runs_is_left_alone(kind: Kind) {
    let bed = Bed::new(kind, "runs", |r| r.register(waits)).await;
    bed.start(waits, (), "x").await;
    let instance = bed.engine.instance("x");
    let refusal = instance.rewind(because()).await.unwrap_err().to_string();
    assert!(refusal.contains("terminate it first, or rewind it by force"), "{refusal}");
    // By force it may be, but not to what no turn has taken yet.
    instance.suspend("a look").await.unwrap();
    instance.raise("other", "x").await.unwrap();
    let events = bed.events("x", None).await.len() as u64;
    let refusal = instance.rewind(because().to_event(events).force()).await.unwrap_err().to_string();
    assert!(refusal.contains("is outside its history, which has events 0 to"), "{refusal}");
    assert!(instance.branches().await.unwrap().unwrap().is_empty());
    instance.resume("seen").await.unwrap();
    instance.raise("go", "gone").await.unwrap();
    assert_eq!(bed.output("x").await, "gone");
}

#[orchestration]
async fn pays_once(ctx: Orchestration) -> Result<String> {
    ctx.call(pay, "ten".into()).idempotency_key_in_hub("order/7").await
}

async fn what_a_key_of_the_hub_has_returned_is_replaced_for_all_who_use_it(kind: Kind) {
    let bed = Bed::new(kind, "hub-key", |r| r.register(pays_once)).await;
    bed.workshop.breaks("ten", 1);
    bed.fails(pays_once, (), "x").await;
    let (one, key) = (bed.engine.instance("x"), bed.engine.instance("perdura.key/pay/order/7"));
    for rewind in [because().replace_result(2, "by hand"), because().to_beginning().replace_input(2, "nine")]
    {
        let refusal = one.rewind(rewind).await.unwrap_err().to_string();
        assert!(
            refusal.contains("\"perdura.key/pay/order/7\"") && refusal.contains("with parents"),
            "{refusal}"
        );
    }
    assert!(one.branches().await.unwrap().unwrap().is_empty());
    let failed = bed.events("perdura.key/pay/order/7", None).await;
    let failed = failed.iter().position(|event| *event == "TaskFailed").unwrap() as u64;
    key.rewind(because().replace_result(failed, "by hand").with_parents()).await.unwrap();
    assert_eq!(bed.output("x").await, "by hand");
    bed.start(pays_once, (), "y").await;
    assert_eq!(bed.output("y").await, "by hand");
    assert_eq!(bed.workshop.ran("ten"), (1, 0));
}
