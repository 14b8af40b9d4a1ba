//! What entities wait for, and what orchestrations wait for of entities.

use super::{Surroundings, Wait, on_time};
use crate::partition::{
    CallRecord, EntityRecord, InstanceRecord, LockRecord, Operation, Queued, SectionRecord, Wanted,
};
use crate::time::Timestamp;

/// What an entity waits for; nothing if it has nothing to do.
pub(super) fn for_entity(record: &InstanceRecord, entity: &EntityRecord) -> Vec<Wait> {
    let waiting = waiting(entity);
    let queue = (waiting > 0).then(|| wait_for_it(waiting));
    let mut waits = Vec::new();
    if let Some(block) = &record.block {
        let and_queue = queue.as_ref().map_or(String::new(), |queue| format!("; {queue}"));
        waits.push(Wait {
            what: "a repair".into(),
            since: Some(Timestamp(block.since)),
            who: "whoever deploys its code".into(),
            missing: Some(match entity.dead {
                true => format!("{}{and_queue}", block.reason),
                false => format!(
                    "{}; it goes on by itself after a start with code that fits, or when its state is deleted{and_queue}",
                    block.reason
                ),
            }),
        });
    }
    if let Some((since, what)) = running(entity) {
        waits.push(Wait {
            what: format!("the end of {what}"),
            since: Some(since),
            who: "whoever runs it".into(),
            missing: queue.clone(),
        });
    }
    if let Some(lock) = &entity.lock {
        let holder = holder(lock);
        waits.push(Wait {
            what: format!("the end of the critical section of {holder:?}"),
            since: Some(Timestamp(lock.since)),
            who: format!("instance {holder:?}"),
            missing: queue.clone(),
        });
    }
    if let Some(missing) = queue.filter(|_| waits.is_empty()) {
        waits.push(Wait {
            what: "its operations to be handed out".into(),
            since: Some(Timestamp(record.updated_at)),
            who: "the engine that owns its partition".into(),
            missing: Some(format!("{missing}; if this lasts, no engine serves the hub, or it is busy")),
        });
    }
    for operation in entity.delayed.iter().filter_map(|delayed| delayed.operation.as_ref()) {
        waits.push(on_time(format!("signal {:?}", operation.name), operation.at, None));
    }
    waits
}

pub(super) fn for_call(call: &CallRecord, caller: &InstanceRecord, around: &dyn Surroundings) -> Wait {
    let (task, entity) = (call.id, &call.entity);
    let found = around.operation(task);
    let operation = match &found {
        Some((name, _)) => format!("operation {name:?} of entity {entity:?} (task {task})"),
        None => format!("the operation of entity {entity:?} of task {task}"),
    };
    Wait {
        what: operation,
        since: found.map(|(_, since)| since),
        who: format!("entity {entity:?}"),
        missing: match around.entity(entity) {
            None => None,
            Some(None) => Some("it is not there: the call is on its way".into()),
            Some(Some(record)) => how_it_stands(record, caller),
        },
    }
}

/// A critical section that is not granted.
pub(super) fn for_section(
    section: &SectionRecord,
    holder_of: &InstanceRecord,
    around: &dyn Surroundings,
) -> Wait {
    // They are taken one after another: the first that is not held is the one that is waited for.
    let held = |record: &InstanceRecord| {
        let lock = record.entity.as_ref().and_then(|entity| entity.lock.as_ref());
        lock.is_some_and(|lock| holder(lock) == holder_of.id)
    };
    let next = section.set.iter().find_map(|entity| match around.entity(entity) {
        Some(Some(record)) if held(record) => None,
        Some(record) => Some((entity, record)),
        None => None,
    });
    let missing = next.map(|(entity, record)| {
        let stands = record.and_then(|record| how_it_stands(record, holder_of));
        format!("the next is {entity:?}: {}", stands.unwrap_or("the request is on its way".into()))
    });
    Wait {
        what: format!("the critical section over {:?} (task {})", section.set, section.id),
        since: Some(Timestamp(section.since)),
        who: "these entities, one after another".into(),
        missing,
    }
}

