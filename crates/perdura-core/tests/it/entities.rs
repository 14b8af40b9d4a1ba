//! Entities: operations and signals.

use crate::bed::*;
use crate::entity_bed::*;
use bytes::Bytes;
use perdura_core::entity::*;
use perdura_core::history::*;
use perdura_core::orchestration::Decision;
use perdura_core::partition::*;
use perdura_core::*;

#[test]
fn a_signal_is_durable_before_it_runs_and_runs_once() {
    let mut bed = bed();
    let token = bed.ask(Request::Signal(signal("@log@a", "one")));
    bed.run();
    assert!(bed.operations.is_empty(), "handed out before the commit");
    bed.commit();
    assert_eq!(bed.replies.remove(&token), Some(Ok(Response::Done)));
    assert_eq!(record(&bed, "@log@a").queue[0].delivery, 1);
    bed.settle();
    assert_eq!(state(&bed, "@log@a"), "one;");
    assert!(record(&bed, "@log@a").queue.is_empty());
    assert_eq!(bed.status("@log@a"), Status::Completed, "an idle entity is not read by a recovery");
}

#[test]
fn signals_run_in_the_order_in_which_they_came_and_many_share_a_commit() {
    let mut bed = bed();
    for n in 0..100 {
        bed.ask(Request::Signal(signal("@log@a", &format!("s{n}"))));
    }
    bed.settle();
    let expected: String = (0..100).map(|n| format!("s{n};")).collect();
    assert_eq!(state(&bed, "@log@a"), expected);
    assert_eq!(bed.batches.len(), 2);
}

#[test]
fn an_operation_that_may_have_run_comes_again_with_the_next_delivery_count() {
    let mut bed = Bed::new();
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    assert_eq!(bed.operations[0].operations[0].delivery, 1);
    bed.crash();
    assert_eq!(bed.operations[0].operations[0].delivery, 2);
    let ticket = bed.operations.remove(0).ticket;
    bed.partition.operations_lost(ticket, "", bed.now());
    bed.run();
    assert!(bed.operations.is_empty(), "handed out before its count is durable");
    bed.settle();
    assert_eq!(bed.operations[0].operations[0].delivery, 3);
}

#[test]
fn operations_that_are_lost_again_and_again_wait_longer_each_time_and_then_block_their_entity() {
    let mut bed = Bed::with_limits(Limits { lost_workers_max: 4, ..Limits::default() });
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    for wait in [0, 100, 200] {
        let ticket = bed.operations.remove(0).ticket;
        bed.partition.operations_lost(ticket, "it is gone", bed.now());
        bed.settle();
        if wait > 0 {
            bed.pass(wait - 1);
            assert!(bed.operations.is_empty(), "handed out before its time");
            bed.pass(1);
        }
    }
    assert_eq!(bed.operations[0].operations[0].delivery, 4);
    let ticket = bed.operations.remove(0).ticket;
    bed.partition.operations_lost(ticket, "it is gone", bed.now());
    bed.pass(100_000);
    assert!(bed.operations.is_empty());
    let reason = bed.record("@log@a").block.unwrap().reason;
    assert!(
        reason.starts_with("its operations were lost 4 times in a row, the last time: it is gone; "),
        "{reason}"
    );
    assert_eq!(record(&bed, "@log@a").queue.len(), 1, "the queue is kept");
    bed.entity("log", log);
    bed.crash();
    assert_eq!(state(&bed, "@log@a"), "one;");
}

#[test]
fn operations_that_were_lost_beside_something_else_come_again_at_once_and_are_not_counted() {
    let mut bed = Bed::with_limits(Limits { lost_workers_max: 2, ..Limits::default() });
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    let first = bed.operations.remove(0);
    bed.partition.operations_lost(first.ticket, "it is gone", bed.now());
    bed.settle();
    for delivery in 2..10 {
        let batch = bed.operations.remove(0);
        assert_eq!((batch.lost, batch.operations[0].delivery), (1, delivery));
        bed.partition.operations_lost_beside(batch.ticket, bed.now());
        bed.settle();
    }
}

