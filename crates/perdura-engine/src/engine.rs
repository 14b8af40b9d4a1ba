//! The engine: a processor for each partition of a hub, on threads of their own.

use crate::client::Client;
use crate::error::EngineError;
use crate::options::EngineOptions;
use crate::processor::{INPUTS_MAX, Input, Processor, random};
use crate::retention;
use crate::worker::Hosts;
use perdura_core::PartitionId;
use perdura_store::Store;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A running engine. Dropping it without [`shutdown`](Engine::shutdown) ends it without waiting for anything: what was
/// acknowledged is durable, and what ran will run again.
pub struct Engine {
    client: Client,
    threads: Vec<JoinHandle<()>>,
    /// Removes what is old. It has a client, and so the store, and must be gone when the engine is.
    retention: Option<AbortOnDrop>,
    /// Tells the processors when the engine is gone.
    _alive: DropGuard,
}

impl Engine {
    /// Starts a processor for each partition of the store's hub. Activities run on the tokio runtime of the caller.
    pub async fn start(
        store: Arc<dyn Store>,
        hosts: Hosts,
        options: EngineOptions,
    ) -> Result<Engine, EngineError> {
        let runtime = Handle::try_current()
            .map_err(|_| EngineError::System("the engine must be started inside a tokio runtime".into()))?;
        let partitions = store.partitions();
        let bells: Arc<[Notify]> = (0..partitions).map(|_| Notify::new()).collect();
        let dropped = CancellationToken::new();
        // From here on: whoever gives up while they start must not leave them behind.
        let alive = dropped.clone().drop_guard();
        let mut inputs = Vec::new();
        let mut threads = Vec::new();
        let mut all_ready = Vec::new();
        for id in 0..partitions {
            let channel = mpsc::channel(INPUTS_MAX);
            inputs.push(channel.0.clone());
            let processor = Processor::new(
                PartitionId(id),
                store.clone(),
                hosts.clone(),
                options.clone(),
                channel,
                bells.clone(),
                runtime.clone(),
                dropped.clone(),
                random()? as u64,
            );
            let (ready, is_ready) = oneshot::channel();
            all_ready.push(is_ready);
            threads.push(spawn_processor(id, processor, ready)?);
        }
        for is_ready in all_ready {
            is_ready.await.map_err(|_| EngineError::System("a processor did not start".into()))??;
        }
        let client = Client::new(store, inputs.into());
        let retention = (!options.retention.is_off())
            .then(|| AbortOnDrop(Some(runtime.spawn(retention::keep(client.clone(), options.retention)))));
        Ok(Engine { client, threads, retention, _alive: alive })
    }

    /// A client of this engine. Cheap to clone.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Ends the engine: no new work is begun, running activities may finish (up to the drain time), and everything
    /// they did is committed. Clients get [`EngineError::ShuttingDown`] from here on.
    pub async fn shutdown(self) {
        if let Some(task) = self.retention.and_then(|mut retention| retention.0.take()) {
            task.abort();
            // An error is what an aborted task ends with.
            let _ = task.await;
        }
        let mut all_done = Vec::new();
        for input in self.client.inputs() {
            let (done, is_done) = oneshot::channel();
            if input.send(Input::Shutdown(done)).await.is_ok() {
                all_done.push(is_done);
            }
        }
        for is_done in all_done {
            // An error means that the processor has ended already.
            let _ = is_done.await;
        }
        let threads = self.threads;
        let join = move || threads.into_iter().for_each(|thread| drop(thread.join()));
        let _ = tokio::task::spawn_blocking(join).await;
    }
}

/// Ends a task with whoever has started it.
struct AbortOnDrop(Option<tokio::task::JoinHandle<()>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

fn spawn_processor(
    id: u16,
    processor: Processor,
    ready: oneshot::Sender<Result<(), EngineError>>,
) -> Result<JoinHandle<()>, EngineError> {
    let system = |e: std::io::Error| EngineError::System(format!("no thread for partition {id}: {e}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(system)?;
    let thread = std::thread::Builder::new().name(format!("perdura-partition-{id}"));
    thread.spawn(move || runtime.block_on(processor.run(ready))).map_err(system)
}
