use perdura_store::conformance::{PARTITIONS, Place};
use perdura_store::sim::SimStore;
use perdura_store::{BoxFuture, Store};

pub struct InMemory(pub SimStore);

impl Place for InMemory {
    fn open(&self) -> BoxFuture<'_, Box<dyn Store>> {
        Box::pin(async { Box::new(self.0.clone()) as Box<dyn Store> })
    }
}

pub fn fresh() -> InMemory {
    InMemory(SimStore::new(PARTITIONS))
}

perdura_store::conformance_tests!(fresh);
