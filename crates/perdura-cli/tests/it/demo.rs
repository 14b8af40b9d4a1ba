//! `perdura demo`: killed half-way, every file done, nothing that was recorded done twice.

use crate::demo_input::{check_copies, check_manifest, odd_directory};
use crate::perdura::{Said, perdura, run};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;

fn demo(dir: &Path, out: &Path) -> Said {
    run(perdura().arg("demo").arg("--dir").arg(dir).arg("--out").arg(out))
}

/// A directory with so many files, and a place for what comes out.
fn files(count: usize) -> (TempDir, TempDir) {
    let dir = TempDir::new().unwrap();
    for n in 0..count {
        fs::write(dir.path().join(n.to_string()), n.to_string()).unwrap();
    }
    (dir, TempDir::new().unwrap())
}

#[test]
fn a_directory_full_of_oddities_is_archived_whole_in_spite_of_the_kill() {
    let (dir, out) = files(0);
    let count = odd_directory(dir.path());
    let said = demo(dir.path(), out.path());
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("with SIGKILL"), "{}", said.out);
    assert!(said.out.contains("recorded before it, 0 ran again\n"), "{}", said.out);
    assert!(said.out.contains(&format!(": {count} files in ")), "{count}: {}", said.out);
    assert!(said.out.contains("left out: 3 links, devices, pipes or sockets\n"), "{}", said.out);
    let listed = check_manifest(out.path());
    assert_eq!(listed.len(), count);
    check_copies(out.path(), &listed);
}

#[test]
fn a_second_run_does_the_same_again() {
    let (dir, out) = files(30);
    for _ in 0..2 {
        let said = demo(dir.path(), out.path());
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        assert!(said.out.contains("with SIGKILL"), "{}", said.out);
        let listed = check_manifest(out.path());
        assert_eq!(listed.len(), 30);
        check_copies(out.path(), &listed);
    }
}

#[test]
fn what_nobody_reads_is_archived_too() {
    let (dir, out) = files(5);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = perdura();
    command.args(["demo", "--dir"]).arg(dir.path()).arg("--out").arg(out.path()).stdout(writer);
    assert!(command.status().unwrap().success());
    assert_eq!(check_manifest(out.path()).len(), 5);
}

#[test]
fn no_one_or_two_files_are_archived_too() {
    for count in 0..=2 {
        let (dir, out) = files(count);
        let said = demo(dir.path(), out.path());
        assert_eq!(said.code, 0, "{count}: {}{}", said.out, said.err);
        assert_eq!(said.out.contains("with SIGKILL"), count > 1, "{}", said.out);
        let listed = check_manifest(out.path());
        assert_eq!(listed.len(), count);
        check_copies(out.path(), &listed);
    }
}

#[test]
fn a_folder_with_more_files_than_a_page_is_archived_whole() {
    let (dir, out) = files(4500);
    let said = demo(dir.path(), out.path());
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("recorded before it, 0 ran again\n"), "{}", said.out);
    assert_eq!(check_manifest(out.path()).len(), 4500);
}

#[test]
fn many_folders_are_archived_in_several_generations() {
    let (dir, out) = files(0);
    // More than the folders of one generation of the parent.
    for n in 0..4100 {
        fs::create_dir(dir.path().join(n.to_string())).unwrap();
    }
    fs::write(dir.path().join("4099/a"), "a").unwrap();
    let said = demo(dir.path(), out.path());
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains(": 1 files in 4101 folders, "), "{}", said.out);
    assert_eq!(check_manifest(out.path()).len(), 1);
}

#[test]
fn a_directory_that_is_not_there_is_an_error_that_names_it() {
    let (dir, out) = files(1);
    for (path, why) in [("missing", "No such file or directory"), ("0", "is not a directory")] {
        let said = demo(&dir.path().join(path), out.path());
        assert_eq!((said.code, &said.out[..]), (1, ""));
        assert!(said.err.contains(path) && said.err.contains(why), "{}", said.err);
    }
}

#[test]
fn the_output_may_be_inside_the_directory_and_is_left_out() {
    let (dir, _) = files(20);
    let out = dir.path().join("kept/out");
    for _ in 0..2 {
        let said = demo(dir.path(), &out);
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        assert_eq!(check_manifest(&out).len(), 20);
    }
}

#[test]
fn a_directory_inside_the_output_is_refused_and_nothing_is_written() {
    let (dir, _) = files(1);
    let below = dir.path().join("below");
    fs::create_dir(&below).unwrap();
    for (archived, out) in [(dir.path(), dir.path()), (&below, dir.path())] {
        let said = demo(archived, out);
        assert_eq!(said.code, 1);
        assert!(said.err.contains("is inside the output directory"), "{}", said.err);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn an_output_that_cannot_be_written_is_an_error_that_names_it() {
    let (dir, out) = files(1);
    fs::write(out.path().join("file"), "").unwrap();
    let said = demo(dir.path(), &out.path().join("file"));
    assert_eq!(said.code, 1);
    assert!(said.err.contains("the output directory"), "{}", said.err);
}

#[test]
fn what_cannot_be_read_is_tried_again_and_named_and_the_rest_is_archived() {
    let (dir, out) = files(10);
    let forbid = |name: &str| {
        let path = dir.path().join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    };
    fs::create_dir(dir.path().join("closed")).unwrap();
    fs::write(dir.path().join("se\x1b[31mcret"), "").unwrap();
    forbid("closed");
    forbid("se\x1b[31mcret");
    for place in [dir.path(), out.path()] {
        fs::set_permissions(place, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let mut command = perdura();
    command.arg("demo").arg("--dir").arg(dir.path()).arg("--out").arg(out.path());
    // The superuser may read everything.
    if fs::File::open(dir.path().join("se\x1b[31mcret")).is_ok() {
        let program = out.path().join("perdura");
        fs::copy(env!("CARGO_BIN_EXE_perdura"), &program).unwrap();
        let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        command = std::process::Command::new(program);
        command.args(args).uid(65_534).gid(65_534);
    }
    let said = run(&mut command);
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    // A folder is a child's, whose error names the child.
    let closed =
        said.out.lines().find(|line| line.starts_with("not archived: closed: sub-orchestration \"archive:"));
    assert!(closed.is_some_and(|line| line.contains("\": Permission denied")), "{}", said.out);
    assert!(said.out.contains("not archived: se\\u{1b}[31mcret: Permission denied"), "{}", said.out);
    assert!(said.out.contains(": 10 files in "), "{}", said.out);
    assert!(said.out.contains("recorded before it, 0 ran again\n"), "{}", said.out);
    assert_eq!(check_manifest(out.path()).len(), 10);
}

#[test]
fn the_pipelines_process_ends_when_its_supervisor_is_gone() {
    let (dir, out) = files(10);
    let mut command = perdura();
    command
        .args(["demo", "--worker", "--hold-at", "5", "--dir"])
        .arg(dir.path())
        .arg("--out")
        .arg(out.path());
    let mut worker = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(worker.stdout.take().unwrap()).lines();
    assert!(lines.map(Result::unwrap).any(|line| line == "\"half_way\""));
    drop(worker.stdin.take());
    assert_eq!(worker.wait().unwrap().code(), Some(1));
}

#[test]
fn two_runs_do_not_write_to_one_place() {
    let (dir, out) = files(3);
    let lock = fs::File::create(out.path().join(".perdura-lock")).unwrap();
    lock.lock().unwrap();
    let said = demo(dir.path(), out.path());
    assert_eq!(said.code, 1);
    assert!(said.err.contains("another demo is writing to "), "{}", said.err);
}
