//! What a seed draws before it begins (swarm testing): the size of the world, which faults exist in it and how often.
//! Some seeds have no fault at all.

use crate::random::Random;
use perdura_core::Limits;

/// A world before it begins.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Processes that may own partitions.
    pub nodes: u8,
    /// Partitions of the hub.
    pub partitions: u16,
    /// Clients.
    pub clients: u8,
    /// Requests of each client.
    pub requests: u8,
    /// Instance ids that clients and parents use; few, so that they collide.
    pub ids: u8,
    /// Orchestrations.
    pub programs: u8,
    /// Entities that programs and clients use; few, so that they wait for each other. 0: none in this world.
    pub entities: u8,
    /// The engine's limits.
    pub limits: Limits,
    /// Rows of a recovery that are read at once.
    pub recovery_page: usize,
    /// Longest time of a commit, of a read, of a message between processes, in ms.
    pub commit_ms: u64,
    /// See `commit_ms`.
    pub read_ms: u64,
    /// See `commit_ms`.
    pub net_ms: u64,
    /// Faults end and healing begins at this time.
    pub heal_at: u64,
    /// How often warm executions are dropped, per mille of turns.
    pub forget: u32,
    /// How often a turn is sent away to a worker elsewhere, per mille of turns.
    pub away: u32,
    /// Faults.
    pub faults: Faults,
    /// Which requests clients make, as weights.
    pub requests_mix: RequestsMix,
}

/// How often each fault happens, per mille of the occasions; 0: not in this world. Disruptions of nodes are counted
/// per second.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// A node dies and comes back later.
    pub crash: u32,
    /// All nodes die at once.
    pub crash_all: u32,
    /// A node stands still for a while; what it sent goes on.
    pub pause: u32,
    /// A partition is taken over from a node that is alive.
    pub takeover: u32,
    /// A commit fails, nothing was written.
    pub commit_fails: u32,
    /// A commit is written, its answer is lost.
    pub commit_reply_lost: u32,
    /// A commit fails half-way and is taken back.
    pub commit_torn: u32,
    /// A commit takes long, perhaps beyond a takeover.
    pub commit_slow: u32,
    /// The store is full for a while.
    pub full: u32,
    /// The store is away for a while.
    pub unavailable: u32,
    /// A grant is given, its answer is lost.
    pub grant_reply_lost: u32,
    /// The store's clock jumps forward.
    pub clock_jump: u32,
    /// A node's idea of the store's time is wrong, by up to so many ms.
    pub clock_skew: u32,
    /// The store fails over to a standby that lacks the last commits.
    pub failover: u32,
    /// A worker's answer comes twice.
    pub result_twice: u32,
    /// A worker's answer comes late.
    pub result_late: u32,
    /// A worker outlives its node.
    pub worker_survives: u32,
    /// A worker never answers (only for attempts with a time limit).
    pub worker_hangs: u32,
    /// The worker of a batch of entity operations is lost.
    pub operations_lost: u32,
    /// An answer to a client is lost.
    pub reply_lost: u32,
    /// A stored row is damaged.
    pub corrupt: u32,
    /// A turn that is away comes back late.
    pub turn_late: u32,
    /// It comes back twice.
    pub turn_twice: u32,
    /// It comes back unrun.
    pub turn_unrun: u32,
    /// A worker is lost with an attempt.
    pub worker_lost: u32,
    /// An attempt comes back that no worker had.
    pub not_started: u32,
}

