use crate::fixture::{ZERO, acquire, all, commit, inserts, open};
use crate::small_disk::SmallDisk;
use perdura_sqlite::{SqliteOptions, SqliteStore};
use perdura_store::conformance::block_on;
use perdura_store::{CommitLog, CommitOutcome, Store, StoreError};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

fn refusal(path: &Path) -> StoreError {
    SqliteStore::open(path, SqliteOptions::default()).unwrap_err()
}

#[test]
fn a_second_opener_is_told_who_has_it() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("hub");
    let store = open(&path);
    let StoreError::InUse { holder, .. } = refusal(&path) else { panic!("it was not refused") };
    assert!(holder.starts_with(&format!("process {} on host ", std::process::id())), "{holder}");
    drop(store);
    open(&path);
}

#[test]
fn a_reader_may_look_while_a_process_has_it_open_and_after() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("hub");
    let store = open(&path);
    let grant = acquire(&store);
    commit(&store, &grant, inserts(1..=3, 10));
    let reader = SqliteStore::open_read_only(&path).unwrap();
    assert_eq!(all(&reader).len(), 3);
    commit(&store, &grant, inserts(4..=4, 10));
    assert_eq!(all(&reader).len(), 4);
    assert!(matches!(commit(&reader, &grant, inserts(5..=5, 10)), CommitOutcome::Rejected(_)));
    drop(reader);
    drop(store);
    assert_eq!(all(&SqliteStore::open_read_only(&path).unwrap()).len(), 4);
}

#[test]
fn looking_at_a_hub_that_is_not_there_makes_none() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("hub");
    let error = SqliteStore::open_read_only(&path).unwrap_err();
    assert!(error.to_string().contains("there is no such file"), "{error}");
    assert!(!path.exists());
}

#[test]
fn the_number_of_partitions_is_that_of_the_file() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("hub");
    let options = |partitions| SqliteOptions { partitions, ..SqliteOptions::default() };
    assert_eq!(SqliteStore::open(&path, options(7)).unwrap().partitions(), 7);
    assert_eq!(SqliteStore::open(&path, options(2)).unwrap().partitions(), 7);
}

#[test]
fn an_empty_file_becomes_a_hub() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("hub");
    std::fs::write(&path, "").unwrap();
    acquire(&open(&path));
}

#[test]
fn another_file_is_left_as_it_is() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("picture");
    let picture = [&b"\x89PNG\r\n\x1a\n"[..], &[3; 9000]].concat();
    std::fs::write(&path, &picture).unwrap();
    assert!(matches!(refusal(&path), StoreError::Foreign { .. }));
    assert!(matches!(SqliteStore::open_read_only(&path), Err(StoreError::Foreign { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), picture);
}

#[test]
fn the_database_of_another_program_is_left_as_it_is() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("other");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(other);
    let before = std::fs::read(&path).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_later_schema_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("hub");
    drop(open(&path));
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 9).unwrap();
    drop(connection);
    let store = path.display().to_string();
    assert_eq!(refusal(&path), StoreError::Newer { store, found: 9, known: 1 });
}

#[test]
fn a_wrong_place_is_named() {
    let place = tempfile::tempdir().unwrap();
    let error = refusal(&place.path().join("no/such/hub")).to_string();
    assert!(error.contains("there is no directory"), "{error}");
    let error = refusal(place.path()).to_string();
    assert!(error.contains("it is a directory"), "{error}");
}

#[test]
fn a_read_only_file_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("hub");
    drop(open(&path));
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions).unwrap();
    if std::fs::OpenOptions::new().write(true).open(&path).is_ok() {
        return as_a_user_without_rights("opening::a_read_only_file_is_refused");
    }
    let error = refusal(&path);
    assert!(error.to_string().contains("read-only"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_hub_with_two_names_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let (path, other) = (place.path().join("hub"), place.path().join("other"));
    drop(open(&path));
    std::fs::hard_link(&path, &other).unwrap();
    for name in [&path, &other] {
        let error = refusal(name).to_string();
        assert!(error.contains("2 names (hard links)"), "{error}");
    }
    std::fs::remove_file(&other).unwrap();
    open(&path);
}

#[test]
fn a_hub_can_be_looked_at_where_nothing_can_be_written() {
    let place = tempfile::tempdir().unwrap();
    let test = "opening::a_hub_can_be_looked_at_where_nothing_can_be_written";
    let Some(disk) = SmallDisk::mount(place.path().join("a disk? 100%#1"), 4 << 20, test) else { return };
    let path = disk.place.join("hub");
    let store = open(&path);
    let grant = acquire(&store);
    commit(&store, &grant, inserts(1..=3, 10));
    let (log, crashed) = (std::fs::read(log_of(&path)).unwrap(), disk.place.join("crashed"));
    std::fs::copy(&path, &crashed).unwrap();
    std::fs::write(log_of(&crashed), log).unwrap();
    drop(store);
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(&disk.place).status();
    assert!(remounted.unwrap().success());
    assert_eq!(all(&SqliteStore::open_read_only(&path).unwrap()).len(), 3);
    let error = SqliteStore::open_read_only(&crashed).unwrap_err().to_string();
    assert!(error.contains("It has a log") && error.contains("copy both files"), "{error}");
}

fn log_of(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Nothing is acknowledged that a restart would not find.
#[cfg(unix)]
#[test]
fn files_that_are_deleted_moved_or_replaced_under_an_open_hub_are_noticed() {
    type Deed = fn(&Path);
    let deeds: [Deed; 4] = [
        |path| std::fs::remove_file(path).unwrap(),
        |path| std::fs::rename(path, path.with_extension("away")).unwrap(),
        |path| {
            std::fs::copy(path, path.with_extension("copy")).unwrap();
            std::fs::rename(path.with_extension("copy"), path).unwrap();
        },
        |path| std::fs::remove_file(log_of(path)).unwrap(),
    ];
    for deed in deeds {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("hub");
        let store = open(&path);
        let grant = acquire(&store);
        assert_eq!(commit(&store, &grant, inserts(1..=3, 10)), CommitOutcome::Committed);
        deed(&path);
        let CommitOutcome::Unknown(why) = commit(&store, &grant, inserts(4..=4, 10)) else {
            panic!("it was acknowledged")
        };
        assert!(why.contains("deleted, moved or replaced"), "{why}");
        let error = block_on(store.acquire(ZERO, 7)).unwrap_err().to_string();
        assert!(error.contains("deleted, moved or replaced"), "{error}");
    }
}

/// Root may write to read-only files: another user runs the test.
fn as_a_user_without_rights(test: &str) {
    const NOBODY: u32 = 65534;
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    let program = place.path().join("test");
    // The build may lie where nobody but root can look.
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut again = Command::new(&program);
    again.args(["--exact", test, "--nocapture"]).current_dir("/").uid(NOBODY).gid(NOBODY);
    let output = again.output().expect("a read-only file needs a user who must respect it");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
