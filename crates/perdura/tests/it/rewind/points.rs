//! Where to: an event, a turn, a time, a call; with other inputs and results.

use super::bed::*;
use perdura::Rewind;
use perdura::prelude::*;
use perdura::rewind::Because;

on_every_store![
    durabletask_extensions2_dapr80_to_a_chosen_event_which_runs_again,
    durabletask_extensions2_to_a_turn_reuses_what_is_recorded,
    temporal6724_to_a_time,
    temporal6724_before_the_first_call_of_an_activity,
    inngest_another_input_for_the_failed_activity,
    inngest_a_result_in_the_place_of_a_failure,
    a_result_in_the_place_of_one_after_the_cut,
    an_input_by_hand_is_not_answered_with_the_result_of_another,
    deliveries_go_on_after_a_result_by_hand,
    without_reuse_everything_after_the_cut_runs_again,
    dbos_recv_temporal8074_events_after_the_cut_come_again_and_new_ones_too,
    events_can_be_dropped,
    a_signal_that_was_sent_is_not_sent_twice,
];

#[orchestration]
async fn chain(ctx: Orchestration) -> Result<String> {
    let one = ctx.call(step, "one".into()).await?;
    let two = ctx.call(pay, "two".into()).await?;
    let three = ctx.call(step, "three".into()).await?;
    Ok(format!("{one}, {two}, {three}"))
}

async fn completed(kind: Kind, name: &str) -> Bed {
    let bed = Bed::new(kind, name, |r| r.register(chain)).await;
    bed.start(chain, (), "x").await;
    bed.output("x").await;
    bed
}

async fn ran(bed: &Bed, rewind: Rewind) -> [usize; 3] {
    bed.engine.instance("x").rewind(rewind).await.unwrap();
    assert_eq!(bed.output("x").await, "one done, two done, three done");
    ["one", "two", "three"].map(|name| bed.workshop.ran(name).0)
}

async fn nth(bed: &Bed, id: &str, name: &str, n: usize) -> u64 {
    let events = bed.events(id, None).await;
    events.iter().enumerate().filter(|(_, event)| **event == name).nth(n).unwrap().0 as u64
}

async fn durabletask_extensions2_dapr80_to_a_chosen_event_which_runs_again(kind: Kind) {
    let bed = completed(kind, "event").await;
    let scheduled = nth(&bed, "x", "TaskScheduled", 1).await;
    assert_eq!(ran(&bed, because().to_event(scheduled)).await, [1, 2, 1]);
    let bed = completed(kind, "event2").await;
    let done = nth(&bed, "x", "TaskCompleted", 1).await;
    assert_eq!(ran(&bed, because().to_event(done)).await, [1, 2, 1]);
}

async fn durabletask_extensions2_to_a_turn_reuses_what_is_recorded(kind: Kind) {
    let bed = completed(kind, "turn").await;
    let plan = bed.engine.instance("x").plan_rewind(&because().to_turn(2)).await.unwrap();
    assert_eq!((plan.turns_kept, plan.because.clone(), plan.reused.len()), (1, Because::Turn(2), 2));
    assert_eq!(ran(&bed, because().to_turn(2)).await, [1, 1, 1]);
    // And once more, from the branch that used those results.
    assert_eq!(ran(&bed, because().to_turn(1)).await, [1, 1, 1]);
}

async fn temporal6724_to_a_time(kind: Kind) {
    let bed = completed(kind, "time").await;
    let history = bed.engine.instance("x").history().await.unwrap().unwrap();
    let turns: Vec<_> = history.iter().filter(|event| event.kind.name() == "TurnStarted").collect();
    let plan = bed.engine.instance("x").plan_rewind(&because().to_time(turns[0].at)).await.unwrap();
    assert_eq!(plan.cut, 0);
    assert_eq!(ran(&bed, because().to_time(turns[0].at).without_reuse()).await, [2, 2, 2]);
}

async fn temporal6724_before_the_first_call_of_an_activity(kind: Kind) {
    let bed = completed(kind, "call").await;
    assert_eq!(ran(&bed, because().before_call("pay")).await, [1, 2, 1]);
}

