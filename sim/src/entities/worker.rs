//! Workers of entities: they run batches of operations, all of them or only the first, and answer once, twice, late, or are
//! lost.

use super::account::{Order, apply};
use crate::life::Input;
use crate::report::Fault;
use crate::world::{Event, Post, World};
use perdura_core::PartitionId;
use perdura_core::entity::{OperationBatch, OperationResult, OperationsDone};

impl World {
    /// A worker of the node takes a batch of operations.
    pub(crate) fn start_operations(&mut self, post: Post, batch: OperationBatch) {
        let count = batch.operations.len();
        self.trace.mix(&[8, batch.ticket.key.0, batch.ticket.number, count as u64]);
        self.trace.say(self.now, || {
            let names: Vec<_> =
                batch.operations.iter().map(|o| format!("{}/{}", o.name, o.delivery)).collect();
            format!("{post:?} runs {} on {} ({:?})", names.join(" "), batch.id, batch.ticket)
        });
        let is_owner = self.owner(PartitionId(post.partition)) == post;
        self.checker.operations_started(&batch, is_owner);
        let Some(life) = self.life(post).map(|life| life.number) else { return };
        let takes = *self.random.latency.pick(&[0, 0, 3, 30, 300]);
        let mut ms = takes + self.random.latency.below(self.plan.net_ms + 1);
        let runs = match self.random.latency.chance(200) {
            true => self.random.latency.below(count as u64 + 1) as usize,
            false => count,
        };
        let ticket = batch.ticket;
        let done = self.run_operations(&batch, runs);
        let faults = &self.plan.faults;
        let (late, twice, lost) = (faults.result_late, faults.result_twice, faults.operations_lost);
        if self.fault(Fault::OperationsLost, lost) {
            let at = self.random.faults.below(2_000);
            self.after(at, Event::Input(post, Input::Operations { life, ticket, done: None }));
            // It may be alive all the same.
            if self.random.faults.chance(500) {
                return;
            }
        }
        if self.fault(Fault::ResultLate, late) {
            ms += self.random.faults.between(100, 4_000);
        }
        let done = Some(Box::new(done));
        if self.fault(Fault::ResultTwice, twice) {
            let again = ms + self.random.faults.below(3_000);
            self.after(again, Event::Input(post, Input::Operations { life, ticket, done: done.clone() }));
        }
        self.after(ms, Event::Input(post, Input::Operations { life, ticket, done }));
    }

    fn run_operations(&self, batch: &OperationBatch, runs: usize) -> OperationsDone {
        let mut done = OperationsDone { results: Vec::new(), state: batch.state.clone() };
        for operation in batch.operations.iter().take(runs) {
            let Some(order) = Order::decode(&operation.input, operation.caller.as_ref()) else { break };
            let now = self.store_now();
            let applied = apply(&self.programs, &done.state, &operation.name, order, operation.delivery, now);
            done.state = applied.state;
            done.results.push(OperationResult { outcome: applied.outcome, actions: applied.actions });
        }
        done
    }
}
