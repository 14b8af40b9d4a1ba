//! The limits of the present turn: a replay is held to those under which the turn ran.

use crate::history::TurnLimits;
use std::sync::Arc;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct LimitsInForce {
    /// Those of turns that are not history yet, for all executions.
    now: Arc<TurnLimits>,
    turn: Limited,
}

#[derive(Debug)]
enum Limited {
    /// By those of today.
    Now,
    /// It is history, and met none.
    Not,
    /// It is history, and met one of these.
    Recorded(Box<TurnLimits>),
}

impl LimitsInForce {
    pub(super) fn new(now: Arc<TurnLimits>) -> LimitsInForce {
        LimitsInForce { now, turn: Limited::Now }
    }

    /// Largest payload, in bytes.
    pub(super) fn payload_bytes_max(&self) -> usize {
        usize::try_from(self.get().payload_bytes).unwrap_or(usize::MAX)
    }

    /// A turn begins. If it is replayed, `recorded` are the limits of which it met one.
    pub(super) fn begin_turn(&mut self, recorded: Option<TurnLimits>, replayed: bool) {
        self.turn = match recorded {
            _ if !replayed => Limited::Now,
            Some(limits) => Limited::Recorded(Box::new(limits)),
            None => Limited::Not,
        };
    }

    pub(super) fn get(&self) -> &TurnLimits {
        match &self.turn {
            Limited::Now => &self.now,
            Limited::Not => &TurnLimits::NONE,
            Limited::Recorded(limits) => limits,
        }
    }
}