async fn inngest_another_input_for_the_failed_activity(kind: Kind) {
    let bed = Bed::new(kind, "input", |r| r.register(chain)).await;
    bed.workshop.breaks("two", 10);
    bed.fails(chain, (), "x").await;
    let failed = nth(&bed, "x", "TaskFailed", 0).await;
    let instance = bed.engine.instance("x");
    instance.rewind(because().replace_input(failed, "too")).await.unwrap();
    assert_eq!(bed.output("x").await, "one done, too done, three done");
    let history = instance.history().await.unwrap().unwrap();
    let rewound = history.iter().find_map(|event| match &event.kind {
        perdura_core::history::EventKind::ExecutionRewound(rewound) => Some(rewound.clone()),
        _ => None,
    });
    let rewound = rewound.unwrap();
    assert_eq!((rewound.by.as_str(), rewound.inputs.len()), ("ada", 1));
}

async fn inngest_a_result_in_the_place_of_a_failure(kind: Kind) {
    let bed = Bed::new(kind, "result", |r| r.register(chain)).await;
    bed.workshop.breaks("two", 10);
    bed.fails(chain, (), "x").await;
    let failed = nth(&bed, "x", "TaskFailed", 0).await;
    let plan = because().replace_result(failed, "paid by hand");
    bed.engine.instance("x").rewind(plan).await.unwrap();
    assert_eq!(bed.output("x").await, "one done, paid by hand, three done");
    assert_eq!(bed.workshop.ran("two"), (1, 0));
}

async fn deliveries_go_on_after_a_result_by_hand(kind: Kind) {
    let bed = Bed::new(kind, "by-hand", |r| r.register(chain)).await;
    bed.workshop.breaks("two", 1);
    bed.fails(chain, (), "x").await;
    let failed = nth(&bed, "x", "TaskFailed", 0).await;
    let instance = bed.engine.instance("x");
    instance.rewind(because().replace_result(failed, "paid by hand")).await.unwrap();
    bed.output("x").await;
    let given = nth(&bed, "x", "TaskCompleted", 1).await;
    instance.rewind(because().to_event(given)).await.unwrap();
    assert_eq!(bed.output("x").await, "one done, two done, three done");
    assert_eq!(bed.workshop.deliveries("two"), [1, 2]);
}

async fn a_result_in_the_place_of_one_after_the_cut(kind: Kind) {
    let bed = completed(kind, "later").await;
    let second = nth(&bed, "x", "TaskCompleted", 1).await;
    let rewind = because().to_beginning().replace_result(second, "paid by hand");
    bed.engine.instance("x").rewind(rewind).await.unwrap();
    assert_eq!(bed.output("x").await, "one done, paid by hand, three done");
    assert_eq!(bed.workshop.ran("two"), (1, 1));
}

async fn without_reuse_everything_after_the_cut_runs_again(kind: Kind) {
    let bed = completed(kind, "anew").await;
    let planned = async |rewind: Rewind| {
        let plan = bed.engine.instance("x").plan_rewind(&rewind).await.unwrap();
        plan.rerun.into_iter().map(|work| work.name).collect::<Vec<_>>()
    };
    assert_eq!(planned(because().to_beginning().without_reuse()).await, ["step", "pay", "step"]);
    assert_eq!(planned(because().before_call("pay")).await, ["pay"]);
    assert_eq!(planned(because().to_beginning().rerun("pay")).await, ["pay"]);
    assert_eq!(ran(&bed, because().to_turn(2).without_reuse()).await, [1, 2, 2]);
    assert_eq!(ran(&bed, because().to_beginning().rerun("pay")).await, [1, 3, 2]);
}

#[orchestration]
async fn collects(ctx: Orchestration) -> Result<String> {
    let first: String = ctx.wait_event("item").await?;
    ctx.call(step, format!("check {first}")).await?;
    let second: String = ctx.wait_event("item").await?;
    ctx.call(step, format!("check {second}")).await?;
    let third: String = ctx.wait_event("item").await?;
    Ok([first, second, third].join(", "))
}

