//! Disruptions: what befalls nodes, stores and clocks, and how it all heals.

use crate::invariants::Judged;
use crate::options::PlantedBug;
use crate::report::Fault;
use crate::world::{Event, Post, World};
use perdura_core::PartitionId;
use perdura_store::sim::StoreBug;

/// Between two chances of a disruption, in ms.
const INTERVAL: u64 = 250;

impl World {
    pub(crate) fn disrupt(&mut self) {
        if self.is_healed {
            return;
        }
        // Rates are per second.
        let per = |rate: u32| if rate == 0 { 0 } else { (rate / 4).max(1) };
        let faults = self.plan.faults.clone();
        let node = self.random.faults.below(self.nodes.len() as u64) as u8;
        if self.fault(Fault::Crash, per(faults.crash)) {
            self.crash(node);
        }
        if self.fault(Fault::CrashAll, per(faults.crash_all)) {
            for node in 0..self.plan.nodes {
                self.crash(node);
            }
        }
        if self.fault(Fault::Pause, per(faults.pause)) {
            let ms = *self.random.faults.pick(&[200, 1_000, 6_000]);
            self.nodes[usize::from(node)].paused_until = self.now + self.random.faults.between(50, ms);
            self.maybe_take_over_from(node);
        }
        if self.fault(Fault::Takeover, per(faults.takeover)) {
            let partition = self.random.faults.below(u64::from(self.plan.partitions)) as u16;
            self.take_over(partition);
        }
        if self.fault(Fault::Full, per(faults.full)) {
            self.store_full_until = self.now + self.random.faults.between(50, 3_000);
        }
        if self.fault(Fault::Unavailable, per(faults.unavailable)) {
            self.store_down_until = self.now + self.random.faults.between(50, 3_000);
        }
        if self.fault(Fault::ClockJump, per(faults.clock_jump)) {
            self.clock_ahead += self.random.faults.between(1, 5_000) as i64;
        }
        if self.fault(Fault::ClockSkew, per(faults.clock_skew)) {
            self.draw_skew(node);
        }
        if self.fault(Fault::Failover, per(faults.failover)) {
            self.fail_over();
        }
        if self.fault(Fault::Corrupt, per(faults.corrupt)) {
            self.corrupt();
        }
        self.after(INTERVAL, Event::Disrupt);
    }

    pub(crate) fn draw_skew(&mut self, node: u8) {
        let most = i64::from(self.plan.faults.clock_skew);
        let skew = self.random.faults.below(2 * most as u64 + 1) as i64 - most;
        self.nodes[usize::from(node)].skew = if most == 0 { 0 } else { skew };
    }

    /// A node dies with everything in its memory. What it has sent is on its way.
    fn crash(&mut self, node: u8) {
        let state = &mut self.nodes[usize::from(node)];
        if state.is_down {
            return;
        }
        state.is_down = true;
        state.boot += 1;
        state.paused_until = 0;
        for partition in 0..self.plan.partitions {
            let holding = self.holdings.entry(Post { node, partition }).or_default();
            holding.life = None;
            holding.at_work.clear();
            holding.losses = 0;
            holding.unanswered.clear();
        }
        let back = self.random.faults.between(10, 3_000);
        self.after(back, Event::Up(node));
        self.maybe_take_over_from(node);
    }

    pub(crate) fn up(&mut self, node: u8) {
        self.nodes[usize::from(node)].is_down = false;
        for partition in 0..self.plan.partitions {
            if self.owners[usize::from(partition)] == node {
                self.begin_at(Post { node, partition }, 1);
            }
        }
    }

    fn maybe_take_over_from(&mut self, node: u8) {
        for partition in 0..self.plan.partitions {
            if self.owners[usize::from(partition)] == node && self.random.faults.chance(500) {
                self.take_over(partition);
            }
        }
    }

    /// Another node, or the same, takes a partition. The old owner may be alive and not know it.
    fn take_over(&mut self, partition: u16) {
        let node = self.random.faults.below(self.nodes.len() as u64) as u8;
        self.owners[usize::from(partition)] = node;
        let ms = self.random.faults.between(1, 500);
        self.begin_at(Post { node, partition }, ms);
    }

    fn fail_over(&mut self) {
        let lost = self.random.faults.between(1, 4) as usize;
        let lost = self.store.fail_over(lost);
        let checks_nonces_only =
            matches!(self.bug, Some(PlantedBug::Store(StoreBug::NonceIgnored | StoreBug::NoTailCheck)));
        // Half of the stores pin the timeline, so that no grant of the lost one is good for anything. With the others
        // it is up to the nonce and the tails.
        let pinned = self.random.faults.chance(500) && !checks_nonces_only;
        self.trace.say(self.now, || format!("{lost} commits are lost, timeline pinned: {pinned}"));
        if lost == 0 {
            return;
        }
        let now_judged = if pinned { Judged::Consistency } else { Judged::Ownership };
        if self.checker.judged != Judged::Ownership {
            self.checker.judged = now_judged;
        }
        let store = self.store.clone();
        store.with_contents(|contents| self.checker.failed_over(contents));
        for partition in 0..self.plan.partitions {
            let post = self.owner(PartitionId(partition));
            if pinned {
                self.pin(partition);
            } else if self.random.faults.chance(700) {
                self.begin_anew(post);
            }
        }
    }

    /// Every life of a partition ends: its connections were to the old primary.
    fn pin(&mut self, partition: u16) {
        for node in 0..self.plan.nodes {
            let post = Post { node, partition };
            if self.holdings.get(&post).is_some_and(|holding| holding.life.is_some()) {
                self.lost(post, "the store has failed over", false);
            }
        }
        // The next grant ends the commits that are on their way.
        self.begin_at(self.owner(PartitionId(partition)), 0);
        self.checker.expect_new_grant(PartitionId(partition), &self.store, self.random.lives.wide());
    }

    fn begin_anew(&mut self, post: Post) {
        self.take_over(post.partition);
    }

    /// A bit flips in a stored row, and whoever has the instance in memory dies.
    fn corrupt(&mut self) {
        let keys: Vec<_> = self.checker.mirror.instances().map(|seen| seen.key).collect();
        if keys.is_empty() {
            return;
        }
        let key = *self.random.faults.pick(&keys);
        self.checker.damaged.insert(key);
        for node in 0..self.plan.nodes {
            self.crash(node);
        }
        // Their commits that are on their way must not write the row anew.
        let partition = key.partition();
        self.checker.expect_new_grant(partition, &self.store, self.random.lives.wide());
    }

    /// Faults end: every node is up, every partition has an owner that will stay.
    pub(crate) fn heal(&mut self) {
        self.is_healed = true;
        self.trace.say(self.now, || "faults end".into());
        (self.store_down_until, self.store_full_until) = (0, 0);
        for node in 0..self.plan.nodes {
            let state = &mut self.nodes[usize::from(node)];
            state.paused_until = 0;
            state.skew = 0;
            if state.is_down {
                self.up(node);
            }
        }
        for partition in 0..self.plan.partitions {
            let post = self.owner(PartitionId(partition));
            self.begin_at(post, 1);
        }
        self.after(50, Event::Operate);
    }
}
