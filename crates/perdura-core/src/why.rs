//! Why an instance does not go on: what it waits for, since when, who should answer, and what is missing. A pure function
//! of its record and of what the caller knows besides.

mod engine;
mod entities;

use crate::delivery::Stage;
use crate::history::{Event, EventKind};
use crate::limits::Limits;
use crate::partition::{ChildRecord, InstanceRecord, TaskRecord};
use crate::status::Status;
use crate::time::Timestamp;
use std::fmt;

/// What the caller knows besides the record. What it does not know it leaves out.
pub trait Surroundings {
    /// The name of the activity of a task, from the history.
    fn activity(&self, task: u32) -> Option<String>;
    /// When its code asked for something, from the history: for an activity, a timer or a child, by number.
    fn asked_at(&self, id: u32) -> Option<Timestamp>;
    /// When it was suspended, from the history.
    fn suspended_at(&self) -> Option<Timestamp>;
    /// The status of another instance; `Some(None)` if there is none.
    fn instance(&self, id: &str) -> Option<Option<Status>>;
    /// How a piece of its work stands with those who run the code.
    fn line(&self, work: Work) -> Option<Line>;

    /// The limits of the engine that serves the hub.
    fn limits(&self) -> Option<&Limits> {
        None
    }

    /// How much more was sent to it and waits until there is room for it.
    fn held(&self) -> usize {
        0
    }

    /// Why that engine does not have the instance's partition at present.
    fn loss(&self) -> Option<&str> {
        None
    }

    /// The operation that a task called, and when, from the history.
    fn operation(&self, _task: u32) -> Option<(String, Timestamp)> {
        None
    }

    /// The record of an entity; `Some(None)` if there is none.
    fn entity(&self, _id: &str) -> Option<Option<&InstanceRecord>> {
        None
    }
}

/// A piece of work that somebody else does for an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Its next turn.
    Turn,
    /// The activity of this task.
    Activity(u32),
}

/// How a piece of work stands with those who run the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// A worker has it.
    WithWorker,
    /// It waits for a worker that has room; so many of its kind came before it.
    Queued {
        /// How many.
        ahead: u64,
    },
    /// No worker that is connected takes it.
    NoWorker,
    /// Every worker that takes it has given it back undone; it is offered again in a while.
    Refused,
    /// Nobody knows: as far as can be told, no engine serves the hub.
    NoEngine,
}

/// Nothing besides the record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unknown;

impl Surroundings for Unknown {
    fn activity(&self, _: u32) -> Option<String> {
        None
    }

    fn asked_at(&self, _: u32) -> Option<Timestamp> {
        None
    }

    fn suspended_at(&self) -> Option<Timestamp> {
        None
    }

    fn instance(&self, _: &str) -> Option<Option<Status>> {
        None
    }

    fn line(&self, _: Work) -> Option<Line> {
        None
    }
}

/// One thing that an instance waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// What.
    pub what: String,
    /// Since when, if it is known.
    pub since: Option<Timestamp>,
    /// Who is to answer.
    pub who: String,
    /// What is missing, or what to do; `None` if nothing but time.
    pub missing: Option<String>,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waits for {}", self.what)?;
        if let Some(since) = self.since {
            write!(f, " since {since}")?;
        }
        write!(f, "; {}", self.who)?;
        match &self.missing {
            Some(missing) => write!(f, "; {missing}"),
            None => Ok(()),
        }
    }
}