async fn dbos_recv_temporal8074_events_after_the_cut_come_again_and_new_ones_too(kind: Kind) {
    let bed = Bed::new(kind, "events", |r| r.register(collects)).await;
    bed.workshop.breaks("check a", 1);
    bed.start(collects, (), "x").await;
    let instance = bed.engine.instance("x");
    instance.raise("item", "a").await.unwrap();
    bed.failure("x").await;
    bed.workshop.breaks("check b", 1);
    bed.rewind("x").await;
    instance.raise("item", "b").await.unwrap();
    bed.failure("x").await;
    // Before either of them: both come again, in their order.
    let rewound = instance.rewind(because().to_turn(2)).await.unwrap();
    instance.raise("item", "c").await.unwrap();
    assert_eq!(rewound.branch, 2);
    assert_eq!(bed.output("x").await, "a, b, c");
    assert_eq!((bed.workshop.ran("check a"), bed.workshop.ran("check b")), ((2, 1), (2, 1)));
}

async fn events_can_be_dropped(kind: Kind) {
    let bed = Bed::new(kind, "dropped", |r| r.register(collects)).await;
    bed.workshop.breaks("check a", 1);
    bed.start(collects, (), "x").await;
    let instance = bed.engine.instance("x");
    instance.raise("item", "a").await.unwrap();
    bed.failure("x").await;
    instance.rewind(because().to_beginning().drop_events()).await.unwrap();
    for item in ["b", "c", "d"] {
        instance.raise("item", item).await.unwrap();
    }
    assert_eq!(bed.output("x").await, "b, c, d");
}

#[orchestration]
async fn listens(ctx: Orchestration) -> Result<Vec<String>> {
    let mut heard = Vec::new();
    loop {
        let word: String = ctx.wait_event("word").await?;
        if word == "end" {
            return Ok(heard);
        }
        heard.push(word);
        ctx.set_status(&heard.len())?;
    }
}

#[orchestration]
async fn speaks(ctx: Orchestration, to: String) -> Result<String> {
    ctx.call(step, "prepared".into()).await?;
    let to = perdura::InstanceId::new(&to)?;
    ctx.send_event(&to, "word", "hello")?;
    ctx.send_event(&to, "word", "hello")?;
    ctx.call(step, "delivered".into()).await
}

async fn a_signal_that_was_sent_is_not_sent_twice(kind: Kind) {
    let bed = Bed::new(kind, "signals", |r| r.register(listens).register(speaks)).await;
    bed.start(listens, (), "ear").await;
    bed.workshop.breaks("delivered", 1);
    bed.fails(speaks, "ear".into(), "x").await;
    bed.engine.instance("x").rewind(because().to_beginning()).await.unwrap();
    bed.output("x").await;
    // What a client raises may overtake what another instance has sent.
    bed.until("ear", |state| state.custom_status::<Option<u32>>().unwrap().is_some_and(|heard| heard >= 2))
        .await;
    bed.engine.instance("ear").raise("word", "end").await.unwrap();
    let heard: Vec<String> = bed.engine.instance("ear").wait().await.unwrap();
    assert_eq!(heard, ["hello", "hello"]);
}

async fn an_input_by_hand_is_not_answered_with_the_result_of_another(kind: Kind) {
    let bed = Bed::new(kind, "inputs", |r| r.register(chain)).await;
    bed.workshop.breaks("two", 1);
    bed.workshop.breaks("zwei", 1);
    bed.fails(chain, (), "x").await;
    let failed = nth(&bed, "x", "TaskFailed", 0).await;
    let instance = bed.engine.instance("x");
    instance.rewind(because().replace_input(failed, "deux")).await.unwrap();
    assert_eq!(bed.output("x").await, "one done, deux done, three done");
    instance.rewind(because().to_branch(0)).await.unwrap();
    instance.rewind(because().replace_input(failed, "zwei")).await.unwrap();
    bed.failure("x").await;
    let plan = instance.plan_rewind(&because()).await.unwrap();
    assert_eq!((plan.rerun.len(), plan.reused.len()), (1, 0), "{plan:?}");
    bed.rewind("x").await;
    assert_eq!(bed.output("x").await, "one done, zwei done, three done");
    // What it was given on that branch it has done by now, and on the first one with another input.
    instance.rewind(because().to_branch(2)).await.unwrap();
    bed.rewind("x").await;
    assert_eq!(bed.output("x").await, "one done, zwei done, three done");
    assert_eq!(["two", "deux", "zwei"].map(|name| bed.workshop.ran(name)), [(1, 0), (1, 1), (2, 1)]);
}
