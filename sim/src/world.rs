//! A world: virtual time, a heap of what will happen, and everything that happens in it. One thread, one seed.

use crate::client::{Client, Request as ClientRequest};
use crate::elsewhere::Work;
use crate::invariants::Checker;
use crate::life::{Input, Life, Unanswered};
use crate::options::PlantedBug;
use crate::plan::Plan;
use crate::program::Programs;
use crate::random::Random;
use crate::read::Wanted;
use crate::report::{Fault, Stats};
use crate::trace::Trace;
use perdura_core::partition::{Batch, RequestError, Response, TaskRef, TaskStart};
use perdura_core::{PartitionId, Timestamp};
use perdura_store::sim::SimStore;
use perdura_store::{CommitLog, CommitOutcome, Grant};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::rc::Rc;

/// The store's clock when a world begins, in ms.
const EPOCH: i64 = 1_000_000;
/// Longest time from the end of faults to rest, in ms.
const REST_WITHIN: u64 = 900_000;
/// Events of a world that does not go round in circles.
const EVENTS_MAX: u64 = 200_000;

/// A place where a partition can live: a node, and a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Post {
    pub(crate) node: u8,
    pub(crate) partition: u16,
}

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// A post tries to take its partition.
    Begin(Post),
    /// Something comes to a post from outside.
    Input(Post, Input),
    /// A commit reaches the store. Its answer leaves so much later, or was given up before.
    Commit { post: Post, life: u64, boot: u32, write: Box<(Grant, Batch)>, reply: CommitReply },
    /// The answer of a commit reaches its writer.
    Committed { post: Post, life: u64, outcome: CommitOutcome },
    /// The answer of a read.
    Read { post: Post, life: u64, wanted: Wanted },
    /// A deadline may have passed.
    Tick { post: Post, life: u64, at: i64 },
    /// Messages wait for a partition.
    Bell(u16),
    /// A worker has finished an attempt.
    Finished { node: u8, boot: u32, survives: bool, start: Box<TaskStart> },
    /// A worker elsewhere takes a turn.
    TurnTaken { post: Post, life: u64, work: Box<Work> },
    /// A client makes its next request.
    Next(u8),
    /// A client gives up waiting for an answer.
    Timeout { client: u8, token: u64 },
    /// An answer reaches a client; `None`: the connection broke.
    Answer { token: u64, answer: Option<Result<Response, RequestError>> },
    /// Something may go wrong.
    Disrupt,
    /// A node begins anew.
    Up(u8),
    /// Faults end.
    Heal,
    /// The operator looks after what is left.
    Operate,
}

/// What becomes of the answer of a commit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CommitReply {
    After(u64),
    Lost(u64),
    /// The writer has heard already that nobody knows.
    GivenUp,
}

#[derive(Debug)]
pub(crate) struct Scheduled {
    at: u64,
    tie: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.tie, self.number).cmp(&(other.at, other.tie, other.number))
    }
}

/// A process.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// How often it has begun anew.
    pub(crate) boot: u32,
    pub(crate) is_down: bool,
    pub(crate) paused_until: u64,
    /// What it believes of the store's clock, relative to the truth.
    pub(crate) skew: i64,
    /// Signals that came through its door.
    pub(crate) stamps: u64,
}

/// What a node keeps for a partition from life to life.
#[derive(Default)]
pub(crate) struct Holding {
    pub(crate) life: Option<Life>,
    pub(crate) unanswered: BTreeMap<u64, Unanswered>,
    pub(crate) losses: u32,
    /// The epoch of its last grant.
    pub(crate) epoch: u64,
    /// The process of its last life.
    pub(crate) boot: Option<u32>,
    /// Attempts whose hand-over is durable, and which have not ended here.
    pub(crate) at_work: BTreeSet<TaskRef>,
    /// An attempt to take the partition is scheduled.
    pub(crate) begins: bool,
}

