//! Where a benchmark keeps its hub: a fresh file on a real disk, unless the command line names one.

use perdura_benchkit::{Options, Outcome};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Fresh files come here: `/tmp` is often memory, which would make every commit look fast.
const DATA_DIR: &str = "target/bench";

/// The file of a hub. A fresh one is removed with its directory in the end.
pub(crate) struct StoreFile {
    path: PathBuf,
    _dir: Option<TempDir>,
}

impl StoreFile {
    /// The file that the options name, or a fresh one. Its directory is what the report measures.
    pub(crate) fn choose(options: &Options) -> Outcome<StoreFile> {
        let store = match &options.store {
            Some(url) => {
                let path = url.strip_prefix("sqlite:").ok_or(format!("I know sqlite:PATH, not {url}"))?;
                StoreFile { path: path.into(), _dir: None }
            }
            None => {
                std::fs::create_dir_all(DATA_DIR).map_err(|why| format!("{DATA_DIR}: {why}"))?;
                let dir = TempDir::new_in(DATA_DIR).map_err(|why| format!("{DATA_DIR}: {why}"))?;
                StoreFile { path: dir.path().join("hub.db"), _dir: Some(dir) }
            }
        };
        perdura_benchkit::sys::set_data_dir(store.dir());
        Ok(store)
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that the file is in.
    pub(crate) fn dir(&self) -> &Path {
        match self.path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        }
    }
}
