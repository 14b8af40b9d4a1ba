//! Every limit of the engine, with its name and its default.

/// Longest instance id, in bytes.
pub const INSTANCE_ID_BYTES_MAX: usize = 512;
/// Longest name of an orchestration, activity or event, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// Longest version, request id or reason, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024;
/// Most tags on an instance or a task.
pub const TAGS_MAX: usize = 32;
/// Longest key or value of a tag, in bytes.
pub const TAG_BYTES_MAX: usize = 256;
/// Longest failure message or stack that is kept, in bytes; the rest is cut off and marked.
pub const FAILURE_TEXT_BYTES_MAX: usize = 16 * 1024;
/// Deepest chain of causes that a failure keeps.
pub const FAILURE_DEPTH_MAX: usize = 16;
/// Longest trace context, in bytes: W3C allows about 600.
pub const TRACE_BYTES_MAX: usize = 4096;
/// Start requests remembered per instance, so that a retried start is recognised.
pub const START_REQUESTS_REMEMBERED: usize = 16;
/// Continue-as-new turns of one instance per minute; more are held back until the minute is over.
pub const CONTINUE_AS_NEW_PER_MINUTE: u32 = 1000;
/// Activities that have failed which are remembered per execution, so that counts go on when an SDK retries under the
/// number of the first try.
pub const FAILED_REMEMBERED: usize = 32;
/// Longest idempotency key of a call, and longest id of an event, in bytes.
pub const KEY_BYTES_MAX: usize = 512;
/// Results of calls under idempotency keys that are remembered per instance: the last ones.
pub const KEYS_REMEMBERED: usize = 128;
/// Most bytes of them together; a result that is larger by itself is not remembered.
pub const KEYS_BYTES_MAX: usize = 256 * 1024;
/// Ids of external events that are remembered per instance: the last ones.
pub const EVENT_IDS_REMEMBERED: usize = 128;
/// Most branches that rewinds of one execution may open.
pub const BRANCHES_MAX: usize = 100;
/// Operations of one entity that are handed out together. More than clients can send while a batch is handed out and
/// comes back, or the queue of a busy entity would only ever grow.
pub const ENTITY_BATCH_MAX: usize = 4096;
/// Most entities of one critical section.
pub const LOCKS_MAX: usize = 100;
/// How long somebody waits for an entity that another holds before it is looked whether they wait for each other, in
/// milliseconds; then after twice as long each time, up to the maximum.
pub const CIRCLE_WAIT_MS: i64 = 1000;
/// See [`CIRCLE_WAIT_MS`].
pub const CIRCLE_WAIT_MS_MAX: i64 = 60_000;
/// Most waits that are followed in such a search; a larger circle is not found.
pub const CIRCLE_WAITS_MAX: u32 = 1000;
/// Request ids of signals remembered per entity, so that a signal that a client sends again is recognised.
pub const SIGNAL_REQUESTS_REMEMBERED: usize = 128;
/// Furthest that a timer or a scheduled start may lie ahead, in milliseconds (ten years).
pub const DELAY_MS_MAX: i64 = 10 * 366 * 86_400_000;

/// Limits that an operator may change. [`Limits::default`] suits one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest input, output, event or custom status, in bytes.
    pub payload_bytes_max: usize,
    /// Most events in one execution's history; at the limit new work is refused with an error that the orchestration can catch.
    pub history_events_max: u64,
    /// Most decisions of one turn.
    pub decisions_per_turn_max: usize,
    /// Most bytes that the decisions of one turn carry together: they are written as one record. So many, too, one operation
    /// of an entity may send.
    pub turn_bytes_max: usize,
    /// Most events that wait for an instance that cannot take them now (suspended, not started, its worker busy).
    pub inbox_events_max: usize,
    /// Most bytes that wait for an instance or an entity: they are written as one record. Events over it, and signals of
    /// clients, are refused; results of activities and children, and operations that instances send, wait until there is room.
    pub inbox_bytes_max: usize,
    /// Most bytes of a state and of the operations on it that are handed out together, for those who run entities behind
    /// messages of a limited size. One operation at least is handed out always.
    pub operations_bytes_max: usize,
    /// Workers that may be lost one after another while they run one attempt of an activity; then the activity fails. So
    /// many, too, while they run operations of an entity; then the entity is blocked. So many, too, or processes of the engine,
    /// in one turn; then the instance is suspended, as a dead letter. So often, too, may a handler of unknown outcomes let an
    /// activity run once more; then the instance is suspended.
    pub lost_workers_max: u32,
    /// Most time that a handler of unknown outcomes may take, in ms, from when a worker has it; then the instance is
    /// suspended. 0 is without limit.
    pub handler_ms_max: u64,
    /// Instances held in memory; the least recently used ones that wait for nothing at hand leave it.
    pub resident_instances_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            payload_bytes_max: 4 * 1024 * 1024,
            history_events_max: 50_000,
            decisions_per_turn_max: 100_000,
            turn_bytes_max: 64 * 1024 * 1024,
            inbox_events_max: 10_000,
            inbox_bytes_max: 64 * 1024 * 1024,
            operations_bytes_max: usize::MAX,
            lost_workers_max: 10,
            handler_ms_max: 600_000,
            resident_instances_max: 50_000,
        }
    }
}
