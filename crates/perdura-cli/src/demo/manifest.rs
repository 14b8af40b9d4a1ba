//! `MANIFEST.sha256`, in the format that `sha256sum -c` reads. Folders write parts; at the end the parts become one.

use super::Places;
use super::files::write_whole;
use super::pipeline::Part;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

/// Writes the lines of some files of one folder. The same part is the same file, however often it is written.
pub fn write_part(places: &Places, part: &Part) -> io::Result<()> {
    std::fs::create_dir_all(places.parts())?;
    let mut lines = Vec::new();
    for (name, sha256) in &part.files {
        let path = places.dir.join(part.folder.join(name).to_path());
        lines.extend(line(sha256, path.as_os_str().as_bytes()));
    }
    write_whole(places, &places.parts().join(&part.name), |output| output.write_all(&lines))
}

/// Joins the parts to the manifest, in order of path. Says how many files it lists.
pub fn join_parts(places: &Places) -> io::Result<u64> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    if places.parts().exists() {
        for entry in std::fs::read_dir(places.parts())? {
            let part = std::fs::read(entry?.path())?;
            lines.extend(part.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec));
        }
    }
    lines.sort_by(|a, b| path_of(a).cmp(path_of(b)));
    write_whole(places, &places.manifest(), |output| output.write_all(&lines.concat()))?;
    Ok(lines.len() as u64)
}

fn path_of(line: &[u8]) -> &[u8] {
    let text = line.strip_prefix(b"\\").unwrap_or(line);
    text.get(66..).unwrap_or(text)
}

/// A line of sha256sum. A name with a backslash or a line break is escaped, and a backslash begins the line.
fn line(sha256: &str, path: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(path.len());
    for byte in path {
        match byte {
            b'\\' => name.extend(b"\\\\"),
            b'\n' => name.extend(b"\\n"),
            b'\r' => name.extend(b"\\r"),
            byte => name.push(*byte),
        }
    }
    let mark: &[u8] = if name == path { b"" } else { b"\\" };
    [mark, sha256.as_bytes(), b"  ", &name, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_escaped_as_sha256sum_does() {
        assert_eq!(line("ab", b"/a b"), b"ab  /a b\n");
        assert_eq!(line("ab", b"/a\nb\\"), b"\\ab  /a\\nb\\\\\n");
    }
}
