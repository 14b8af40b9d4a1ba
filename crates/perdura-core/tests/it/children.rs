//! Sub-orchestrations.

use crate::bed::*;
use perdura_core::delivery::HUB_KEY_ORCHESTRATION;
use perdura_core::history::ParentLink;
use perdura_core::history::{EventKind, SubOrchestrationScheduled};
use perdura_core::orchestration::{Decision, Turn};
use perdura_core::partition::{
    Awaited, Body, Envelope, FindCycle, InstanceRow, Message, Request, StartChild, StartRequest,
};
use perdura_core::{OnExisting, PartitionId, RetryPolicy, ReusePolicy, Status, failure::kind};

/// Starts `first`, then ends as its child did.
fn parent(first: Decision) -> impl FnMut(&Turn) -> Vec<Decision> + 'static {
    let mut first = Some(first);
    move |turn| {
        for event in &turn.events {
            match &event.kind {
                EventKind::SubOrchestrationCompleted(_) => return vec![complete()],
                EventKind::SubOrchestrationFailed(failed) => {
                    return vec![fail(&failed.failure.as_ref().unwrap().kind)];
                }
                _ => {}
            }
        }
        first.take().into_iter().collect()
    }
}

fn failure_kind(bed: &Bed, id: &str) -> String {
    bed.record(id).failure.expect("a failure").message
}

#[test]
fn a_child_runs_and_answers_in_the_same_commit_when_nothing_is_slow() {
    let mut bed = Bed::new();
    bed.script("p", parent(child(0, "c", "")));
    bed.script("c", |_| vec![complete()]);
    bed.start("x", "p");
    let kid = bed.children_of("x").remove(0);
    assert_eq!((bed.status("x"), bed.status(&kid)), (Status::Completed, Status::Completed));
    assert_eq!(bed.batches.len(), 1);
}

#[test]
fn a_childs_failure_reaches_its_parent_as_it_is() {
    let mut bed = Bed::new();
    bed.script("p", parent(child(0, "c", "")));
    bed.script("c", |_| vec![fail("boom")]);
    bed.start("x", "p");
    assert_eq!((bed.status("x"), failure_kind(&bed, "x").as_str()), (Status::Failed, "E"));
}

#[test]
fn a_failed_child_is_started_again_by_its_policy_across_a_crash() {
    let mut bed = Bed::new();
    let retry = RetryPolicy { attempts_max: 3, backoff_ms: 100, backoff_factor: 1.0, ..Default::default() };
    bed.script(
        "p",
        parent(Decision::ScheduleSubOrchestration(SubOrchestrationScheduled {
            id: 0,
            name: "c".into(),
            retry: Some(retry),
            ..Default::default()
        })),
    );
    let mut rounds = 0;
    bed.script("c", move |_| {
        rounds += 1;
        if rounds < 3 { vec![fail("not yet")] } else { vec![complete()] }
    });
    bed.start("x", "p");
    bed.pass(99);
    assert_eq!(bed.record("x").children[0].attempt, 2);
    bed.crash();
    bed.pass(1);
    assert_eq!(bed.record("x").children[0].attempt, 3);
    bed.pass(100);
    assert_eq!(bed.status("x"), Status::Completed);
}

#[test]
fn a_child_with_a_taken_id_follows_the_reuse_policy() {
    let with_policy = |reuse: ReusePolicy| {
        let mut bed = Bed::new();
        bed.script("c", |turn| if turn.from == 0 { vec![task(0, "a")] } else { vec![complete()] });
        bed.start("kid", "c");
        let asked = bed.call(Request::Start(StartRequest { reuse, ..start("kid", "c") }));
        (bed, asked.map_err(|e| e.to_string()))
    };
    // The same answers that a client gets.
    assert!(with_policy(ReusePolicy::FAIL).1.is_err());
    assert!(with_policy(ReusePolicy::USE_EXISTING).1.is_ok());

    let mut bed = Bed::new();
    bed.script("c", |turn| if turn.from == 0 { vec![task(0, "a")] } else { vec![complete()] });
    bed.script("p", parent(child(0, "c", "kid")));
    bed.start("kid", "c");
    bed.start("x", "p");
    assert_eq!((bed.status("x"), bed.status("kid")), (Status::Failed, Status::Running));
    assert_eq!(failure_kind(&bed, "x"), "perdura.AlreadyExists");
}

