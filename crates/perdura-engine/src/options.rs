//! Settings of an engine.

use crate::retention::Retention;
use perdura_core::Limits;
use perdura_core::delivery::Delivery;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Settings of an engine. [`EngineOptions::default`] suits one machine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Most activities that run at once in this process; the others wait their turn. `None` hands all of them to the
    /// host at once: for one that has a queue of its own.
    pub running_activities_max: Option<usize>,
    /// How long a shutdown waits for running activities. What is not finished then runs again after the next start.
    pub drain_time_max: Duration,
    /// How long an operation of an entity may take. One that takes longer has failed and leaves no trace; its entity goes on.
    /// `None`: as long as it likes. Whoever runs operations keeps to it.
    pub operation_time_max: Option<Duration>,
    /// How often activities of a name may run, if neither the call nor its tags say so.
    pub deliveries: Arc<BTreeMap<String, Delivery>>,
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
            operation_time_max: Some(Duration::from_secs(600)),
            deliveries: Arc::default(),
            limits: Limits::default(),
            retention: Retention::default(),
        }
    }
}
