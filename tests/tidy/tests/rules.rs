//! Rules of the source tree. Each names the file and the line that breaks it.
#![expect(clippy::unwrap_used, reason = "a test that meets an error shall stop")]

use std::fs;
use std::path::{Path, PathBuf};

/// Longest source file, in lines.
const FILE_LINES_MAX: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

/// Files below `folder` with this ending.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(files(&path, ending));
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<PathBuf> {
    files(&root(), ".rs")
}

/// Lines of code (not comments) of a file that contain one of the words.
fn lines_with(path: &Path, words: &[&str]) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let breaks =
        |line: &str| !line.trim_start().starts_with("//") && words.iter().any(|word| line.contains(word));
    let numbered = text.lines().enumerate().filter(|(_, line)| breaks(line));
    numbered.map(|(number, line)| format!("{}:{}: {}", path.display(), number + 1, line.trim())).collect()
}

fn assert_none(rule: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

#[test]
fn the_core_has_no_clock_no_io_no_async_and_no_randomness() {
    let words = [
        "async fn",
        "async move",
        ".await;",
        ".await?",
        "tokio",
        "std::fs",
        "std::net",
        "std::io",
        "std::thread",
        "Instant",
        "SystemTime::now",
        "getrandom",
        "rand::",
        "std::collections::HashMap",
        "std::env",
        "tracing",
        "println!",
    ];
    let core = files(&root().join("crates/perdura-core/src"), ".rs");
    assert!(core.len() > 20);
    assert_none("perdura-core is pure", core.iter().flat_map(|file| lines_with(file, &words)).collect());
    let manifest = fs::read_to_string(root().join("crates/perdura-core/Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    let names: Vec<_> = dependencies.lines().filter_map(|line| line.split(['.', ' ']).next()).collect();
    let names: Vec<_> = names.into_iter().filter(|name| !name.is_empty()).collect();
    assert_eq!(names, ["bytes", "crc32fast", "prost", "rustc-hash", "sha2", "thiserror"]);
}

#[test]
fn only_the_stores_contain_sql() {
    let words = ["SELECT ", "INSERT INTO", "UPDATE ", "DELETE FROM", "rusqlite", "PRAGMA"];
    // There users write statements for tables of their own.
    let of_users = ["tests", "bench", "examples", "crates/perdura/tests"];
    let outside = sources().into_iter().filter(|file| {
        let relative = file.strip_prefix(root()).unwrap();
        !relative.starts_with("crates/perdura-sqlite")
            && !of_users.iter().any(|folder| relative.starts_with(folder))
            && relative != Path::new("crates/perdura/src/sqlite.rs")
    });
    assert_none("SQL belongs to the stores", outside.flat_map(|file| lines_with(&file, &words)).collect());
}

#[test]
fn no_file_is_long_and_none_is_a_drawer() {
    let mut found = Vec::new();
    for file in sources() {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        if lines > FILE_LINES_MAX {
            found.push(format!("{}: {lines} lines, limit {FILE_LINES_MAX}", file.display()));
        }
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        if ["utils", "util", "common", "helpers", "misc"].contains(&name.as_str()) {
            found.push(format!("{}: name it after what it holds", file.display()));
        }
    }
    assert_none("one idea per file", found);
}

#[test]
fn no_queue_between_threads_is_without_a_bound() {
    let words = ["unbounded_channel", "mpsc::unbounded", "std::sync::mpsc::channel", "mpsc::channel()"];
    let allowed = |line: &String| line.contains("tests/");
    let found =
        sources().iter().flat_map(|file| lines_with(file, &words)).filter(|line| !allowed(line)).collect();
    assert_none("every queue has a bound", found);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut found = Vec::new();
    for file in files(&root(), ".md") {
        let text = fs::read_to_string(&file).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap();
            if path.is_empty() || path.contains("://") || path.contains(' ') {
                continue;
            }
            if !file.parent().unwrap().join(path).exists() {
                found.push(format!("{}: {target}", file.display()));
            }
        }
    }
    assert_none("links lead somewhere", found);
}
