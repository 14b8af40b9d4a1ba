//! Idempotency keys: a call under a key that is recorded gets the recorded result and does not run; calls under one key
//! that are under way together share one execution; events with an id that has come are not taken again.

use super::instance::Instance;
use super::record::{InstanceRecord, KeyRecord, KeyUse, Keys};
use super::{Bug, Partition};
use crate::failure::{Failure, kind};
use crate::history::{Event, EventKind, TaskCompleted, TaskFailed, TaskScheduled};
use crate::id::InstanceKey;
use crate::limits::{EVENT_IDS_REMEMBERED, KEYS_BYTES_MAX, KEYS_REMEMBERED};
use bytes::Bytes;
use sha2::{Digest, Sha256};

impl KeyUse {
    fn of(scheduled: &TaskScheduled) -> KeyUse {
        let input = Sha256::digest(scheduled.input.as_deref().unwrap_or_default());
        KeyUse {
            key: scheduled.key.clone().unwrap_or_default(),
            name: scheduled.name.clone(),
            input: Bytes::copy_from_slice(&input),
            follows: None,
            took: None,
        }
    }

    pub(super) fn is_same_call(&self, name: &str, input: &Bytes) -> bool {
        (self.name.as_str(), &self.input) == (name, input)
    }
}

impl InstanceRecord {
    /// Whether this schedules a call under an idempotency key of which a result is recorded.
    pub(crate) fn knows_result_of(&self, event: &EventKind) -> bool {
        let EventKind::TaskScheduled(TaskScheduled { key: Some(key), .. }) = event else { return false };
        self.keys.iter().flat_map(|keys| &keys.known).any(|known| known.key == *key)
    }
}

impl KeyRecord {
    fn bytes(&self) -> usize {
        self.key.len() + self.name.len() + self.input.len() + self.output.as_ref().map_or(0, Bytes::len)
    }
}

impl Partition {
    /// Looks what is known under the key of a call that is about to be handed out. Says whether it is to run: otherwise its
    /// result is there, or somebody else's will be.
    pub(super) fn is_to_run(&mut self, key: InstanceKey, id: u32) -> bool {
        let runs_again = self.planted(Bug::KeyRunsAgain);
        let Some(instance) = self.instances.get_mut(&key) else { return false };
        let Some(task) = instance.tasks.get(&id) else { return false };
        let Some(scheduled) = &task.scheduled else { return false };
        match &task.record.key {
            Some(known) => return known.follows.is_none(),
            None if scheduled.key.is_none() => return true,
            None => {}
        }
        let mut usage = KeyUse::of(scheduled);
        if runs_again {
            return true;
        }
        if let Some(known) =
            instance.record.keys.iter().flat_map(|keys| &keys.known).find(|k| k.key == usage.key)
        {
            let result = match usage.is_same_call(&known.name, &known.input) {
                true if known.dropped > 0 => Err(not_kept(known)),
                true => Ok(known.output.clone()),
                false => Err(reused(&usage.key)),
            };
            let by = if result.is_ok() { format!("key {:?}", usage.key) } else { String::new() };
            self.given(key, id, result, &by);
            return false;
        }
        let mut others =
            instance.tasks.values().filter_map(|task| Some((task.record.id, task.record.key.as_ref()?)));
        let leader = others.find(|(other, of)| *other != id && of.key == usage.key && of.follows.is_none());
        if let Some((leader, of)) = leader {
            if !usage.is_same_call(&of.name, &of.input) {
                self.given(key, id, Err(reused(&usage.key)), "");
                return false;
            }
            usage.follows = Some(leader);
        } else if !self.goes_on_with_left(key, id, &mut usage) {
            return false;
        }
        let Some(instance) = self.instances.get_mut(&key) else { return false };
        let follows = usage.follows.is_some();
        if let Some(task) = instance.tasks.get_mut(&id) {
            task.record.key = Some(Box::new(usage));
            task.record.not_before = if follows { 0 } else { task.record.not_before };
        }
        self.mark_dirty(key);
        !follows
    }