#[test]
fn operations_that_were_lost_together_are_handed_out_one_at_a_time() {
    let mut bed = Bed::new();
    for name in ["a", "b", "c"] {
        bed.ask(Request::Signal(signal("@log@a", name)));
    }
    bed.settle();
    let lost = bed.operations.remove(0);
    assert_eq!(lost.operations.len(), 3);
    bed.partition.operations_lost(lost.ticket, "", bed.now());
    for name in ["d", "e"] {
        bed.ask(Request::Signal(signal("@log@a", name)));
    }
    let mut sizes = Vec::new();
    bed.settle();
    while !bed.operations.is_empty() {
        let batch = bed.operations.remove(0);
        sizes.push(batch.operations.len());
        let results = batch.operations.iter().map(|_| ended("")).collect();
        let done = OperationsDone { results, state: None };
        bed.partition.operations_done(batch.ticket, done, bed.now());
        bed.settle();
    }
    assert_eq!(sizes, [1, 1, 1, 2]);
}

#[test]
fn operations_are_handed_out_together_up_to_a_number_of_bytes_and_one_is_always() {
    let mut bed = Bed::with_limits(Limits { operations_bytes_max: 25_000, ..Limits::default() });
    let of_bytes = |bytes: usize| SignalRequest {
        input: Some(Bytes::from(vec![b'1'; bytes])),
        ..signal("@log@a", "take")
    };
    for bytes in [10_000, 10_000, 10_000, 30_000, 10, 10] {
        bed.ask(Request::Signal(of_bytes(bytes)));
    }
    bed.settle();
    let mut sizes = Vec::new();
    let mut deliveries = Vec::new();
    for state in [0, 20_000, 20_000, 20_000, 24_500, 24_500, 0] {
        if bed.operations.is_empty() {
            break;
        }
        let batch = bed.operations.remove(0);
        sizes.push(batch.operations.len());
        deliveries.extend(batch.operations.iter().map(|operation| operation.delivery));
        let results = batch.operations.iter().map(|_| ended("")).collect();
        let done = OperationsDone { results, state: Some(Bytes::from(vec![b's'; state])) };
        bed.partition.operations_done(batch.ticket, done, bed.now());
        bed.settle();
    }
    assert_eq!(sizes, [2, 1, 1, 2]);
    assert_eq!(deliveries, [1; 6], "what was left for later was not handed out");
}

#[test]
fn a_result_that_nobody_awaits_any_more_is_dropped() {
    let mut bed = Bed::new();
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    let old = bed.operations.remove(0);
    bed.partition.operations_lost(old.ticket, "", bed.now());
    bed.settle();
    let done = OperationsDone { results: vec![ended("late")], state: Some(Bytes::from("late")) };
    bed.partition.operations_done(old.ticket, done, bed.now());
    bed.settle();
    assert_eq!(record(&bed, "@log@a").state, None);
}

#[test]
fn operations_that_were_not_run_come_first_in_the_next_batch() {
    let mut bed = Bed::new();
    for name in ["a", "b", "c"] {
        bed.ask(Request::Signal(signal("@log@a", name)));
    }
    bed.settle();
    let batch = bed.operations.remove(0);
    let done = OperationsDone { results: vec![ended("")], state: Some(Bytes::from("a;")) };
    bed.ask(Request::Signal(signal("@log@a", "d")));
    bed.partition.operations_done(batch.ticket, done, bed.now());
    bed.settle();
    let names: Vec<_> = bed.operations[0].operations.iter().map(|o| (&*o.name, o.delivery)).collect();
    assert_eq!(names, [("b", 2), ("c", 2), ("d", 1)]);
}

#[test]
fn an_operation_that_fails_leaves_no_trace() {
    let mut bed = bed();
    bed.script("Caller", steps(vec![vec![call(0, "@log@a", "fail")], vec![complete()]]));
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    bed.start("c", "Caller");
    assert_eq!(state(&bed, "@log@a"), "one;");
    assert!(!exists(&bed, "@log@far"));
    assert!(bed.events("c").contains(&"EntityOperationFailed"));
}

