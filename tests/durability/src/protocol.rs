//! What tests ask of the load's process and what it answers: one JSON object per line.

use crate::program::{Program, Transcript};
use serde::{Deserialize, Serialize};

/// A question with a number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ask {
    /// The number.
    pub number: u64,
    /// The question.
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Start an instance.
    Start {
        /// Its id.
        id: String,
        /// What it does.
        program: Program,
        /// When the id is taken.
        reuse: Reuse,
        /// The request id.
        request: String,
    },
    /// Send the event `e`.
    Raise {
        /// To whom.
        id: String,
        /// What it carries.
        value: String,
    },
    /// Answer when it has ended.
    Wait {
        /// For whom.
        id: String,
    },
    /// Send an entity a signal with a number.
    Signal {
        /// To whom, as `@name@key`.
        entity: String,
        /// The operation.
        operation: String,
        /// Its input.
        value: u64,
        /// The request id.
        request: String,
    },
    /// List all entities.
    Entities,
    /// Stop it until it is resumed.
    Suspend {
        /// Whom.
        id: String,
    },
    /// Let it go on.
    Resume {
        /// Whom.
        id: String,
    },
    /// End it by force.
    Terminate {
        /// Whom.
        id: String,
    },
    /// Remove it.
    Purge {
        /// Whom.
        id: String,
    },
    /// Tell what is known of it.
    Look {
        /// At whom.
        id: String,
    },
    /// Read its history and count.
    Audit {
        /// Of whom.
        id: String,
    },
    /// End gracefully. Answered when all is done.
    Shutdown,
}

/// What to do when an id is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reuse {
    /// Fail.
    Fail,
    /// Take what is there.
    UseExisting,
    /// End it and begin anew.
    Replace,
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// The number of the question; 0 if it answers none: the engine has started, or cannot start.
    pub number: u64,
    /// What came of it.
    pub outcome: Result<Answer, Refusal>,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// The engine runs.
    Ready,
    /// The answer of a start.
    Started {
        /// `created`, `existing` or `replaced`.
        outcome: String,
        /// Of the run.
        generation: u32,
        /// The run's id.
        execution: String,
    },
    /// It is done.
    Done,
    /// How an instance stands, or ended.
    Instance {
        /// Its status.
        status: String,
        /// Starts, replacements and continue-as-new so far.
        generation: u32,
        /// The generation of its last start.
        start_generation: u32,
        /// What it returned.
        output: Option<Transcript>,
        /// Why it failed, or does not go on.
        problem: Option<String>,
    },
    /// There is no such instance.
    Nothing,
    /// What a history holds.
    Audited(Audit),
    /// All entities.
    Entities(Vec<EntityLook>),
}

/// What is known of an entity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EntityLook {
    /// `@name@key`.
    pub id: String,
    /// Its state.
    pub state: Option<serde_json::Value>,
    /// What waits or runs.
    pub backlog: usize,
    /// Who holds it.
    pub locked_by: Option<String>,
}

/// What the history of an instance's last run holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Its first event.
    pub first: String,
    /// Its last event.
    pub last: String,
    /// How many events end it.
    pub ends: usize,
    /// Activities, timers and children that were asked for.
    pub asked: Vec<u32>,
    /// Those that have a result, one entry for each result.
    pub answered: Vec<u32>,
    /// The values of the events `e`, as they arrived.
    pub raised: Vec<String>,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The name of the error's variant.
    pub kind: String,
    /// Its text.
    pub text: String,
}
