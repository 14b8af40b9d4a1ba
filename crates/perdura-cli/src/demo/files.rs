//! What the activities do with directories and files.

use super::Places;
use super::file_path::FilePath;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Balanced speed and size.
const ZSTD_LEVEL: i32 = 3;
/// Longest name of a file, in bytes, on all usual file systems.
const NAME_BYTES_MAX: usize = 255;

/// A file that was archived.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Archived {
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

/// Writes the list of all folders, a line each, and says how many they are.
pub fn save_folders(places: &Places) -> io::Result<usize> {
    let folders = folders(places);
    write_whole(places, &places.folders(), |output| {
        let mut output = BufWriter::new(output);
        for folder in &folders {
            serde_json::to_writer(&mut output, folder)?;
            output.write_all(b"\n")?;
        }
        output.flush()
    })?;
    Ok(folders.len())
}

/// Some lines of the list of all folders.
pub fn saved_folders(places: &Places, from: usize, count: usize) -> io::Result<Vec<FilePath>> {
    let lines = BufReader::new(File::open(places.folders())?).lines();
    lines.skip(from).take(count).map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}

/// What a folder holds beside folders.
pub struct Files {
    /// Names of regular files, in order.
    pub names: Vec<FilePath>,
    /// How many links, devices, pipes and sockets there are. They are not archived.
    pub special: u64,
}

/// What the folder (relative to the archived directory) holds beside folders.
pub fn files(places: &Places, folder: &Path) -> io::Result<Files> {
    let mut found = Files { names: Vec::new(), special: 0 };
    for entry in entries(&places.dir.join(folder))? {
        let kind = entry.file_type()?;
        if kind.is_file() {
            found.names.push(FilePath::from(Path::new(&entry.file_name())));
        } else if !kind.is_dir() {
            found.special += 1;
        }
    }
    found.names.sort();
    Ok(found)
}

/// Where the copy of a file goes, relative to the copies: the same folders, and the name with `.zst`. Two files never
/// share a place.
fn copy_path(path: &Path) -> PathBuf {
    let folder = path.parent().unwrap_or(Path::new(""));
    let names = folder.components().filter_map(|part| match part {
        Component::Normal(name) => Some(copy_name(name, folder_mark(name))),
        _ => None,
    });
    names.chain(path.file_name().map(|name| copy_name(name, ".zst"))).collect()
}

/// A folder `a.zst` must not meet the copy of a file `a`, nor a folder `a.zst_` the folder `a.zst`.
fn folder_mark(name: &OsStr) -> &'static str {
    let stem = name.as_bytes();
    let stem = &stem[..stem.iter().rposition(|byte| *byte != b'_').map_or(0, |last| last + 1)];
    if stem.ends_with(b".zst") { "_" } else { "" }
}

/// A name with something behind it; if that is too long, its beginning and a checksum of the whole name.
fn copy_name(name: &OsStr, mark: &str) -> OsString {
    let mut bytes = name.as_bytes().to_vec();
    if bytes.len() + mark.len() > NAME_BYTES_MAX {
        let checksum = format!("~{}", hex(&Sha256::digest(&bytes)));
        bytes.truncate(NAME_BYTES_MAX - mark.len() - checksum.len());
        bytes.extend(checksum.bytes());
    }
    bytes.extend(mark.bytes());
    OsString::from_vec(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn entries(folder: &Path) -> io::Result<Vec<std::fs::DirEntry>> {
    std::fs::read_dir(folder)?.collect()
}

/// Hashes a file and stores a compressed copy. Running it again does the same again.
pub fn archive(places: &Places, path: &FilePath) -> io::Result<Archived> {
    let original = places.dir.join(path.to_path());
    let mut input = File::open(&original)?;
    let copy = places.copies().join(copy_path(&path.to_path()));
    let for_copy = |e: io::Error| io::Error::new(e.kind(), format!("its copy cannot be written: {e}"));
    if let Some(folder) = copy.parent() {
        std::fs::create_dir_all(folder).map_err(for_copy)?;
    }
    let mut hash = Sha256::new();
    let mut bytes = 0;
    write_whole(places, &copy, |output| {
        let mut compressed = zstd::Encoder::new(output, ZSTD_LEVEL)?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = input.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            compressed.write_all(&buffer[..read])?;
            bytes += read as u64;
        }
        compressed.finish().map(drop)
    })?;
    let sha256 = hex(&hash.finalize());
    Ok(Archived { sha256, bytes, stored_bytes: copy.metadata()?.len() })
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
    let written = write(&mut file).and_then(|()| std::fs::rename(&partial, path));
    if written.is_err() {
        let _ = std::fs::remove_file(partial);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(path: &str) -> String {
        copy_path(Path::new(path)).to_str().unwrap().into()
    }

    #[test]
    fn copies_keep_folders_and_names() {
        assert_eq!(copy("a/b c/d.txt"), "a/b c/d.txt.zst");
    }

    #[test]
    fn a_folder_that_is_named_like_a_copy_does_not_meet_it() {
        assert_eq!(copy("a"), "a.zst");
        assert_eq!(copy("a.zst/b"), "a.zst_/b.zst");
        assert_eq!(copy("a.zst_/b"), "a.zst__/b.zst");
        assert_eq!(copy("a_/b"), "a_/b.zst");
    }

    #[test]
    fn a_name_that_would_become_too_long_is_cut_and_stays_different() {
        let (long, other) = ("n".repeat(255), format!("{}m", "n".repeat(254)));
        assert_eq!((copy(&long).len(), copy(&other).len()), (255, 255));
        assert_ne!(copy(&long), copy(&other));
        assert_eq!(copy(&"n".repeat(251)), format!("{}.zst", "n".repeat(251)));
    }
}
