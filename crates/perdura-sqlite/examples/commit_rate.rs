//! How many turns a second the store commits, by turns per batch, beside what the disk can do.
//!
//! A turn appends about 250 bytes of history and writes an instance row with a record of about 300 bytes. An instance
//! lives for six turns, then a new one takes its place. Run with `--release`; the argument is the directory to use.

use bytes::Bytes;
use perdura_core::partition::{Batch, HistoryRow, InstanceRow, InstanceWrite, Tail};
use perdura_core::{InstanceId, InstanceKey, PartitionId, Status};
use perdura_sqlite::{SqliteOptions, SqliteStore};
use perdura_store::conformance::block_on;
use perdura_store::{CommitLog, CommitOutcome, Grant, Instances, Lookup};
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const TURNS_PER_INSTANCE: u64 = 6;
const RUN: Duration = Duration::from_secs(3);

fn main() -> Result<(), Box<dyn Error>> {
    let parent = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let place = tempfile::tempdir_in(parent)?;
    let bare = bare_syncs(place.path())?;
    println!("append 600 B + fdatasync: {bare:.0} per second");
    for size in [1, 10, 100, 500] {
        let path = place.path().join(format!("{size}.hub"));
        let mut load = Load::open(&path, size)?;
        let (rate, mut waits) = load.run()?;
        waits.sort_unstable();
        let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!(
            "{size:>4} turns per batch: {rate:>7.0} turns/s, commit p50 {:.2} ms, p99 {:.2} ms, max {:.1} ms; \
             {:.2} of bare syncs; file {} MiB, log {} MiB",
            at(0.5),
            at(0.99),
            at(1.0),
            rate / size as f64 / bare,
            mib(&path)?,
            mib(&place.path().join(format!("{size}.hub-wal")))?,
        );
        if size == 500 {
            println!("find by key: {:.1} us", load.read()?);
        }
    }
    Ok(())
}

fn mib(path: &Path) -> std::io::Result<u64> {
    Ok(std::fs::metadata(path)?.len() >> 20)
}

fn bare_syncs(place: &Path) -> std::io::Result<f64> {
    let mut file = std::fs::File::create(place.join("bare"))?;
    let (begin, mut count) = (Instant::now(), 0_u32);
    while begin.elapsed() < RUN {
        file.write_all(&[7; 600])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}

struct Load {
    store: SqliteStore,
    grant: Grant,
    /// The instances in flight: key and turns so far.
    live: Vec<(InstanceKey, u64)>,
    next: u64,
    record: Bytes,
    events: Bytes,
}

impl Load {
    fn open(path: &Path, size: usize) -> Result<Load, Box<dyn Error>> {
        let store = SqliteStore::open(path, SqliteOptions::default())?;
        let grant = block_on(store.acquire(PartitionId(0), 1))?;
        let mut load = Load {
            store,
            grant,
            live: Vec::new(),
            next: 1,
            record: vec![3; 300].into(),
            events: vec![5; 250].into(),
        };
        // Spread over their lives, as in a real load.
        load.live = (0..size as u64).map(|i| (load.fresh(), i % TURNS_PER_INSTANCE)).collect();
        let writes = load.live.iter().filter(|(_, turns)| *turns > 0).map(|(key, turns)| InstanceWrite {
            expected: None,
            history: Some(load.history(0, *turns)),
            row: load.row(*key, *turns),
            drop_generations_before: None,
        });
        let writes = writes.collect();
        load.commit(Batch { now: load.store.now(), writes, ..Batch::default() })?;
        Ok(load)
    }

    fn fresh(&mut self) -> InstanceKey {
        self.next += 1;
        InstanceKey::new(PartitionId(0), self.next)
    }

    fn history(&self, first: u64, count: u64) -> HistoryRow {
        HistoryRow { generation: 1, branch: 0, first, count: count as u32, events: self.events.clone() }
    }

    fn row(&self, key: InstanceKey, turns: u64) -> InstanceRow {
        let now = self.store.now();
        let ended = turns == TURNS_PER_INSTANCE;
        // Ids of users are in no order.
        let id = format!("order-{:016x}", key.0.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        InstanceRow {
            key,
            id: InstanceId::new(&id).expect("a good id"),
            name: "order".to_owned(),
            status: if ended { Status::Completed } else { Status::Running },
            created_at: now,
            updated_at: now,
            completed_at: ended.then_some(now),
            generation: 1,
            branch: 0,
            tail: turns,
            record: self.record.clone(),
            damage: None,
        }
    }

    fn turn(&mut self, index: usize) -> InstanceWrite {
        if self.live[index].1 == TURNS_PER_INSTANCE {
            self.live[index] = (self.fresh(), 0);
        }
        self.live[index].1 += 1;
        let (key, turns) = self.live[index];
        let mut row = self.row(key, turns);
        row.created_at = perdura_core::Timestamp(1_000_000 + key.number() as i64);
        InstanceWrite {
            expected: (turns > 1).then_some(Tail { generation: 1, branch: 0, events: turns - 1 }),
            row,
            history: Some(self.history(turns - 1, 1)),
            drop_generations_before: None,
        }
    }

    fn commit(&self, batch: Batch) -> Result<(), Box<dyn Error>> {
        match block_on(self.store.commit(&self.grant, batch)) {
            CommitOutcome::Committed => Ok(()),
            other => Err(format!("{other:?}").into()),
        }
    }

    fn run(&mut self) -> Result<(f64, Vec<Duration>), Box<dyn Error>> {
        let (begin, mut turns, mut waits) = (Instant::now(), 0_usize, Vec::new());
        while begin.elapsed() < RUN {
            let writes: Vec<_> = (0..self.live.len()).map(|index| self.turn(index)).collect();
            turns += writes.len();
            let sent = Instant::now();
            self.commit(Batch { now: self.store.now(), writes, ..Batch::default() })?;
            waits.push(sent.elapsed());
        }
        Ok((turns as f64 / begin.elapsed().as_secs_f64(), waits))
    }

    /// Microseconds that a read by key takes.
    fn read(&self) -> Result<f64, Box<dyn Error>> {
        const READS: u64 = 20_000;
        let begin = Instant::now();
        for i in 0..READS {
            let key = InstanceKey::new(PartitionId(0), 2 + i * 7919 % (self.next - 2));
            block_on(self.store.find(vec![Lookup::Key(key)]))?;
        }
        Ok(begin.elapsed().as_secs_f64() * 1e6 / READS as f64)
    }
}
