//! Entities on the bed: what they do, and what is asked of them.

use crate::bed::*;
use bytes::Bytes;
use perdura_core::entity::*;
use perdura_core::history::*;
use perdura_core::orchestration::Decision;
use perdura_core::partition::*;
use perdura_core::*;

pub fn entity(id: &str) -> EntityId {
    EntityId::parse(id).unwrap()
}

pub fn signal(to: &str, operation: &str) -> SignalRequest {
    SignalRequest {
        to: entity(to),
        operation: operation.into(),
        input: None,
        at: None,
        request_id: String::new(),
        stamp: None,
    }
}

pub fn ended(text: &str) -> OperationResult {
    OperationResult { outcome: Ok(Some(Bytes::copy_from_slice(text.as_bytes()))), actions: Vec::new() }
}

/// Appends the name of each operation to its state; `fail` fails, `delete` takes the state away, `spread` signals @log@far.
pub fn log(state: &mut Option<Bytes>, operation: &EntityOperation) -> OperationResult {
    let was = state.clone().unwrap_or_default();
    match operation.name.as_str() {
        "fail" => {
            let actions = vec![EntityAction::Signal {
                to: entity("@log@far"),
                operation: "leaked".into(),
                input: None,
                at: None,
                request: String::new(),
            }];
            return OperationResult { outcome: Err(Failure::new("E", "no")), actions };
        }
        "delete" => *state = None,
        name => *state = Some([&was[..], name.as_bytes(), b";"].concat().into()),
    }
    let mut result = ended(&format!("{} of {}", operation.name, operation.delivery));
    if operation.name == "spread" {
        result.actions.push(EntityAction::Signal {
            to: entity("@log@far"),
            operation: "came".into(),
            input: None,
            at: None,
            request: String::new(),
        });
        result.actions.push(EntityAction::Start {
            id: id("started"),
            name: "Idle".into(),
            version: String::new(),
            input: None,
            at: None,
            reuse: ReusePolicy::FAIL,
        });
    }
    result
}

pub fn bed() -> Bed {
    let mut bed = Bed::new();
    bed.entity("log", log);
    bed
}

pub fn record(bed: &Bed, id: &str) -> EntityRecord {
    *bed.record(id).entity.expect("an entity")
}

pub fn state(bed: &Bed, id: &str) -> String {
    String::from_utf8(record(bed, id).state.unwrap_or_default().to_vec()).unwrap()
}

pub fn exists(bed: &Bed, id: &str) -> bool {
    bed.rows.values().any(|row| row.id.as_str() == id)
}

pub fn call(number: u32, to: &str, operation: &str) -> Decision {
    Decision::CallEntity(EntityOperationCalled {
        id: number,
        entity: to.into(),
        operation: operation.into(),
        ..Default::default()
    })
}

pub fn lock(number: u32, set: &[&str]) -> Decision {
    let set = set.iter().map(ToString::to_string).collect();
    Decision::RequestLock(EntityLockRequested { id: number, set, ..Default::default() })
}

pub fn unlock(number: u32) -> Decision {
    Decision::Unlock(EntityUnlockSent { id: number, ..Default::default() })
}

pub fn holder(bed: &Bed, id: &str) -> Option<String> {
    record(bed, id).lock.map(|lock| lock.holder.unwrap().instance)
}
