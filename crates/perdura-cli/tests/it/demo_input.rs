//! Directories to archive, and the check of what came out.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A few hundred files with every oddity that a file system allows. Says how many regular files there are.
pub fn odd_directory(dir: &Path) -> usize {
    let folder = |name: &[u8]| {
        let path = dir.join(OsStr::from_bytes(name));
        fs::create_dir_all(&path).unwrap();
        path
    };
    let mut files = 0;
    let mut file = |path: PathBuf, content: &[u8]| {
        fs::write(path, content).unwrap();
        files += 1;
    };
    for n in 0..200 {
        file(folder(format!("plain/{}", n % 7).as_bytes()).join(format!("{n}.txt")), &vec![b'x'; n * 100]);
    }
    for n in 0..20 {
        file(folder(b"empty files").join(format!("nothing {n}")), b"");
    }
    for n in 0..20 {
        folder(format!("empty folders/{n}/below").as_bytes());
    }
    let names: [&[u8]; 12] = [
        b" leading and trailing ",
        b"new\nline",
        b"carriage\rreturn",
        b"back\\slash",
        b"tab\tquote'\"",
        b"\xff\xfe not text",
        b"\x1b[31mred",
        b"--help",
        b".hidden",
        "Stra\u{df}e \u{6f22}\u{5b57} \u{1f980}".as_bytes(),
        b"*?[a]$HOME",
        &[b'n'; 255],
    ];
    for name in names {
        let place = folder(b"odd names").join(OsStr::from_bytes(name));
        file(place, name);
        if name.len() < 255 {
            let inside = folder(&[b"odd folders/", name].concat()).join(OsStr::from_bytes(name));
            file(inside, name);
        }
    }
    // A folder that is named like the copy of the file beside it.
    file(folder(b"alike").join("a"), b"file");
    file(folder(b"alike/a.zst").join("b"), b"in folder");
    file(folder("deep/".repeat(60).as_bytes()).join("bottom"), b"deep");
    file(dir.join("random"), &(0..300_000_u64).map(|n| (n * n / 7 % 251) as u8).collect::<Vec<_>>());
    std::os::unix::fs::symlink("plain/0/0.txt", dir.join("link to a file")).unwrap();
    std::os::unix::fs::symlink("plain", dir.join("link to a folder")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.join("dangling link")).unwrap();
    files
}

/// Checks that `sha256sum -c` accepts the manifest, from another directory; gives the files that it lists.
pub fn check_manifest(out: &Path) -> Vec<PathBuf> {
    let manifest = out.join("MANIFEST.sha256");
    let lines = fs::read(&manifest).unwrap();
    let listed: Vec<PathBuf> =
        lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(listed_path).collect();
    // It calls a manifest without a line an error.
    if !listed.is_empty() {
        let mut check = Command::new("sha256sum");
        check.args(["--strict", "--quiet", "-c"]).arg(&manifest).current_dir("/");
        let said = check.output().unwrap();
        assert!(said.status.success(), "{}{}", text(&said.stdout), text(&said.stderr));
    }
    listed
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// The path in a line of the manifest, read as `sha256sum` reads it.
fn listed_path(line: &[u8]) -> PathBuf {
    let Some(escaped) = line.strip_prefix(b"\\") else {
        return OsStr::from_bytes(&line[66..]).into();
    };
    let mut path = Vec::new();
    let mut bytes = escaped[66..].iter();
    while let Some(byte) = bytes.next() {
        path.push(match byte {
            b'\\' => match bytes.next().unwrap() {
                b'n' => b'\n',
                b'r' => b'\r',
                other => *other,
            },
            other => *other,
        });
    }
    std::ffi::OsString::from_vec(path).into()
}

/// Checks that the compressed copies, taken together, are the contents of these files.
pub fn check_copies(out: &Path, originals: &[PathBuf]) {
    let mut expected: BTreeMap<[u8; 32], u32> = BTreeMap::new();
    for original in originals {
        *expected.entry(Sha256::digest(fs::read(original).unwrap()).into()).or_default() += 1;
    }
    let mut found: BTreeMap<[u8; 32], u32> = BTreeMap::new();
    let mut ahead = vec![out.join("files")];
    while let Some(folder) = ahead.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                ahead.push(path);
            } else {
                let content = zstd::decode_all(fs::File::open(&path).unwrap()).unwrap();
                *found.entry(Sha256::digest(content).into()).or_default() += 1;
            }
        }
    }
    assert_eq!(found, expected);
}
