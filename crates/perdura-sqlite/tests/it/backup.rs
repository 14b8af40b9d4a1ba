use crate::fixture::{acquire, all, commit, insert, inserts, open};
use perdura_core::partition::Batch;
use perdura_store::conformance::block_on;
use perdura_store::{CommitOutcome, Store, StoreError};
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a_backup_while_batches_are_committed_has_whole_batches() {
    let place = tempfile::tempdir().unwrap();
    let store = open(&place.path().join("hub"));
    let grant = acquire(&store);
    commit(&store, &grant, inserts(1..=500, 1000));
    let stop = AtomicBool::new(false);
    let target = place.path().join("copy");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = 501;
            while !stop.load(Ordering::Relaxed) {
                let pair = Batch { writes: vec![insert(next, 10), insert(next + 1, 10)], ..Batch::default() };
                assert_eq!(commit(&store, &grant, pair), CommitOutcome::Committed);
                next += 2;
            }
        });
        let outcome = block_on(store.backup(&target));
        stop.store(true, Ordering::Relaxed);
        outcome.unwrap();
    });
    let copy = open(&target);
    let rows = all(&copy);
    assert!(rows.len() >= 500 && rows.len().is_multiple_of(2), "{} rows", rows.len());
    assert_eq!(copy.check().unwrap(), Vec::<String>::new());
    assert!(acquire(&copy).epoch > grant.epoch);
}

#[test]
fn a_backup_never_overwrites() {
    let place = tempfile::tempdir().unwrap();
    let store = open(&place.path().join("hub"));
    let target = place.path().join("copy");
    std::fs::write(&target, "precious").unwrap();
    let error = block_on(store.backup(&target)).unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
    assert_eq!(std::fs::read(&target).unwrap(), b"precious");
}

#[test]
fn a_backup_to_nowhere_is_an_error_that_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let store = open(&place.path().join("hub"));
    let error = block_on(store.backup(&place.path().join("no/such/copy"))).unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
}

#[test]
fn of_two_backups_to_one_place_one_is_made_and_the_other_says_so() {
    let place = tempfile::tempdir().unwrap();
    let store = open(&place.path().join("hub"));
    let grant = acquire(&store);
    commit(&store, &grant, inserts(1..=2000, 1000));
    let target = place.path().join("copy");
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let backups: Vec<_> = (0..4).map(|_| scope.spawn(|| block_on(store.backup(&target)))).collect();
        backups.into_iter().map(|backup| backup.join().unwrap()).collect()
    });
    let refused: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 3);
    for error in refused {
        let error = error.to_string();
        assert!(error.contains("exists already") || error.contains("another backup"), "{error}");
    }
    assert_eq!(all(&open(&target)).len(), 2000);
    let left = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("partial")).collect();
    assert!(left.is_empty(), "{left:?}");
}
