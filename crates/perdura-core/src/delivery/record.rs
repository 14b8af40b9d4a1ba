//! What is kept of an activity whose hand-overs are committed. Field numbers are stored: never reuse one.

use bytes::Bytes;

/// Attempts, and late results, that are remembered of one activity: the last ones.
const REMEMBERED_MAX: usize = 16;
/// Largest details of a heartbeat, and largest late result, that are remembered of an attempt, in bytes.
pub const REMEMBERED_BYTES_MAX: usize = 64 * 1024;

/// Where a precise activity is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// No attempt is under way: none was made, or it is known how the last one ended.
    #[default]
    Queued,
    /// An attempt was handed over; nobody knows yet how it ends.
    Out,
    /// Nobody knows how an attempt ended, and a handler is asked.
    Asked,
    /// Nobody knows how an attempt ended, and somebody has to say what follows.
    Suspended,
}

/// See the [module](self).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OnceRecord {
    /// The number of a [`Stage`].
    #[prost(uint32, tag = "1")]
    pub stage: u32,
    /// How often a handler was asked, about all attempts: no two questions share a number.
    #[prost(uint32, tag = "2")]
    pub asked: u32,
    /// Why nobody knows how the present attempt ended, or why it is suspended.
    #[prost(string, tag = "3")]
    pub why: String,
    /// The last attempts, oldest first.
    #[prost(message, repeated, tag = "4")]
    pub attempts: Vec<AttemptRecord>,
    /// Workers that were lost one after another while they ran the handler.
    #[prost(uint32, tag = "5")]
    pub handlers_lost: u32,
    /// Since when nobody knows, in ms since 1970; 0 if the end of the present attempt is known, or it has none yet.
    #[prost(int64, tag = "6")]
    pub since: i64,
    /// How often in a row a handler let it run once more.
    #[prost(uint32, tag = "7")]
    pub once_more: u32,
    /// The process that had asked the handler was shut down in order: that counts for nothing.
    #[prost(bool, tag = "20")]
    pub given_back: bool,
}

/// One hand-over to a worker.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AttemptRecord {
    /// Its delivery count.
    #[prost(uint32, tag = "1")]
    pub delivery: u32,
    /// When it was handed over, in ms since 1970.
    #[prost(int64, tag = "2")]
    pub at: i64,
    /// Who had it.
    #[prost(string, tag = "3")]
    pub worker: String,
    /// When it was last heard of with something new, in ms since 1970; 0 if never.
    #[prost(int64, tag = "4")]
    pub heard_at: i64,
    /// What it said then.
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub heartbeat: Option<Bytes>,
    /// How it ended, as far as it is known; empty while it runs.
    #[prost(string, tag = "6")]
    pub end: String,
    /// What it returned too late to count.
    #[prost(bytes = "bytes", optional, tag = "7")]
    pub late: Option<Bytes>,
    /// It began before the instance ended or was rewound, which did not wait for its end.
    #[prost(bool, tag = "8")]
    pub left: bool,
    /// By what its worker proves that it has it, also to another process than the one that gave it out; empty if by nothing.
    #[prost(bytes = "bytes", tag = "9")]
    pub token: Bytes,
}

impl OnceRecord {
    /// Where the activity is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self.stage {
            1 => Stage::Out,
            2 => Stage::Asked,
            3 => Stage::Suspended,
            _ => Stage::Queued,
        }
    }

    pub(crate) fn enter(&mut self, stage: Stage) {
        self.stage = stage as u32;
    }

    /// Whether nobody knows how the present attempt ended.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        matches!(self.stage(), Stage::Asked | Stage::Suspended)
    }

    /// Whether somebody lets it run once more although nobody knows how the present attempt ended.
    pub(crate) fn runs_once_more(&self) -> bool {
        self.stage() == Stage::Queued && self.since != 0
    }

    /// An attempt is handed over.
    pub(crate) fn begin(&mut self, delivery: u32, at: i64, worker: &str) {
        self.enter(Stage::Out);
        self.why.clear();
        (self.handlers_lost, self.since) = (0, 0);
        if self.attempts.len() == REMEMBERED_MAX {
            self.attempts.remove(0);
        }
        let worker = worker.chars().take(256).collect();
        self.attempts.push(AttemptRecord { delivery, at, worker, ..AttemptRecord::default() });
    }

    /// An attempt began before the instance ended or was rewound: no more is known of it now than its number, and the token
    /// of its worker, if it has one.
    pub(crate) fn was_left(&mut self, delivery: u32, at: i64, token: Bytes) {
        self.begin(delivery, at, "");
        if let Some(attempt) = self.attempts.last_mut() {
            (attempt.left, attempt.token) = (true, token);
        }
    }

    /// The attempt with this count, if it is remembered.
    pub(crate) fn attempt(&mut self, delivery: u32) -> Option<&mut AttemptRecord> {
        self.attempts.iter_mut().find(|attempt| attempt.delivery == delivery)
    }
}
