//! Time (I20 to I23): nothing fires or begins before it is due by the store's clock.

use super::Change;
use perdura_core::history::EventKind;

pub(super) fn check(change: &Change<'_>) -> Result<(), String> {
    let after = change.after;
    for event in change.arrived() {
        if let EventKind::TimerFired(fired) = &event.kind {
            let due = after.timers.get(&fired.id);
            if due.is_none_or(|due| *due > change.now) {
                return Err(format!("{after:?}: timer {} fired at {}, due {due:?}", fired.id, change.now.0));
            }
        }
    }
    // A rewind of what had not begun is recorded, and is no turn.
    let has_turn = change.appended.iter().any(|event| matches!(event.kind, EventKind::TurnStarted(_)));
    let began = after.record.tail > 0 && has_turn;
    if began && !after.row.status.is_terminal() && after.record.start_at > change.now.0 {
        return Err(format!("{after:?}: began at {}, before {}", change.now.0, after.record.start_at));
    }
    Ok(())
}
