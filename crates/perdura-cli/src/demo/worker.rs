//! The process that runs the pipeline.

use super::Places;
use super::file_path::FilePath;
use super::pipeline::{
    Progress, archive_directory, archive_file, archive_files, archive_folder, list_files, list_folders,
    some_folders, write_manifest, write_manifest_part,
};
use super::progress::Line;
use perdura::{Engine, OnExisting, ReusePolicy};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

pub const INSTANCE: &str = "archive";

/// What the activities share.
pub struct Shared {
    pub places: Places,
    runs: File,
    done: AtomicU64,
    done_changed: watch::Sender<u64>,
    hold_at: Option<u64>,
    /// A place for each file that may be done before the kill. One that fails gives its place to another.
    places_left: Option<Semaphore>,
}

/// A file that is being archived.
pub struct Place<'a>(Option<SemaphorePermit<'a>>);

impl Shared {
    /// Notes that the activity runs for this file: the evidence of what ran how often. With enough files done it waits
    /// instead, to be killed.
    pub async fn begin_file(&self, file: &FilePath, delivery: u32) -> io::Result<Place<'_>> {
        let place = match &self.places_left {
            Some(places) => Some(places.acquire().await.map_err(io::Error::other)?),
            None => None,
        };
        let path = serde_json::to_string(file)?;
        // One write in append mode: lines of parallel runs do not mix.
        (&self.runs).write_all(format!("{}\t{delivery}\t{path}\n", std::process::id()).as_bytes())?;
        Ok(Place(place))
    }

    pub fn file_done(&self, Place(place): Place<'_>) {
        if let Some(place) = place {
            place.forget();
        }
        let done = self.done.fetch_add(1, Ordering::SeqCst) + 1;
        if self.hold_at == Some(done) {
            Line::HalfWay.print();
        }
        self.done_changed.send_replace(done);
    }
}

/// Ends this process when its supervisor is gone, however that ended.
fn end_with_supervisor() {
    std::thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(1);
    });
}

/// Runs the pipeline to its end. What an earlier process had recorded is not run again.
pub async fn run(places: &Places, hold_at: Option<u64>) -> anyhow::Result<ExitCode> {
    end_with_supervisor();
    let runs = OpenOptions::new().create(true).append(true).open(places.runs())?;
    let (done_changed, mut progress) = watch::channel(0);
    // A tenth more than are to be done, so that the kill meets work under way.
    let places_left = hold_at.map(|files| Semaphore::new((files + files / 10) as usize));
    let done = AtomicU64::new(0);
    let shared = Arc::new(Shared { places: places.clone(), runs, done, done_changed, hold_at, places_left });
    let engine = Engine::sqlite(places.hub())
        .register(archive_directory)
        .register(archive_folder)
        .register(archive_files)
        .register(list_folders)
        .register(some_folders)
        .register(list_files)
        .register(archive_file)
        .register(write_manifest_part)
        .register(write_manifest)
        .data(shared)
        .start()
        .await?;
    tokio::spawn(async move {
        while progress.changed().await.is_ok() {
            let done = *progress.borrow_and_update();
            Line::Done(done).print();
        }
    });
    let reuse = ReusePolicy::USE_EXISTING.when_terminal(OnExisting::Replace);
    let started = engine.start(archive_directory, Progress::default()).id(INSTANCE).reuse(reuse).await?;
    let summary = started.wait().await?;
    Line::Finished(Box::new(summary)).print();
    engine.shutdown().await;
    Ok(ExitCode::SUCCESS)
}