/// What an instance waits for; nothing if it has ended. For an entity, what holds its queue up; nothing if it has nothing
/// to do.
#[must_use]
pub fn why(record: &InstanceRecord, now: Timestamp, around: &dyn Surroundings) -> Vec<Wait> {
    if let Some(entity) = &record.entity {
        let mut waits = entities::for_entity(record, entity);
        if !waits.is_empty() {
            waits.extend(engine::for_queue(entity, around));
            waits.splice(0..0, engine::for_owner(around));
        }
        return waits;
    }
    let status = record.status().unwrap_or_default();
    if status.is_terminal() {
        return Vec::new();
    }
    let mut waits: Vec<_> = engine::for_owner(around).into_iter().collect();
    if let Some(block) = &record.block {
        let found = match (&block.event, &block.expected, &block.actual) {
            (Some(event), Some(expected), Some(actual)) => {
                format!("at event {event} its history has {expected}, its code did {actual}")
            }
            _ => block.reason.clone(),
        };
        waits.push(Wait {
            what: "a repair".into(),
            since: Some(Timestamp(block.since)),
            who: "whoever deploys its code".into(),
            missing: Some(format!("{found}; it goes on by itself with code that fits")),
        });
    }
    if let Some(reason) = record.dead_letter() {
        waits.push(Wait {
            what: "somebody who looks at it".into(),
            since: around.suspended_at(),
            who: reason.to_owned(),
            missing: Some(
                "resume it to run the turn again, with code that survives it; or terminate it".into(),
            ),
        });
    } else if let Some(reason) = &record.suspended {
        waits.push(Wait {
            what: "being resumed".into(),
            since: around.suspended_at(),
            who: format!("whoever suspended it: {reason:?}"),
            missing: Some(match record.suspended_in_doubt {
                true => "say what follows for each activity in doubt (resolve), and it goes on".into(),
                false => "resume it".into(),
            }),
        });
    }
    if record.start_at > now.0 {
        waits.push(on_time("its start".into(), record.start_at, None));
    }
    let awaited = |id: u32| !record.given_up.contains(&id);
    let tasks = record.tasks.iter().filter(|task| awaited(task.id));
    waits.extend(tasks.map(|task| for_task(task, now, around)));
    for timer in record.timers.iter().filter(|timer| awaited(timer.id)) {
        let wait = on_time(format!("timer {}", timer.id), timer.fire_at, None);
        waits.push(Wait { since: around.asked_at(timer.id), ..wait });
    }
    let children = record.children.iter().filter(|child| awaited(child.id));
    waits.extend(children.map(|child| for_child(child, now, around)));
    let calls = record.calls.iter().filter(|call| awaited(call.id));
    waits.extend(calls.map(|call| entities::for_call(call, record, around)));
    if let Some(section) = record.section.as_deref().filter(|section| !section.granted) {
        waits.push(entities::for_section(section, record, around));
    }
    let arrived = record.inbox_events().map_or(0, |events| events.len());
    if arrived > 0 && record.suspended.is_none() && record.block.is_none() && record.start_at <= now.0 {
        waits.push(Wait {
            what: format!("a turn: {arrived} events have arrived that no turn has taken"),
            since: Some(Timestamp(record.updated_at)),
            who: "the engine that owns its partition".into(),
            missing: in_line(around.line(Work::Turn), "orchestration", &record.name)
                .or_else(|| Some("if this lasts, no engine serves the hub, or it is busy".into())),
        });
    }
    let knows_of_nothing = waits.len() == usize::from(around.loss().is_some());
    waits.extend(for_event(record, knows_of_nothing));
    waits.extend(engine::for_room(record, around));
    waits
}

fn on_time(what: String, at: i64, missing: Option<String>) -> Wait {
    Wait { what: format!("{what} at {}", Timestamp(at)), since: None, who: "the clock".into(), missing }
}

