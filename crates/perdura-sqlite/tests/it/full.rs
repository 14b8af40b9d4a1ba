//! A full disk rejects the batch, whole, and the hub goes on when there is room again.

use crate::fixture::{ZERO, acquire, all, commit, insert, inserts, open};
use crate::small_disk::SmallDisk;
use perdura_core::InstanceKey;
use perdura_core::partition::Batch;
use perdura_sqlite::{SqliteOptions, SqliteStore};
use perdura_store::{CommitOutcome, Grant, Rejection};

const BATCH: u64 = 20;

/// Commits batches until one is rejected; returns how many went in.
fn fill(store: &SqliteStore, grant: &Grant) -> u64 {
    for batch in 0.. {
        let first = batch * BATCH + 1;
        match commit(store, grant, inserts(first..first + BATCH, 3000)) {
            CommitOutcome::Committed => {}
            CommitOutcome::Rejected(Rejection::Full) => return batch,
            other => panic!("{other:?}"),
        }
    }
    unreachable!("the disk never fills")
}

fn a_full_disk_tears_nothing(store: &SqliteStore) -> (Grant, u64) {
    let grant = acquire(store);
    let batches = fill(store, &grant);
    assert!(batches > 0, "not one batch fits");
    assert_eq!(all(store).len() as u64, batches * BATCH);
    // Again and again: each try must leave nothing behind.
    for _ in 0..3 {
        assert_eq!(
            commit(store, &grant, inserts(900_000..900_000 + 40, 3000)),
            CommitOutcome::Rejected(Rejection::Full)
        );
        assert_eq!(all(store).len() as u64, batches * BATCH);
    }
    (grant, batches)
}

#[test]
fn a_file_at_its_limit_tears_no_batch_and_takes_more_after_a_purge() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("hub");
    let options = SqliteOptions { file_bytes_max: Some(512 << 10), ..SqliteOptions::default() };
    let store = SqliteStore::open(&path, options).unwrap();
    let (grant, batches) = a_full_disk_tears_nothing(&store);
    let purge = (1..=BATCH).map(|number| InstanceKey::new(ZERO, number)).collect();
    assert_eq!(commit(&store, &grant, Batch { purge, ..Batch::default() }), CommitOutcome::Committed);
    let again = Batch { writes: vec![insert(1_000_000, 3000)], ..Batch::default() };
    assert_eq!(commit(&store, &grant, again), CommitOutcome::Committed);
    drop(store);
    let store = open(&path);
    assert_eq!(all(&store).len() as u64, (batches - 1) * BATCH + 1);
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn a_full_file_system_tears_no_batch_and_the_hub_goes_on_when_there_is_room() {
    let place = tempfile::tempdir().unwrap();
    let test = "full::a_full_file_system_tears_no_batch_and_the_hub_goes_on_when_there_is_room";
    let Some(disk) = SmallDisk::mount(place.path().join("disk"), 1 << 20, test) else { return };
    disk.take(300 << 10);
    let path = disk.place.join("hub");
    let store = open(&path);
    let (grant, batches) = a_full_disk_tears_nothing(&store);
    disk.free();
    assert_eq!(commit(&store, &grant, inserts(800_000..800_010, 3000)), CommitOutcome::Committed);
    drop(store);
    let store = open(&path);
    assert_eq!(all(&store).len() as u64, batches * BATCH + 10);
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn a_value_that_sqlite_does_not_take_is_said_to_be_its_instances() {
    let place = tempfile::tempdir().unwrap();
    let store = open(&place.path().join("hub"));
    let grant = acquire(&store);
    let mut large = insert(2, 0);
    if let Some(history) = &mut large.history {
        history.events = vec![0; 1_000_000_001].into();
    }
    let batch = Batch { writes: vec![insert(1, 10), large], ..Batch::default() };
    let CommitOutcome::Rejected(rejection) = commit(&store, &grant, batch) else { panic!("it was taken") };
    assert_eq!(rejection.instance().map(|id| id.as_str()), Some("instance-2"), "{rejection}");
}