/// What keeps an entity from the next operation or lock of an instance; `None` if nothing does.
fn how_it_stands(record: &InstanceRecord, who: &InstanceRecord) -> Option<String> {
    let entity = record.entity.as_deref()?;
    let mut stands = Vec::new();
    if let Some(block) = &record.block {
        stands.push(format!("it is blocked since {}: {}", Timestamp(block.since), block.reason));
    }
    if let Some(lock) = entity.lock.as_ref().filter(|lock| holder(lock) != who.id) {
        let is_parent = who.parents.iter().any(|parent| parent.instance == holder(lock));
        let circle =
            if is_parent { ", which waits for this one: a circle, unless it lets go by itself" } else { "" };
        stands.push(format!("it is held by {:?} since {}{circle}", holder(lock), Timestamp(lock.since)));
    }
    if let Some((since, what)) = running(entity) {
        stands.push(format!("it runs {what} since {since}"));
    }
    match waiting(entity) {
        0 => {}
        waiting => stands.push(wait_for_it(waiting)),
    }
    (!stands.is_empty()).then(|| stands.join("; "))
}

fn holder(lock: &LockRecord) -> &str {
    lock.holder.as_ref().map_or("", |holder| &holder.instance)
}

/// What runs, and since when.
fn running(entity: &EntityRecord) -> Option<(Timestamp, String)> {
    let (first, delivery) = entity.running_operation()?;
    let what = match entity.running {
        1 => format!("operation {:?}, delivery {delivery}", first.name),
        more => format!("{more} operations, the first is {:?}, delivery {delivery}", first.name),
    };
    Some((Timestamp(entity.running_since), what))
}

fn waiting(entity: &EntityRecord) -> usize {
    entity.queue.len().saturating_sub(entity.running as usize)
}

fn wait_for_it(waiting: usize) -> String {
    match waiting {
        1 => "1 operation or lock request waits for it".into(),
        waiting => format!("{waiting} operations and lock requests wait for it"),
    }
}

