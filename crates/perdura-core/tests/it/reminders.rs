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
