//! The same operations give the same answers from the SQLite store and the simulated one, so what the simulation
//! proves holds for both.

use bytes::Bytes;
use perdura_core::partition::{
    Batch, Envelope, EnvelopeId, HistoryRow, InstanceRecord, InstanceRow, InstanceWrite, Tail,
};
use perdura_core::{InstanceKey, PartitionId, Status, Timestamp};
use perdura_sqlite::{SqliteOptions, SqliteStore};
use perdura_store::conformance::block_on;
use perdura_store::sim::SimStore;
use perdura_store::{
    CommitLog, CommitOutcome, EndedQuery, Grant, InstanceQuery, Instances, Lookup, Rejection,
};
use std::collections::BTreeMap;

const PARTITIONS: u16 = 2;
const SEEDS: u64 = 12;
const STEPS: usize = 250;

/// SplitMix64 (Steele, Lea, Flood).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

struct Twins {
    random: Random,
    sim: SimStore,
    sqlite: SqliteStore,
    grants: Vec<Grant>,
    seen: BTreeMap<&'static str, usize>,
}

impl Twins {
    fn key(&mut self, partition: PartitionId) -> InstanceKey {
        InstanceKey::new(partition, 1 + self.random.below(8))
    }

    fn status(&mut self) -> Status {
        Status::ALL[self.random.below(7) as usize]
    }

    /// Mostly right, sometimes not.
    fn write(&mut self, partition: PartitionId) -> InstanceWrite {
        let key = self.key(partition);
        let stored = self.sim.find_now(&[Lookup::Key(key)]).remove(0);
        let (generation, branch) = (self.random.below(3) as u32, self.random.below(2) as u32);
        let end = self
            .sim
            .history_now(key, generation, branch, 0, usize::MAX)
            .last()
            .map_or(0, |row| row.first + u64::from(row.count));
        let first = if self.random.one_in(10) { self.random.below(6) } else { end };
        let count = 1 + self.random.below(3) as u32;
        let row = self.row(key, generation, branch, first + u64::from(count));
        let events = Bytes::from(vec![self.random.next() as u8; self.random.below(60) as usize]);
        let mut expected =
            stored.map(|row| Tail { generation: row.generation, branch: row.branch, events: row.tail });
        if self.random.one_in(15) {
            expected = Some(Tail { generation, branch, events: self.random.below(4) });
        }
        InstanceWrite {
            expected,
            row,
            history: Some(HistoryRow { generation, branch, first, count, events }),
            drop_generations_before: self.random.one_in(6).then_some(generation),
        }
    }

    fn row(&mut self, key: InstanceKey, generation: u32, branch: u32, tail: u64) -> InstanceRow {
        // Two keys in a hundred share an id.
        let number = if self.random.one_in(50) { 1 } else { key.number() };
        let record = InstanceRecord {
            id: format!("{}-{number}", key.partition().0),
            name: ["order", "refund"][self.random.below(2) as usize].to_owned(),
            status: self.status() as u32,
            generation,
            branch,
            tail,
            created_at: self.random.below(5) as i64,
            ..InstanceRecord::default()
        };
        InstanceRow::new(key, &record).unwrap()
    }

    fn batch(&mut self, partition: PartitionId) -> Batch {
        let purge = (0..self.random.below(3) / 2).map(|_| self.key(partition)).collect();
        let writes = (0..self.random.below(3)).map(|_| self.write(partition)).collect();
        let consumed = match self.sim.messages_now(partition, None, 1).unwrap().first() {
            Some(envelope) if self.random.one_in(2) => {
                vec![EnvelopeId { from: envelope.from, number: envelope.number }]
            }
            _ if self.random.one_in(15) => vec![EnvelopeId { from: partition, number: 3 }],
            _ => vec![],
        };
        let outgoing = (0..self.random.below(3))
            .map(|_| Envelope {
                from: partition,
                to: PartitionId(self.random.below(2) as u16),
                number: self.random.below(40),
                message: Bytes::from_static(b"\0hello"),
            })
            .collect();
        let now = Timestamp(self.random.below(1000) as i64);
        let not_before = self.random.one_in(20).then_some(Timestamp::MAX);
        Batch { now, not_before, purge, writes, consumed, outgoing }
    }