#[test]
fn a_parent_can_attach_to_an_instance_that_was_there() {
    for ends_before in [true, false] {
        let mut bed = Bed::new();
        bed.script("c", |turn| if turn.from == 0 { vec![task(0, "a")] } else { vec![complete()] });
        // Two bits per status: 1 is «use existing».
        let reuse = 0b01_01_01_01_01_01_01_01;
        bed.script(
            "p",
            parent(Decision::ScheduleSubOrchestration(SubOrchestrationScheduled {
                id: 0,
                name: "c".into(),
                instance: "kid".into(),
                reuse,
                ..Default::default()
            })),
        );
        bed.start("kid", "c");
        let task = bed.last_started().task;
        if ends_before {
            bed.task_done(task, Ok("1"));
            bed.start("x", "p");
        } else {
            bed.start("x", "p");
            assert_eq!(bed.status("x"), Status::Running);
            bed.task_done(task, Ok("1"));
        }
        assert_eq!(bed.status("x"), Status::Completed, "ends_before: {ends_before}");
    }
}

#[test]
fn a_recursive_termination_reaches_grandchildren_and_a_plain_one_does_not() {
    for recurse in [true, false] {
        let mut bed = Bed::new();
        bed.script("p", parent(child(0, "m", "mid")));
        bed.script("m", parent(child(0, "c", "leaf")));
        bed.script("c", |_| vec![]);
        bed.start("x", "p");
        bed.call(Request::Terminate { id: id("x"), reason: "r".into(), recurse }).unwrap();
        let expected = if recurse { Status::Terminated } else { Status::Running };
        assert_eq!((bed.status("mid"), bed.status("leaf")), (expected, expected));
    }
}

#[test]
fn a_terminated_child_is_an_answer_to_its_parent() {
    let mut bed = Bed::new();
    bed.script("p", parent(child(0, "c", "kid")));
    bed.script("c", |_| vec![]);
    bed.start("x", "p");
    bed.call(Request::Terminate { id: id("kid"), reason: "r".into(), recurse: false }).unwrap();
    assert_eq!((bed.status("x"), failure_kind(&bed, "x").as_str()), (Status::Failed, "perdura.Terminated"));
}

#[test]
fn the_children_of_a_replaced_instance_end_and_never_answer_the_new_run() {
    let mut bed = Bed::new();
    bed.script("p", |turn| if turn.from == 0 { vec![child(0, "c", "")] } else { vec![complete()] });
    bed.script("c", |turn| if turn.from == 0 { vec![task(0, "a")] } else { vec![complete()] });
    bed.start("x", "p");
    let old = bed.last_started().task;
    let old_kid = bed.children_of("x").remove(0);
    let replace =
        StartRequest { reuse: ReusePolicy::FAIL.when_active(OnExisting::Replace), ..start("x", "p") };
    bed.call(Request::Start(replace)).unwrap();
    let new_kid = bed.children_of("x").remove(0);
    assert_eq!(bed.status(&old_kid), Status::Terminated);
    assert_eq!((bed.status("x"), bed.status(&new_kid)), (Status::Running, Status::Running));
    bed.task_done(old, Ok("late"));
    assert_eq!(bed.status("x"), Status::Running);
    let new = bed.last_started().task;
    bed.task_done(new, Ok("ok"));
    assert_eq!(bed.status("x"), Status::Completed);
}

