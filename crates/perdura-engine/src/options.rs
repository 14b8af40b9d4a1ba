//! Settings of an engine.

use crate::retention::Retention;
use perdura_core::Limits;
use std::time::Duration;

/// Settings of an engine. [`EngineOptions::default`] suits one machine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Most activities that run at once in this process; the others wait their turn. `None` hands all of them to the
    /// host at once: for one that has a queue of its own.
    pub running_activities_max: Option<usize>,
    /// How long a shutdown waits for running activities. What is not finished then runs again after the next start.
    pub drain_time_max: Duration,
    /// Limits of instances, payloads and memory.
    pub limits: Limits,
    /// How long instances that have ended stay. By default until somebody removes them.
    pub retention: Retention,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            running_activities_max: Some(1000),
            drain_time_max: Duration::from_secs(30),
            limits: Limits::default(),
            retention: Retention::default(),
        }
    }
}
