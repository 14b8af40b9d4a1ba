//! The pipeline itself: orchestrations and activities.

use super::file_path::FilePath;
use super::files::{self, Archived};
use super::manifest;
use super::worker::Shared;
use perdura::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Files that one folder has under way at once, and that one part of the manifest lists.
const FILES_AT_ONCE: usize = 500;
/// Folders that are under way at once.
const FOLDERS_AT_ONCE: usize = 200;

/// What came of some files.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    pub folders: u64,
    pub files: u64,
    pub bytes: u64,
    pub stored_bytes: u64,
    /// Files that could not be read, each with its reason. Only the first hundred are named.
    pub unreadable: Vec<String>,
    pub unreadable_count: u64,
}

impl Summary {
    const UNREADABLE_NAMED: usize = 100;

    fn add_file(&mut self, file: &Archived) {
        self.files += 1;
        self.bytes += file.bytes;
        self.stored_bytes += file.stored_bytes;
    }

    fn add_unreadable(&mut self, why: String) {
        self.unreadable_count += 1;
        if self.unreadable.len() < Self::UNREADABLE_NAMED {
            self.unreadable.push(why);
        }
    }

    fn add(&mut self, other: Summary) {
        self.folders += other.folders;
        self.files += other.files;
        self.bytes += other.bytes;
        self.stored_bytes += other.stored_bytes;
        self.unreadable_count += other.unreadable_count;
        let room = Self::UNREADABLE_NAMED - self.unreadable.len();
        self.unreadable.extend(other.unreadable.into_iter().take(room));
    }
}

/// A file that cannot be read now may be readable a moment later.
fn patience() -> Retry {
    Retry::attempts(3).backoff(Duration::from_millis(200)).factor(2.0).jitter(0.2)
}

/// The parent: walks the directory and archives each folder by a child of its own.
#[orchestration]
pub async fn archive_directory(ctx: Orchestration) -> Result<Summary> {
    let folders = ctx.call(list_folders, ()).retry(patience()).await?;
    let mut summary = Summary::default();
    for some in folders.chunks(FOLDERS_AT_ONCE) {
        let children = some.iter().map(|folder| ctx.sub_orchestration(archive_folder, folder.clone()));
        for (folder, result) in some.iter().zip(join_all(children).await) {
            match result {
                Ok(part) => summary.add(part),
                Err(error) => summary.add_unreadable(format!("{}: {error}", folder.to_path().display())),
            }
        }
    }
    ctx.call(write_manifest, ()).retry(patience()).await?;
    Ok(summary)
}

/// The child for one folder.
#[orchestration]
pub async fn archive_folder(ctx: Orchestration, folder: FilePath) -> Result<Summary> {
    let files = ctx.call(list_files, folder).retry(patience()).await?;
    let mut summary = Summary { folders: 1, ..Summary::default() };
    for (number, some) in files.chunks(FILES_AT_ONCE).enumerate() {
        let calls = some.iter().map(|file| ctx.call(archive_file, file.clone()).retry(patience()));
        let mut archived = Vec::new();
        for (file, result) in some.iter().zip(join_all(calls).await) {
            match result {
                Ok(done) => {
                    summary.add_file(&done);
                    archived.push(done);
                }
                Err(error) => summary.add_unreadable(format!("{}: {error}", file.to_path().display())),
            }
        }
        let part = Part { name: format!("{}-{number}", ctx.execution_id()), files: archived };
        ctx.call(write_manifest_part, part).retry(patience()).await?;
    }
    Ok(summary)
}

/// Some lines of the manifest.
#[derive(Debug, Serialize, Deserialize)]
pub struct Part {
    name: String,
    files: Vec<Archived>,
}

/// Runs a piece of file work off the async threads.
async fn blocking<T: Send + 'static>(
    ctx: &ActivityContext,
    work: impl FnOnce(&Shared) -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    let shared = ctx.data::<Arc<Shared>>().clone();
    let result = tokio::task::spawn_blocking(move || work(&shared)).await;
    Ok(result.map_err(std::io::Error::other)??)
}

#[activity]
pub async fn list_folders(ctx: ActivityContext) -> Result<Vec<FilePath>> {
    blocking(&ctx, |shared| Ok(files::folders(&shared.places))).await
}

#[activity]
pub async fn list_files(ctx: ActivityContext, folder: FilePath) -> Result<Vec<FilePath>> {
    blocking(&ctx, move |shared| files::files(&shared.places, &folder.to_path())).await
}

#[activity]
pub async fn archive_file(ctx: ActivityContext, file: FilePath) -> Result<Archived> {
    let shared = ctx.data::<Arc<Shared>>();
    shared.begin_file(&file, ctx.delivery()).await?;
    let archived = blocking(&ctx, move |shared| files::archive(&shared.places, &file)).await?;
    shared.file_done();
    Ok(archived)
}

#[activity]
pub async fn write_manifest_part(ctx: ActivityContext, part: Part) -> Result<()> {
    blocking(&ctx, move |shared| manifest::write_part(&shared.places, &part.name, &part.files)).await
}

#[activity]
pub async fn write_manifest(ctx: ActivityContext) -> Result<u64> {
    blocking(&ctx, |shared| manifest::join_parts(&shared.places)).await
}
