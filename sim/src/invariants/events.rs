//! External events (I25 to I27): none is lost, none comes twice, those of one sender and name keep their order, and a
//! suspended instance does not run.

use super::{Change, Seen};
use crate::payload::EventSalt;
use perdura_core::history::{Event, EventKind};
use std::collections::BTreeMap;

pub(super) fn check(change: &Change<'_>) -> Result<(), String> {
    let held = held(change.after);
    let mut sorted = held.clone();
    sorted.sort_unstable();
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("{:?}: event {:x?} came twice", change.after, twice[0]));
    }
    // At the end, events that nobody took may go; and where a rewind was to drop them.
    let order = change.after.record.rewinds.as_ref().and_then(|rewinds| rewinds.order.as_ref());
    let may_go = change.after.row.status.is_terminal()
        || order.is_some_and(|order| order.drop_events)
            // It may have begun anew and been rewound within one batch.
            && (change.is_rewound() || change.same_generation().is_none());
    if let Some(before) = change.same_start().filter(|_| !may_go) {
        for salt in self::held(before) {
            if sorted.binary_search(&salt).is_err() {
                return Err(format!("{:?}: event {salt:x?} is lost", change.after));
            }
        }
    }
    in_order(change.after)?;
    no_turn_while_suspended(change.after)
}

/// Every external event that an instance has taken since its start, or holds.
pub(super) fn held(seen: &Seen) -> Vec<EventSalt> {
    let taken = seen.input.iter().flat_map(|input| input.seen.iter().copied());
    taken.chain(raised(seen).map(|(_, salt)| salt)).collect()
}

fn raised(seen: &Seen) -> impl Iterator<Item = (&str, EventSalt)> {
    let salt = |event: &'_ Event| match &event.kind {
        EventKind::EventRaised(raised) => EventSalt::decode(&raised.input),
        _ => None,
    };
    seen.history.iter().chain(&seen.inbox).filter_map(move |event| match &event.kind {
        EventKind::EventRaised(raised) => salt(event).map(|salt| (raised.name.as_str(), salt)),
        _ => None,
    })
}

fn in_order(seen: &Seen) -> Result<(), String> {
    let mut last: BTreeMap<(u32, &str), EventSalt> = BTreeMap::new();
    for (name, salt) in raised(seen) {
        if let Some(earlier) = last.insert((salt.sender(), name), salt).filter(|earlier| *earlier > salt) {
            return Err(format!("{seen:?}: event {earlier:x?} came before {salt:x?}"));
        }
    }
    Ok(())
}

fn no_turn_while_suspended(seen: &Seen) -> Result<(), String> {
    let mut is_suspended = false;
    for (at, event) in seen.history.iter().enumerate() {
        match event.kind {
            EventKind::ExecutionSuspended(_) => is_suspended = true,
            EventKind::ExecutionResumed(_) => is_suspended = false,
            // The turn takes what came before it; what it takes may be the resumption.
            EventKind::TurnStarted(_) if is_suspended => {
                let taken = seen.history[at + 1..].iter().take_while(|e| super::replay::is_incoming(&e.kind));
                if !taken.into_iter().any(|e| matches!(e.kind, EventKind::ExecutionResumed(_))) {
                    return Err(format!("{seen:?}: a turn ran while it was suspended (event {at})"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
