//! How long a hub with many instances takes to open and to read what has not ended. The arguments are a directory and
//! how many instances; one in ten has not ended. Run with `--release`.

use perdura_core::partition::{Batch, HistoryRow, InstanceRow, InstanceWrite};
use perdura_core::{InstanceId, InstanceKey, PartitionId, Status, Timestamp};
use perdura_sqlite::{SqliteOptions, SqliteStore};
use perdura_store::conformance::block_on;
use perdura_store::{CommitLog, CommitOutcome};
use std::error::Error;
use std::time::Instant;

const BATCH: u64 = 5_000;
const PAGE: usize = 1_000;
const ZERO: PartitionId = PartitionId(0);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let place = tempfile::tempdir_in(arguments.next().unwrap_or_else(|| ".".to_owned()))?;
    let instances: u64 = arguments.next().map_or(Ok(1_000_000), |count| count.parse())?;
    let path = place.path().join("hub");

    let store = SqliteStore::open(&path, SqliteOptions::default())?;
    let grant = block_on(store.acquire(ZERO, 1))?;
    let begin = Instant::now();
    for first in (1..=instances).step_by(BATCH as usize) {
        let writes = (first..(first + BATCH).min(instances + 1)).map(instance).collect::<Result<_, _>>()?;
        let outcome = block_on(store.commit(&grant, Batch { writes, ..Batch::default() }));
        if outcome != CommitOutcome::Committed {
            return Err(format!("{outcome:?}").into());
        }
    }
    println!("written in {:.1?}, file {} MiB", begin.elapsed(), std::fs::metadata(&path)?.len() >> 20);
    let begin = Instant::now();
    drop(store);
    println!("closed in {:.1?}", begin.elapsed());

    let begin = Instant::now();
    let store = SqliteStore::open(&path, SqliteOptions::default())?;
    block_on(store.acquire(ZERO, 2))?;
    println!("opened and acquired in {:.1?}", begin.elapsed());
    let begin = Instant::now();
    let (mut after, mut unfinished) = (None, 0);
    loop {
        let page = block_on(store.unfinished(ZERO, after, PAGE))?;
        let Some(last) = page.last() else { break };
        after = Some(last.key);
        unfinished += page.len();
    }
    println!("{unfinished} that have not ended read in {:.1?}", begin.elapsed());
    Ok(())
}

fn instance(number: u64) -> Result<InstanceWrite, Box<dyn Error>> {
    let ended = !number.is_multiple_of(10);
    let id = format!("order-{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let row = InstanceRow {
        key: InstanceKey::new(ZERO, number),
        id: InstanceId::new(&id)?,
        name: "order".to_owned(),
        status: if ended { Status::Completed } else { Status::Running },
        created_at: Timestamp(number as i64),
        updated_at: Timestamp(number as i64),
        completed_at: None,
        generation: 1,
        branch: 0,
        tail: 6,
        record: vec![3; 300].into(),
        damage: None,
    };
    let history = HistoryRow { generation: 1, branch: 0, first: 0, count: 6, events: vec![5; 250].into() };
    Ok(InstanceWrite { expected: None, row, history: Some(history), drop_generations_before: None })
}
