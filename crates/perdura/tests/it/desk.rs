//! Drives a runner by hand: what an engine would do, one turn at a time.

use perdura::{Bytes, InstanceId, Registry, Status};
use perdura_core::history::{Event, EventKind, ExecutionCompleted, ExecutionStarted, TurnStarted};
use perdura_core::orchestration::{Decision, Run, Runner, Turn, TurnOutcome, TurnResult};
use perdura_core::{ExecutionId, InstanceKey, Timestamp};

pub struct Desk {
    pub runner: Box<dyn Runner>,
    pub history: Vec<Event>,
    pub name: String,
    pub version: String,
    pub now: i64,
}

impl Desk {
    pub fn new(registry: &Registry, name: &str) -> Desk {
        let runner = registry.runner();
        Desk { runner, history: Vec::new(), name: name.into(), version: String::new(), now: 1000 }
    }

    /// Makes a turn of some events, with the history so far before it.
    pub fn turn(&self, events: impl IntoIterator<Item = EventKind>) -> Turn {
        let at = Timestamp(self.now);
        let mut all = vec![Event::new(at, TurnStarted::default())];
        all.extend(events.into_iter().map(|kind| Event { at, kind }));
        Turn {
            key: InstanceKey(7),
            id: InstanceId::new("i").unwrap(),
            name: self.name.clone(),
            version: self.version.clone(),
            execution: ExecutionId(1),
            generation: 0,
            branch: 0,
            from: self.history.len() as u64,
            number: self.history.len() as u64,
            trace: None,
            lost: 0,
            events: all,
        }
    }

    /// Runs a turn warm if possible, and records what it decided.
    pub fn run(&mut self, events: impl IntoIterator<Item = EventKind>) -> TurnResult {
        match self.outcome(events) {
            TurnOutcome::Done(result) => result,
            other => panic!("{other:?}"),
        }
    }

    pub fn outcome(&mut self, events: impl IntoIterator<Item = EventKind>) -> TurnOutcome {
        let turn = self.turn(events);
        let run = match self.runner.run(&turn, None) {
            Run::NeedsHistory => self.runner.run(&turn, Some(&self.history)),
            run => run,
        };
        let Run::Finished(outcome) = run else { panic!("history was given") };
        if let TurnOutcome::Done(result) = &outcome {
            self.history.extend(turn.recorded(result));
            for decision in &result.decisions {
                self.history.extend(recorded(decision).map(|kind| Event { at: Timestamp(self.now), kind }));
            }
        }
        outcome
    }

    pub fn start(&mut self, input: Option<&str>) -> TurnResult {
        let started = ExecutionStarted {
            name: self.name.clone(),
            input: input.map(|text| Bytes::copy_from_slice(text.as_bytes())),
            execution: vec![3; 16].into(),
            ..Default::default()
        };
        self.run([started.into()])
    }
}

fn recorded(decision: &Decision) -> Option<EventKind> {
    match decision.clone() {
        Decision::ScheduleTask(event) => Some(event.into()),
        Decision::CreateTimer(event) => Some(event.into()),
        Decision::ScheduleSubOrchestration(event) => Some(event.into()),
        Decision::CallEntity(called) => Some(called.into()),
        Decision::SignalEntity(signaled) => Some(signaled.into()),
        Decision::RequestLock(requested) => Some(requested.into()),
        Decision::Unlock(sent) => Some(sent.into()),
        Decision::SendEvent(event) => Some(event.into()),
        Decision::Complete(event) => Some(event.into()),
        Decision::Terminate(_) | Decision::ContinueAsNew(_) => None,
    }
}

/// How the decisions of a turn end the execution.
pub fn end(result: &TurnResult) -> (Status, Result<String, String>) {
    let Some(Decision::Complete(ExecutionCompleted { output, failure, .. })) = result.decisions.last() else {
        panic!("no end in {result:?}");
    };
    let Some(Decision::Complete(end)) = result.decisions.last() else { unreachable!() };
    let text = match failure {
        Some(failure) => Err(failure.to_string()),
        None => Ok(String::from_utf8(output.clone().unwrap_or_default().to_vec()).unwrap()),
    };
    (end.final_status().unwrap(), text)
}

pub fn completed(id: u32, output: &str) -> EventKind {
    let output = Some(Bytes::copy_from_slice(output.as_bytes()));
    perdura_core::history::TaskCompleted { id, output, attempt: 1, delivery: 1, ..Default::default() }.into()
}