/// Weights of what clients do.
#[derive(Clone, Debug, Default)]
pub struct RequestsMix {
    /// Starts.
    pub start: u64,
    /// Raised events.
    pub raise: u64,
    /// Suspensions and resumptions.
    pub suspend: u64,
    /// Cancel requests.
    pub cancel: u64,
    /// Terminations.
    pub terminate: u64,
    /// Purges.
    pub purge: u64,
    /// Waits.
    pub wait: u64,
    /// Signals to entities.
    pub signal: u64,
    /// Deletions of entities.
    pub delete: u64,
    /// Ends, purges and new starts of one id in quick succession, without waiting for answers.
    pub churn: u64,
    /// Rewinds.
    pub rewind: u64,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn draw(random: &mut Random) -> Plan {
        let tiny = random.chance(500);
        let limits = Limits {
            turn_bytes_max: Limits::default().turn_bytes_max,
            payload_bytes_max: 64 * 1024,
            history_events_max: if random.chance(80) { random.between(12, 40) } else { 50_000 },
            decisions_per_turn_max: if random.chance(30) { 2 } else { 1000 },
            lost_workers_max: if random.chance(100) { random.between(1, 3) as u32 } else { 100 },
            handler_ms_max: 600_000,
            operations_bytes_max: Limits::default().operations_bytes_max,
            inbox_events_max: if random.chance(100) { random.between(1, 4) as usize } else { 1000 },
            inbox_bytes_max: if random.chance(100) { random.between(500, 3000) as usize } else { 64 << 20 },
            resident_instances_max: if tiny { random.below(3) as usize } else { 1000 },
        };
        let entities = if random.chance(550) { random.between(1, 4) as u8 } else { 0 };
        let mut faults = Faults::draw(random);
        if entities > 0 && limits.lost_workers_max < 100 {
            // An entity whose operations are lost so often is blocked, and never ends what it has.
            faults.operations_lost = 0;
        }
        Plan {
            nodes: random.between(1, 3) as u8,
            partitions: random.between(1, 4) as u16,
            clients: random.between(1, 3) as u8,
            requests: random.between(2, 7) as u8,
            ids: random.between(1, 5) as u8,
            programs: random.between(1, 4) as u8,
            entities,
            limits,
            recovery_page: if random.chance(300) { random.between(1, 3) as usize } else { 1000 },
            commit_ms: *random.pick(&[1, 5, 20, 100]),
            read_ms: *random.pick(&[0, 2, 20, 100]),
            net_ms: *random.pick(&[1, 5, 30]),
            heal_at: random.between(2_000, 12_000),
            forget: *random.pick(&[0, 50, 300, 1000]),
            away: *random.pick(&[0, 0, 200, 1000]),
            faults,
            requests_mix: RequestsMix::draw(random, entities > 0),
        }
    }

    /// Whether acknowledged facts may be lost, so that only consistency can be judged.
    #[must_use]
    pub fn is_lossy(&self) -> bool {
        self.faults.failover > 0
    }
}

impl Faults {
    fn draw(random: &mut Random) -> Faults {
        let mut faults = Faults::default();
        if random.chance(100) {
            return faults;
        }
        let mut some = |share: u32, often: u64| {
            if random.chance(share) { random.between(1, often) as u32 } else { 0 }
        };
        faults.crash = some(350, 300);
        faults.crash_all = some(150, 120);
        faults.pause = some(300, 300);
        faults.takeover = some(350, 400);
        faults.commit_fails = some(250, 100);
        faults.commit_reply_lost = some(350, 150);
        faults.commit_torn = some(150, 60);
        faults.commit_slow = some(250, 100);
        faults.full = some(120, 100);
        faults.unavailable = some(150, 150);
        faults.grant_reply_lost = some(150, 200);
        faults.clock_jump = some(150, 200);
        faults.clock_skew = some(200, 300);
        faults.failover = some(100, 250);
        faults.result_twice = some(250, 300);
        faults.result_late = some(250, 300);
        faults.worker_survives = some(400, 1000);
        faults.worker_hangs = some(250, 300);
        faults.operations_lost = some(250, 300);
        faults.reply_lost = some(300, 200);
        faults.corrupt = some(40, 200);
        faults.turn_late = some(300, 400);
        faults.turn_twice = some(250, 300);
        faults.turn_unrun = some(250, 300);
        faults.worker_lost = some(250, 400);
        faults.not_started = some(150, 300);
        faults
    }
}

impl RequestsMix {
    fn draw(random: &mut Random, has_entities: bool) -> RequestsMix {
        let mut weight =
            |share: u32, high: u64| if random.chance(share) { random.between(1, high) } else { 0 };
        RequestsMix {
            start: 8,
            raise: weight(700, 10),
            suspend: weight(400, 4),
            cancel: weight(350, 3),
            terminate: weight(400, 3),
            purge: weight(350, 4),
            wait: weight(600, 6),
            signal: if has_entities { weight(800, 12) } else { 0 },
            delete: if has_entities { weight(300, 2) } else { 0 },
            churn: weight(200, 4),
            rewind: weight(400, 6),
        }
    }
}
