//! Counters of Linux: CPU, memory, disk. Where a counter is not there, it is zero.

use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Counters of all block devices with a name of their own (no partitions, no loop devices).
#[derive(Clone, Copy, Default)]
pub struct Device {
    /// 512-byte sectors written.
    pub sectors: u64,
    /// Flushes.
    pub flushes: u64,
}

/// What all block devices have done so far.
#[must_use]
pub fn device() -> Device {
    let mut sum = Device::default();
    for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("loop") || name.to_string_lossy().starts_with("dm-") {
            continue;
        }
        let text = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields: Vec<u64> = text.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        sum.sectors += fields.get(6).copied().unwrap_or(0);
        sum.flushes += fields.get(15).copied().unwrap_or(0);
    }
    sum
}

/// Seconds of CPU that this process has used.
#[must_use]
pub fn own_cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Seconds of CPU that the whole machine has used.
#[derive(Clone, Copy)]
pub struct MachineCpu {
    /// User, nice, system, interrupts.
    pub busy: f64,
    /// Taken away by the host.
    pub stolen: f64,
}

/// What the whole machine has used so far.
#[must_use]
pub fn machine_cpu() -> MachineCpu {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<f64> = text.lines().next().unwrap_or("").split_whitespace().skip(1).map(ticks).collect();
    let at = |i: usize| fields.get(i).copied().unwrap_or(0.0);
    MachineCpu { busy: at(0) + at(1) + at(2) + at(5) + at(6), stolen: at(7) }
}

/// MiB of memory that this process holds.
#[must_use]
pub fn rss_mib() -> f64 {
    status_kib("VmRSS:") / 1024.0
}

/// The most memory that it has held, in MiB.
#[must_use]
pub fn peak_rss_mib() -> f64 {
    status_kib("VmHWM:") / 1024.0
}

fn status_kib(key: &str) -> f64 {
    field(&fs::read_to_string("/proc/self/status").unwrap_or_default(), key)
}

/// Seconds of CPU of the processes named by `SERVER_PIDS` and of their children, those that have ended included.
#[must_use]
pub fn server_cpu() -> f64 {
    server_tree().iter().filter_map(|&pid| stat(pid)).map(|(_, seconds)| seconds).sum()
}

/// MiB of memory that those processes hold, shared pages divided among them.
#[must_use]
pub fn server_pss_mib() -> f64 {
    let kib = |pid: &i32| {
        field(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default(), "Pss:")
    };
    server_tree().iter().map(kib).sum::<f64>() / 1024.0
}

fn server_tree() -> Vec<i32> {
    let pids = std::env::var("SERVER_PIDS").unwrap_or_default();
    let mut tree: Vec<i32> = pids.split(',').filter_map(|pid| pid.trim().parse().ok()).collect();
    if tree.is_empty() {
        return tree;
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all: Vec<(i32, i32)> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?.0)))
        .collect();
    let mut i = 0;
    while i < tree.len() {
        let children = all.iter().filter(|(pid, parent)| *parent == tree[i] && !tree.contains(pid));
        let children: Vec<i32> = children.map(|(pid, _)| *pid).collect();
        tree.extend(children);
        i += 1;
    }
    tree
}

/// The parent of a process, and its seconds of CPU with those of its ended children.
fn stat(pid: i32) -> Option<(i32, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text[text.rfind(')')? + 2..].split_whitespace().collect();
    let seconds = fields.get(11..15)?.iter().map(|field| ticks(field)).sum();
    Some((fields.get(1)?.parse().ok()?, seconds))
}

static DATA_DIRS: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// The directories that hold the engine's state, whose size counts and whose disk is measured: those that `DATA` names,
/// or that [`set_data_dir`] has set.
#[must_use]
pub fn data_dirs() -> &'static [PathBuf] {
    DATA_DIRS.get_or_init(|| {
        let dirs = std::env::var("DATA").unwrap_or_default();
        dirs.split(':').filter(|dir| !dir.is_empty()).map(PathBuf::from).collect()
    })
}

/// For a harness that chooses the directory itself. The first call counts.
pub fn set_data_dir(dir: &Path) {
    let _ = DATA_DIRS.set(vec![dir.to_owned()]);
}

/// Bytes allocated under the data directories.
#[must_use]
pub fn disk_bytes() -> u64 {
    data_dirs().iter().map(|dir| allocated(dir)).sum()
}

fn allocated(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.blocks() * 512;
    }
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| allocated(&entry.path())).sum()
}

/// Kills this process with SIGKILL, and before it the server's if `KILL_SERVER` is 1.
pub fn kill_everything() -> ! {
    let own = Pid::as_raw(Some(rustix::process::getpid()));
    let servers = if std::env::var("KILL_SERVER").as_deref() == Ok("1") { server_tree() } else { Vec::new() };
    for pid in servers.into_iter().rev().chain([own]) {
        if let Some(pid) = Pid::from_raw(pid) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    loop {
        std::thread::park();
    }
}

fn field(text: &str, key: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

fn ticks(field: &str) -> f64 {
    field.parse::<f64>().unwrap_or(0.0) / 100.0
}
