//! Instances that the store refuses to write. One of them would cost the batch of everybody, again and again; set aside it
//! costs nobody anything, says why, and can be ended.

use super::{DamagedRow, Partition};
use crate::id::{InstanceId, InstanceKey};

/// Why an instance is set aside.
#[derive(Clone, Debug)]
pub(super) struct Unwritable {
    why: String,
    /// Not even that it is set aside can be written.
    never: bool,
}

impl Partition {
    /// An instance for whose writes the store has refused batches. It is not run; that is written to its record, unless the
    /// store has refused this too (`never`). Before [`recover`](Self::recover).
    pub fn set_aside_unwritable(&mut self, id: InstanceId, why: String, never: bool) {
        self.unwritable.insert(id, Unwritable { why, never });
    }

    pub(super) fn is_never_written(&self, id: &InstanceId) -> bool {
        !self.unwritable.is_empty() && self.unwritable.get(id).is_some_and(|unwritable| unwritable.never)
    }

    pub(super) fn why_unwritable(&self, id: &InstanceId) -> String {
        let why = self.unwritable.get(id).map_or("", |unwritable| &unwritable.why);
        format!("the store refuses to write it ({why})")
    }

    pub(super) fn is_set_aside(&self, key: InstanceKey) -> bool {
        self.instances.get(&key).is_some_and(|instance| instance.set_aside)
    }

    /// Sets an instance aside that has come into memory, if it is one of them; says whether it is.
    pub(super) fn keep_aside(&mut self, id: &InstanceId, key: InstanceKey) -> bool {
        let Some(Unwritable { why, .. }) = self.unwritable.get(id).cloned() else { return false };
        let Some(instance) = self.instances.get_mut(&key) else { return false };
        instance.set_aside = true;
        let reason = format!("{}; terminate it, or restart the engine to try again", self.why_unwritable(id));
        self.damaged.insert(id.clone(), DamagedRow { key, what: why });
        self.block(key, reason, None);
        true
    }

    /// It is about to end.
    pub(super) fn take_back_in(&mut self, id: &InstanceId, key: InstanceKey) {
        self.damaged.remove(id);
        self.unwritable.remove(id);
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.set_aside = false;
        }
    }
}
