//! Commits that fail, and commits of which nobody knows whether they failed.

use perdura::prelude::*;
use perdura::{ClientError, EngineError, RequestError, StartOutcome, Status};
use perdura_core::partition::{Batch, Envelope, EnvelopeId, HistoryRow, InstanceRow, InstanceWrite};
use perdura_core::{InstanceId, InstanceKey, PartitionId, Timestamp};
use perdura_store::sim::SimStore;
use perdura_store::{
    BoxFuture, CommitLog, CommitOutcome, EndedQuery, Grant, InstanceQuery, Instances, Lookup, Rejection,
    Store, StoreError,
};
use std::collections::VecDeque;
use std::future::ready;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// What happens to a commit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Good,
    /// It is written, and the answer is lost.
    AppliedUnknown,
    /// It is not written, and the answer is lost.
    LostUnknown,
    Rejected,
    /// Somebody else took the partition over just before.
    TakenOver,
    /// It is written, the answer is lost, and somebody else takes the partition over.
    AppliedTakenOver,
}

/// A simulated store whose commits meet their fates in order; after the last all is good.
#[derive(Clone)]
struct Doubtful {
    store: SimStore,
    fates: Arc<Mutex<VecDeque<Fate>>>,
    unavailable: Arc<AtomicBool>,
    grants: Arc<AtomicU32>,
    /// Writes that the store does not take.
    refuses: Arc<Mutex<Option<Refuses>>>,
}

type Refuses = fn(&InstanceWrite) -> bool;

impl Doubtful {
    fn new(fates: &[Fate]) -> Doubtful {
        Doubtful {
            store: SimStore::new(1),
            fates: Arc::new(Mutex::new(fates.iter().copied().collect())),
            unavailable: Arc::default(),
            grants: Arc::default(),
            refuses: Arc::default(),
        }
    }

    /// Events that wait for an instance.
    fn inbox(&self, id: &str) -> usize {
        let id = perdura::InstanceId::new(id).unwrap();
        let row = self.store.find_now(&[Lookup::Id(id)]).pop().flatten().unwrap();
        row.open().unwrap().inbox_events().unwrap().len()
    }

    async fn engine(&self) -> Engine {
        Engine::store(Arc::new(self.clone()))
            .register(twice)
            .register(count)
            .entity::<Tally>()
            .register(large)
            .register(holds)
            .register(hold)
            .register(loads)
            .start()
            .await
            .unwrap()
    }
}

