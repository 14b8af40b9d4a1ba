//! One life of a processor: its memory, and how turns and reads change it.

use crate::handler;
use crate::loss::Loss;
use crate::reads::{Read, Reads};
use crate::receipt::Receipts;
use crate::worker::ActivityEnd;
use futures_util::FutureExt;
use perdura_core::Timestamp;
use perdura_core::orchestration::{Run, Runner, Turn, TurnOutcome, TurnTicket};
use perdura_core::partition::{Partition, TaskRef};
use perdura_core::rewind::assemble;
use perdura_store::{BoxFuture, CommitOutcome, Grant, Store, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// A turn that takes longer is worth a warning: the other instances of the partition wait for it.
const SLOW_TURN: Duration = Duration::from_millis(500);

/// The state that a lost grant takes with it.
pub(crate) struct Life {
    pub(crate) number: u64,
    pub(crate) partition: Partition,
    pub(crate) runner: Box<dyn Runner>,
    /// Rings when the runner has executions to tell of that are to fail.
    pub(crate) disturbed: Arc<Notify>,
    pub(crate) grant: Grant,
    pub(crate) reads: Reads,
    /// Who waits for what the next commits record.
    pub(crate) receipts: Receipts,
    pub(crate) commit: Option<BoxFuture<'static, CommitOutcome>>,
}

impl Life {
    /// The loss of this life; a commit that is under way may still be written.
    pub(crate) fn lost(&self, why: String) -> Loss {
        Loss { why, in_doubt: self.commit.is_some(), due_to: None }
    }

    /// Runs turns and reads what they need until nothing more can be done without waiting.
    /// In a shutdown no turn is begun any more: what came in is recorded, and its turn comes in the next life.
    pub(crate) fn settle(&mut self, store: &dyn Store, runs_turns: bool) -> Result<(), String> {
        loop {
            for (key, id, what) in self.partition.damage_found() {
                tracing::error!(instance = %id, key = key.0, what, "the instance is damaged and left alone");
            }
            self.forget();
            while runs_turns && let Some(turn) = self.partition.next_turn() {
                self.run_turn(turn);
                self.forget();
            }
            self.reads.begin(self.partition.needs());
            match self.reads.next().now_or_never() {
                Some(Some(read)) => self.take_read(read, store)?,
                _ => return Ok(()),
            }
        }
    }

    fn forget(&mut self) {
        for key in self.partition.forgotten() {
            self.runner.forget(key);
        }
    }

    pub(crate) fn fail_disturbed(&mut self, now: Timestamp) {
        self.forget();
        for (key, failure) in self.runner.disturbed() {
            self.partition.fail(key, failure, now);
        }
    }

    fn run_turn(&mut self, turn: Turn) {
        let began = std::time::Instant::now();
        let run = self.runner.run(&turn, None);
        if began.elapsed() > SLOW_TURN {
            tracing::warn!(instance = %turn.id, name = turn.name, took = ?began.elapsed(),
                "the orchestration's code held its whole partition up; move long work into an activity");
        }
        match run {
            Run::Finished(outcome) => self.finish_turn(turn, outcome),
            Run::NeedsHistory => self.partition.park_turn(turn),
            Run::Away => self.partition.turn_away(turn),
        }
    }

    fn finish_turn(&mut self, turn: Turn, outcome: TurnOutcome) {
        if let Some(why) = outcome.obstacle() {
            tracing::warn!(instance = %turn.id, name = turn.name, why, "the instance is blocked");
        }
        self.partition.finish_turn(turn, outcome);
    }

    pub(crate) fn turn_back(&mut self, ticket: TurnTicket, outcome: TurnOutcome, now: Timestamp) -> bool {
        let why = outcome.obstacle();
        let awaited = self.partition.turn_back(ticket, outcome, now);
        if let Some(why) = why.filter(|_| awaited) {
            tracing::warn!(key = ticket.key.0, why, "the instance is blocked");
        }
        awaited
    }

    pub(crate) fn take_read(&mut self, read: Read, store: &dyn Store) -> Result<(), String> {
        let now = store.now();
        let failed = |error: StoreError| error.to_string();
        match read {
            Read::Rows(rows) => {
                for (asked, row) in rows.map_err(failed)? {
                    match asked {
                        perdura_store::Lookup::Id(id) => self.partition.found_id(&id, row, now),
                        perdura_store::Lookup::Key(key) => self.partition.found_key(key, row, now),
                    }
                }
            }
            Read::History { of, rows: Err(StoreError::Damaged { what, .. }) } => {
                self.partition.history_damaged(of, &what, now);
            }
            Read::History { of, rows } => match assemble(&rows.map_err(failed)?) {
                Ok(events) => {
                    if let Some(turn) = self.partition.history_read(of, &events, now) {
                        self.run_turn_with(turn, &events);
                    }
                }
                Err(damage) => self.partition.history_damaged(of, &damage.to_string(), now),
            },
            Read::Messages(envelopes) => {
                for (id, damage) in self.partition.deliver(envelopes.map_err(failed)?, now) {
                    tracing::error!(?id, %damage, "a message cannot be read; it is left where it is");
                }
                self.reads.messages_delivered(self.grant.partition);
            }
        }
        Ok(())
    }

    fn run_turn_with(&mut self, turn: Turn, history: &[perdura_core::history::Event]) {
        let outcome = match self.runner.run(&turn, Some(history)) {
            Run::Finished(outcome) => outcome,
            Run::Away => return self.partition.turn_away(turn),
            Run::NeedsHistory => {
                TurnOutcome::CannotRun("its history was read, but the runner asked for it again".into())
            }
        };
        self.finish_turn(turn, outcome);
    }
}

/// Tells a partition how an attempt ended, or what the handler of an unknown outcome says.
pub(crate) fn tell_end(
    partition: &mut Partition,
    receipts: &mut Receipts,
    task: TaskRef,
    end: ActivityEnd,
    now: Timestamp,
) {
    match end {
        ActivityEnd::Brought(end, receipt) => {
            let wanted = partition.wants_result(task);
            tell_end(partition, receipts, task, *end, now);
            receipts.add_of_task(task, receipt, wanted, partition);
        }
        ActivityEnd::Completed(output) if task.asks => {
            partition.task_answered(task, handler::answer_of(output.as_ref()), now);
        }
        ActivityEnd::Failed(failure) if task.asks => {
            partition.task_answered(task, Err(failure.to_string()), now);
        }
        ActivityEnd::Completed(output) => partition.task_done(task, Ok(output), now),
        ActivityEnd::Failed(failure) => partition.task_done(task, Err(failure), now),
        ActivityEnd::Lost { reason } => partition.task_lost(task, &reason, now),
        ActivityEnd::LostBeside { reason } => partition.task_lost_beside(task, &reason, now),
        // A work whose life is over was never run.
        ActivityEnd::NotStarted | ActivityEnd::Transaction(_) => partition.task_not_started(task, now),
    }
}
