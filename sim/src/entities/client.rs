//! What clients ask of entities, and the door through which their signals come.

use super::account::{ADD, DELETE, FAIL, GET, Order, SPREAD, entity};
use crate::payload::EventSalt;
use crate::random::Random;
use crate::world::{Post, World};
use perdura_core::Timestamp;
use perdura_core::partition::{Request, SignalRequest, Stamp};

/// An operation of a client or a program; the last few are rare.
pub(super) fn draw_operation(random: &mut Random) -> &'static str {
    match random.below(16) {
        0..9 => ADD,
        9..11 => GET,
        11..13 => SPREAD,
        13..15 => FAIL,
        _ => DELETE,
    }
}

impl World {
    pub(crate) fn draw_signal(&mut self, client: u8) -> Request {
        let now = self.store_now();
        let me = &mut self.clients[usize::from(client)];
        me.signals.1 += 1;
        let salt = EventSalt::of_client(u32::from(client) << 16 | me.signals.0, me.signals.1);
        let random = &mut self.random.clients;
        let order = Order { salt, amount: random.below(100) as i32 };
        let operation = draw_operation(random);
        // An entity that is gone has forgotten the id, and what would come of it twice would have the same names.
        let is_named = operation != SPREAD && random.chance(500);
        Request::Signal(SignalRequest {
            to: entity(&self.programs, random.draw() as u8),
            operation: operation.into(),
            input: Some(order.encode()),
            at: random.chance(200).then(|| Timestamp(now.0 + random.below(3_000) as i64)),
            request_id: if is_named { format!("s{:x}", salt.0) } else { String::new() },
            stamp: None,
        })
    }

    pub(crate) fn draw_delete(&mut self) -> Request {
        let number = self.random.clients.draw() as u8;
        Request::DeleteEntity { entity: entity(&self.programs, number) }
    }

    /// A process marks a signal as the next one that comes through its door.
    pub(crate) fn stamped(&mut self, post: Post, mut request: Request) -> Request {
        if let Request::Signal(signal) = &mut request {
            let node = &mut self.nodes[usize::from(post.node)];
            node.stamps += 1;
            let door = u64::from(post.node) << 32 | u64::from(node.boot);
            signal.stamp = Some(Stamp::new(door, node.stamps));
        }
        request
    }
}

/// Where a request stands among the signals of its door; others come first.
pub(crate) fn stamp_number(request: &Request) -> u64 {
    match request {
        Request::Signal(signal) => signal.stamp.map_or(0, |stamp| stamp.number),
        _ => 0,
    }
}
