//! What programs do with entities.

use super::account::{ADD, FAIL, GET, Order, balance_of, entity};
use super::client::draw_operation;
use crate::interpreter::{Done, Shared, failed, perform_child, sleep, wait_for};
use crate::outcome;
use crate::payload::EventSalt;
use crate::random::Random;
use bytes::Bytes;
use perdura_core::orchestration::Ticket;
use perdura_core::{EntityId, Failure, Timestamp};

/// A step that is about entities.
#[derive(Clone, Debug)]
pub enum EntityStep {
    /// A call.
    Call {
        /// Number of the entity.
        to: u8,
        /// The operation.
        operation: &'static str,
        /// What it adds.
        amount: i32,
    },
    /// A signal.
    Signal {
        /// Number of the entity.
        to: u8,
        /// The operation.
        operation: &'static str,
        /// What it adds.
        amount: i32,
        /// How far ahead, in ms.
        delay_ms: Option<u64>,
    },
    /// A critical section, in which money goes from account to account.
    Section(Section),
}

/// See [`EntityStep::Section`].
#[derive(Clone, Debug)]
pub struct Section {
    /// Numbers of the entities, in the order in which the code names them.
    pub set: Vec<u8>,
    /// From which to which of the set, and how much.
    pub moves: Vec<(u8, u8, i32)>,
    /// A wait between the two halves of each move, in ms.
    pub pause_ms: Option<u64>,
    /// An operation in it that fails, which the code does not mind.
    pub fails: bool,
    /// The code ends without giving up the lock.
    pub keeps: bool,
    /// A sub-orchestration that it waits for meanwhile; it may want the same entities.
    pub child: Option<u32>,
}

impl EntityStep {
    /// A step in a world of so many entities.
    #[must_use]
    pub fn draw(random: &mut Random, entities: u8) -> EntityStep {
        let to = random.below(u64::from(entities)) as u8;
        let amount = random.below(100) as i32;
        match random.below(10) {
            0..3 => EntityStep::Call { to, operation: draw_operation(random), amount },
            3..5 => {
                let delay_ms = random.chance(300).then(|| random.below(2_000));
                EntityStep::Signal { to, operation: draw_operation(random), amount, delay_ms }
            }
            _ => EntityStep::Section(Section::draw(random, entities)),
        }
    }
}

impl Section {
    /// A section in a world of so many entities.
    #[must_use]
    pub fn draw(random: &mut Random, entities: u8) -> Section {
        let mut set: Vec<u8> = (0..entities).collect();
        for at in (1..set.len()).rev() {
            set.swap(at, random.below(at as u64 + 1) as usize);
        }
        set.truncate(random.between(1, u64::from(entities)) as usize);
        let one = |random: &mut Random| random.below(set.len() as u64) as u8;
        let moves =
            (0..random.below(4)).map(|_| (one(random), one(random), random.below(1000) as i32)).collect();
        Section {
            moves,
            pause_ms: random.chance(400).then(|| random.below(400)),
            fails: random.chance(150),
            keeps: false,
            child: None,
            set,
        }
    }
}

/// The lock of a critical section, given up when it is dropped.
struct Lock<'a> {
    shared: &'a Shared,
    ticket: Ticket,
    keeps: bool,
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        if !self.keeps {
            self.shared.execution.borrow_mut().unlock(self.ticket);
        }
    }
}

pub(crate) async fn perform(shared: &Shared, step: u32) -> Done {
    let programs = shared.programs.clone();
    let mut place = Place { step, slot: 0 };
    let step = &programs.entity_steps[step as usize];
    let done = match step {
        EntityStep::Call { to, operation, amount } => {
            call(shared, &mut place, &entity(&programs, *to), operation, *amount)
                .await
                .map(|_| outcome::ENTITY)
        }
        EntityStep::Signal { to, operation, amount, delay_ms } => {
            signal(shared, &mut place, &entity(&programs, *to), operation, *amount, *delay_ms)
                .await
                .map(|_| outcome::ENTITY)
        }
        EntityStep::Section(section) => section_of(shared, &mut place, section).await,
    };
    match done {
        Ok(mark) => Done(vec![mark], None),
        Err(failure) => failed(failure),
    }
}

/// The place of an order in a program: the step, and which order of the step.
struct Place {
    step: u32,
    slot: u32,
}

fn order(shared: &Shared, place: &mut Place, amount: i32) -> Bytes {
    let before = shared.ordered.get();
    shared.ordered.set(before + 1);
    let count = if shared.programs.names_orders_by_place { place.step << 8 | place.slot } else { before };
    place.slot += 1;
    Order { salt: EventSalt::of_execution(shared.sender.get(), count), amount }.encode()
}

async fn call(
    shared: &Shared,
    place: &mut Place,
    to: &EntityId,
    operation: &str,
    amount: i32,
) -> Result<Option<Bytes>, Failure> {
    let input = Some(order(shared, place, amount));
    let ticket = shared.execution.borrow_mut().call_entity(to, operation, input);
    shared.calls_open.set(shared.calls_open.get() + 1);
    let result = wait_for(shared, ticket, None).await;
    shared.calls_open.set(shared.calls_open.get() - 1);
    result
}

async fn signal(
    shared: &Shared,
    place: &mut Place,
    to: &EntityId,
    operation: &str,
    amount: i32,
    delay_ms: Option<u64>,
) -> Result<Option<Bytes>, Failure> {
    let input = Some(order(shared, place, amount));
    let ticket = {
        let mut execution = shared.execution.borrow_mut();
        let at = delay_ms.map(|ms| Timestamp(execution.now().0 + ms as i64));
        execution.signal_entity(to, operation, input, at)
    };
    wait_for(shared, ticket, None).await
}

async fn section_of(shared: &Shared, place: &mut Place, section: &Section) -> Result<u8, Failure> {
    let set: Vec<EntityId> = section.set.iter().map(|number| entity(&shared.programs, *number)).collect();
    let ticket = shared.execution.borrow_mut().lock_entities(&set);
    let _lock = Lock { shared, ticket, keeps: section.keeps };
    wait_for(shared, ticket, None).await?;
    // Calls of this execution that nobody waits for any more, or that run beside this section, are its own too.
    let (was_alone, began) = (shared.calls_open.get() == 0, shared.ordered.get());
    let before = sum(shared, place, &set).await?;
    for (from, to, amount) in &section.moves {
        call(shared, place, &set[usize::from(*from)], ADD, -amount).await?;
        if let Some(ms) = section.pause_ms {
            sleep(shared, ms).await?;
        }
        call(shared, place, &set[usize::from(*to)], ADD, *amount).await?;
    }
    if let Some(child) = section.child {
        let _ = perform_child(shared, child).await;
    }
    if section.fails {
        let _ = call(shared, place, &set[0], FAIL, 0).await;
    }
    let after = sum(shared, place, &set).await?;
    let own = 2 * set.len() + 2 * section.moves.len() + usize::from(section.fails);
    let is_canceled = shared.execution.borrow().cancel_reason().is_some();
    let is_alone = was_alone && shared.ordered.get() - began == own as u32 && !is_canceled;
    Ok(if is_alone && before != after { outcome::TORN } else { outcome::ENTITY })
}

async fn sum(shared: &Shared, place: &mut Place, set: &[EntityId]) -> Result<i64, Failure> {
    let mut sum = 0;
    for account in set {
        sum += balance_of(&call(shared, place, account, GET, 0).await?).unwrap_or_default();
    }
    Ok(sum)
}