    fn step(&mut self) {
        let partition = PartitionId(self.random.below(PARTITIONS.into()) as u16);
        if self.random.one_in(12) {
            let nonce = self.random.next().into();
            let grant = self.sim.acquire_now(partition, nonce).unwrap();
            assert_eq!(block_on(self.sqlite.acquire(partition, nonce)), Ok(grant.clone()));
            // Old grants stay in use now and then.
            if !self.random.one_in(3) {
                self.grants[usize::from(partition.0)] = grant;
            }
        } else {
            let grant = self.grants[usize::from(partition.0)].clone();
            let batch = self.batch(partition);
            let sim = kind(self.sim.commit_now(&grant, batch.clone()));
            let sqlite = kind(block_on(self.sqlite.commit(&grant, batch.clone())));
            assert_eq!(sim, sqlite, "{batch:?}");
            *self.seen.entry(sim).or_default() += 1;
        }
    }

    fn compare(&mut self) {
        for partition in (0..PARTITIONS).map(PartitionId) {
            let limit = 1 + self.random.below(9) as usize;
            let after = self.random.one_in(2).then(|| self.key(partition));
            assert_eq!(
                Ok(self.sim.unfinished_now(partition, after, limit).unwrap()),
                block_on(self.sqlite.unfinished(partition, after, limit))
            );
            let after = self.random.one_in(2).then_some(EnvelopeId { from: PartitionId(0), number: 20 });
            assert_eq!(
                Ok(self.sim.messages_now(partition, after, limit).unwrap()),
                block_on(self.sqlite.messages(partition, after, limit))
            );
            let key = self.key(partition);
            let (generation, branch, from) =
                (self.random.below(3) as u32, self.random.below(2) as u32, self.random.below(9));
            let bytes_max = self.random.below(200) as usize;
            assert_eq!(
                Ok(self.sim.history_now(key, generation, branch, from, bytes_max)),
                block_on(self.sqlite.history(key, generation, branch, from, bytes_max))
            );
            let query = self.query(partition);
            assert_eq!(
                Ok(self.sim.query_now(&query, limit)),
                block_on(self.sqlite.query(query.clone(), limit)),
                "{query:?}"
            );
            let ended = EndedQuery {
                statuses: query.statuses,
                completed_from: query.created_from,
                completed_before: query.created_before,
                after: None,
            };
            assert_eq!(
                block_on(self.sim.ended(ended.clone(), limit)),
                block_on(self.sqlite.ended(ended.clone(), limit)),
                "{ended:?}"
            );
        }
    }

    fn query(&mut self, partition: PartitionId) -> InstanceQuery {
        let statuses = (0..self.random.below(3)).map(|_| self.status()).collect();
        let mut maybe = |n: u64| self.random.one_in(n);
        let (name, prefix, from, before, after) = (maybe(3), maybe(3), maybe(3), maybe(3), maybe(3));
        InstanceQuery {
            kind: perdura_store::InstanceKind::Orchestration,
            statuses,
            name: name.then(|| "order".to_owned()),
            id_prefix: prefix.then(|| format!("{}-", partition.0)),
            created_from: from.then_some(Timestamp(2)),
            created_before: before.then_some(Timestamp(4)),
            after: after.then(|| (Timestamp(2), self.key(partition))),
        }
    }
}

/// An outcome without its texts and times, which may differ.
fn kind(outcome: CommitOutcome) -> &'static str {
    match outcome {
        CommitOutcome::Committed => "committed",
        CommitOutcome::Fenced => "fenced",
        CommitOutcome::Rejected(Rejection::Conflict { .. }) => "conflict",
        CommitOutcome::Rejected(Rejection::TooEarly { .. }) => "too early",
        CommitOutcome::Rejected(_) => "rejected",
        CommitOutcome::Unknown(_) => "unknown",
    }
}

#[test]
fn the_simulated_store_and_the_real_one_answer_alike() {
    for seed in 0..SEEDS {
        let place = tempfile::tempdir().unwrap();
        let options = SqliteOptions { partitions: PARTITIONS, ..SqliteOptions::default() };
        let sqlite = SqliteStore::open(place.path().join("hub"), options).unwrap();
        let sim = SimStore::new(PARTITIONS);
        let grants = (0..PARTITIONS).map(|partition| {
            let grant = sim.acquire_now(PartitionId(partition), 1).unwrap();
            assert_eq!(block_on(sqlite.acquire(PartitionId(partition), 1)), Ok(grant.clone()));
            grant
        });
        let grants = grants.collect();
        let mut twins = Twins { random: Random(seed), sim, sqlite, grants, seen: BTreeMap::new() };
        for _ in 0..STEPS {
            twins.step();
            twins.compare();
        }
        // A generator that only ever conflicts would compare nothing.
        for outcome in ["committed", "fenced", "conflict", "too early"] {
            assert!(twins.seen.contains_key(outcome), "seed {seed} has no {outcome}: {:?}", twins.seen);
        }
        assert!(twins.seen["committed"] > STEPS / 5, "seed {seed}: {:?}", twins.seen);
    }
}
