//! The stored form of records: a version byte, protobuf, a CRC-32 of both. What is damaged is never decoded.

use super::event::{Event, EventKind};
use crate::time::Timestamp;
use bytes::Bytes;
use prost::Message;

/// The format of records written by this version. A reader refuses a higher one.
const FORMAT: u8 = 1;
const CRC_BYTES: usize = 4;

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// Too short to be one.
    #[error("record of {bytes} bytes is too short")]
    Short {
        /// Its length.
        bytes: usize,
    },
    /// Bits have changed.
    #[error("checksum is {found:08x}, expected {expected:08x}")]
    Checksum {
        /// What the bytes give.
        found: u32,
        /// What was written.
        expected: u32,
    },
    /// Written by a later version.
    #[error("record format {found}; this version reads up to {FORMAT}")]
    Newer {
        /// Its format.
        found: u8,
    },
    /// The bytes are intact but do not decode: a kind of event that this version does not know, or a bug.
    #[error("{what} does not decode: {why}")]
    Undecodable {
        /// What it should have been.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// Two records contradict each other.
    #[error("{0}")]
    Contradiction(String),
}

impl Damaged {
    pub(crate) fn undecodable(what: &'static str, why: impl ToString) -> Damaged {
        Damaged::Undecodable { what, why: why.to_string() }
    }
}

/// Puts a message in the stored form.
pub fn seal_record(message: &impl Message) -> Bytes {
    // A plain vector: each field of each message is a write of its own, and those into it are the cheapest.
    let mut bytes = Vec::with_capacity(1 + message.encoded_len() + CRC_BYTES);
    bytes.push(FORMAT);
    message.encode_raw(&mut bytes);
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.into()
}

/// Checks a stored record and gives the message inside.
pub fn open_record<M: Message + Default>(what: &'static str, mut record: Bytes) -> Result<M, Damaged> {
    let Some(end) = record.len().checked_sub(CRC_BYTES).filter(|end| *end >= 1) else {
        return Err(Damaged::Short { bytes: record.len() });
    };
    let stored = record.split_off(end);
    let expected = u32::from_le_bytes([stored[0], stored[1], stored[2], stored[3]]);
    let found = crc32fast::hash(&record);
    if found != expected {
        return Err(Damaged::Checksum { found, expected });
    }
    if record[0] > FORMAT {
        return Err(Damaged::Newer { found: record[0] });
    }
    M::decode(record.split_off(1)).map_err(|e| Damaged::undecodable(what, e))
}

#[derive(Clone, PartialEq, Message)]
struct StoredEvent {
    #[prost(int64, tag = "1")]
    at: i64,
    #[prost(
        oneof = "EventKind",
        tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 30, 31, 32, 33, 34, 35, 36, 40, 60"
    )]
    kind: Option<EventKind>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredEvents {
    #[prost(message, repeated, tag = "1")]
    events: Vec<StoredEvent>,
}

/// Events that were recorded together, in the stored form.
#[must_use]
pub fn encode_events(events: Vec<Event>) -> Bytes {
    let events = events.into_iter().map(|e| StoredEvent { at: e.at.0, kind: Some(e.kind) }).collect();
    seal_record(&StoredEvents { events })
}

/// The events of a stored record.
pub fn decode_events(record: Bytes) -> Result<Vec<Event>, Damaged> {
    let stored: StoredEvents = open_record("history", record)?;
    let decode = |event: StoredEvent| match event.kind {
        Some(kind) => Ok(Event { at: Timestamp(event.at), kind }),
        None => Err(Damaged::undecodable("history", "an event of a kind that this version does not know")),
    };
    stored.events.into_iter().map(decode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{EventRaised, TaskScheduled, TurnStarted};

    fn events() -> Vec<Event> {
        let payload = Bytes::from_static(b"\0\xff\xed\xa0\x80");
        vec![
            Event::new(Timestamp(7), TurnStarted::default()),
            Event::new(Timestamp(7), EventRaised { name: "go".into(), input: Some(payload.clone()) }),
            Event::new(
                Timestamp(8),
                TaskScheduled { id: 3, name: "pay".into(), input: Some(payload), ..Default::default() },
            ),
        ]
    }

    #[test]
    fn events_come_back_as_they_went_in() {
        assert_eq!(decode_events(encode_events(events())).unwrap(), events());
    }

    #[test]
    fn an_absent_payload_is_not_an_empty_one() {
        for input in [None, Some(Bytes::new())] {
            let events = vec![Event::new(Timestamp(1), EventRaised { name: "e".into(), input })];
            assert_eq!(decode_events(encode_events(events.clone())).unwrap(), events);
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let good = encode_events(events());
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.to_vec();
                bad[at] ^= 1 << bit;
                assert!(decode_events(bad.into()).is_err(), "bit {bit} of byte {at}");
            }
            assert!(decode_events(good.slice(..at)).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_record_of_a_later_format_is_refused() {
        let mut record = encode_events(events()).to_vec();
        record[0] = FORMAT + 1;
        let end = record.len() - CRC_BYTES;
        let crc = crc32fast::hash(&record[..end]).to_le_bytes();
        record[end..].copy_from_slice(&crc);
        assert_eq!(decode_events(record.into()), Err(Damaged::Newer { found: FORMAT + 1 }));
    }

    #[test]
    fn an_unknown_kind_of_event_is_an_error_not_a_gap() {
        #[derive(Clone, PartialEq, Message)]
        struct Later {
            #[prost(message, repeated, tag = "1")]
            events: Vec<LaterEvent>,
        }
        #[derive(Clone, PartialEq, Message)]
        struct LaterEvent {
            #[prost(int64, tag = "1")]
            at: i64,
            #[prost(bytes = "vec", tag = "99")]
            kind: Vec<u8>,
        }
        let record = seal_record(&Later { events: vec![LaterEvent { at: 1, kind: vec![1] }] });
        assert!(matches!(decode_events(record), Err(Damaged::Undecodable { .. })));
    }
}
