//! What a stretch of work cost.

use crate::sys;
use serde_json::{Value, json};
use std::time::Instant;

/// Begun before a stretch of work, read after it.
pub struct Meter {
    began: Instant,
    own_cpu: f64,
    server_cpu: f64,
    device: sys::Device,
    disk_bytes: u64,
    machine: sys::MachineCpu,
}

impl Meter {
    /// Begins.
    #[must_use]
    pub fn begin() -> Meter {
        Meter {
            disk_bytes: sys::disk_bytes(),
            device: sys::device(),
            machine: sys::machine_cpu(),
            own_cpu: sys::own_cpu(),
            server_cpu: sys::server_cpu(),
            began: Instant::now(),
        }
    }

    /// When it began.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Seconds since it began.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// What the stretch cost: time, CPU of the worker and of the server, and what the device and the rest of the
    /// machine did meanwhile.
    #[must_use]
    pub fn read(&self) -> Value {
        let wall = self.seconds();
        let (own, server) = (sys::own_cpu() - self.own_cpu, sys::server_cpu() - self.server_cpu);
        let (device, machine) = (sys::device(), sys::machine_cpu());
        let percent = |seconds: f64| round(100.0 * seconds / wall);
        json!({
            "wall_s": round(wall),
            "cpu_own_s": round(own),
            "cpu_server_s": round(server),
            "disk_mib": round((sys::disk_bytes() as f64 - self.disk_bytes as f64) / 1048576.0),
            "device_flushes": device.flushes.saturating_sub(self.device.flushes),
            "device_mib": round(device.sectors.saturating_sub(self.device.sectors) as f64 / 2048.0),
            "others_cpu_pct": percent(machine.busy - self.machine.busy - own - server),
            "steal_pct": percent(machine.stolen - self.machine.stolen),
        })
    }
}

/// The percentiles of times in seconds, in milliseconds.
#[must_use]
pub fn percentiles(mut seconds: Vec<f64>) -> Value {
    if seconds.is_empty() {
        return json!({});
    }
    seconds.sort_by(f64::total_cmp);
    let at = |share: f64| round(seconds[((seconds.len() - 1) as f64 * share).round() as usize] * 1e3);
    json!({ "p50_ms": at(0.5), "p95_ms": at(0.95), "p99_ms": at(0.99), "max_ms": at(1.0) })
}

/// Rounds to three decimals.
#[must_use]
pub fn round(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}