impl EntityRecord {
    /// The first operation of those that are handed out, with its delivery count. One of them runs.
    #[must_use]
    pub fn running_operation(&self) -> Option<(&Operation, u32)> {
        match self.queue.first().filter(|_| self.running > 0)? {
            Queued { wanted: Some(Wanted::Operation(operation)), delivery } => Some((operation, *delivery)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::ParentLink;
    use crate::partition::{Block, DelayedSignal};
    use crate::why::why;
    use std::collections::BTreeMap;

    #[derive(Default)]
    struct Around(BTreeMap<&'static str, InstanceRecord>);

    impl Surroundings for Around {
        fn activity(&self, _: u32) -> Option<String> {
            None
        }

        fn instance(&self, _: &str) -> Option<Option<crate::Status>> {
            None
        }

        fn asked_at(&self, _: u32) -> Option<Timestamp> {
            None
        }

        fn suspended_at(&self) -> Option<Timestamp> {
            None
        }

        fn line(&self, _: super::super::Work) -> Option<super::super::Line> {
            None
        }

        fn operation(&self, _: u32) -> Option<(String, Timestamp)> {
            Some(("add".into(), Timestamp(1000)))
        }

        fn entity(&self, id: &str) -> Option<Option<&InstanceRecord>> {
            Some(self.0.get(id))
        }
    }

    fn said(record: &InstanceRecord, around: &Around) -> Vec<String> {
        why(record, Timestamp(5000), around).iter().map(ToString::to_string).collect()
    }

    fn queued(name: &str) -> Queued {
        let operation = Operation { name: name.into(), ..Operation::default() };
        Queued { wanted: Some(Wanted::Operation(operation)), delivery: 2 }
    }

    fn lock(holder: &str) -> Option<LockRecord> {
        let holder = ParentLink { instance: holder.into(), ..ParentLink::default() };
        Some(LockRecord { holder: Some(holder), since: 2000, ..LockRecord::default() })
    }

    fn of(id: &str, entity: EntityRecord) -> InstanceRecord {
        InstanceRecord { id: id.into(), entity: Some(Box::new(entity)), ..InstanceRecord::default() }
    }

    fn blocked() -> InstanceRecord {
        let block = Block { reason: "its state cannot be read".into(), since: 3000, ..Block::default() };
        let entity = EntityRecord { queue: vec![queued("add"); 2], ..EntityRecord::default() };
        InstanceRecord { block: Some(Box::new(block)), ..of("@C@a", entity) }
    }

    #[test]
    fn a_caller_says_which_operation_it_waits_for_and_what_keeps_the_entity_from_it() {
        let call = CallRecord { id: 4, event: 7, entity: "@C@a".into(), ..CallRecord::default() };
        let caller = InstanceRecord { id: "i".into(), calls: vec![call], ..InstanceRecord::default() };
        let waits = "waits for operation \"add\" of entity \"@C@a\" (task 4) since 1970-01-01T00:00:01.000Z; entity \"@C@a\"";
        assert_eq!(
            said(&caller, &Around::default()),
            [format!("{waits}; it is not there: the call is on its way")]
        );
        let with = |record| said(&caller, &Around([("@C@a", record)].into()));
        assert_eq!(
            with(blocked()),
            [format!(
                "{waits}; it is blocked since 1970-01-01T00:00:03.000Z: its state cannot be read; 2 operations and lock \
                 requests wait for it"
            )]
        );
        let held = EntityRecord { lock: lock("h"), queue: vec![queued("add")], ..EntityRecord::default() };
        assert_eq!(
            with(of("@C@a", held)),
            [format!(
                "{waits}; it is held by \"h\" since 1970-01-01T00:00:02.000Z; 1 operation or lock request waits for it"
            )]
        );
        let runs = EntityRecord {
            queue: vec![queued("slow"), queued("add")],
            running: 1,
            running_since: 2000,
            ..EntityRecord::default()
        };
        assert_eq!(
            with(of("@C@a", runs)),
            [format!(
                "{waits}; it runs operation \"slow\", delivery 2 since 1970-01-01T00:00:02.000Z; 1 operation or lock request \
                 waits for it"
            )]
        );
    }

    #[test]
    fn who_waits_for_an_entity_that_its_parent_holds_says_that_this_is_a_circle() {
        let call = CallRecord { id: 4, event: 7, entity: "@C@a".into(), ..CallRecord::default() };
        let parents = vec![ParentLink { instance: "h".into(), ..ParentLink::default() }];
        let caller = InstanceRecord { id: "i".into(), calls: vec![call], parents, ..Default::default() };
        let held = of("@C@a", EntityRecord { lock: lock("h"), ..EntityRecord::default() });
        let [said] = &said(&caller, &Around([("@C@a", held)].into()))[..] else { panic!("one wait") };
        let stands = "it is held by \"h\" since 1970-01-01T00:00:02.000Z, which waits for this one: a circle, unless it lets \
                      go by itself";
        assert!(said.ends_with(stands), "{said}");
    }

    #[test]
    fn who_waits_for_a_critical_section_says_which_entity_it_has_come_to_and_who_holds_that() {
        let set = ["@C@a", "@C@b", "@C@c"].map(String::from).to_vec();
        let section = SectionRecord { id: 3, set, granted: false, since: 1000 };
        let caller =
            InstanceRecord { id: "i".into(), section: Some(Box::new(section)), ..Default::default() };
        let locked = |holder| EntityRecord { lock: lock(holder), ..EntityRecord::default() };
        let around = Around([("@C@a", of("@C@a", locked("i"))), ("@C@b", of("@C@b", locked("h")))].into());
        assert_eq!(
            said(&caller, &around),
            [
                "waits for the critical section over [\"@C@a\", \"@C@b\", \"@C@c\"] (task 3) since 1970-01-01T00:00:01.000Z; \
              these entities, one after another; the next is \"@C@b\": it is held by \"h\" since 1970-01-01T00:00:02.000Z"
            ]
        );
    }

    #[test]
    fn an_entity_says_what_holds_its_queue_up() {
        let idle = of("@C@a", EntityRecord::default());
        assert!(said(&idle, &Around::default()).is_empty());
        assert_eq!(
            said(&blocked(), &Around::default()),
            [
                "waits for a repair since 1970-01-01T00:00:03.000Z; whoever deploys its code; its state cannot be read; it goes \
              on by itself after a start with code that fits, or when its state is deleted; 2 operations and lock requests \
              wait for it"
            ]
        );
        let later = Operation { name: "later".into(), at: 9000, ..Operation::default() };
        let busy = EntityRecord {
            lock: lock("h"),
            queue: vec![queued("slow"), queued("x"), queued("y")],
            running: 2,
            running_since: 2000,
            delayed: vec![DelayedSignal { number: 0, operation: Some(later) }],
            ..EntityRecord::default()
        };
        assert_eq!(
            said(&of("@C@a", busy), &Around::default()),
            [
                "waits for the end of 2 operations, the first is \"slow\", delivery 2 since 1970-01-01T00:00:02.000Z; whoever \
                 runs it; 1 operation or lock request waits for it",
                "waits for the end of the critical section of \"h\" since 1970-01-01T00:00:02.000Z; instance \"h\"; 1 \
                 operation or lock request waits for it",
                "waits for signal \"later\" at 1970-01-01T00:00:09.000Z; the clock",
            ]
        );
    }
}