#[test]
fn a_retried_child_leaves_an_instance_of_others_alone() {
    let mut bed = Bed::new();
    let retry = RetryPolicy { attempts_max: 2, backoff_ms: 100, backoff_factor: 1.0, ..Default::default() };
    bed.script("done", |_| vec![complete()]);
    bed.script(
        "p",
        parent(Decision::ScheduleSubOrchestration(SubOrchestrationScheduled {
            id: 0,
            name: "done".into(),
            instance: "kid".into(),
            retry: Some(retry),
            ..Default::default()
        })),
    );
    let before = bed.start("kid", "done");
    bed.start("x", "p");
    bed.pass(100);
    assert_eq!(
        (bed.status("x"), failure_kind(&bed, "x").as_str()),
        (Status::Failed, "perdura.AlreadyExists")
    );
    assert_eq!(bed.record("kid").generation, before.generation);
}

#[test]
fn a_recreated_parent_does_not_take_the_answer_of_its_predecessors_child() {
    let mut bed = Bed::new();
    let mut kids = ["kid-1", "kid-2"].into_iter();
    bed.script("p", move |turn| {
        let ended = news(turn).contains(&"SubOrchestrationCompleted");
        if ended { vec![complete()] } else { vec![child(0, "c", kids.next().unwrap())] }
    });
    bed.script("c", |turn| if turn.from == 0 { vec![] } else { vec![complete()] });
    bed.start("x", "p");
    bed.call(Request::Terminate { id: id("x"), reason: "r".into(), recurse: false }).unwrap();
    bed.call(purge("x")).unwrap();
    bed.start("x", "p");
    bed.call(raise("kid-1", "end")).unwrap();
    assert_eq!((bed.status("kid-1"), bed.status("x")), (Status::Completed, Status::Running));
    bed.call(raise("kid-2", "end")).unwrap();
    assert_eq!(bed.status("x"), Status::Completed);
}

#[test]
fn a_parent_that_only_attached_does_not_end_what_it_did_not_start() {
    let mut bed = Bed::new();
    bed.script("c", |_| vec![]);
    bed.script(
        "p",
        parent(Decision::ScheduleSubOrchestration(SubOrchestrationScheduled {
            id: 0,
            name: "c".into(),
            instance: "single".into(),
            reuse: ReusePolicy::USE_EXISTING.to_bits(),
            ..Default::default()
        })),
    );
    bed.start("single", "c");
    bed.start("x", "p");
    bed.call(Request::Terminate { id: id("x"), reason: "r".into(), recurse: true }).unwrap();
    assert_eq!((bed.status("x"), bed.status("single")), (Status::Terminated, Status::Running));
}

/// A child under a fixed id that is used if it is there.
fn shared_child(name: &str, instance: &str, retry: Option<RetryPolicy>) -> Decision {
    Decision::ScheduleSubOrchestration(SubOrchestrationScheduled {
        id: 0,
        name: name.into(),
        instance: instance.into(),
        reuse: ReusePolicy::USE_EXISTING.to_bits(),
        retry,
        ..Default::default()
    })
}

#[test]
fn a_parent_is_told_which_child_failed() {
    let mut bed = Bed::new();
    let pass_on = |name: &'static str, instance: &'static str| {
        let mut first = Some(child(0, name, instance));
        move |turn: &Turn| {
            let failure = turn.events.iter().find_map(|event| match &event.kind {
                EventKind::SubOrchestrationFailed(failed) => failed.failure.clone(),
                _ => None,
            });
            match failure {
                Some(failure) => vec![fail(&failure.message)],
                None => first.take().into_iter().collect(),
            }
        }
    };
    bed.script("p", pass_on("m", "mid"));
    bed.script("m", pass_on("c", "leaf"));
    bed.script("c", |_| vec![fail("boom")]);
    bed.start("x", "p");
    let message = bed.record("x").failure.unwrap().message;
    assert_eq!(message, "sub-orchestration \"mid\": sub-orchestration \"leaf\": boom");
    assert_eq!(bed.record("leaf").failure.unwrap().message, "boom");
}

