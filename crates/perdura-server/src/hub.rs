//! Task hubs: each a store file with an engine of its own, opened when somebody first names it.

use crate::hub_name::HubName;
use crate::remote::{RemoteActivities, RemoteEntities, RemoteOrchestrations};
use crate::work_items::{Board, Ending};
use perdura_core::delivery::Delivery;
use perdura_core::{Limits, Timestamp};
use perdura_engine::{Client, Engine, EngineError, EngineOptions, Hosts, Retention};
use perdura_sqlite::{SqliteOptions, SqliteStore};
use perdura_store::{Store, StoreError};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::RwLock;
use tokio::task::AbortHandle;

/// Why a hub cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HubError {
    /// Its file cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its engine did not start or answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There are as many as there may be.
    #[error("this server serves {limit} task hubs already; raise --hubs-max to have more")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// There is none with this name, and it is not to be made.
    #[error("there is no task hub {name:?}")]
    NotFound {
        /// The name.
        name: String,
    },
    /// The server is about to end.
    #[error("the server is shutting down; connect again later")]
    Closing,
    /// The machine refused something.
    #[error("{0}")]
    System(String),
}

/// An open hub.
pub(crate) struct Hub {
    pub(crate) name: HubName,
    pub(crate) client: Client,
    pub(crate) board: Arc<Board>,
    engine: Mutex<Option<Engine>>,
    clock: AbortHandle,
}

impl Hub {
    async fn open(name: HubName, path: PathBuf, options: EngineOptions) -> Result<Hub, HubError> {
        let open = move || SqliteStore::open(path, SqliteOptions::default());
        let store = tokio::task::spawn_blocking(open)
            .await
            .map_err(|error| HubError::System(format!("opening a task hub failed: {error}")))??;
        let board = Board::new();
        let orchestrations = Arc::new(RemoteOrchestrations { board: board.clone() });
        let activities = Arc::new(RemoteActivities { board: board.clone() });
        let time_max = options.operation_time_max;
        let entities = Arc::new(RemoteEntities { board: board.clone(), time_max });
        let hosts = Hosts { orchestrations, activities, entities };
        let engine = Engine::start(Arc::new(store), hosts, options).await?;
        let clock = tokio::spawn({
            let board = board.clone();
            async move { board.run_clock().await }
        });
        Ok(Hub {
            name,
            client: engine.client(),
            board,
            engine: Mutex::new(Some(engine)),
            clock: clock.abort_handle(),
        })
    }

    /// The hub's time, which orchestrations read.
    pub(crate) fn now(&self) -> Timestamp {
        self.client.store().now()
    }

