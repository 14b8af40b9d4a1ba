//! Reads of a processor: rows, histories and messages, as of some moment between the question and the answer.

use crate::world::{Event, Post, World};
use perdura_core::history::{Damaged, Event as HistoryEvent};
use perdura_core::partition::{Envelope, HistoryName, HistoryRow, InstanceRow};
use perdura_core::{InstanceKey, PartitionId};
use perdura_store::Lookup;

/// A read, before or after the store was looked at.
#[derive(Debug)]
pub(crate) enum Wanted {
    Rows(Vec<Lookup>),
    RowsFound(Vec<(Lookup, Option<InstanceRow>)>),
    History { key: InstanceKey, generation: u32, branch: u32 },
    HistoryFound { of: HistoryName, rows: Vec<HistoryRow> },
    Messages,
    MessagesFound(Vec<Envelope>),
}

impl World {
    /// A row as the store gives it: damaged, if it was damaged.
    pub(crate) fn as_read(&self, mut row: InstanceRow) -> InstanceRow {
        if self.checker.damaged.contains(&row.key) {
            let mut bytes = row.record.to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            row.record = bytes.into();
        }
        row
    }

    /// Begins a read. The store is looked at now or when the answer arrives.
    pub(crate) fn read(&mut self, post: Post, wanted: Wanted) {
        let latency = self.random.latency.below(self.plan.read_ms + 1);
        let at_once = self.random.latency.chance(500);
        let wanted = if at_once { self.look(post, wanted) } else { wanted };
        if let Some(life) = self.life(post) {
            life.reads += 1;
            let life = life.number;
            self.after(latency, Event::Read { post, life, wanted });
        }
    }

    pub(crate) fn look(&self, post: Post, wanted: Wanted) -> Wanted {
        match wanted {
            Wanted::Rows(lookups) => {
                let rows = self.store.find_now(&lookups);
                let rows = rows.into_iter().map(|row| row.map(|row| self.as_read(row)));
                Wanted::RowsFound(lookups.into_iter().zip(rows).collect())
            }
            Wanted::History { key, generation, branch } => {
                let rows = self.store.history_now(key, generation, branch, 0, usize::MAX);
                Wanted::HistoryFound { of: (key, generation, branch), rows }
            }
            Wanted::Messages => {
                let partition = PartitionId(post.partition);
                let found = self.store.messages_now(partition, None, usize::MAX).unwrap_or_default();
                Wanted::MessagesFound(found)
            }
            found => found,
        }
    }

    pub(crate) fn read_answered(&mut self, post: Post, number: u64, wanted: Wanted) {
        let Some(life) = self.life_numbered(post, number) else { return };
        life.reads -= 1;
        if self.store_down_until > self.now {
            return self.lost(post, "a read failed: the store is away", false);
        }
        let found = self.look(post, wanted);
        match self.take_read(post, found) {
            Ok(()) => self.round(post),
            Err(why) => self.lost(post, &why, false),
        }
    }

    pub(crate) fn take_read(&mut self, post: Post, found: Wanted) -> Result<(), String> {
        let now = self.node_now(post.node);
        let Some(life) = self.life(post) else { return Ok(()) };
        match found {
            Wanted::RowsFound(rows) => {
                for (asked, row) in rows {
                    match asked {
                        Lookup::Id(id) => life.partition.found_id(&id, row, now),
                        Lookup::Key(key) => life.partition.found_key(key, row, now),
                    }
                }
            }
            Wanted::HistoryFound { of, rows } => match open_history(&rows) {
                Ok(events) => {
                    if let Some(turn) = life.partition.history_read(of, &events, now) {
                        life.run_turn_with(turn, &events);
                    }
                }
                Err(damage) => life.partition.history_damaged(of, &damage.to_string(), now),
            },
            Wanted::MessagesFound(envelopes) => {
                if let Some((id, damage)) = life.partition.deliver(envelopes, now).first() {
                    return Err(format!("message {id:?}: {damage}"));
                }
                if life.messages.take() == Some(true) {
                    self.read_messages(post);
                }
            }
            Wanted::Rows(_) | Wanted::History { .. } | Wanted::Messages => {}
        }
        Ok(())
    }

    pub(crate) fn bell(&mut self, partition: u16) {
        // Whoever believes that the partition is his own: only one of them is right, but nobody knows which.
        for node in 0..self.plan.nodes {
            self.read_messages(Post { node, partition });
        }
    }

    /// One read of messages at a time: what an earlier one brings may have been dealt with since.
    pub(crate) fn read_messages(&mut self, post: Post) {
        match self.life(post).map(|life| &mut life.messages) {
            Some(Some(again)) => *again = true,
            Some(reading) => {
                *reading = Some(false);
                self.read(post, Wanted::Messages);
            }
            None => {}
        }
    }
}

/// The events of history rows, checked to be without a gap.
fn open_history(rows: &[HistoryRow]) -> Result<Vec<HistoryEvent>, Damaged> {
    let mut events: Vec<HistoryEvent> = Vec::new();
    for row in rows {
        if row.first != events.len() as u64 {
            return Err(Damaged::Contradiction(format!("event {} follows {}", row.first, events.len())));
        }
        events.extend(row.open()?);
    }
    Ok(events)
}
