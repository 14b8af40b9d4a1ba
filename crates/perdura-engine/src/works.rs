//! Transactional activities: what they write is committed with their completion. Their work waits here until the batch
//! before is written, runs in the transaction of the next one, and its end is part of what that one writes.

use crate::life::{Life, tell_end};
use crate::loss::{Loss, after_commit};
use crate::panic_text;
use perdura_core::failure::kind;
use perdura_core::partition::{Effect, Partition, TaskRef};
use perdura_core::{ExecutionId, Failure, InstanceKey};
use perdura_store::{CommitOutcome, Rejection, Store, Work, WorkEnd};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Works in one batch: other instances wait for all of them.
const WORKS_PER_BATCH_MAX: usize = 128;

/// A task, whichever delivery of it.
type Name = (InstanceKey, ExecutionId, u32, u32);

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Works {
    // Bounded by the activities that may run at once.
    waiting: VecDeque<(TaskRef, Work)>,
    /// One work for each batch, until it is known whose writes could not be committed.
    careful: bool,
    /// Tasks whose writes could not be committed, and why: they fail when they come again, also if that has to be said
    /// several times.
    refused: BTreeMap<Name, String>,
}

impl Works {
    /// An attempt has come to the point where it writes. Gives why it cannot, if it cannot.
    pub(crate) fn add(&mut self, task: TaskRef, work: Work, store: &dyn Store) -> Result<(), Failure> {
        if store.transactions().is_none() {
            let text =
                "a transactional activity writes to the file of an SQLite hub, and the hub is not in one";
            return Err(Failure::new(kind::INVALID, text).non_retryable());
        }
        if let Some(what) = self.refused.get(&name(task)) {
            let text = format!("what the activity wrote could not be committed: {what}");
            return Err(Failure::new(kind::INVALID, text).non_retryable());
        }
        self.waiting.push_back((task, work));
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The grant is lost, and with it every attempt whose work waited: they are handed out again.
    pub(crate) fn let_go(&mut self) {
        self.waiting.clear();
    }

    /// All went well for a while: what was to be said is recorded.
    pub(crate) fn forgive(&mut self) {
        self.careful = false;
        self.refused.clear();
    }

    /// Those that may run now: their instances have room for results. What nobody waits for any more is dropped, and
    /// never runs.
    pub(crate) fn ready(&mut self, partition: &mut Partition) -> Vec<Ready> {
        let most = if self.careful { 1 } else { WORKS_PER_BATCH_MAX };
        let mut ready = Vec::new();
        let mut without_room = VecDeque::new();
        let mut rooms: BTreeMap<InstanceKey, Arc<AtomicUsize>> = BTreeMap::new();
        while ready.len() < most
            && let Some((task, work)) = self.waiting.pop_front()
        {
            match partition.room_for_result(task) {
                Some(0) => without_room.push_back((task, work)),
                Some(left) => {
                    let room = rooms.entry(task.key).or_insert_with(|| Arc::new(left.into())).clone();
                    ready.push(Ready { task, work, room, has_run: Arc::default() });
                }
                None => {}
            }
        }
        self.waiting.append(&mut without_room);
        ready
    }

    /// Runs works and commits the open batch with them. Blocks the partition until that is durable.
    pub(crate) fn commit(
        &mut self,
        life: &mut Life,
        store: &dyn Store,
        ready: Vec<Ready>,
        runs_turns: bool,
    ) -> Result<Vec<Effect>, Loss> {
        let Some(transactions) = store.transactions() else { return Ok(Vec::new()) };
        let limit = life.partition.limits().payload_bytes_max;
        let works: Vec<Work> = ready.iter().map(|ready| ready.checked(limit)).collect();
        let (mut effects, mut lost, mut has_run, mut is_sealed) = (Vec::new(), None, false, false);
        let grant = life.grant.clone();
        let outcome = transactions.commit_with(&grant, &works, &mut |ends| {
            has_run = true;
            let now = store.now();
            for (ready, end) in ready.iter().zip(ends) {
                let Life { partition, receipts, .. } = &mut *life;
                match end {
                    Err(_) if !ready.has_run.load(Ordering::Relaxed) => {
                        self.waiting.push_back((ready.task, ready.work.clone()));
                    }
                    Ok(output) if !ready.task.asks => partition.work_done(ready.task, output, now),
                    end => tell_end(partition, receipts, ready.task, end.into(), now),
                }
            }
            // The turns that follow are part of the same commit.
            let sealed = life
                .settle(store, runs_turns)
                .and_then(|()| life.seal().map_err(|damage| damage.to_string()));
            match sealed {
                Ok((batch, early)) => {
                    effects = early;
                    is_sealed = batch.is_some();
                    batch
                }
                Err(why) => {
                    lost = Some(why);
                    None
                }
            }
        });
        if let Some(why) = lost {
            return Err(life.lost(why));
        }
        if let CommitOutcome::Rejected(Rejection::Works { what }) = &outcome {
            match &ready[..] {
                [ready] => {
                    self.careful = false;
                    self.refused.insert(name(ready.task), what.clone());
                }
                _ => self.careful = true,
            }
        }
        // Works that all failed may leave nothing to write yet.
        if is_sealed || !has_run {
            after_commit(outcome)?;
            effects.extend(life.committed());
        }
        Ok(effects)
    }
}

fn name(task: TaskRef) -> Name {
    (task.key, task.execution, task.branch, task.task)
}

/// A work that may run.
pub(crate) struct Ready {
    task: TaskRef,
    work: Work,
    /// Bytes of results that its instance has room for, less those of the works of this batch that have run.
    room: Arc<AtomicUsize>,
    /// It found room, and its end is that of its code.
    has_run: Arc<AtomicBool>,
}

impl Ready {
    /// The same work; a panic, and a result that is too large, are failures like any other. It does not run when there is
    /// no room left: what is in an inbox has a bound, and what is not in it would be lost in a crash.
    fn checked(&self, limit: usize) -> Work {
        let (work, room, has_run) = (self.work.clone(), self.room.clone(), self.has_run.clone());
        Work::new(move |transaction| -> WorkEnd {
            has_run.store(room.load(Ordering::Relaxed) > 0, Ordering::Relaxed);
            if !has_run.load(Ordering::Relaxed) {
                return Err(Failure::new(kind::LIMIT, "no room for its result"));
            }
            let output = match catch_unwind(AssertUnwindSafe(|| work.run(transaction))) {
                Ok(end) => end?,
                Err(panic) => return Err(Failure::new(kind::PANIC, panic_text(panic.as_ref()))),
            };
            let bytes = output.as_ref().map_or(0, |output| output.len());
            if bytes > limit {
                let message = format!("result of {bytes} bytes, limit {limit}");
                return Err(Failure::new(kind::LIMIT, message).non_retryable());
            }
            // Nothing else changes it meanwhile: works run one after another.
            room.store(room.load(Ordering::Relaxed).saturating_sub(bytes), Ordering::Relaxed);
            Ok(output)
        })
    }
}
