//! What the simulation puts into payloads, so that every fact can be told from every other one.

use bytes::Bytes;

/// Reads numbers from bytes.
#[derive(Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next bytes.
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.bytes(1).map(|b| b[0])
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.bytes(2).and_then(|b| b.try_into().ok()).map(u16::from_le_bytes)
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.bytes(4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes)
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.bytes(8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes)
    }
}

/// The input of an orchestration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Which program.
    pub program: u16,
    /// Which generation by continue-as-new, from 0.
    pub round: u8,
    /// Which start asked for it.
    pub start: StartSalt,
    /// External events that the earlier generations took, in order.
    pub seen: Vec<EventSalt>,
}

/// Names the start that an execution comes from: a client's by its number, a child's by its number with the top bit set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StartSalt(pub u32);

impl StartSalt {
    const CHILD: u32 = 1 << 31;

    /// The start of a sub-orchestration.
    #[must_use]
    pub fn of_child(child: u32) -> StartSalt {
        StartSalt(child | Self::CHILD)
    }

    /// The number of the sub-orchestration, if it is one.
    #[must_use]
    pub fn child(self) -> Option<u32> {
        (self.0 & Self::CHILD != 0).then_some(self.0 & !Self::CHILD)
    }
}

/// Names one external event: its sender in the upper half, the sender's count in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventSalt(pub u64);

impl EventSalt {
    /// Event `count` of a client.
    #[must_use]
    pub fn of_client(client: u32, count: u32) -> EventSalt {
        EventSalt(u64::from(client) << 32 | u64::from(count))
    }

    /// Event `count` of an execution.
    #[must_use]
    pub fn of_execution(unique: u32, count: u32) -> EventSalt {
        EventSalt(1 << 63 | u64::from(unique) << 32 | u64::from(count))
    }

    /// What an execution asks for on a branch of its history. Its counts are small then.
    #[must_use]
    pub fn on_branch(self, branch: u32) -> EventSalt {
        EventSalt(self.0 | u64::from(branch) << 16)
    }

    /// Who sent it.
    #[must_use]
    pub fn sender(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The payload.
    #[must_use]
    pub fn encode(self) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_le_bytes())
    }

    /// The event of a payload.
    #[must_use]
    pub fn decode(payload: &Option<Bytes>) -> Option<EventSalt> {
        Reader(payload.as_deref()?).u64().map(EventSalt)
    }
}

impl Input {
    /// The payload.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(9 + 8 * self.seen.len());
        bytes.extend_from_slice(&self.program.to_le_bytes());
        bytes.push(self.round);
        bytes.extend_from_slice(&self.start.0.to_le_bytes());
        bytes.extend_from_slice(&(self.seen.len() as u16).to_le_bytes());
        for salt in &self.seen {
            bytes.extend_from_slice(&salt.0.to_le_bytes());
        }
        bytes.into()
    }

    /// The input of a payload.
    #[must_use]
    pub fn decode(payload: &Option<Bytes>) -> Option<Input> {
        let mut reader = Reader(payload.as_deref()?);
        let (program, round, start) = (reader.u16()?, reader.u8()?, StartSalt(reader.u32()?));
        let count = reader.u16()?;
        let seen = (0..count).map(|_| reader.u64().map(EventSalt)).collect::<Option<Vec<_>>>()?;
        Some(Input { program, round, start, seen })
    }
}

/// The input of an activity: which one, and a number that no other scheduling has.
#[must_use]
pub fn task_input(task: u32, unique: u64) -> Bytes {
    [&task.to_le_bytes()[..], &unique.to_le_bytes()].concat().into()
}

/// The input of an activity that is called under a key: the same for all its calls.
#[must_use]
pub fn keyed_input(task: u32) -> Bytes {
    task_input(task, u64::MAX)
}

/// The activity of an input.
#[must_use]
pub fn task_of(input: &Option<Bytes>) -> Option<u32> {
    Reader(input.as_deref()?).u32()
}

/// The output of an attempt: the input, and the delivery that made it.
#[must_use]
pub fn task_output(input: &Option<Bytes>, delivery: u32) -> Bytes {
    [input.as_deref().unwrap_or_default(), &delivery.to_le_bytes()].concat().into()
}
