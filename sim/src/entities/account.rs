//! What the entities of a world do. An account has a balance, and a chain that tells which operations made it, in which
//! order and by which delivery: whoever knows the state before and the operations knows the state after.

use crate::payload::{EventSalt, Input, Reader, StartSalt};
use crate::program::{APP_FAILURE, Programs};
use bytes::Bytes;
use perdura_core::entity::{EntityAction, EntityId};
use perdura_core::history::ParentLink;
use perdura_core::{Failure, InstanceId, ReusePolicy, Timestamp};

/// The name of all entities.
pub const ACCOUNT: &str = "account";

/// Adds to the balance.
pub const ADD: &str = "add";
/// Reads the balance, and changes nothing.
pub const GET: &str = "get";
/// Fails, after it has sent what [`SPREAD`] sends.
pub const FAIL: &str = "fail";
/// Adds to the balance, signals others and may start an orchestration.
pub const SPREAD: &str = "spread";
/// Takes the state away.
pub const DELETE: &str = "delete";

/// An operation and its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Names it: no other order of the world has it.
    pub salt: EventSalt,
    /// What it adds.
    pub amount: i32,
}

impl Order {
    /// The payload.
    #[must_use]
    pub fn encode(self) -> Bytes {
        [&self.salt.0.to_le_bytes()[..], &self.amount.to_le_bytes()].concat().into()
    }

    /// The order of a payload. A call that was under way when its caller was rewound is made again on the new branch, and is
    /// another order then; a signal is not.
    #[must_use]
    pub fn decode(payload: &Option<Bytes>, caller: Option<&ParentLink>) -> Option<Order> {
        let mut reader = Reader(payload.as_deref()?);
        let salt = EventSalt(reader.u64()?).on_branch(caller.map_or(0, |caller| caller.branch));
        Some(Order { salt, amount: reader.u32()? as i32 })
    }
}

/// The state of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    balance: i64,
    chain: u64,
}

impl State {
    fn decode(state: &Option<Bytes>) -> State {
        let mut reader = Reader(state.as_deref().unwrap_or_default());
        let balance = reader.u64().unwrap_or_default() as i64;
        State { balance, chain: reader.u64().unwrap_or_default() }
    }

    fn encode(self) -> Bytes {
        [self.balance.to_le_bytes(), self.chain.to_le_bytes()].concat().into()
    }
}

/// What an operation did.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// What it returned.
    pub outcome: Result<Option<Bytes>, Failure>,
    /// What it sent, also if it failed.
    pub actions: Vec<EntityAction>,
    /// The state after it.
    pub state: Option<Bytes>,
}

/// Runs one delivery of an operation on a state.
#[must_use]
pub fn apply(
    programs: &Programs,
    state: &Option<Bytes>,
    operation: &str,
    order: Order,
    delivery: u32,
    now: Timestamp,
) -> Applied {
    let before = State::decode(state);
    let after = State {
        balance: before.balance + i64::from(order.amount),
        chain: mix(before.chain ^ mix(order.salt.0).wrapping_add(u64::from(delivery))),
    };
    let spreads = matches!(operation, SPREAD | FAIL);
    let actions = if spreads { actions(programs, order.salt, now) } else { Vec::new() };
    let (state, balance) = match operation {
        FAIL => {
            let outcome = Err(Failure::new(APP_FAILURE, "as programmed"));
            return Applied { outcome, actions, state: state.clone() };
        }
        GET => (state.clone(), before.balance),
        DELETE => (None, 0),
        _ => (Some(after.encode()), after.balance),
    };
    let output = [&order.salt.0.to_le_bytes()[..], &balance.to_le_bytes(), &delivery.to_le_bytes()].concat();
    Applied { outcome: Ok(Some(output.into())), actions, state }
}

/// The balance that an operation returned.
#[must_use]
pub fn balance_of(output: &Option<Bytes>) -> Option<i64> {
    let mut reader = Reader(output.as_deref()?);
    reader.u64()?;
    reader.u64().map(|balance| balance as i64)
}

/// Salts of the signals that an order sends.
pub fn sent_by(order: EventSalt) -> impl Iterator<Item = EventSalt> {
    let count = 1 + mix(order.0) % 2;
    (0..count).map(move |n| {
        let unique = mix(order.0 ^ (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        EventSalt(1 << 62 | unique >> 2)
    })
}

/// Whether an order comes from an execution.
#[must_use]
pub fn is_of_execution(salt: EventSalt) -> bool {
    salt.0 >> 63 == 1
}

/// Whether an order comes from an entity.
#[must_use]
pub fn is_of_entity(salt: EventSalt) -> bool {
    salt.0 >> 62 == 1
}

fn actions(programs: &Programs, order: EventSalt, now: Timestamp) -> Vec<EntityAction> {
    let mut actions: Vec<_> = sent_by(order)
        .map(|salt| EntityAction::Signal {
            to: entity(programs, (salt.0 >> 8) as u8),
            operation: if salt.0.is_multiple_of(5) { GET } else { ADD }.into(),
            input: Some(Order { salt, amount: (salt.0 % 100) as i32 }.encode()),
            at: (salt.0 >> 4).is_multiple_of(4).then(|| Timestamp(now.0 + (salt.0 % 700) as i64)),
            request: String::new(),
        })
        .collect();
    if let Some(start) = programs.entity_start.filter(|_| mix(order.0 ^ 1).is_multiple_of(3)) {
        let id = &programs.ids[(order.0 % programs.ids.len() as u64) as usize];
        let program = programs.children[start as usize].program;
        let input = Input { program, start: StartSalt::of_child(start), ..Input::default() };
        actions.push(EntityAction::Start {
            id: InstanceId::new(id).unwrap_or_else(|invalid| panic!("{id:?}: {invalid}")),
            name: "program".into(),
            version: String::new(),
            input: Some(input.encode()),
            at: order.0.is_multiple_of(2).then(|| Timestamp(now.0 + 300)),
            reuse: ReusePolicy::FAIL,
        });
    }
    actions
}

/// Entity `number` of a world, counted around.
#[must_use]
pub fn entity(programs: &Programs, number: u8) -> EntityId {
    let key = number % programs.entities.max(1);
    EntityId::new(ACCOUNT, &key.to_string()).unwrap_or_else(|invalid| panic!("account {key}: {invalid}"))
}

fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