/// The record knows that an event is awaited, not which one. Of code that does not say so, nobody knows more than that
/// timers often stand beside one, as time limits.
fn for_event(record: &InstanceRecord, knows_of_nothing: bool) -> Option<Wait> {
    let wait = Wait {
        what: "an external event".into(),
        since: None,
        who: "whoever raises it; its code knows the name".into(),
        missing: Some("raise it".into()),
    };
    if knows_of_nothing {
        return Some(Wait { since: Some(Timestamp(record.updated_at)), ..wait });
    }
    if record.awaits_untold {
        let has_work = !record.tasks.is_empty() || !record.children.is_empty() || !record.calls.is_empty();
        let what = "an external event, perhaps: its code does not say whether it waits for one".into();
        return (!has_work && !record.timers.is_empty()).then_some(Wait { what, missing: None, ..wait });
    }
    let is_raised = |event: &Event| matches!(event.kind, EventKind::EventRaised(_));
    let has_arrived = record.inbox_events().is_ok_and(|events| events.iter().any(is_raised));
    (record.awaits_event && !has_arrived).then_some(wait)
}

fn for_task(task: &TaskRecord, now: Timestamp, around: &dyn Surroundings) -> Wait {
    let name = around.activity(task.id);
    let activity = match &name {
        Some(name) => format!("activity {name:?} (task {})", task.id),
        None => format!("the activity of task {}", task.id),
    };
    let failure = task.last_failure.as_ref().map(|failure| format!("the last attempt failed: {failure}"));
    if task.not_before > now.0 {
        return on_time(format!("attempt {} of {activity}", task.attempt), task.not_before, failure);
    }
    if let Some(once) = task.once.as_ref().filter(|once| once.is_in_doubt()) {
        let suspended = once.stage() == Stage::Suspended;
        return Wait {
            what: format!("the outcome of {activity}, delivery {}", task.delivery),
            since: Some(Timestamp(once.since)),
            who: if suspended { "an operator" } else { "its handler of unknown outcomes" }.into(),
            missing: Some(match suspended {
                true => format!("{}; say what follows (resolve)", once.why),
                false => once.why.clone(),
            }),
        };
    }
    let line = in_line(around.line(Work::Activity(task.id)), "activity", name.as_deref().unwrap_or("?"));
    Wait {
        what: format!("{activity}, attempt {}, delivery {}", task.attempt, task.delivery),
        since: Some(Timestamp(task.scheduled_at)),
        who: "a worker".into(),
        missing: match (line, failure) {
            (Some(line), Some(failure)) => Some(format!("{line}; {failure}")),
            (line, failure) => line.or(failure),
        },
    }
}

fn in_line(line: Option<Line>, kind: &str, name: &str) -> Option<String> {
    Some(match line? {
        Line::WithWorker => "a worker has it".into(),
        Line::Queued { ahead } => {
            format!(
                "the queue is full: the workers that serve {kind} {name:?} are busy, and {ahead} others came before it"
            )
        }
        Line::NoWorker => format!("no worker serves {kind} {name:?}: start one"),
        Line::Refused => {
            format!(
                "the workers that serve {kind} {name:?} have given it back: see whether they have its version"
            )
        }
        Line::NoEngine => "if no engine serves the hub, start one".into(),
    })
}