impl CommitLog for Doubtful {
    fn acquire(&self, partition: PartitionId, nonce: u128) -> BoxFuture<'_, Result<Grant, StoreError>> {
        if self.unavailable.load(Ordering::SeqCst) {
            let error =
                StoreError::Unavailable { store: "doubtful".into(), why: "no room on the disk".into() };
            return Box::pin(ready(Err(error)));
        }
        self.grants.fetch_add(1, Ordering::SeqCst);
        self.store.acquire(partition, nonce)
    }

    fn commit(&self, grant: &Grant, batch: Batch) -> BoxFuture<'_, CommitOutcome> {
        self.now();
        if let Some(refuses) = *self.refuses.lock().unwrap()
            && let Some(write) = batch.writes.iter().find(|write| refuses(write))
        {
            let (instance, what) = (Some(write.row.id.clone()), "too big".to_owned());
            return Box::pin(ready(CommitOutcome::Rejected(Rejection::Failed { instance, what })));
        }
        let fate = self.fates.lock().unwrap().pop_front().unwrap_or(Fate::Good);
        let unknown = || CommitOutcome::Unknown("the answer was lost".into());
        let outcome = match fate {
            Fate::Good => self.store.commit_now(grant, batch),
            Fate::AppliedUnknown => {
                assert_eq!(self.store.commit_now(grant, batch), CommitOutcome::Committed);
                unknown()
            }
            Fate::LostUnknown => unknown(),
            Fate::AppliedTakenOver => {
                assert_eq!(self.store.commit_now(grant, batch), CommitOutcome::Committed);
                self.store.acquire_now(grant.partition, grant.nonce ^ 1).unwrap();
                unknown()
            }
            Fate::Rejected => CommitOutcome::Rejected(Rejection::Full),
            Fate::TakenOver => {
                self.store.acquire_now(grant.partition, grant.nonce ^ 1).unwrap();
                self.store.commit_now(grant, batch)
            }
        };
        Box::pin(ready(outcome))
    }

    fn unfinished(
        &self,
        partition: PartitionId,
        after: Option<InstanceKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InstanceRow>, StoreError>> {
        self.store.unfinished(partition, after, limit)
    }

    fn messages(
        &self,
        partition: PartitionId,
        after: Option<EnvelopeId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Envelope>, StoreError>> {
        self.store.messages(partition, after, limit)
    }

    fn now(&self) -> Timestamp {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        self.store.set_clock(Timestamp(wall as i64));
        self.store.now()
    }
}

impl Instances for Doubtful {
    fn find(&self, wanted: Vec<Lookup>) -> BoxFuture<'_, Result<Vec<Option<InstanceRow>>, StoreError>> {
        self.store.find(wanted)
    }

    fn history(
        &self,
        key: InstanceKey,
        generation: u32,
        branch: u32,
        from: u64,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<HistoryRow>, StoreError>> {
        self.store.history(key, generation, branch, from, bytes_max)
    }

    fn query(
        &self,
        query: InstanceQuery,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InstanceRow>, StoreError>> {
        self.store.query(query, limit)
    }

    fn ended(
        &self,
        query: EndedQuery,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Timestamp, InstanceId)>, StoreError>> {
        self.store.ended(query, limit)
    }
}

impl Store for Doubtful {
    fn partitions(&self) -> u16 {
        self.store.partitions()
    }

    fn backup<'a>(&'a self, to: &'a Path) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.backup(to)
    }
}

#[activity]
async fn count(ctx: ActivityContext) -> Result<u32> {
    Ok(ctx.delivery())
}

#[orchestration]
async fn twice(ctx: Orchestration) -> Result<Vec<u32>> {
    Ok(vec![ctx.call(count, ()).await?, ctx.call(count, ()).await?])
}

#[activity]
async fn large() -> Result<String> {
    Ok("x".repeat(10_000))
}

/// Ends with something large.
#[orchestration]
async fn loads(ctx: Orchestration) -> Result<String> {
    ctx.call(large, ()).await
}

/// Waits until an instance is set aside; gives the reason.
async fn set_aside(engine: &Engine, id: &str) -> String {
    loop {
        let error = engine.instance(id).raise("e", &()).await.err();
        if let Some(ClientError::Engine(EngineError::Refused(refusal))) = error
            && matches!(refusal, RequestError::SetAside { .. } | RequestError::Damaged { .. })
        {
            return refusal.to_string();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_cannot_be_written_is_set_aside_and_the_others_go_on() {
    let store = Doubtful::new(&[]);
    *store.refuses.lock().unwrap() = Some(|write| {
        let history = write.history.as_ref().map_or(0, |row| row.events.len());
        write.row.record.len() + history > 5000
    });
    let engine = store.engine().await;
    let x = engine.start(loads, ()).id("x").await.unwrap();
    let why = set_aside(&engine, "x").await;
    assert!(why.contains("too big") && why.contains("terminate"), "{why}");
    let error = x.wait().await.unwrap_err().to_string();
    assert!(error.contains("set aside"), "{error}");
    engine.start(twice, ()).id("y").await.unwrap().wait().await.unwrap();
    let state = engine.instance("x").get().await.unwrap().unwrap();
    assert!(state.blocked().unwrap().contains("too big"), "{state:?}");
    assert_eq!(state.status(), Status::Running);
    engine.instance("x").terminate("it is too large", false).await.unwrap();
    assert_eq!(engine.instance("x").get().await.unwrap().unwrap().status(), Status::Terminated);
    engine.instance("x").purge().await.unwrap();
    // The id may be used again.
    *store.refuses.lock().unwrap() = None;
    engine.start(loads, ()).id("x").await.unwrap().wait().await.unwrap();
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_of_which_nothing_can_be_written_can_be_purged_and_the_others_go_on() {
    let store = Doubtful::new(&[]);
    let engine = store.engine().await;
    let later = Timestamp(store.now().0 + 3_600_000);
    let _ = engine.start(twice, ()).id("x").at(later).await.unwrap();
    *store.refuses.lock().unwrap() = Some(|write| write.row.id.as_str() == "x");
    let _ = engine.instance("x").suspend("it cannot be written").await;
    let why = set_aside(&engine, "x").await;
    assert!(why.contains("too big"), "{why}");
    engine.start(twice, ()).id("y").await.unwrap().wait().await.unwrap();
    engine.instance("x").purge().await.unwrap();
    *store.refuses.lock().unwrap() = None;
    engine.start(twice, ()).id("x").await.unwrap().wait().await.unwrap();
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_survives_every_fate_of_every_commit() {
    for fate in [Fate::AppliedUnknown, Fate::LostUnknown, Fate::Rejected, Fate::TakenOver] {
        for at in 0..4 {
            let mut fates = vec![Fate::Good; at];
            fates.push(fate);
            let store = Doubtful::new(&fates);
            let engine = store.engine().await;
            let started = engine.start(twice, ()).id("x").await.unwrap();
            assert_eq!(started.outcome(), StartOutcome::Created, "{fate:?} at commit {at}");
            let deliveries = started.wait().await.unwrap();
            assert!(
                deliveries.iter().all(|count| (1..=2).contains(count)),
                "{fate:?} at {at}: {deliveries:?}"
            );
            engine.shutdown().await;
            assert_eq!(store.store.contents().instances.len(), 1, "{fate:?} at commit {at}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_unknown_fate_is_reported_and_not_sent_twice() {
    for fate in [Fate::AppliedUnknown, Fate::LostUnknown] {
        let store = Doubtful::new(&[]);
        let engine = store.engine().await;
        engine.start(twice, ()).id("x").await.unwrap().wait().await.unwrap();
        let later = Timestamp(store.now().0 + 3_600_000);
        let _ = engine.start(twice, ()).id("y").at(later).await.unwrap();
        store.fates.lock().unwrap().push_back(fate);
        let error = engine.instance("y").raise("e", &1).await.unwrap_err();
        assert!(matches!(error, ClientError::Engine(EngineError::OutcomeUnknown { .. })), "{error}");
        // It is there at most once, and the next one is certain.
        engine.instance("y").raise("e", &2).await.unwrap();
        let waiting = store.inbox("y");
        assert_eq!(waiting, if fate == Fate::AppliedUnknown { 3 } else { 2 });
        engine.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_is_an_error_for_callers_and_not_the_end() {
    let store = Doubtful::new(&[]);
    let engine = store.engine().await;
    store.unavailable.store(true, Ordering::SeqCst);
    store.fates.lock().unwrap().push_back(Fate::Rejected);
    let error = engine.start(twice, ()).id("x").await.unwrap_err().to_string();
    assert!(error.contains("no room") || error.contains("storage is full"), "{error}");
    store.unavailable.store(false, Ordering::SeqCst);
    // It comes back by itself.
    let started = loop {
        match engine.start(twice, ()).id("y").await {
            Ok(started) => break started,
            Err(ClientError::Engine(
                EngineError::Unavailable { .. } | EngineError::OutcomeUnknown { .. },
            )) => {
                tokio::task::yield_now().await;
            }
            Err(other) => panic!("{other}"),
        }
    };
    started.wait().await.unwrap();
    assert_eq!(engine.instance("y").get().await.unwrap().unwrap().status(), Status::Completed);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_whose_partition_is_lost_says_so_when_asked_why_it_waits() {
    let store = Doubtful::new(&[]);
    let engine = store.engine().await;
    let _ = engine.start(holds, ()).id("x").at(Timestamp(store.now().0 + 3_600_000)).await.unwrap();
    let said = async || {
        let waits = engine.instance("x").why().await.unwrap().unwrap();
        waits.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(said().await[0].starts_with("waits for its start at"));
    store.unavailable.store(true, Ordering::SeqCst);
    store.fates.lock().unwrap().push_back(Fate::TakenOver);
    engine.start(twice, ()).id("y").await.unwrap_err();
    let lost = said().await;
    let expected =
        "waits for an owner of its partition; the engine, which takes it again by itself; it was lost: ";
    assert!(lost[0].starts_with(expected) && lost[0].contains("no room on the disk"), "{lost:?}");
    assert!(lost[1].starts_with("waits for its start at"), "{lost:?}");
    store.unavailable.store(false, Ordering::SeqCst);
    while said().await[0].starts_with(expected) {
        tokio::task::yield_now().await;
    }
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_outlives_a_lost_grant() {
    let store = Doubtful::new(&[]);
    let engine = store.engine().await;
    let at = Timestamp(store.now().0 + 300);
    let started = engine.start(twice, ()).id("x").at(at).await.unwrap();
    let waiting = tokio::spawn(async move { started.wait().await });
    let grants = store.grants.load(Ordering::SeqCst);
    store.fates.lock().unwrap().push_back(Fate::AppliedUnknown);
    let _ = engine.instance("x").suspend("to lose a commit").await;
    engine.instance("x").resume("and to go on").await.unwrap();
    assert!(store.grants.load(Ordering::SeqCst) > grants);
    assert_eq!(waiting.await.unwrap().unwrap().len(), 2);
    engine.shutdown().await;
}

static HELD: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(0);
static HOLDS: AtomicU32 = AtomicU32::new(0);

#[activity(at_most_once)]
async fn hold() -> Result<u32> {
    let before = HOLDS.fetch_add(1, Ordering::SeqCst);
    HELD.acquire().await.unwrap().forget();
    Ok(before)
}

#[orchestration]
async fn holds(ctx: Orchestration) -> Result<u32> {
    ctx.call(hold, ()).await
}

/// The process is the same, so it is known what became of its attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_activity_that_runs_at_most_once_goes_on_when_the_grant_is_lost_and_its_result_counts() {
    let store = Doubtful::new(&[]);
    let engine = store.engine().await;
    let started = engine.start(holds, ()).id("x").await.unwrap();
    while HOLDS.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let grants = store.grants.load(Ordering::SeqCst);
    store.fates.lock().unwrap().push_back(Fate::LostUnknown);
    let _ = engine.instance("x").raise("to lose a commit", &()).await;
    while store.grants.load(Ordering::SeqCst) == grants {
        tokio::task::yield_now().await;
    }
    HELD.add_permits(1);
    assert_eq!(started.wait().await.unwrap(), 0);
    assert_eq!(HOLDS.load(Ordering::SeqCst), 1);
    engine.shutdown().await;
}

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Tally {
    seen: Vec<u64>,
}

#[entity]
impl Tally {
    pub fn see(&mut self, number: u64) -> Result<()> {
        self.seen.push(number);
        Ok(())
    }

    pub fn seen(&self) -> Result<Vec<u64>> {
        Ok(self.seen.clone())
    }
}

/// A caller need not send a signal again: the engine does, and takes it once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_is_run_once_whatever_becomes_of_its_commit() {
    const SENDERS: u64 = 20;
    for fate in [Fate::AppliedUnknown, Fate::LostUnknown, Fate::Rejected, Fate::TakenOver] {
        for at in 0..5 {
            let mut fates = vec![Fate::Good; at];
            fates.push(fate);
            let store = Doubtful::new(&fates);
            let engine = store.engine().await;
            let send = |sender: u64| {
                let client = engine.client();
                async move {
                    for number in 0..5 {
                        client.signal::<Tally>("t").see(sender * 100 + number).await.unwrap();
                    }
                }
            };
            futures_util::future::join_all((0..SENDERS).map(send)).await;
            engine.shutdown().await;
            let engine = store.engine().await;
            let tally = engine.entity::<Tally>("t");
            while tally.get().await.unwrap().unwrap().backlog > 0 {
                tokio::task::yield_now().await;
            }
            let seen = tally.read().await.unwrap().unwrap().seen;
            assert_eq!(seen.len() as u64, SENDERS * 5, "{fate:?} at commit {at}: {seen:?}");
            for sender in 0..SENDERS {
                let of_sender: Vec<u64> =
                    seen.iter().filter(|n| **n / 100 == sender).map(|n| n % 100).collect();
                assert_eq!(of_sender, [0, 1, 2, 3, 4], "{fate:?} at commit {at}, sender {sender}");
            }
            engine.shutdown().await;
        }
    }
}

/// The other process may have run it, and its entity may be gone, and with it what it knew of the signal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_of_unknown_fate_is_not_sent_again_after_another_owner() {
    let store = Doubtful::new(&[]);
    let engine = store.engine().await;
    store.fates.lock().unwrap().push_back(Fate::AppliedTakenOver);
    let error = engine.signal::<Tally>("t").see(1).await.unwrap_err();
    assert!(matches!(error, ClientError::Engine(EngineError::OutcomeUnknown { .. })), "{error}");
    store.fates.lock().unwrap().push_back(Fate::AppliedTakenOver);
    engine.signal::<Tally>("t").see(2).request_id("two").await.unwrap();
    let tally = engine.entity::<Tally>("t");
    while tally.get().await.unwrap().unwrap().backlog > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(tally.read().await.unwrap().unwrap().seen, [1, 2]);
    engine.shutdown().await;
}