    /// Ends the work on it, waits for what workers run at most for `patience`, and closes the file.
    async fn close(&self, why: Ending, patience: Duration) {
        self.board.drain(why);
        let _ = tokio::time::timeout(patience, self.board.all_answered()).await;
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(engine) = engine {
            self.board.let_go();
            engine.shutdown().await;
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.clock.abort();
    }
}

/// What all hubs of a server have in common.
#[derive(Clone, Debug)]
pub(crate) struct HubOptions {
    pub(crate) directory: PathBuf,
    pub(crate) hubs_max: usize,
    pub(crate) drain_time_max: Duration,
    pub(crate) operation_time_max: Option<Duration>,
    pub(crate) limits: Limits,
    pub(crate) retention: Retention,
    pub(crate) deliveries: Arc<BTreeMap<String, Delivery>>,
}

/// Where a hub is. The lock is held while the hub is opened or deleted: nobody does it twice, and no other hub waits.
type Slot = Arc<RwLock<Option<Arc<Hub>>>>;

/// All hubs of a server.
pub(crate) struct Hubs {
    options: HubOptions,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    slots: BTreeMap<HubName, Slot>,
    /// The server is about to end: no hub is opened any more.
    closing: bool,
}

/// How often, and how many times, those who wait for the last reader of a hub look.
const LAST_READERS: (Duration, u32) = (Duration::from_millis(10), 500);

/// A hub that is closed, as long as somebody still reads it.
pub(crate) struct Closed(Arc<dyn Store>);

impl Closed {
    /// Waits until its file is free, or at most five seconds for those who still read it.
    pub(crate) async fn until_free(self) {
        for _ in 0..LAST_READERS.1 {
            if Arc::strong_count(&self.0) == 1 {
                break;
            }
            tokio::time::sleep(LAST_READERS.0).await;
        }
        // That nobody has it any more would not do: whoever had it last may still be closing it. An error is a panic there.
        let _ = tokio::task::spawn_blocking(move || drop(self.0)).await;
    }
}

impl Hubs {
    pub(crate) fn new(options: HubOptions) -> Hubs {
        Hubs { options, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hub with this name, which is made if there is none.
    pub(crate) async fn get(self: &Arc<Hubs>, name: &HubName) -> Result<Arc<Hub>, HubError> {
        let slot = self.slot(name, self.options.hubs_max)?;
        if let Some(hub) = &*slot.read().await {
            return Ok(hub.clone());
        }
        let (hubs, name) = (self.clone(), name.clone());
        to_its_end(async move { hubs.open_in(&slot, name).await }).await
    }

    /// The hub with this name, if there is one.
    pub(crate) async fn find(self: &Arc<Hubs>, name: &HubName) -> Result<Arc<Hub>, HubError> {
        let is_known = self.open().slots.get(name).is_some_and(is_used);
        if !is_known && !self.path(name).exists() {
            return Err(HubError::NotFound { name: name.to_string() });
        }
        self.get(name).await
    }

    /// Closes a hub and removes its file. Whoever works on it is told to connect again.
    pub(crate) async fn delete(self: &Arc<Hubs>, name: &HubName) -> Result<(), HubError> {
        let slot = self.slot(name, usize::MAX)?;
        let (hubs, name) = (self.clone(), name.clone());
        to_its_end(async move { hubs.delete_in(&slot, &name, Ending::Deleted).await }).await
    }

    /// A new hub with this name, in place of the present one if there is one. Whoever works on that goes on with this.
    pub(crate) async fn recreate(self: &Arc<Hubs>, name: &HubName) -> Result<Arc<Hub>, HubError> {
        let slot = self.slot(name, self.options.hubs_max)?;
        let (hubs, name) = (self.clone(), name.clone());
        to_its_end(async move {
            hubs.delete_in(&slot, &name, Ending::Replaced).await?;
            hubs.open_in(&slot, name).await
        })
        .await
    }

    fn slot(&self, name: &HubName, limit: usize) -> Result<Slot, HubError> {
        let mut open = self.open();
        if let Some(slot) = open.slots.get(name) {
            return Ok(slot.clone());
        }
        if open.closing {
            return Err(HubError::Closing);
        }
        open.slots.retain(|_, slot| is_used(slot));
        if open.slots.len() >= limit {
            return Err(HubError::TooMany { limit });
        }
        Ok(open.slots.entry(name.clone()).or_default().clone())
    }

    async fn open_in(&self, slot: &Slot, name: HubName) -> Result<Arc<Hub>, HubError> {
        let mut place = slot.write().await;
        if let Some(hub) = &*place {
            return Ok(hub.clone());
        }
        if self.open().closing {
            return Err(HubError::Closing);
        }
        let path = self.path(&name);
        tracing::info!(hub = %name, file = %path.display(), "opening a task hub");
        let options = EngineOptions {
            // The board is the queue: it knows which workers have room.
            running_activities_max: None,
            drain_time_max: self.options.drain_time_max,
            operation_time_max: self.options.operation_time_max,
            deliveries: self.options.deliveries.clone(),
            limits: self.options.limits.clone(),
            retention: self.options.retention.clone(),
        };
        let hub = Arc::new(Hub::open(name, path, options).await?);
        *place = Some(hub.clone());
        Ok(hub)
    }

    async fn delete_in(&self, slot: &Slot, name: &HubName, why: Ending) -> Result<(), HubError> {
        let mut place = slot.write().await;
        if self.open().closing {
            return Err(HubError::Closing);
        }
        if let Some(hub) = place.take() {
            hub.close(why, Duration::ZERO).await;
            let closed = Closed(hub.client.store().clone());
            drop(hub);
            closed.until_free().await;
        }
        let path = self.path(name);
        for suffix in ["", "-wal", "-shm"] {
            let mut file = path.clone().into_os_string();
            file.push(suffix);
            match std::fs::remove_file(&file) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let file = PathBuf::from(file);
                    return Err(HubError::System(format!("{}: {error}", file.display())));
                }
            }
        }
        tracing::warn!(hub = %name, "a task hub was deleted");
        Ok(())
    }

    /// Closes all hubs: what workers run may finish within the drain time, and its results are taken. A file is free when
    /// the last connection has let go of its hub.
    pub(crate) async fn close(&self) -> Vec<Closed> {
        let slots: Vec<Slot> = {
            let mut open = self.open();
            open.closing = true;
            open.slots.values().cloned().collect()
        };
        let mut hubs = Vec::new();
        for slot in &slots {
            hubs.extend(slot.read().await.clone());
        }
        let patience = self.options.drain_time_max;
        futures_util::future::join_all(hubs.iter().map(|hub| hub.close(Ending::Closed, patience))).await;
        for slot in &slots {
            slot.write().await.take();
        }
        hubs.iter().map(|hub| Closed(hub.client.store().clone())).collect()
    }

    fn path(&self, name: &HubName) -> PathBuf {
        self.options.directory.join(format!("{name}.db"))
    }
}

/// Whether a hub is open here, or somebody is about to change that.
fn is_used(slot: &Slot) -> bool {
    Arc::strong_count(slot) > 1 || slot.try_read().map_or(true, |hub| hub.is_some())
}

/// Does it to its end: a caller that goes away leaves no hub half open or half deleted.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, HubError>> + Send + 'static,
) -> Result<T, HubError> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|error| {
        Err(HubError::System(format!("opening or deleting a task hub failed: {error}")))
    })
}