#[test]
fn what_an_operation_sends_leaves_with_its_state() {
    let mut bed = bed();
    bed.script("Idle", |_| Vec::new());
    bed.call(Request::Signal(signal("@log@a", "spread"))).unwrap();
    assert_eq!(state(&bed, "@log@a"), "spread;");
    assert_eq!(state(&bed, "@log@far"), "came;");
    assert_eq!(bed.status("started"), Status::Running);
}

#[test]
fn a_call_costs_two_commits() {
    let mut bed = bed();
    let calls = (0..5).map(|n| vec![call(n, "@log@a", "x")]).chain([vec![complete()]]);
    bed.script("Caller", steps(calls.collect()));
    bed.start("c", "Caller");
    assert_eq!(bed.status("c"), Status::Completed);
    assert_eq!(state(&bed, "@log@a"), "x;x;x;x;x;");
    // The start and the first call share a commit, and so do each result and the next call.
    assert_eq!(bed.batches.len(), 6);
}

#[test]
fn a_delayed_signal_waits_for_its_time_also_over_a_crash() {
    let mut bed = bed();
    let at = Some(Timestamp(bed.now + 5000));
    bed.call(Request::Signal(SignalRequest { at, ..signal("@log@a", "later") })).unwrap();
    bed.pass(4999);
    assert_eq!(record(&bed, "@log@a").state, None);
    bed.crash();
    bed.pass(1);
    assert_eq!(state(&bed, "@log@a"), "later;");
}

#[test]
fn a_delayed_signal_to_an_idle_entity_is_not_forgotten_in_a_crash() {
    let mut bed = bed();
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    let at = Some(Timestamp(bed.now + 5000));
    bed.call(Request::Signal(SignalRequest { at, ..signal("@log@a", "later") })).unwrap();
    assert_eq!(bed.status("@log@a"), Status::Running, "a recovery has to look at it");
    bed.crash();
    bed.pass(5000);
    assert_eq!(state(&bed, "@log@a"), "one;later;");
}

#[test]
fn a_delayed_signal_to_an_entity_that_vanishes_keeps_it() {
    let mut bed = bed();
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    bed.ask(Request::Signal(signal("@log@a", "delete")));
    bed.run();
    bed.commit();
    bed.run();
    let at = Some(Timestamp(bed.now + 5000));
    bed.ask(Request::Signal(SignalRequest { at, ..signal("@log@a", "later") }));
    bed.settle();
    bed.pass(5000);
    assert_eq!(state(&bed, "@log@a"), "later;");
}

#[test]
fn an_entity_of_which_nothing_is_left_is_gone() {
    let mut bed = bed();
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    bed.call(Request::Signal(signal("@log@a", "delete"))).unwrap();
    assert!(!exists(&bed, "@log@a"));
    bed.call(Request::Signal(signal("@log@a", "two"))).unwrap();
    assert_eq!(state(&bed, "@log@a"), "two;");
    bed.call(Request::DeleteEntity { entity: entity("@log@a") }).unwrap();
    assert!(!exists(&bed, "@log@a"));
}

#[test]
fn a_signal_to_an_entity_that_vanishes_brings_it_back() {
    let mut bed = bed();
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    bed.ask(Request::Signal(signal("@log@a", "delete")));
    bed.run();
    bed.commit();
    bed.run();
    bed.ask(Request::Signal(signal("@log@a", "two")));
    bed.settle();
    assert_eq!(state(&bed, "@log@a"), "two;");
    assert_eq!(bed.rows.len(), 1);
}

#[test]
fn a_row_that_a_crash_left_of_a_vanishing_entity_goes_in_the_next_life() {
    let mut bed = bed();
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    bed.ask(Request::Signal(signal("@log@a", "delete")));
    bed.run();
    bed.commit();
    bed.run();
    bed.commit();
    assert!(exists(&bed, "@log@a"), "the row goes one batch later");
    bed.crash();
    assert!(!exists(&bed, "@log@a"));
}

