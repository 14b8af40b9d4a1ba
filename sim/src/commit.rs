//! Commits of a processor on their way to the store and back, and what may befall them.

use crate::options::PlantedBug;
use crate::report::Fault;
use crate::world::{CommitReply, Event, Post, World};
use perdura_core::partition::{Batch, Bug, EnvelopeId};
use perdura_store::{CommitOutcome, Grant, Rejection};

impl World {
    pub(crate) fn commit(&mut self, post: Post, batch: Batch) {
        let keep = matches!(self.bug, Some(PlantedBug::Core(Bug::UnknownTakenAsFailure)));
        let Some(life) = self.life(post) else { return };
        life.committing = Some(keep.then(|| batch.clone()));
        let (number, grant) = (life.number, life.grant.clone());
        self.write(post, number, grant, batch);
    }

    fn write(&mut self, post: Post, life: u64, grant: Grant, batch: Batch) {
        let boot = self.nodes[usize::from(post.node)].boot;
        let (mut until_store, mut until_answer) =
            (self.random.latency.below(self.plan.commit_ms + 1), self.random.latency.below(3));
        if let Some(failed) = self.commit_refused() {
            return self.after(until_store, Event::Committed { post, life, outcome: failed });
        }
        let mut reply = CommitReply::After(0);
        if self.fault(Fault::CommitSlow, self.plan.faults.commit_slow) {
            until_store = self.random.faults.between(100, 6_000);
            until_answer = self.random.faults.below(500);
            if self.random.faults.chance(400) {
                let waits = self.random.faults.below(until_store);
                let outcome = CommitOutcome::Unknown("time is over".into());
                self.after(waits, Event::Committed { post, life, outcome });
                reply = CommitReply::GivenUp;
            }
        }
        if let CommitReply::After(_) = reply {
            reply = if self.fault(Fault::CommitReplyLost, self.plan.faults.commit_reply_lost) {
                CommitReply::Lost(until_answer)
            } else {
                CommitReply::After(until_answer)
            };
        }
        self.after(until_store, Event::Commit { post, life, boot, write: Box::new((grant, batch)), reply });
    }

    fn commit_refused(&mut self) -> Option<CommitOutcome> {
        let failed =
            || CommitOutcome::Rejected(Rejection::Failed { instance: None, what: "the disk".into() });
        if self.store_full_until > self.now {
            return Some(CommitOutcome::Rejected(Rejection::Full));
        }
        let fails =
            self.store_down_until > self.now || self.fault(Fault::CommitFails, self.plan.faults.commit_fails);
        let unknown = || CommitOutcome::Unknown("the connection broke".into());
        fails.then(|| if self.random.faults.chance(500) { failed() } else { unknown() })
    }

    /// A commit reaches the store, which may or may not be told of the writer's death.
    pub(crate) fn commit_arrives(
        &mut self,
        post: Post,
        life: u64,
        boot: u32,
        (grant, batch): (Grant, Batch),
        reply: CommitReply,
    ) {
        if boot != self.nodes[usize::from(post.node)].boot && self.random.faults.chance(500) {
            return;
        }
        let outcome = self.perform_commit(&grant, batch);
        self.trace.mix(&[2, u64::from(post.node), u64::from(post.partition), life, kind_of(&outcome)]);
        self.trace.say(self.now, || format!("{post:?} life {life} commits: {outcome:?}"));
        match reply {
            CommitReply::After(0) => self.commit_or_defer(post, life, outcome),
            CommitReply::After(ms) => self.after(ms, Event::Committed { post, life, outcome }),
            CommitReply::Lost(ms) => {
                let outcome = CommitOutcome::Unknown("the answer was lost".into());
                self.after(ms, Event::Committed { post, life, outcome });
            }
            CommitReply::GivenUp => {}
        }
    }

    fn commit_or_defer(&mut self, post: Post, life: u64, outcome: CommitOutcome) {
        if self.nodes[usize::from(post.node)].paused_until > self.now {
            self.after(0, Event::Committed { post, life, outcome });
        } else {
            self.commit_answered(post, life, outcome);
        }
    }

    fn perform_commit(&mut self, grant: &Grant, mut batch: Batch) -> CommitOutcome {
        let keys = crate::invariants::keys_of(&batch);
        if self.fault(Fault::CommitTorn, self.plan.faults.commit_torn) {
            // What cannot be consumed is found when the rows are written: everything must be taken back.
            batch.consumed.push(EnvelopeId { from: grant.partition, number: u64::MAX });
            let outcome = self.store.commit_now(grant, batch);
            self.checker.compare_batch(&keys, &self.store);
            return outcome;
        }
        let outcome = self.store.commit_now(grant, batch.clone());
        let now = self.store_now();
        let clocks_agree = self.plan.faults.clock_skew == 0;
        self.checker.commit_performed(grant, &outcome, clocks_agree);
        if outcome == CommitOutcome::Committed {
            self.stats.commits += 1;
            self.stats.writes += batch.writes.len() as u64;
            let events = batch.writes.iter().filter_map(|write| write.history.as_ref());
            self.trace.mix(&events.map(|row| row.first << 8 | u64::from(row.count)).collect::<Vec<_>>());
            self.trace.say(self.now, || describe(&batch));
            self.checker.committed(grant.partition, &batch, now);
        }
        self.checker.compare_batch(&keys, &self.store);
        outcome
    }

    pub(crate) fn commit_answered(&mut self, post: Post, number: u64, outcome: CommitOutcome) {
        let Some(life) = self.life_numbered(post, number) else { return };
        let batch = life.committing.take();
        match (outcome, batch) {
            (CommitOutcome::Committed, _) => {
                let effects = life.partition.committed();
                self.holdings.entry(post).or_default().losses = 0;
                self.perform(post, effects);
                self.round(post);
            }
            // The planted bug: memory is kept, and the batch is written again.
            (CommitOutcome::Unknown(_), Some(Some(batch))) => self.commit(post, batch),
            (outcome, _) => {
                let in_doubt = matches!(outcome, CommitOutcome::Unknown(_));
                self.lost(post, &format!("{outcome:?}"), in_doubt);
            }
        }
    }
}

fn kind_of(outcome: &CommitOutcome) -> u64 {
    match outcome {
        CommitOutcome::Committed => 0,
        CommitOutcome::Fenced => 1,
        CommitOutcome::Rejected(_) => 2,
        CommitOutcome::Unknown(_) => 3,
    }
}

fn describe(batch: &Batch) -> String {
    let mut text = String::new();
    for key in &batch.purge {
        text += &format!(" purge {key:?};");
    }
    for write in &batch.writes {
        let row = &write.row;
        text += &format!(" {} g{} {} tail {}", row.id, row.generation, row.status, row.tail);
        let events = write.history.as_ref().and_then(|history| history.open().ok()).unwrap_or_default();
        let names: Vec<_> = events.iter().map(|event| event.kind.name()).collect();
        text += &format!(" {names:?}");
        let inbox = row.open().and_then(|record| record.inbox_events()).unwrap_or_default();
        let names: Vec<_> = inbox.iter().map(|event| event.kind.name()).collect();
        text += &format!(" inbox {names:?};");
    }
    for envelope in &batch.outgoing {
        let message = envelope.open().map(|message| format!("{message:?}")).unwrap_or_default();
        text += &format!(" sends {} {message};", envelope.number);
    }
    for id in &batch.consumed {
        text += &format!(" consumes {}/{};", id.from.0, id.number);
    }
    text
}