/// Streams of random numbers, one for each subject.
pub(crate) struct Streams {
    pub(crate) ties: Random,
    pub(crate) faults: Random,
    pub(crate) latency: Random,
    pub(crate) clients: Random,
    pub(crate) lives: Random,
}

/// See the [module](self).
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) bug: Option<PlantedBug>,
    pub(crate) programs: Rc<Programs>,
    pub(crate) random: Streams,
    pub(crate) now: u64,
    heap: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    pub(crate) store: SimStore,
    pub(crate) clock_ahead: i64,
    pub(crate) store_down_until: u64,
    pub(crate) store_full_until: u64,
    pub(crate) nodes: Vec<Node>,
    /// Which node shall own each partition.
    pub(crate) owners: Vec<u8>,
    pub(crate) holdings: BTreeMap<Post, Holding>,
    pub(crate) lives_begun: u64,
    pub(crate) clients: Vec<Client>,
    pub(crate) requests: BTreeMap<u64, ClientRequest>,
    pub(crate) tokens: u64,
    pub(crate) start_salts: u32,
    pub(crate) is_healed: bool,
    pub(crate) checker: Checker,
    pub(crate) trace: Trace,
    pub(crate) stats: Stats,
    is_over: bool,
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<PlantedBug>, with_text: bool) -> World {
        let plan = Plan::draw(&mut Random::stream(seed, 1));
        let programs = Programs::draw(&mut Random::stream(seed, 2), plan.programs, plan.ids, plan.entities);
        let names_orders_by_place = plan.requests_mix.rewind > 0;
        let programs = Rc::new(Programs { names_orders_by_place, ..programs });
        let store = SimStore::new(plan.partitions);
        store.set_clock(Timestamp(EPOCH));
        if let Some(PlantedBug::Store(bug)) = bug {
            store.plant(bug);
        }
        if plan.is_lossy() {
            store.keep_past(4);
        }
        let checker = Checker::new(&plan, programs.clone());
        let mut world = World {
            bug,
            random: Streams {
                ties: Random::stream(seed, 3),
                faults: Random::stream(seed, 4),
                latency: Random::stream(seed, 5),
                clients: Random::stream(seed, 6),
                lives: Random::stream(seed, 7),
            },
            now: 0,
            heap: BinaryHeap::new(),
            scheduled: 0,
            store,
            clock_ahead: 0,
            store_down_until: 0,
            store_full_until: 0,
            nodes: (0..plan.nodes).map(|_| Node::default()).collect(),
            owners: Vec::new(),
            holdings: BTreeMap::new(),
            lives_begun: 0,
            clients: (0..plan.clients).map(|_| Client::new(plan.requests)).collect(),
            requests: BTreeMap::new(),
            tokens: 0,
            start_salts: 0,
            is_healed: false,
            checker,
            trace: Trace::new(with_text),
            stats: Stats::default(),
            is_over: false,
            programs,
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for partition in 0..self.plan.partitions {
            let node = self.random.latency.below(u64::from(self.plan.nodes)) as u8;
            self.owners.push(node);
            self.begin_at(Post { node, partition }, 0);
        }
        for client in 0..self.plan.clients {
            let at = self.random.clients.below(200);
            self.after(at, Event::Next(client));
        }
        for node in 0..self.plan.nodes {
            self.draw_skew(node);
        }
        self.after(250, Event::Disrupt);
        self.after(self.plan.heal_at, Event::Heal);
    }

    /// Runs to the end, or to the first broken invariant.
    pub(crate) fn run(&mut self) {
        while let Some(Reverse(next)) = self.heap.pop() {
            self.now = next.at;
            self.stats.events += 1;
            self.set_clock();
            self.happen(next.event);
            if self.stats.events > EVENTS_MAX {
                let endless = format!("{} events, and no end", self.stats.events);
                self.checker.check(crate::invariants::Group::Liveness, Err(endless));
            }
            if self.checker.violation.is_some() || self.is_over {
                break;
            }
        }
        self.stats.simulated_ms += self.now;
        self.stats.checks = self.checker.counts;
    }

    fn happen(&mut self, event: Event) {
        if let Some(node) = self.deferred(&event) {
            let at = self.nodes[usize::from(node)].paused_until;
            return self.after(at - self.now, event);
        }
        match event {
            Event::Begin(post) => self.begin_life(post),
            Event::Input(post, input) => self.input(post, input),
            Event::Commit { post, life, boot, write, reply } => {
                self.commit_arrives(post, life, boot, *write, reply);
            }
            Event::Committed { post, life, outcome } => self.commit_answered(post, life, outcome),
            Event::Read { post, life, wanted } => self.read_answered(post, life, wanted),
            Event::Tick { post, life, at } => self.tick(post, life, at),
            Event::Bell(partition) => self.bell(partition),
            Event::Finished { node, boot, survives, start } => self.finished(node, boot, survives, *start),
            Event::TurnTaken { post, life, work } => self.take_turn(post, life, *work),
            Event::Next(client) => self.next_request(client),
            Event::Timeout { client, token } => self.timed_out(client, token),
            Event::Answer { token, answer } => self.answered(token, answer),
            Event::Disrupt => self.disrupt(),
            Event::Up(node) => self.up(node),
            Event::Heal => self.heal(),
            Event::Operate => self.operate(),
        }
    }

    /// The node that stands still and would have to take this event.
    fn deferred(&self, event: &Event) -> Option<u8> {
        let post = match event {
            Event::Begin(post) | Event::Input(post, _) => post,
            Event::Committed { post, .. } | Event::Read { post, .. } | Event::Tick { post, .. } => post,
            _ => return None,
        };
        (self.nodes[usize::from(post.node)].paused_until > self.now).then_some(post.node)
    }

    pub(crate) fn after(&mut self, ms: u64, event: Event) {
        self.scheduled += 1;
        let tie = self.random.ties.draw();
        self.heap.push(Reverse(Scheduled { at: self.now + ms, tie, number: self.scheduled, event }));
    }

    fn set_clock(&self) {
        self.store.set_clock(Timestamp(EPOCH + self.now as i64 + self.clock_ahead));
    }

    /// The store's time.
    pub(crate) fn store_now(&self) -> Timestamp {
        self.store.now()
    }

    /// The store's time, as a node believes it.
    pub(crate) fn node_now(&self, node: u8) -> Timestamp {
        Timestamp(self.store_now().0 + self.nodes[usize::from(node)].skew)
    }

    /// Draws whether a fault happens now, and counts it.
    pub(crate) fn fault(&mut self, fault: Fault, per_mille: u32) -> bool {
        let happens = !self.is_healed && self.random.faults.chance(per_mille);
        if happens {
            self.stats.faults[fault as usize] += 1;
            self.trace.mix(&[0xfa, fault as u64]);
            self.trace.say(self.now, || format!("fault: {}", fault.name()));
        }
        happens
    }

    pub(crate) fn owner(&self, partition: PartitionId) -> Post {
        Post { node: self.owners[usize::from(partition.0)], partition: partition.0 }
    }

    /// Looks whether everything has come to rest, or the time is over.
    pub(crate) fn look_for_rest(&mut self) -> bool {
        let is_late = self.now > self.plan.heal_at + REST_WITHIN;
        let idle = (0..self.plan.partitions).all(|partition| {
            let holding = self.holdings.get(&self.owner(PartitionId(partition)));
            holding.and_then(|holding| holding.life.as_ref()).is_some_and(Life::is_idle)
        });
        let is_damaged = !self.checker.damaged.is_empty() && self.now > self.plan.heal_at + REST_WITHIN / 10;
        let rests = idle && self.checker.is_at_rest();
        if !(is_late || is_damaged || rests) {
            return false;
        }
        self.checker.finish(&self.store, idle);
        self.is_over = true;
        true
    }
}
