//! What the activities do with directories and files.

use super::Places;
use super::file_path::FilePath;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Balanced speed and size.
const ZSTD_LEVEL: i32 = 3;

/// A file that was archived.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Archived {
    /// The original, relative to the directory.
    pub path: FilePath,
    /// SHA-256 of the original, in hex.
    pub sha256: String,
    /// Size of the original, in bytes.
    pub bytes: u64,
    /// Size of the compressed copy, in bytes.
    pub stored_bytes: u64,
}

/// The folders below (and with) the archived directory, relative to it, in order of name.
pub fn folders(places: &Places) -> Vec<FilePath> {
    let mut found = Vec::new();
    let mut ahead = vec![PathBuf::new()];
    while let Some(folder) = ahead.pop() {
        // A folder that cannot be read is listed all the same: whoever archives it learns why.
        for entry in entries(&places.dir.join(&folder)).unwrap_or_default() {
            let name = entry.file_name();
            let left_out = name.to_str().is_some_and(|name| places.left_out.iter().any(|out| out == name));
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && !left_out && entry.path() != places.out {
                ahead.push(folder.join(name));
            }
        }
        found.push(FilePath::from(folder.as_path()));
    }
    found.sort();
    found
}

/// The regular files of one folder, relative to the directory, in order of name. Links and devices are left out.
pub fn files(places: &Places, folder: &Path) -> io::Result<Vec<FilePath>> {
    let mut found = Vec::new();
    for entry in entries(&places.dir.join(folder))? {
        if entry.file_type()?.is_file() {
            found.push(FilePath::from(folder.join(entry.file_name()).as_path()));
        }
    }
    found.sort();
    Ok(found)
}

fn entries(folder: &Path) -> io::Result<Vec<std::fs::DirEntry>> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", folder.display()));
    std::fs::read_dir(folder).map_err(named)?.collect::<Result<_, _>>().map_err(named)
}

/// Hashes a file and stores a compressed copy. Running it again does the same again.
pub fn archive(places: &Places, path: &FilePath) -> io::Result<Archived> {
    let original = places.dir.join(path.to_path());
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", original.display()));
    let mut input = File::open(&original).map_err(named)?;
    let mut copy = places.copies().join(path.to_path()).into_os_string();
    copy.push(".zst");
    let copy = PathBuf::from(copy);
    if let Some(folder) = copy.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut hash = Sha256::new();
    let mut bytes = 0;
    write_whole(places, &copy, |output| {
        let mut compressed = zstd::Encoder::new(output, ZSTD_LEVEL)?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = input.read(&mut buffer).map_err(named)?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            compressed.write_all(&buffer[..read])?;
            bytes += read as u64;
        }
        compressed.finish().map(drop)
    })?;
    let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Archived { path: path.clone(), sha256, bytes, stored_bytes: copy.metadata()?.len() })
}

/// Writes a file so that it is there whole or not at all, whenever the process dies.
pub fn write_whole(
    places: &Places,
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::fs::create_dir_all(places.partial())?;
    let partial = places.partial().join(format!("{}-{number}", std::process::id()));
    let mut file = File::create(&partial)?;
    write(&mut file)?;
    drop(file);
    std::fs::rename(partial, path)
}
