//! Signals whose time has not come have a room of their own: nobody else waits for them.

use crate::bed::*;
use crate::entity_bed::*;
use perdura_core::history::*;
use perdura_core::orchestration::Decision;
use perdura_core::partition::*;
use perdura_core::*;

/// Room for four signals.
fn small() -> Bed {
    let mut bed = Bed::with_limits(Limits { inbox_bytes_max: 260, ..Limits::default() });
    bed.entity("log", log);
    bed
}

fn remind(number: u32, at: i64) -> Decision {
    Decision::SignalEntity(EntityOperationSignaled {
        id: number,
        entity: "@log@a".into(),
        operation: format!("r{number}"),
        at,
        ..Default::default()
    })
}

/// One that sends twenty reminders, the last of them due first, `ms` apart.
fn reminds(bed: &mut Bed, ms: i64) {
    let now = bed.now;
    bed.script("Reminds", move |turn| match news(turn)[..] {
        ["ExecutionStarted"] => {
            let reminders = (0..20).map(|n| remind(n, now + ms * i64::from(20 - n)));
            reminders.chain([complete()]).collect()
        }
        _ => Vec::new(),
    });
    bed.start("r", "Reminds");
}

#[test]
fn an_entity_full_of_far_reminders_takes_everything_else() {
    let mut bed = small();
    reminds(&mut bed, 1_000_000);
    assert!(record(&bed, "@log@a").delayed.len() < 6);
    bed.call(Request::Signal(signal("@log@a", "one"))).unwrap();
    let at = Some(Timestamp(bed.now + 1_000_000));
    let refusal = bed.call(Request::Signal(SignalRequest { at, ..signal("@log@a", "later") })).unwrap_err();
    assert!(matches!(refusal, RequestError::InboxTooLarge { limit: 260, .. }), "{refusal}");
    bed.script("Caller", |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![call(0, "@log@a", "two"), lock(1, &["@log@a"])],
        [.., "EntityLockGranted"] => vec![complete()],
        _ => Vec::new(),
    });
    bed.start("c", "Caller");
    assert_eq!(bed.status("c"), Status::Completed);
    assert_eq!(state(&bed, "@log@a"), "one;two;");
}

#[test]
fn reminders_that_find_no_room_are_run_at_their_time_also_after_a_crash() {
    for crashes in [false, true] {
        let mut bed = small();
        reminds(&mut bed, 1_000);
        for second in 1..=20 {
            if crashes {
                bed.crash();
            }
            bed.pass(1_000);
            let expected: String = (20 - second..20).rev().map(|n| format!("r{n};")).collect();
            assert_eq!(state(&bed, "@log@a"), expected, "crashes: {crashes}");
        }
        assert!(record(&bed, "@log@a").delayed.is_empty());
    }
}

/// One that sends so many signals for one instant.
fn sends_for(bed: &mut Bed, id: &str, numbers: std::ops::Range<u32>, at: i64) {
    bed.script(id, move |turn| match news(turn)[..] {
        ["ExecutionStarted"] => numbers.clone().map(|n| remind(n, at)).chain([complete()]).collect(),
        _ => Vec::new(),
    });
    bed.start(id, id);
}

fn expected(numbers: std::ops::Range<u32>) -> String {
    numbers.map(|n| format!("r{n};")).collect()
}

#[test]
fn signals_of_one_sender_for_one_instant_come_in_its_order_also_if_nobody_was_there_then() {
    for sleeps in [false, true] {
        let mut bed = small();
        let at = bed.now + 1000;
        sends_for(&mut bed, "s", 0..40, at);
        if sleeps {
            bed.now += 2000;
            bed.crash();
            bed.pass(0);
        } else {
            bed.pass(1000);
        }
        assert_eq!(state(&bed, "@log@a"), expected(0..40), "sleeps: {sleeps}");
    }
}

#[test]
fn room_that_gets_free_is_for_the_older_signals_first() {
    let mut bed = small();
    let (soon, at) = (bed.now + 100, bed.now + 10_000);
    sends_for(&mut bed, "others", 100..104, soon);
    sends_for(&mut bed, "one", 0..20, at);
    bed.pass(100);
    sends_for(&mut bed, "two", 20..40, at);
    bed.pass(10_000);
    assert_eq!(state(&bed, "@log@a"), expected(100..104) + &expected(0..40));
}

#[test]
fn signals_that_are_due_wait_for_room_in_the_queue() {
    let mut bed = small();
    bed.script("Holder", |turn| match news(turn)[..] {
        ["ExecutionStarted"] => vec![lock(0, &["@log@a"])],
        ["EventRaised"] => vec![complete()],
        _ => Vec::new(),
    });
    bed.start("h", "Holder");
    reminds(&mut bed, 10);
    bed.pass(1000);
    assert!(record(&bed, "@log@a").queue.len() < 6, "{:?}", record(&bed, "@log@a"));
    let at = Some(Timestamp(bed.now + 1));
    let refusal = bed.call(Request::Signal(SignalRequest { at, ..signal("@log@a", "later") })).unwrap_err();
    assert!(matches!(refusal, RequestError::InboxTooLarge { .. }), "{refusal}");
    bed.call(raise("h", "go")).unwrap();
    let expected: String = (0..20).rev().map(|n| format!("r{n};")).collect();
    assert_eq!(state(&bed, "@log@a"), expected);
}

#[test]
fn a_limit_of_no_bytes_lets_one_operation_in_at_a_time() {
    let mut bed = Bed::with_limits(Limits { inbox_bytes_max: 0, ..Limits::default() });
    bed.entity("log", log);
    reminds(&mut bed, 10);
    bed.pass(1000);
    let expected: String = (0..20).rev().map(|n| format!("r{n};")).collect();
    assert_eq!(state(&bed, "@log@a"), expected);
}

#[test]
fn a_signal_for_a_time_that_is_here_comes_before_what_its_sender_sends_after_it() {
    for full in [false, true] {
        let mut bed = if full { small() } else { bed() };
        let now = bed.now;
        bed.script("Sends", move |turn| match news(turn)[..] {
            ["ExecutionStarted"] => vec![
                remind(1, now - 5),
                remind(2, 0),
                remind(3, now),
                remind(4, 0),
                call(5, "@log@a", "called"),
                remind(6, now + 1),
                lock(7, &["@log@a"]),
            ],
            [.., "EntityLockGranted"] => vec![complete()],
            _ => Vec::new(),
        });
        bed.start("s", "Sends");
        assert_eq!(
            (bed.status("s"), state(&bed, "@log@a").as_str()),
            (Status::Completed, "r1;r2;r3;r4;called;")
        );
        bed.pass(1);
        let at = Some(Timestamp(bed.now));
        bed.call(Request::Signal(SignalRequest { at, ..signal("@log@a", "due") })).unwrap();
        bed.call(Request::Signal(signal("@log@a", "after"))).unwrap();
        assert_eq!(state(&bed, "@log@a"), "r1;r2;r3;r4;called;r6;due;after;");
    }
}
