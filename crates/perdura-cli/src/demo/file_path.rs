//! Paths in payloads. File names are bytes; they must come back as they went in.

use crate::escape::escape;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A path, as text where it is text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FilePath {
    /// UTF-8.
    Text(String),
    /// Anything else.
    Bytes(Vec<u8>),
}

impl From<&Path> for FilePath {
    fn from(path: &Path) -> FilePath {
        match path.to_str() {
            Some(text) => FilePath::Text(text.into()),
            None => FilePath::Bytes(path.as_os_str().as_bytes().into()),
        }
    }
}

impl FilePath {
    pub fn to_path(&self) -> PathBuf {
        match self {
            FilePath::Text(text) => text.into(),
            FilePath::Bytes(bytes) => OsString::from_vec(bytes.clone()).into(),
        }
    }

    /// The path of something in this folder.
    pub fn join(&self, name: &FilePath) -> FilePath {
        FilePath::from(self.to_path().join(name.to_path()).as_path())
    }
}

impl fmt::Display for FilePath {
    /// For people: nothing in a name reaches the terminal as a command.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.to_path();
        if path.as_os_str().is_empty() {
            f.write_str(".")
        } else {
            f.write_str(&escape(&path.to_string_lossy()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_text_comes_back_as_it_went_in() {
        for name in [&b"plain"[..], b"\xff\xfe", b"new\nline", "Stra\u{df}e".as_bytes()] {
            let path = FilePath::from(Path::new(&OsString::from_vec(name.into())));
            let back: FilePath = serde_json::from_slice(&serde_json::to_vec(&path).unwrap()).unwrap();
            assert_eq!(back.to_path().as_os_str().as_bytes(), name);
        }
    }
}