#[test]
fn a_retry_replaces_the_failed_child_that_the_first_attempt_had_found() {
    for ends_before in [true, false] {
        let mut bed = Bed::new();
        let retry =
            RetryPolicy { attempts_max: 2, backoff_ms: 100, backoff_factor: 1.0, ..Default::default() };
        let mut runs = 0;
        bed.script("c", move |turn| {
            runs += u32::from(turn.from == 0);
            match (runs, news(turn).contains(&"EventRaised")) {
                (1, false) => vec![],
                (1, true) => vec![fail("the first time")],
                _ => vec![complete()],
            }
        });
        bed.script("p", parent(shared_child("c", "kid", Some(retry))));
        bed.start("kid", "c");
        if ends_before {
            bed.call(raise("kid", "go")).unwrap();
            bed.start("x", "p");
        } else {
            bed.start("x", "p");
            bed.call(raise("kid", "go")).unwrap();
        }
        assert_eq!((bed.status("kid"), bed.status("x")), (Status::Failed, Status::Running));
        bed.crash();
        bed.pass(100);
        assert_eq!((bed.status("kid"), bed.status("x")), (Status::Completed, Status::Completed));
    }
}

#[test]
fn instances_that_would_wait_for_each_other_for_ever_are_told_so() {
    for of_three in [false, true] {
        let mut bed = Bed::new();
        bed.script("a", parent(child(0, "b", "b")));
        if of_three {
            bed.script("b", parent(child(0, "c", "c")));
            bed.script("c", parent(shared_child("a", "a", None)));
        } else {
            bed.script("b", parent(shared_child("a", "a", None)));
        }
        bed.start("a", "a");
        assert_eq!((bed.status("a"), bed.status("b")), (Status::Failed, Status::Failed));
        assert_eq!(failure_kind(&bed, if of_three { "c" } else { "b" }), kind::INVALID);
    }
}

/// Whoever was told of a cycle may go on, and wait again and again: the links stay.
#[test]
fn the_search_for_a_cycle_does_not_go_round_in_one() {
    let mut bed = Bed::new();
    bed.script("a", |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![child(0, "b", "b")],
        _ => vec![],
    });
    let mut waits = 0;
    bed.script("b", move |_| {
        waits += 1;
        if waits > 5 { vec![] } else { vec![numbered(waits - 1, shared_child("a", "a", None))] }
    });
    bed.start("a", "a");
    let find = FindCycle {
        link: Some(ParentLink { instance: "a".into(), ..ParentLink::default() }),
        awaited: Some(Awaited { instance: "gone".into(), ..Awaited::default() }),
        ..FindCycle::default()
    };
    let message = Message::new(&id("a"), Body::FindCycle(Box::new(find)));
    let envelope = Envelope { from: PartitionId(1), to: PartitionId(0), number: 7, message: message.seal() };
    let now = bed.now();
    assert!(bed.partition.deliver(vec![envelope], now).is_empty());
    bed.settle();
    assert_eq!((bed.status("a"), bed.status("b")), (Status::Running, Status::Running));
}

fn numbered(number: u32, decision: Decision) -> Decision {
    match decision {
        Decision::ScheduleSubOrchestration(scheduled) => {
            Decision::ScheduleSubOrchestration(SubOrchestrationScheduled { id: number, ..scheduled })
        }
        other => other,
    }
}

#[test]
fn instances_that_wait_for_the_same_one_are_no_cycle() {
    let mut bed = Bed::new();
    bed.script("c", |turn| if turn.from == 0 { vec![] } else { vec![complete()] });
    bed.script("p", |turn| match news(turn).contains(&"SubOrchestrationCompleted") {
        true => vec![complete()],
        false => vec![shared_child("c", "kid", None)],
    });
    bed.start("x", "p");
    bed.start("y", "p");
    bed.call(raise("kid", "go")).unwrap();
    assert_eq!((bed.status("x"), bed.status("y")), (Status::Completed, Status::Completed));
}

#[test]
fn a_recursive_termination_reaches_children_that_were_asked_to_cancel() {
    let mut bed = Bed::new();
    bed.script("p", |turn| if turn.from == 0 { vec![child(0, "c", "kid")] } else { vec![] });
    bed.script("c", |_| vec![]);
    bed.start("x", "p");
    bed.call(Request::Cancel { id: id("x"), reason: "r".into() }).unwrap();
    assert_eq!((bed.status("x"), bed.status("kid")), (Status::Running, Status::Running));
    bed.crash();
    bed.call(Request::Terminate { id: id("x"), reason: "r".into(), recurse: true }).unwrap();
    assert_eq!((bed.status("x"), bed.status("kid")), (Status::Terminated, Status::Terminated));
}