#[test]
fn a_signal_that_is_asked_again_is_taken_once() {
    let mut bed = bed();
    let stamped = |number| SignalRequest { stamp: Some(Stamp::new(7, number)), ..signal("@log@a", "s") };
    bed.call(Request::Signal(stamped(1))).unwrap();
    bed.call(Request::Signal(stamped(2))).unwrap();
    bed.crash();
    bed.call(Request::Signal(stamped(2))).unwrap();
    bed.call(Request::Signal(stamped(3))).unwrap();
    let named = SignalRequest { request_id: "r".into(), ..signal("@log@a", "r") };
    bed.call(Request::Signal(named.clone())).unwrap();
    bed.crash();
    bed.call(Request::Signal(named)).unwrap();
    assert_eq!(state(&bed, "@log@a"), "s;s;s;r;");
}

#[test]
fn a_signal_that_filled_the_queue_is_not_refused_when_it_is_asked_again() {
    let mut bed = Bed::with_limits(Limits { inbox_events_max: 2, ..Limits::default() });
    let named = SignalRequest { request_id: "r".into(), ..signal("@log@a", "s") };
    bed.call(Request::Signal(signal("@log@a", "s"))).unwrap();
    bed.call(Request::Signal(named.clone())).unwrap();
    assert!(bed.call(Request::Signal(signal("@log@a", "s"))).is_err());
    bed.call(Request::Signal(named)).unwrap();
}

#[test]
fn nobody_can_start_an_orchestration_under_the_id_of_an_entity() {
    let mut bed = bed();
    bed.script("Idle", |_| Vec::new());
    bed.script("Parent", steps(vec![vec![child(0, "Idle", "@log@a")], vec![complete()]]));
    bed.start("p", "Parent");
    assert!(!exists(&bed, "@log@a"));
    assert!(bed.events("p").contains(&"SubOrchestrationFailed"), "{:?}", bed.events("p"));
}

#[test]
fn an_operation_that_starts_something_under_a_key_of_the_hub_fails() {
    let start = EntityAction::Start {
        id: id("perdura.key/x/k"),
        name: "Idle".into(),
        version: String::new(),
        input: None,
        at: None,
        reuse: ReusePolicy::FAIL,
    };
    let result = OperationResult { outcome: Ok(None), actions: vec![start] };
    let failure = result.check(&Limits::default(), Timestamp(0)).unwrap_err();
    assert_eq!(failure.kind, failure::kind::INVALID);
    assert_eq!(failure.message, "instance id: the prefix \"perdura.key/\" is reserved");
}

#[test]
fn an_entity_that_nobody_runs_keeps_its_operations_and_says_so() {
    let mut bed = Bed::new();
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    let ticket = bed.operations.remove(0).ticket;
    bed.partition.operations_cannot_run(ticket, "entity \"log\" is not registered here".into(), bed.now());
    bed.settle();
    assert!(bed.record("@log@a").block.unwrap().reason.contains("not registered"));
    bed.call(Request::Signal(signal("@log@a", "two"))).unwrap();
    bed.entity("log", log);
    bed.crash();
    assert_eq!(state(&bed, "@log@a"), "one;two;");
    assert!(bed.record("@log@a").block.is_none());
}

#[test]
fn a_blocked_entity_whose_state_is_deleted_goes_on() {
    let mut bed = Bed::new();
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    let ticket = bed.operations.remove(0).ticket;
    bed.partition.operations_cannot_run(ticket, "its state cannot be read".into(), bed.now());
    bed.settle();
    bed.entity("log", log);
    bed.call(Request::DeleteEntity { entity: entity("@log@a") }).unwrap();
    assert_eq!(state(&bed, "@log@a"), "one;");
    assert!(bed.record("@log@a").block.is_none());
}

#[test]
fn a_full_queue_refuses_clients_and_takes_more_when_there_is_room() {
    let mut bed = Bed::with_limits(Limits { inbox_events_max: 2, ..Limits::default() });
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    bed.call(Request::Signal(signal("@log@a", "two"))).unwrap();
    let refusal = bed.call(Request::Signal(signal("@log@a", "three"))).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "entity \"@log@a\": 2 operations wait for it already; let it take some first"
    );
    bed.entity("log", log);
    let batch = bed.operations.remove(0);
    let done = bed.outcome_of(&batch);
    bed.partition.operations_done(batch.ticket, done, bed.now());
    bed.settle();
    bed.call(Request::Signal(signal("@log@a", "three"))).unwrap();
    assert_eq!(state(&bed, "@log@a"), "one;two;three;");
}

