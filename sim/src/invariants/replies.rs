//! Answers (I38): none claims what is not durable.

use super::{Checker, Group, Judged, Seen};
use crate::payload::{EventSalt, Input};
use perdura_core::partition::{Request, RequestError, Response, StartOutcome, Started};
use perdura_core::{InstanceId, InstanceKey};

/// A request, and how its instance stood when it was made.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The request.
    pub request: Request,
    /// The key, the last start and the branch of the instance at that time.
    before: Option<(InstanceKey, u32, u32)>,
}

impl Checker {
    /// A client makes a request.
    pub fn asked(&mut self, request: &Request) -> Asked {
        if let Request::Purge { id, .. } = request {
            self.purge_asked(id);
        }
        if let Request::Rewind { id, spec } = request {
            self.rewinds.asked(id, spec);
        }
        self.entity_asked(request);
        Asked { request: request.clone(), before: self.stands(request.id()) }
    }

    fn stands(&self, id: &InstanceId) -> Option<(InstanceKey, u32, u32)> {
        let stands = |seen: &Seen| (seen.key, seen.record.start_generation, seen.record.branch);
        self.mirror.by_id(id).map(stands)
    }

    /// An answer leaves the processor.
    pub fn replied(&mut self, asked: &Asked, answer: &Result<Response, RequestError>) {
        if self.judged != Judged::Everything {
            return;
        }
        let result = match (&asked.request, answer) {
            (Request::Signal(signal), answer) => self.signal_answered(signal, answer),
            (Request::Start(start), Ok(Response::Started(started))) => {
                let salt = Input::decode(&start.input).map(|input| input.start);
                self.started(started).and_then(|()| match (started.outcome, salt) {
                    (StartOutcome::Existing, _) | (_, None) => Ok(()),
                    (_, Some(salt)) => self.starts.answered(started.execution.0, salt),
                })
            }
            (Request::Raise { id, input, .. }, Ok(_)) => self.raised(id, EventSalt::decode(input)),
            (Request::Terminate { id, .. }, Ok(_)) => self.ended_or_new(asked, id, "terminated"),
            (Request::Purge { id, .. }, Ok(_)) => match asked.before {
                Some((key, ..)) if self.mirror.instances.contains_key(&key) => {
                    Err(format!("{id:?} was purged, but it is there"))
                }
                _ => Ok(()),
            },
            (Request::Cancel { id, .. }, Ok(_)) => match self.mirror.by_id(id) {
                // A generation that has seen the request may have continued as new all the same.
                Some(Seen { record, .. })
                    if record.cancel_requested.is_none() && record.generation == record.start_generation =>
                {
                    self.ended_or_new(asked, id, "asked to cancel")
                }
                _ => Ok(()),
            },
            (Request::Wait { id, execution: Some(execution) }, Ok(Response::Ended(record)))
                if record.run.id() != *execution =>
            {
                Err(format!("{id:?}: who waited for {execution} was told the end of another run, {record:?}"))
            }
            (Request::Wait { id, .. }, Ok(Response::Ended(record))) => {
                let later = self.has_moved_on(id, record.generation);
                match self.ended.get(&(record.execution.to_bytes(), record.branch)) {
                    Some(known) if (&known.output, known.status) == (&record.output, record.status) => Ok(()),
                    None if later => Ok(()),
                    known => Err(format!("{id:?}: told {record:?}, durable is {known:?}")),
                }
            }
            (Request::Rewind { id, .. }, Ok(Response::Rewound { branch, .. })) => {
                self.rewound(asked, id, *branch)
            }
            (Request::WaitBegun { id }, Ok(Response::Begun(record))) => match self.mirror.by_id(id) {
                Some(seen)
                    if seen.record.execution == record.execution
                        && seen.history.is_empty()
                        && seen.record.generation == seen.record.start_generation =>
                {
                    Err(format!("{seen:?} has begun, says the answer"))
                }
                _ => Ok(()),
            },
            (request, Err(RequestError::NotFound { id })) if asked.before.is_some() => {
                if self.stands(id) == asked.before && !request.waits() {
                    Err(format!("{id:?} was not found, but it is there"))
                } else {
                    Ok(())
                }
            }
            _ => Ok(()),
        };
        self.check(Group::Replies, result);
    }

    fn started(&self, started: &Started) -> Result<(), String> {
        let execution = bytes::Bytes::copy_from_slice(&started.execution.0.to_be_bytes());
        if self.starts.is_known(&execution) || self.has_moved_on(&started.id, started.generation) {
            return Ok(());
        }
        Err(format!("told {started:?}, but it is not durable"))
    }

    /// Whether the id has a later generation, or its instance was purged.
    fn has_moved_on(&self, id: &InstanceId, generation: u32) -> bool {
        let later = self.mirror.by_id(id).is_some_and(|seen| seen.record.generation > generation);
        // One that was purged by the very batch that made it was never seen.
        later || self.starts.purge_was_asked(id)
    }

    /// An acknowledged event is there, unless its instance has ended or was replaced or purged.
    fn raised(&self, id: &InstanceId, salt: Option<EventSalt>) -> Result<(), String> {
        let (Some(seen), Some(salt)) = (self.mirror.by_id(id), salt) else {
            return if self.starts.purge_was_asked(id) {
                Ok(())
            } else {
                Err(format!("an event for {id:?} was acknowledged, which does not exist"))
            };
        };
        // A later start does not take over the events of an earlier one.
        let told = seen.row.status.is_terminal()
            || super::events::held(seen).contains(&salt)
            || seen.record.start_generation > 1
            || self.dropped.contains(&seen.record.execution.to_bytes())
            || self.starts.purge_was_asked(id);
        if told {
            Ok(())
        } else {
            Err(format!("{seen:?}: event {salt:x?} was acknowledged, but it is not durable"))
        }
    }

    /// An acknowledged rewind is there, unless the instance was replaced or continued as new.
    fn rewound(&self, asked: &Asked, id: &InstanceId, branch: u32) -> Result<(), String> {
        let Some(seen) = self.mirror.by_id(id) else { return Ok(()) };
        let key = asked
            .before
            .is_some_and(|(key, start, _)| (key, start) == (seen.key, seen.record.start_generation));
        let has = branch == 0 || seen.record.branches().iter().any(|opened| opened.branch == branch);
        if has || !key || seen.record.generation > seen.record.start_generation {
            return Ok(());
        }
        Err(format!("{seen:?}: told that it is on branch {branch}, which it does not have"))
    }

    fn ended_or_new(&self, asked: &Asked, id: &InstanceId, what: &str) -> Result<(), String> {
        match self.mirror.by_id(id) {
            Some(seen) if !seen.row.status.is_terminal() && self.stands(id) == asked.before => {
                Err(format!("{seen:?} was {what}, says the answer"))
            }
            _ => Ok(()),
        }
    }
}
