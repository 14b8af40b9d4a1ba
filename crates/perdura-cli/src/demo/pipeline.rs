//! The pipeline itself: orchestrations and activities.

use super::file_path::FilePath;
use super::files::{self, Archived};
use super::manifest;
use super::worker::Shared;
use perdura::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Files of one folder that are listed at once. A folder with more gets a child for each page, so that no history grows
/// with the size of a folder.
pub const PAGE_FILES: usize = 2000;
/// Files that one folder has under way at once, and that one part of the manifest lists.
const FILES_AT_ONCE: usize = 500;
/// Folders that are under way at once.
pub const FOLDERS_AT_ONCE: usize = 200;
/// Rounds of folders before the parent continues as new, for the same reason.
const ROUNDS_PER_GENERATION: usize = 20;

/// What came of some files.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    pub folders: u64,
    pub files: u64,
    pub bytes: u64,
    pub stored_bytes: u64,
    /// Files and folders that could not be read, each with its reason. Only the first hundred are named.
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

/// How far the parent is.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// How many folders there are; unknown before they are listed.
    folders: Option<usize>,
    done: usize,
    summary: Summary,
}

/// The parent: walks the directory and archives each folder by a child of its own.
#[orchestration]
pub async fn archive_directory(ctx: Orchestration, mut progress: Progress) -> Result<Summary> {
    let total = match progress.folders {
        Some(total) => total,
        None => ctx.call(list_folders, ()).retry(patience()).await?,
    };
    progress.folders = Some(total);
    for round in 0.. {
        if progress.done >= total {
            break;
        }
        if round == ROUNDS_PER_GENERATION {
            return ctx.continue_as_new(progress);
        }
        let folders = ctx.call(some_folders, progress.done).retry(patience()).await?;
        let children = folders.iter().map(|folder| ctx.sub_orchestration(archive_folder, folder.clone()));
        for (folder, result) in folders.iter().zip(join_all(children).await) {
            match result {
                Ok(part) => progress.summary.add(part),
                Err(error) => progress.summary.add_unreadable(format!("{folder}: {error}")),
            }
        }
        progress.done += FOLDERS_AT_ONCE;
    }
    ctx.call(write_manifest, ()).retry(patience()).await?;
    Ok(progress.summary)
}

/// The child for one folder.
#[orchestration]
pub async fn archive_folder(ctx: Orchestration, folder: FilePath) -> Result<Summary> {
    let mut page = ctx.call(list_files, (folder.clone(), None)).retry(patience()).await?;
    let mut summary = Summary::default();
    if page.names.len() < PAGE_FILES {
        summary = archive_page(&ctx, page).await?;
    } else {
        while let Some(last) = page.names.last().cloned() {
            summary.add(ctx.sub_orchestration(archive_files, page).await?);
            page = ctx.call(list_files, (folder.clone(), Some(last))).retry(patience()).await?;
        }
    }
    summary.folders = 1;
    Ok(summary)
}

/// The child for one page of a folder with many files.
#[orchestration]
pub async fn archive_files(ctx: Orchestration, page: Page) -> Result<Summary> {
    archive_page(&ctx, page).await
}

async fn archive_page(ctx: &Orchestration, page: Page) -> Result<Summary> {
    let mut summary = Summary::default();
    for (number, names) in page.names.chunks(FILES_AT_ONCE).enumerate() {
        let calls = names.iter().map(|name| ctx.call(archive_file, page.folder.join(name)).retry(patience()));
        let mut archived = Vec::new();
        for (name, result) in names.iter().zip(join_all(calls).await) {
            match result {
                Ok(done) => {
                    summary.add_file(&done);
                    archived.push((name.clone(), done.sha256));
                }
                Err(error) => summary.add_unreadable(format!("{}: {error}", page.folder.join(name))),
            }
        }
        let part = Part {
            name: format!("{}-{number}", ctx.execution_id()),
            folder: page.folder.clone(),
            files: archived,
        };
        ctx.call(write_manifest_part, part).retry(patience()).await?;
    }
    Ok(summary)
}

/// Some files of a folder, by name.
#[derive(Debug, Serialize, Deserialize)]
pub struct Page {
    pub folder: FilePath,
    pub names: Vec<FilePath>,
}

/// Some lines of the manifest.
#[derive(Debug, Serialize, Deserialize)]
pub struct Part {
    pub name: String,
    pub folder: FilePath,
    /// Names and checksums.
    pub files: Vec<(FilePath, String)>,
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

/// Lists all folders into a file of its own, since the list may be larger than a payload. Says how many they are.
#[activity]
pub async fn list_folders(ctx: ActivityContext) -> Result<usize> {
    blocking(&ctx, |shared| files::save_folders(&shared.places)).await
}

#[activity]
pub async fn some_folders(ctx: ActivityContext, from: usize) -> Result<Vec<FilePath>> {
    blocking(&ctx, move |shared| files::saved_folders(&shared.places, from, FOLDERS_AT_ONCE)).await
}

#[activity]
pub async fn list_files(ctx: ActivityContext, (folder, after): (FilePath, Option<FilePath>)) -> Result<Page> {
    blocking(&ctx, move |shared| {
        let mut names = files::files(&shared.places, &folder.to_path())?.names;
        names.retain(|name| after.as_ref().is_none_or(|after| name > after));
        names.truncate(PAGE_FILES);
        Ok(Page { folder, names })
    })
    .await
}

#[activity]
pub async fn archive_file(ctx: ActivityContext, file: FilePath) -> Result<Archived> {
    let shared = ctx.data::<Arc<Shared>>();
    let place = shared.begin_file(&file, ctx.delivery()).await?;
    let archived = blocking(&ctx, move |shared| files::archive(&shared.places, &file)).await?;
    shared.file_done(place);
    Ok(archived)
}

#[activity]
pub async fn write_manifest_part(ctx: ActivityContext, part: Part) -> Result<()> {
    blocking(&ctx, move |shared| manifest::write_part(&shared.places, &part)).await
}

#[activity]
pub async fn write_manifest(ctx: ActivityContext) -> Result<u64> {
    blocking(&ctx, |shared| manifest::join_parts(&shared.places)).await
}
