//! Histories (I6 to I9, I11 to I13): they only grow, begin and end once, and the row says what they say.

use super::{Change, Seen};
use perdura_core::Status;
use perdura_core::history::EventKind;

pub(super) fn check(change: &Change<'_>) -> Result<(), String> {
    let after = change.after;
    let wrong = |what: String| Err(format!("{after:?}: {what}"));
    if after.record.tail != after.history.len() as u64 {
        return wrong(format!("tail {}, but {} events", after.record.tail, after.history.len()));
    }
    if let Some(before) = change.before {
        if after.record.generation < before.record.generation {
            return wrong(format!("generation {} came before", before.record.generation));
        }
        let same = before.record.generation == after.record.generation;
        let rewound = before.record.branch != after.record.branch;
        if same && before.row.status.is_terminal() && !rewound && !is_unchanged(before, after) {
            return wrong(format!("changed after its end {}", before.row.status));
        }
    }
    begins_once(after)?;
    ends_once(after)?;
    outstanding(after)
}

/// An instance that has ended only ever gets the answers of entities that come late, for a rewind.
fn is_unchanged(before: &Seen, after: &Seen) -> bool {
    let mut record = after.record.clone();
    record.updated_at = before.record.updated_at;
    if let (Some(now), Some(then)) = (&mut record.rewinds, &before.record.rewinds) {
        now.calls.clone_from(&then.calls);
    }
    // What calls under keys come to after it is for a rewind, too.
    if let (Some(now), Some(then)) = (&mut record.keys, &before.record.keys) {
        now.known.clone_from(&then.known);
        now.left.clone_from(&then.left);
    }
    record == before.record && before.history.len() == after.history.len()
}

fn begins_once(after: &Seen) -> Result<(), String> {
    let all = after.history.iter().chain(&after.inbox);
    let all = all.filter(|event| !matches!(event.kind, EventKind::ExecutionRewound(_)));
    let starts: Vec<usize> = all
        .enumerate()
        .filter(|(_, event)| matches!(event.kind, EventKind::ExecutionStarted(_)))
        .map(|(at, _)| at)
        .collect();
    match starts[..] {
        [0 | 1] => Ok(()),
        _ => Err(format!("{after:?}: ExecutionStarted at {starts:?}")),
    }
}

fn ends_once(after: &Seen) -> Result<(), String> {
    let end = |kind: &EventKind| match kind {
        EventKind::ExecutionCompleted(end) => Some(end.clone()),
        _ => None,
    };
    let ends = after.history.iter().filter(|event| end(&event.kind).is_some()).count();
    let last = after.history.last().and_then(|event| end(&event.kind));
    match (after.row.status.is_terminal(), last) {
        (false, None) if ends == 0 => match (&after.record.output, &after.record.failure) {
            (None, None) => Ok(()),
            kept => Err(format!("{after:?}: it has not ended, and has an end: {kept:?}")),
        },
        (true, Some(end)) if ends == 1 => {
            let row = (after.row.status, &after.record.output, after.record.failure.as_deref());
            let said = (end.final_status().unwrap_or(Status::Pending), &end.output, end.failure.as_ref());
            if row == said {
                Ok(())
            } else {
                Err(format!("{after:?}: the row says {row:?}, the history {said:?}"))
            }
        }
        (_, last) => Err(format!("{after:?}: {ends} ends, the last event is {last:?}")),
    }
}

/// The lists of the row are what the history has scheduled and nothing has completed. A cancel request empties them.
fn outstanding(after: &Seen) -> Result<(), String> {
    let record = &after.record;
    let lists = [
        (
            "task",
            record.tasks.iter().map(|t| t.id).collect::<Vec<_>>(),
            after.tasks.keys().copied().collect(),
        ),
        ("timer", record.timers.iter().map(|t| t.id).collect(), after.timers.keys().copied().collect()),
        (
            "child",
            record.children.iter().map(|c| c.id).collect(),
            after.children.iter().filter(|(_, waits)| **waits).map(|(id, _)| *id).collect::<Vec<_>>(),
        ),
    ];
    let exact = !after.row.status.is_terminal() && record.cancel_requested.is_none();
    for (what, listed, scheduled) in lists {
        // The result of another branch is on its way for some.
        let due =
            record.rewinds.iter().filter_map(|rewinds| rewinds.reuse.as_ref()).flat_map(|reuse| &reuse.due);
        let due: Vec<u32> = due.map(|result| result.task).collect();
        let is_over = |id: &u32| after.is_completed(*id) || due.contains(id);
        let open: Vec<u32> = scheduled.into_iter().filter(|id| !is_over(id)).collect();
        let sound = if exact { listed == open } else { listed.iter().all(|id| open.contains(id)) };
        if !sound {
            return Err(format!("{after:?}: {what} list {listed:?}, but open are {open:?}"));
        }
    }
    if record.block.is_some() {
        return Err(format!("{after:?}: blocked: {:?}", record.block));
    }
    Ok(())
}