fn for_child(child: &ChildRecord, now: Timestamp, around: &dyn Surroundings) -> Wait {
    let what = format!("child {:?}", child.instance);
    if child.not_before > now.0 {
        return on_time(format!("attempt {} of {what}", child.attempt), child.not_before, None);
    }
    let missing = match around.instance(&child.instance) {
        Some(None) => Some("it is not there: purged, or its start is on its way".into()),
        Some(Some(status)) if status.is_terminal() => {
            Some(format!("it is {status}; its answer is on its way"))
        }
        Some(Some(Status::Suspended)) => Some(
            "it is suspended: resume it or, if an activity of it is in doubt, say what follows (resolve)"
                .into(),
        ),
        _ => None,
    };
    let since = around.asked_at(child.id);
    Wait { what, since, who: format!("instance {:?}", child.instance), missing }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::EventRaised;
    use crate::partition::{Block, TimerRecord};

    struct Around;

    impl Surroundings for Around {
        fn activity(&self, _: u32) -> Option<String> {
            Some("pay".into())
        }

        fn asked_at(&self, id: u32) -> Option<Timestamp> {
            (id == 5).then_some(Timestamp(500))
        }

        fn suspended_at(&self) -> Option<Timestamp> {
            None
        }

        fn instance(&self, _: &str) -> Option<Option<Status>> {
            Some(Some(Status::Suspended))
        }

        fn line(&self, work: Work) -> Option<Line> {
            Some(if work == Work::Turn { Line::Queued { ahead: 7 } } else { Line::NoWorker })
        }
    }

    fn said(record: &InstanceRecord) -> Vec<String> {
        why(record, Timestamp(1000), &Around).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_wait_says_who_is_to_answer_and_what_is_missing() {
        let record = InstanceRecord {
            tasks: vec![TaskRecord { id: 3, attempt: 2, delivery: 4, ..TaskRecord::default() }],
            timers: vec![TimerRecord { id: 5, fire_at: 2000 }],
            children: vec![ChildRecord { instance: "kid".into(), ..ChildRecord::default() }],
            ..InstanceRecord::default()
        };
        let expected = [
            "waits for activity \"pay\" (task 3), attempt 2, delivery 4 since 1970-01-01T00:00:00.000Z; a worker; no worker serves activity \"pay\": start one",
            "waits for timer 5 at 1970-01-01T00:00:02.000Z since 1970-01-01T00:00:00.500Z; the clock",
            "waits for child \"kid\"; instance \"kid\"; it is suspended: resume it or, if an activity of it is in doubt, say what follows (resolve)",
        ];
        assert_eq!(said(&record), expected);
    }

    fn beside_a_timer(record: InstanceRecord) -> Vec<String> {
        said(&InstanceRecord { timers: vec![TimerRecord { id: 5, fire_at: 2000 }], ..record })
    }

    #[test]
    fn an_external_event_that_is_awaited_beside_a_timer_is_told() {
        let record = InstanceRecord { awaits_event: true, ..InstanceRecord::default() };
        let said = beside_a_timer(record.clone());
        let event = "waits for an external event; whoever raises it; its code knows the name; raise it";
        assert!(said.len() == 2 && said[0].contains("timer 5"), "{said:?}");
        assert_eq!(said[1], event);
        let mut raised = record;
        let event = EventRaised { name: "go".into(), input: None };
        raised.set_inbox_events(vec![Event::new(Timestamp(0), event)]);
        assert!(!beside_a_timer(raised).concat().contains("external event"), "it has come");
        assert_eq!(beside_a_timer(InstanceRecord::default()).len(), 1);
    }

    #[test]
    fn of_code_that_does_not_say_what_it_waits_for_an_event_beside_a_timer_is_told_as_possible() {
        let untold = InstanceRecord { awaits_untold: true, ..InstanceRecord::default() };
        let possible = "waits for an external event, perhaps: its code does not say whether it waits for one";
        assert!(beside_a_timer(untold.clone())[1].starts_with(possible));
        let tasks = vec![TaskRecord { id: 3, ..TaskRecord::default() }];
        assert_eq!(beside_a_timer(InstanceRecord { tasks, ..untold }).len(), 2, "an activity and the timer");
    }

    #[test]
    fn a_blocked_instance_says_where_its_code_and_its_history_part() {
        let block = Block {
            reason: "r".into(),
            since: 0,
            event: Some(7),
            expected: Some("activity \"a\"".into()),
            actual: Some("timer".into()),
        };
        let record = InstanceRecord { block: Some(Box::new(block)), ..InstanceRecord::default() };
        assert!(said(&record)[0].contains("at event 7 its history has activity \"a\", its code did timer"));
    }

    #[test]
    fn an_instance_that_waits_for_nothing_known_waits_for_an_event_and_one_that_has_ended_for_nothing() {
        assert!(said(&InstanceRecord::default())[0].starts_with("waits for an external event"));
        let ended = InstanceRecord { status: Status::Failed as u32, ..InstanceRecord::default() };
        assert!(said(&ended).is_empty());
    }
}