#[test]
fn a_queue_that_is_too_large_refuses_clients_and_keeps_what_instances_send_in_order() {
    let mut bed = Bed::with_limits(Limits { inbox_bytes_max: 300, ..Limits::default() });
    let signals = |names: std::ops::Range<u32>| -> Vec<_> {
        names
            .map(|n| {
                Decision::SignalEntity(EntityOperationSignaled {
                    id: n,
                    entity: "@log@a".into(),
                    operation: format!("s{n}"),
                    ..Default::default()
                })
            })
            .collect()
    };
    bed.script("Sender", move |turn| match news(turn)[..] {
        ["ExecutionStarted"] => signals(0..20),
        ["EventRaised"] => [signals(20..30), vec![call(30, "@log@a", "called")]].concat(),
        _ => Vec::new(),
    });
    bed.start("s", "Sender");
    let waiting = record(&bed, "@log@a").queue.len();
    assert!(waiting < 6, "{waiting} operations of more than 64 bytes in 300");
    let refusal = bed.call(Request::Signal(signal("@log@a", "more"))).unwrap_err();
    let RequestError::InboxTooLarge { bytes, limit: 300, .. } = refusal else { panic!("{refusal}") };
    let expected = format!(
        "entity \"@log@a\": {bytes} bytes of operations would wait for it with this one, limit 300; let it take some first"
    );
    assert_eq!(refusal.to_string(), expected);
    bed.crash();
    bed.call(raise("s", "go")).unwrap();
    bed.entity("log", log);
    bed.crash();
    let expected: String = (0..30).map(|n| format!("s{n};")).collect();
    assert_eq!(state(&bed, "@log@a"), expected + "called;");
    assert!(bed.events("s").contains(&"EntityOperationCompleted"));
    bed.call(Request::Signal(signal("@log@a", "more"))).unwrap();
}

#[test]
fn a_full_queue_does_not_keep_the_holder_of_the_entity_out() {
    let mut bed = Bed::with_limits(Limits { inbox_bytes_max: 65, ..Limits::default() });
    bed.entity("log", log);
    bed.script("Holder", |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![lock(0, &["@log@a"])],
        ["EventRaised"] => vec![call(1, "@log@a", "held")],
        ["EntityOperationCompleted"] => vec![complete()],
        _ => Vec::new(),
    });
    bed.script(
        "Caller",
        steps(vec![vec![call(0, "@log@a", "x"), call(1, "@log@a", "y")], vec![], vec![complete()]]),
    );
    bed.start("h", "Holder");
    bed.start("c", "Caller");
    assert_eq!(record(&bed, "@log@a").queue.len(), 1, "the other one waits for room");
    bed.call(raise("h", "go")).unwrap();
    assert_eq!(state(&bed, "@log@a"), "held;x;y;");
}

#[test]
fn what_somebody_called_before_it_asked_for_the_lock_comes_before_it_when_there_is_no_room() {
    let mut bed = Bed::with_limits(Limits { inbox_bytes_max: 65, ..Limits::default() });
    let signal = |id, operation: &str| {
        Decision::SignalEntity(EntityOperationSignaled {
            id,
            entity: "@log@a".into(),
            operation: operation.into(),
            ..Default::default()
        })
    };
    bed.script("Sender", move |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![signal(0, "s0"), signal(1, "s1"), signal(2, "s2")],
        _ => Vec::new(),
    });
    bed.script("Holder", |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![call(0, "@log@a", "x"), lock(1, &["@log@a"])],
        ["EntityLockGranted"] => vec![call(2, "@log@a", "y")],
        [.., "EntityOperationCompleted"] if turn.events.iter().any(|e| ended_call(e) == Some(2)) => {
            vec![complete()]
        }
        _ => Vec::new(),
    });
    bed.start("s", "Sender");
    bed.start("h", "Holder");
    bed.entity("log", log);
    bed.crash();
    assert_eq!(bed.status("h"), Status::Completed);
    assert_eq!(state(&bed, "@log@a"), "s0;s1;s2;x;y;");
}