#[test]
fn the_answer_of_a_child_that_was_asked_to_cancel_is_not_told_again() {
    let mut bed = Bed::new();
    bed.script("p", |turn| match news(turn).as_slice() {
        ["ExecutionStarted"] => vec![child(0, "c", "kid")],
        ["CancelRequested"] => vec![],
        other => panic!("{other:?}"),
    });
    bed.script("c", |turn| match news(turn).contains(&"EventRaised") {
        true => vec![complete()],
        false => vec![],
    });
    bed.start("x", "p");
    bed.call(Request::Cancel { id: id("x"), reason: "r".into() }).unwrap();
    bed.call(raise("kid", "end")).unwrap();
    assert_eq!((bed.status("x"), bed.status("kid")), (Status::Running, Status::Completed));
    assert!(bed.record("x").children.is_empty());
}

/// A call under an idempotency key of the hub.
fn keyed() -> Decision {
    child(0, HUB_KEY_ORCHESTRATION, "perdura.key/x/k")
}

#[test]
fn only_a_call_under_a_key_of_the_hub_may_take_the_id_of_the_key() {
    let mut bed = Bed::new();
    bed.script("p", parent(child(0, "c", "perdura.key/x/k")));
    bed.script("c", |_| vec![complete()]);
    bed.script("keyed", parent(keyed()));
    bed.script(HUB_KEY_ORCHESTRATION, |_| vec![complete()]);
    bed.start("x", "p");
    assert_eq!((bed.status("x"), failure_kind(&bed, "x").as_str()), (Status::Failed, kind::INVALID));
    let begin = StartChild { name: "c".into(), detached: true, ..Default::default() };
    let message = Message::new(&id("perdura.key/x/k"), Body::StartChild(begin));
    let envelope = Envelope { from: PartitionId(1), to: PartitionId(0), number: 1, message: message.seal() };
    let now = bed.now();
    assert!(bed.partition.deliver(vec![envelope], now).is_empty());
    bed.settle();
    assert!(!bed.rows.values().any(|row| row.id.as_str() == "perdura.key/x/k"));
    bed.start("y", "keyed");
    assert_eq!((bed.status("y"), bed.status("perdura.key/x/k")), (Status::Completed, Status::Completed));
}

#[test]
fn an_instance_that_has_the_id_of_a_key_and_is_none_is_named_to_who_calls() {
    let mut bed = Bed::new();
    bed.script("c", |_| vec![complete()]);
    bed.script("keyed", parent(keyed()));
    bed.script(HUB_KEY_ORCHESTRATION, |_| vec![complete()]);
    bed.start("other", "c");
    let (key, mut record) = {
        let (key, row) = bed.rows.iter().next().unwrap();
        (*key, row.open().unwrap())
    };
    record.id = "perdura.key/x/k".into();
    bed.rows.insert(key, InstanceRow::new(key, &record).unwrap());
    bed.forget_all();
    bed.start("x", "keyed");
    assert_eq!((bed.status("x"), failure_kind(&bed, "x").as_str()), (Status::Failed, kind::ALREADY_EXISTS));
    let history = bed.history.values().flatten();
    let mut told = history.filter_map(|event| match &event.kind {
        EventKind::SubOrchestrationFailed(failed) => Some(failed.failure.clone().unwrap().message),
        _ => None,
    });
    assert_eq!(
        told.next().unwrap(),
        "the idempotency key of \"perdura.key/x/k\" cannot be used: an instance of \"c\" has that id; purge it"
    );
    bed.call(purge("perdura.key/x/k")).unwrap();
    bed.script("keyed", parent(keyed()));
    bed.start("y", "keyed");
    assert_eq!(bed.status("y"), Status::Completed);
}
