//! The atomic start.

use crate::bed::*;
use bytes::Bytes;
use perdura_core::partition::{Request, RequestError, Response, StartOutcome, StartRequest};
use perdura_core::{OnExisting, ReusePolicy, Status, Timestamp};

fn outcome(bed: &mut Bed, request: StartRequest) -> Result<StartOutcome, RequestError> {
    match bed.call(Request::Start(request)) {
        Ok(Response::Started(started)) => Ok(started.outcome),
        Ok(other) => panic!("{other:?}"),
        Err(refusal) => Err(refusal),
    }
}

#[test]
fn of_two_hundred_starts_of_one_id_one_hears_created() {
    let mut bed = Bed::new();
    bed.script("seq", |_| vec![task(0, "a")]);
    let request = || StartRequest { reuse: ReusePolicy::USE_EXISTING, ..start("x", "seq") };
    let tokens: Vec<u64> = (0..200).map(|_| bed.ask(Request::Start(request()))).collect();
    bed.settle();
    let outcomes: Vec<_> = tokens
        .iter()
        .map(|token| match &bed.replies[token] {
            Ok(Response::Started(started)) => (started.outcome, started.execution),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(outcomes.iter().filter(|(outcome, _)| *outcome == StartOutcome::Created).count(), 1);
    assert!(outcomes.iter().all(|(_, execution)| *execution == outcomes[0].1));
    assert_eq!(bed.started.len(), 1);
}

#[test]
fn a_taken_id_fails_by_default_whatever_its_status() {
    let mut bed = Bed::new();
    bed.script("seq", |_| vec![complete()]);
    bed.script("wait", |_| vec![]);
    for (name, status) in [("seq", Status::Completed), ("wait", Status::Running)] {
        bed.start(name, name);
        let refusal = outcome(&mut bed, start(name, name)).unwrap_err();
        assert!(matches!(refusal, RequestError::AlreadyExists { status: s, .. } if s == status), "{refusal}");
    }
}

#[test]
fn a_retried_start_gets_the_same_answer_even_after_the_end() {
    let mut bed = Bed::new();
    bed.script("seq", |_| vec![complete()]);
    let request = || StartRequest { request_id: "r1".into(), ..start("x", "seq") };
    let first = bed.call(Request::Start(request())).unwrap();
    assert_eq!(bed.call(Request::Start(request())).unwrap(), first);
    bed.crash();
    assert_eq!(bed.call(Request::Start(request())).unwrap(), first);
    // Replaced by another start; the old request is still known.
    let other = StartRequest { request_id: "r2".into(), reuse: ReusePolicy::REPLACE, ..start("x", "seq") };
    assert_eq!(outcome(&mut bed, other).unwrap(), StartOutcome::Replaced);
    assert_eq!(
        bed.call(Request::Start(StartRequest { reuse: ReusePolicy::REPLACE, ..request() })).unwrap(),
        first
    );
}

#[test]
fn a_request_id_with_other_content_is_refused() {
    let mut bed = Bed::new();
    bed.script("seq", |_| vec![complete()]);
    let request = |input: &'static str| StartRequest {
        request_id: "r".into(),
        input: Some(Bytes::from(input)),
        ..start("x", "seq")
    };
    assert_eq!(outcome(&mut bed, request("a")).unwrap(), StartOutcome::Created);
    assert!(matches!(outcome(&mut bed, request("b")), Err(RequestError::RequestIdReused { .. })));
}

#[test]
fn replacing_a_running_instance_ends_it_and_drops_its_late_results() {
    let mut bed = Bed::new();
    bed.script("seq", |turn| if turn.from == 0 { vec![task(0, "a")] } else { vec![complete()] });
    let old = bed.start("x", "seq");
    let late = bed.last_started().task;
    let waiting = bed.ask(Request::Wait { id: id("x"), execution: Some(old.execution) });
    let waiting_for_id = bed.ask(Request::Wait { id: id("x"), execution: None });
    let replace =
        StartRequest { reuse: ReusePolicy::FAIL.when_active(OnExisting::Replace), ..start("x", "seq") };
    assert_eq!(outcome(&mut bed, replace).unwrap(), StartOutcome::Replaced);
    assert_eq!(bed.canceled, [late]);
    assert!(matches!(bed.replies[&waiting], Err(RequestError::Replaced { .. })));
    bed.task_done(late, Ok("late"));
    assert_eq!(bed.status("x"), Status::Running);
    let new = bed.last_started().task;
    assert_eq!(new.generation, late.generation + 1);
    bed.task_done(new, Ok("new"));
    assert_eq!(bed.status("x"), Status::Completed);
    assert!(matches!(bed.replies[&waiting_for_id], Ok(Response::Ended(_))));
    // The first generation's history is gone.
    assert_eq!(bed.history.len(), 1);
}

#[test]
fn a_scheduled_start_does_not_begin_early_and_survives_a_crash() {
    let mut bed = Bed::new();
    bed.script("seq", |_| vec![complete()]);
    let at = Timestamp(bed.now + 60_000);
    assert_eq!(
        outcome(&mut bed, StartRequest { start_at: Some(at), ..start("x", "seq") }).unwrap(),
        StartOutcome::Created
    );
    bed.pass(59_999);
    assert_eq!(bed.status("x"), Status::Pending);
    bed.crash();
    assert_eq!(bed.status("x"), Status::Pending);
    bed.pass(1);
    assert_eq!(bed.status("x"), Status::Completed);
}

#[test]
fn a_purged_id_can_be_started_again_even_before_the_purge_is_committed() {
    let mut bed = Bed::new();
    bed.script("seq", |_| vec![complete()]);
    bed.start("x", "seq");
    let purge = bed.ask(purge("x"));
    let again = bed.ask(Request::Start(start("x", "seq")));
    bed.settle();
    assert_eq!(bed.replies[&purge], Ok(Response::Done));
    assert!(matches!(&bed.replies[&again], Ok(Response::Started(s)) if s.outcome == StartOutcome::Created));
    assert_eq!(bed.rows.len(), 1);
}

#[test]
fn a_history_that_was_read_for_the_replaced_run_says_nothing_of_the_new_one() {
    let mut bed = Bed::new();
    let mut names = ["old", "new"].into_iter();
    bed.script("seq", move |_| names.next().map(|name| vec![task(0, name)]).unwrap_or_default());
    bed.start("x", "seq");
    // A new life asks for the history, to hand the task out again; before it comes, the instance is replaced.
    let rows: Vec<_> = bed.rows.values().cloned().collect();
    let old_history = bed.history.values().next().unwrap().clone();
    bed.forget_all();
    bed.partition.recover(rows, bed.now());
    assert!(bed.partition.deliver(Vec::new(), bed.now()).is_empty());
    let asked = bed.partition.needs();
    assert!(matches!(asked[..], [perdura_core::partition::Need::History { generation: 1, .. }]), "{asked:?}");
    bed.start_replacing("x", "seq");
    let key = *bed.rows.keys().next().unwrap();
    let now = bed.now();
    bed.partition.history_read((key, 1, 0), &old_history, now);
    let failed = bed.last_started();
    assert_eq!(failed.scheduled.name, "new");
    bed.crash();
    assert_eq!(bed.last_started().scheduled.name, "new");
}
