//! Idempotency keys (I19): of all calls under one key, in one start of an instance and over all its generations, one runs,
//! and all get what it returned.

use super::mirror::Seen;
use super::{Change, Checker};
use crate::payload::task_of;
use crate::program::Task;
use perdura_core::InstanceKey;
use perdura_core::history::EventKind;
use std::collections::{BTreeMap, BTreeSet};

/// A start of an instance.
type Start = (InstanceKey, u32);

/// What calls under keys have given.
#[derive(Debug, Default)]
pub(super) struct Keyed {
    results: BTreeMap<(Start, u32), bytes::Bytes>,
    /// Starts that were rewound: there an operator may let a call run again.
    rewound: BTreeSet<Start>,
}

impl Checker {
    pub(super) fn check_keys(&mut self, change: &Change<'_>) -> Result<(), String> {
        let after = change.after;
        let start = (after.key, after.record.start_generation);
        if after.record.branch > 0 {
            self.keyed.rewound.insert(start);
        }
        if self.keyed.rewound.contains(&start) {
            return Ok(());
        }
        for event in change.arrived() {
            let EventKind::TaskCompleted(done) = &event.kind else { continue };
            let has_key = after.tasks.get(&done.id).is_some_and(|task| task.key.is_some());
            let Some(task) = task_of(&after.input_of_task(done.id)).filter(|_| has_key) else { continue };
            let output = done.output.clone().unwrap_or_default();
            match self.keyed.results.get(&(start, task)) {
                Some(_) if done.delivery > 0 => {
                    return Err(format!(
                        "{after:?}: a call under a key with a result ran all the same: {done:?}"
                    ));
                }
                Some(known) if *known != output => {
                    return Err(format!(
                        "{after:?}: a call under a key gave {done:?}, another gave {known:?}"
                    ));
                }
                Some(_) => {}
                // What was made in the batch that ended its generation is not seen otherwise.
                None if done.delivery == 0 && !is_recorded(after, task, &output) => {
                    return Err(format!("{after:?}: a result under a key that nobody has made: {done:?}"));
                }
                None => drop(self.keyed.results.insert((start, task), output)),
            }
        }
        Ok(())
    }
}

fn is_recorded(seen: &Seen, task: u32, output: &bytes::Bytes) -> bool {
    let mut known = seen.record.keys.iter().flat_map(|keys| &keys.known);
    known.any(|known| known.key == Task::key(task) && known.output.as_ref() == Some(output))
}