fn ended_call(event: &Event) -> Option<u32> {
    match &event.kind {
        EventKind::EntityOperationCompleted(done) => Some(done.id),
        _ => None,
    }
}

#[test]
fn a_request_id_with_another_content_is_refused() {
    let mut bed = bed();
    let named = |operation| SignalRequest { request_id: "r".into(), ..signal("@log@a", operation) };
    bed.call(Request::Signal(named("one"))).unwrap();
    bed.crash();
    bed.call(Request::Signal(named("one"))).unwrap();
    let refusal = bed.call(Request::Signal(named("two"))).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "signal to \"@log@a\": request id \"r\" was used for a different one; use a new request id"
    );
    assert_eq!(state(&bed, "@log@a"), "one;");
}

#[test]
fn an_entity_whose_operations_run_is_not_deleted_meanwhile() {
    let mut bed = Bed::new();
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    let refusal = bed.call(Request::DeleteEntity { entity: entity("@log@a") }).unwrap_err();
    assert_eq!(refusal.to_string(), "entity \"@log@a\" runs operations; try again");
}

#[test]
fn a_batch_that_breaks_a_limit_is_refused_as_a_whole() {
    let limits = || Limits { payload_bytes_max: 10, turn_bytes_max: 200, ..Limits::default() };
    let large = || Some(Bytes::from_static(b"eleven bytes"));
    let sent = |input, at| EntityAction::Signal {
        to: entity("@log@b"),
        operation: "x".into(),
        input,
        at,
        request: String::new(),
    };
    let with = |outcome, actions| OperationResult { outcome: Ok(outcome), actions };
    let small = || sent(Some(Bytes::from_static(b"ten bytes.")), None);
    let refused: [(Option<Bytes>, OperationResult, &str); 5] = [
        (large(), with(None, vec![]), "state of the entity: 12 bytes, limit 10"),
        (None, with(large(), vec![]), "output of the operation: 12 bytes, limit 10"),
        (
            None,
            with(None, vec![sent(large(), None)]),
            "input of the signal to \"@log@b\": 12 bytes, limit 10",
        ),
        (
            None,
            with(None, vec![sent(None, Some(Timestamp::MAX))]),
            "signal to \"@log@b\": more than ten years ahead",
        ),
        (
            None,
            with(None, vec![small(), small(), small()]),
            "signals and starts of one operation: 243 bytes, limit 200; send less at a time",
        ),
    ];
    for (state, result, expected) in refused {
        let mut bed = Bed::with_limits(limits());
        bed.script("Caller", steps(vec![vec![call(0, "@log@a", "x")], vec![complete()]]));
        bed.start("c", "Caller");
        let batch = bed.operations.remove(0);
        bed.partition.operations_done(
            batch.ticket,
            OperationsDone { results: vec![result], state },
            bed.now(),
        );
        bed.settle();
        let failed = bed.history.values().flatten().find_map(|event| match &event.kind {
            EventKind::EntityOperationFailed(failed) => failed.failure.clone(),
            _ => None,
        });
        assert_eq!(failed.unwrap().message, expected);
        assert!(!exists(&bed, "@log@a") && !exists(&bed, "@log@b"), "{expected}");
    }
}

#[test]
fn entities_that_sleep_leave_memory() {
    let mut bed = Bed::with_limits(Limits { resident_instances_max: 0, ..Limits::default() });
    bed.entity("log", log);
    let at = Some(Timestamp(bed.now + 1000));
    for n in 0..100 {
        let id = format!("@log@{n}");
        bed.call(Request::Signal(signal(&id, "one"))).unwrap();
        bed.call(Request::Signal(SignalRequest { at, ..signal(&id, "later") })).unwrap();
    }
    assert!(bed.partition.resident() <= 1, "the last one may still be there");
    bed.pass(1000);
    for n in 0..100 {
        assert_eq!(state(&bed, &format!("@log@{n}")), "one;later;");
    }
    // They leave with the next batch.
    bed.call(Request::Signal(signal("@log@0", "last"))).unwrap();
    assert!(bed.partition.resident() <= 1, "the last one may still be there");
}