    /// A task ends without having run.
    pub(super) fn given(
        &mut self,
        key: InstanceKey,
        id: u32,
        result: Result<Option<Bytes>, Failure>,
        by: &str,
    ) {
        let now = self.now;
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let Some(task) = instance.tasks.remove(&id) else { return };
        let (attempt, settled_by) = (task.record.attempt, by.to_owned());
        instance.inbox.push(match result {
            Ok(output) => Event::new(now, TaskCompleted { id, output, attempt, delivery: 0, settled_by }),
            Err(failure) => {
                let failure = Some(failure);
                Event::new(now, TaskFailed { id, failure, attempt, delivery: 0, settled_by })
            }
        });
        self.unwatch(key, &task);
        self.mark_dirty(key);
        self.enqueue(key);
    }

    /// A call under a key has ended: what came of it is recorded, and is that of all who share it.
    pub(super) fn key_settled(
        &mut self,
        key: InstanceKey,
        usage: &KeyUse,
        leader: u32,
        result: Result<Option<Bytes>, Failure>,
    ) {
        let now = self.now;
        let Some(instance) = self.instances.get_mut(&key) else { return };
        if let Ok(output) = &result {
            let keys = instance.record.keys.get_or_insert_default();
            keys.left.retain(|left| left.key != usage.key);
            keys.remember(KeyRecord {
                key: usage.key.clone(),
                name: usage.name.clone(),
                input: usage.input.clone(),
                output: output.clone(),
                at: now.0,
                dropped: 0,
            });
        }
        let follows = |task: &&super::instance::Task| {
            task.record.key.as_ref().is_some_and(|usage| usage.follows == Some(leader))
        };
        let followers: Vec<u32> =
            instance.tasks.values().filter(follows).map(|task| task.record.id).collect();
        for follower in followers {
            self.given(key, follower, result.clone(), &format!("task {leader}, key {:?}", usage.key));
        }
    }
}

/// It is not run again for a result that there was no room for.
fn not_kept(known: &KeyRecord) -> Failure {
    let (key, bytes) = (&known.key, known.dropped);
    let message = format!(
        "a call under idempotency key {key:?} has ended well, but its result of {bytes} bytes is not kept any more: \
         an instance keeps {KEYS_BYTES_MAX} bytes of results under keys; return less, or use a key of the hub"
    );
    Failure::new(kind::LIMIT, message).non_retryable()
}

pub(super) fn reused(key: &str) -> Failure {
    let message = format!(
        "idempotency key {key:?} was used for a call of another activity, or with another input; use a new key"
    );
    Failure::new(kind::KEY_REUSED, message).non_retryable()
}

impl Keys {
    /// Remembers a result. The oldest are forgotten when there are too many; when they are too much, only that they were.
    /// The last one is kept, however large it is.
    fn remember(&mut self, record: KeyRecord) {
        self.known.retain(|known| known.key != record.key);
        self.known.push(record);
        self.known.drain(..self.known.len().saturating_sub(KEYS_REMEMBERED));
        let mut bytes: usize = self.known.iter().map(KeyRecord::bytes).sum();
        let older = self.known.len() - 1;
        for known in &mut self.known[..older] {
            if bytes <= KEYS_BYTES_MAX {
                return;
            }
            if let Some(output) = known.output.take_if(|output| !output.is_empty()) {
                known.dropped = output.len() as u64;
                bytes -= output.len();
            }
        }
    }
}

impl Instance {
    /// Whether an event with this id has come before; `Some(false)`: another one.
    pub(super) fn knows_event(&self, id: &str, content: u32) -> Option<bool> {
        let keys = self.record.keys.as_deref()?;
        let at = keys.events.iter().position(|known| !id.is_empty() && known == id)?;
        // Rows of older versions say nothing of it.
        Some(keys.event_contents.get(at).is_none_or(|known| *known == 0 || *known == content))
    }

    /// An event with this id has come.
    pub(super) fn note_event(&mut self, id: &str, content: u32) {
        if id.is_empty() {
            return;
        }
        let keys = self.record.keys.get_or_insert_default();
        let (events, contents) = (&mut keys.events, &mut keys.event_contents);
        contents.resize(events.len(), 0);
        if events.len() == EVENT_IDS_REMEMBERED {
            events.remove(0);
            contents.remove(0);
        }
        events.push(id.to_owned());
        contents.push(content);
    }
}

/// CRC-32 of what is sent under an id of its own, to tell it from something else under the same id.
pub(super) fn content_of(name: &str, input: Option<&Bytes>) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&(name.len() as u64).to_le_bytes());
    crc.update(name.as_bytes());
    crc.update(&[u8::from(input.is_some())]);
    crc.update(input.map_or(&[], |input| input));
    crc.finalize()
}
