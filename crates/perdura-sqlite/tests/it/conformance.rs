use perdura_sqlite::{SqliteOptions, SqliteStore};
use perdura_store::conformance::{PARTITIONS, Place};
use perdura_store::{BoxFuture, Store};
use tempfile::TempDir;

struct Directory(TempDir);

impl Place for Directory {
    fn open(&self) -> BoxFuture<'_, Box<dyn Store>> {
        Box::pin(async {
            let options = SqliteOptions { partitions: PARTITIONS, ..SqliteOptions::default() };
            let store = SqliteStore::open(self.0.path().join("hub"), options).expect("the hub opens");
            Box::new(store) as Box<dyn Store>
        })
    }
}

fn fresh() -> Directory {
    Directory(tempfile::tempdir().expect("a directory"))
}

perdura_store::conformance_tests!(fresh);
