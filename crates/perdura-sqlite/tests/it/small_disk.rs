//! A file system that is soon full.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Set in a process that was started to have a namespace of its own.
const IN_NAMESPACE: &str = "PERDURA_TEST_IN_NAMESPACE";

/// A small file system in memory, unmounted at the end.
pub(crate) struct SmallDisk {
    pub(crate) place: PathBuf,
}

impl SmallDisk {
    /// Mounts it. Where this process may not, the test of this name is run by another one in a namespace where it may,
    /// and there is nothing left to do here: `None`.
    ///
    /// # Panics
    /// If nothing of that is allowed, since nothing would be tested.
    pub(crate) fn mount(place: PathBuf, bytes: u32, test: &str) -> Option<SmallDisk> {
        std::fs::create_dir(&place).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(&place);
        let problem = match mount.output() {
            Ok(output) if output.status.success() => return Some(SmallDisk { place }),
            problem => problem,
        };
        assert!(std::env::var_os(IN_NAMESPACE).is_none(), "no tmpfs even in a namespace: {problem:?}");
        let mut again = Command::new("unshare");
        again.args(["--user", "--map-root-user", "--mount"]).arg(std::env::current_exe().unwrap());
        again.args(["--exact", test, "--nocapture"]).env(IN_NAMESPACE, "1");
        let output = again.output().expect("a full disk needs the right to mount a tmpfs, or `unshare`");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "a full disk needs the right to mount a tmpfs, or to make a user namespace ({problem:?}): {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        None
    }

    /// The file that takes room away.
    pub(crate) fn filler(&self) -> PathBuf {
        self.place.join("filler")
    }

    pub(crate) fn take(&self, bytes: usize) {
        std::fs::write(self.filler(), vec![0; bytes]).unwrap();
    }

    pub(crate) fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let place: &Path = &self.place;
        let _ = Command::new("umount").arg("-l").arg(place).status();
    }
}
